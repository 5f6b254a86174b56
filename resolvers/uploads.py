"""Resumable uploads: announced, filled part by part over several requests, put together, used."""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from persistence import courses, uploads
from persistence.database import Conflict, Connection, Database, add
from persistence.lifecycle.uploads import UploadState
from persistence.objects import ObjectMissing, ObjectStorage, one_piece
from persistence.tables.objects import StoredObjectRow, UploadPurpose, UploadRow
from persistence.users import Proof, find_viewer
from resolvers import checks, documents, quotas
from resolvers.access import Permission, may, missing, usable
from resolvers.context import RequestContext
from resolvers.files import Files
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.originals import HEAD_BYTES, StoredFile, discard, store
from resolvers.refusals import Refusal, RefusalCode
from resolvers.work import WorkResources

PART_BYTES: Final = 4 << 20
"""What is kept at a time: a connection that breaks loses at most so much."""

MOST_PARTS: Final = 5_000
SENDERS_AT_ONCE: Final = 2
"""Of one upload in a process: one that hangs and one that goes on. Each holds a part in memory."""

KEPT_FOR = timedelta(days=1)
_SWEPT = 100
_UPLOAD = ("input", "uploadId")


class OffsetMismatch(Exception):
    """The bytes begin elsewhere than the upload ends: at `received`."""

    def __init__(self, received: int) -> None:
        super().__init__(f"{received} bytes have come")
        self.received = received


@dataclass(frozen=True)
class Receiver:
    """What takes parts in: one a process."""

    database: Database
    files: Files


async def load_uploads(context: RequestContext, ids: Sequence[UUID]) -> list[UploadRow | None]:
    """The viewer's own uploads by id."""
    async with context.database.read() as connection:
        return in_order(ids, await uploads.uploads_by_id(connection, context.viewer, ids))


async def get_urls(parents: Sequence[UploadRow], context: RequestContext) -> list[str | None]:
    """Where the parts go; None once nothing more can come, and for who may not send them.

    Whoever has the address writes: it is not for who acts as another, nor for other scopes.
    """
    links, now, viewer = context.files.links, context.now(), context.viewer
    sends = viewer.real_user_id is None and usable(viewer, Permission.DOCUMENT_WRITE)
    return [
        links.upload_url(u.id, u.expires_at)
        if sends and u.state == UploadState.OPEN and u.expires_at > now
        else None
        for u in parents
    ]


async def create_upload(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    file_name: str,
    byte_size: int,
    sha256: str | None,
    media_type: str | None,
    purpose: UploadPurpose,
) -> UUID:
    """Announces a file, so that its parts may come."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.DOCUMENT_WRITE, course)
    if not await courses.courses_by_id(transaction.connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    rules = context.files.rules
    most = rules.document_bytes if purpose == UploadPurpose.DOCUMENT else rules.import_bytes
    if not 1 <= byte_size <= most:
        raise Refusal(
            RefusalCode.BAD_INPUT if byte_size < 1 else RefusalCode.TOO_LARGE,
            f"A file of purpose {purpose} has 1 to {most:,} bytes; this would have {byte_size:,}.",
            ("input", "byteSize"),
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise checks.bad("sha256", "A SHA-256 is written with 64 hexadecimal digits.")
    await quotas.check_upload(context, transaction.connection, course, byte_size)
    name = documents.file_name(file_name, ("input", "fileName"))
    if purpose == UploadPurpose.DOCUMENT:
        documents.recognise(name, media_type, b"", ("input", "mediaType"))
    upload = UploadRow(
        organization_id=viewer.organization_id,
        course_id=course,
        user_id=viewer.user_id,
        purpose=purpose,
        file_name=name,
        media_type=None if media_type is None else checks.line(media_type, "mediaType"),
        byte_size=byte_size,
        sha256=None if sha256 is None else sha256.lower(),
        expires_at=context.now() + rules.upload_life,
    )
    await add(transaction.connection, upload)
    return upload.id


async def open_upload(receiver: Receiver, upload_id: UUID) -> UploadRow:
    """An upload that may still grow or is whole, while whoever announced it may write there.

    Raises `Refusal`: NOT_FOUND, FORBIDDEN, BAD_INPUT when it was rejected.
    """
    async with receiver.database.read() as connection:
        upload = await uploads.upload_by_id(connection, upload_id)
        if upload is None or upload.state == UploadState.ENDED:
            raise Refusal(
                RefusalCode.NOT_FOUND,
                "There is no such upload (any more). Call createUpload again.",
            )
        proof = Proof(upload.user_id, upload.organization_id, upload.expires_at)
        viewer = await find_viewer(connection, proof)
    if viewer is None or not may(viewer, Permission.DOCUMENT_WRITE, upload.course_id):
        raise Refusal(
            RefusalCode.FORBIDDEN, "Whoever announced this upload has no access any more."
        )
    if upload.state == UploadState.REJECTED:
        raise _rejected(())
    return upload


async def receive(
    receiver: Receiver, upload: UploadRow, start: int, content: AsyncIterable[bytes]
) -> UploadRow:
    """Appends `content` from offset `start`; what has come is kept, also when it breaks off.

    Puts the file together once it is whole. Raises `OffsetMismatch`, `StorageDown`, and `Refusal`:
    CONFLICT while others send, TOO_LARGE beyond the announced size, BAD_INPUT when the SHA-256 is
    another, LIMIT_EXCEEDED for too many small parts, and those of `open_upload`.
    """
    if start != upload.received:
        raise OffsetMismatch(upload.received)
    if upload.state == UploadState.OPEN:
        with _sending(receiver.files, upload.id):
            async for part in _parts(content, upload.byte_size - start):
                start = await _keep_part(receiver, upload, start, part)
        if start == upload.byte_size:
            await _assemble(receiver.database, receiver.files, upload)
    return await open_upload(receiver, upload.id)


@contextmanager
def _sending(files: Files, upload_id: UUID) -> Iterator[None]:
    if files.sending[upload_id] >= SENDERS_AT_ONCE:
        raise Refusal(
            RefusalCode.CONFLICT, "Other requests send parts of this upload. Send one at a time."
        )
    files.sending[upload_id] += 1
    try:
        yield
    finally:
        files.sending[upload_id] -= 1
        if not files.sending[upload_id]:
            del files.sending[upload_id]


async def _parts(content: AsyncIterable[bytes], left: int) -> AsyncIterator[bytes]:
    held = bytearray()
    too_large = False
    async for piece in content:
        too_large = len(piece) > left
        held += piece[:left]
        left -= min(left, len(piece))
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
        if too_large:
            raise Refusal(
                RefusalCode.TOO_LARGE, "More bytes come than createUpload announced as byteSize."
            )
    if held:
        yield bytes(held)


async def _keep_part(receiver: Receiver, upload: UploadRow, start: int, part: bytes) -> int:
    if upload.parts >= MOST_PARTS:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"An upload has at most {MOST_PARTS:,} parts. Send larger ones, of {PART_BYTES:,} "
            "bytes, in a new upload.",
        )
    stored = await store(
        receiver.database,
        receiver.files.storage,
        upload.organization_id,
        one_piece(part),
        most=len(part),
        too_large=lambda: AssertionError("a part is as large as it is"),
    )
    try:
        async with receiver.database.transaction() as connection:
            await uploads.add_part(connection, upload, start, stored.object_id, len(part))
    except BaseException as error:
        await discard(receiver.database, stored.object_id)
        if isinstance(error, Conflict):
            raise OffsetMismatch((await open_upload(receiver, upload.id)).received) from error
        raise
    return start + len(part)


async def _assemble(database: Database, files: Files, upload: UploadRow) -> None:
    """Makes one object of the parts, and checks it. Raises `Refusal`, `StorageDown`.

    A process copies a file once, however many ask for it; of two processes the first wins.
    """
    async with files.assembling.setdefault(upload.id, asyncio.Lock()):
        async with database.read() as connection:
            now = await uploads.upload_by_id(connection, upload.id)
            parts = await uploads.parts_of(connection, upload.id)
        if now is not None and now.state == UploadState.OPEN:
            await _put_together(database, files.storage, upload, parts)


async def _put_together(
    database: Database,
    storage: ObjectStorage,
    upload: UploadRow,
    parts: Sequence[StoredObjectRow],
) -> None:
    try:
        stored = await store(
            database,
            storage,
            upload.organization_id,
            _joined(storage, parts),
            most=upload.byte_size,
            too_large=lambda: AssertionError("the parts are larger than the whole"),
        )
    except ObjectMissing:
        await _unless_changed(database, upload, None)
        return
    agrees = stored.byte_size == upload.byte_size and upload.sha256 in {None, stored.sha256}
    await _unless_changed(database, upload, stored if agrees else None)
    if not agrees:
        await discard(database, stored.object_id)
        raise _rejected(())


async def _unless_changed(database: Database, upload: UploadRow, whole: StoredFile | None) -> None:
    try:
        async with database.transaction() as connection:
            if whole is None:
                await uploads.reject(connection, upload)
            else:
                await uploads.assembled(connection, upload, whole.object_id, whole.sha256)
    except Conflict:
        if whole is not None:
            await discard(database, whole.object_id)


async def _joined(storage: ObjectStorage, parts: Sequence[StoredObjectRow]) -> AsyncIterator[bytes]:
    for part in parts:
        async for piece in storage.read(part.key, 0, part.byte_size):
            yield piece


def _rejected(path: tuple[str, ...]) -> Refusal:
    return Refusal(
        RefusalCode.BAD_INPUT,
        "What came is not the file that was announced: its SHA-256 is another. Upload it again.",
        path,
    )


async def end_upload(receiver: Receiver, upload_id: UUID) -> None:
    """Gives an upload up. Raises `Refusal`."""
    upload = await open_upload(receiver, upload_id)
    async with receiver.database.transaction() as connection:
        await uploads.end(connection, upload)


async def find_whole(
    context: RequestContext, *, upload_id: str, **_: object
) -> dict[str, StoredFile]:
    """The file of an upload that is whole, before the transaction that uses it."""
    async with context.database.read() as connection:
        upload = await own_upload(context, connection, upload_id)
    files = context.files
    if upload.state == UploadState.OPEN and upload.received == upload.byte_size:
        await _assemble(context.database, files, upload)  # who received it, died
        async with context.database.read() as connection:
            upload = await own_upload(context, connection, upload_id)
    if upload.state == UploadState.OPEN:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"{upload.received:,} of {upload.byte_size:,} bytes have come. Send the rest first.",
            _UPLOAD,
        )
    async with context.database.read() as connection:
        whole = await uploads.object_of(connection, upload)
    if whole is None:
        raise Refusal(
            RefusalCode.INVALID_STATE, "This upload was used already, or has expired.", _UPLOAD
        )
    size = min(HEAD_BYTES, upload.byte_size)
    head = b"".join([piece async for piece in files.storage.read(whole.key, 0, size)])
    return {"stored": StoredFile(whole.id, whole.byte_size, upload.sha256 or "", head, kept=True)}


async def own_upload(context: RequestContext, connection: Connection, upload_id: str) -> UploadRow:
    """The viewer's upload for a document of a course they still write in. Raises `Refusal`."""
    key = key_of(upload_id, "ResumableUpload", _UPLOAD)
    found = await uploads.uploads_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("upload", _UPLOAD)
    (upload,) = found
    context.require(Permission.DOCUMENT_WRITE, upload.course_id)
    if upload.purpose != UploadPurpose.DOCUMENT:
        raise Refusal(
            RefusalCode.INVALID_STATE, "This upload is for an import, not a document.", _UPLOAD
        )
    if upload.state == UploadState.REJECTED:
        raise _rejected(_UPLOAD)
    return upload


async def add_document(
    context: RequestContext,
    transaction: Transaction,
    *,
    upload_id: str,
    title: str | None,
    stored: StoredFile,
) -> UUID:
    """Makes the document of a whole upload and has it ingested."""
    upload = await own_upload(context, transaction.connection, upload_id)
    media_type = documents.recognise(upload.file_name, upload.media_type, stored.head, _UPLOAD)
    await uploads.use(transaction.connection, upload)
    incoming = documents.Incoming(upload.file_name, media_type, title)
    return await documents.take_in(context, transaction, upload.course_id, incoming, stored)


async def sweep_uploads(resources: WorkResources) -> None:
    """Gives up uploads that have expired, and forgets those that are over."""
    async with resources.database.transaction() as connection:
        await uploads.end_expired(connection, _SWEPT)
        await uploads.prune(connection, KEPT_FOR)
