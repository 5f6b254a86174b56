"""Course material: handed in, listed, read, taken away."""

import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol, runtime_checkable
from uuid import UUID

from agents.documents import media_types
from agents.documents.extracted import ExtractionCode, ExtractionFailure
from persistence import courses, documents, documents_work, jobs, stored_objects, streams
from persistence.database import Connection
from persistence.documents import Extent
from persistence.keyset import Page
from persistence.lifecycle.documents import DocumentState
from persistence.objects import PIECE_BYTES
from persistence.tables.courses import CourseRow
from persistence.tables.documents import ChunkRow, DocumentRow
from persistence.tables.records import StreamKind
from resolvers import checks, quotas
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, optional
from resolvers.originals import HEAD_BYTES, StoredFile, store
from resolvers.refusals import Refusal, RefusalCode

INGEST = "ingest_document"
"""The job that makes an uploaded document searchable."""

INGEST_LARGE = "ingest_large_document"
"""The same for large files, which have seats of their own: the others never wait for them."""

LARGE_BYTES = 1_000_000
_FILE = ("input", "file")
_REFUSED = {
    ExtractionCode.UNSUPPORTED_TYPE: RefusalCode.UNSUPPORTED_FILE,
    ExtractionCode.WRONG_TYPE: RefusalCode.UNSUPPORTED_FILE,
    ExtractionCode.TOO_LARGE: RefusalCode.TOO_LARGE,
}


@runtime_checkable
class UploadedFile(Protocol):
    """A file as the edge hands it over."""

    filename: str | None
    sha256: str
    content_type: str | None

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all."""


async def list_documents(
    parents: Sequence[CourseRow], context: RequestContext, first: int, after: str | None
) -> list[Page[DocumentRow]]:
    """The documents of each course: searchable ones for members, all for those who design it."""
    async with context.database.read() as connection:
        return await documents.pages_of_documents(
            connection, context.viewer, [c.id for c in parents], checks.page_size(first), after
        )


async def load_documents(context: RequestContext, ids: Sequence[UUID]) -> list[DocumentRow | None]:
    """Documents by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await documents.documents_by_id(connection, context.viewer, ids))


async def get_documents(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[DocumentRow | None]:
    """Documents named by rows the viewer sees; None for one that has been taken away."""
    rows = await load_documents(context, [i for i in ids if i])
    return optional(ids, [row for row in rows if row is not None])


async def load_chunks(context: RequestContext, ids: Sequence[UUID]) -> list[ChunkRow | None]:
    """Passages by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await documents.chunks_by_id(connection, context.viewer, ids))


async def get_chunks(context: RequestContext, ids: Sequence[UUID | None]) -> list[ChunkRow | None]:
    """Passages named by rows the viewer sees; None for one that has been taken away."""
    rows = await load_chunks(context, [i for i in ids if i])
    return optional(ids, [row for row in rows if row is not None])


async def list_chunks(
    parents: Sequence[DocumentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[ChunkRow]]:
    """The passages of each document in reading order."""
    async with context.database.read() as connection:
        return await documents.pages_of_chunks(
            connection, [d.id for d in parents], checks.page_size(first), after
        )


async def get_extents(parents: Sequence[DocumentRow], context: RequestContext) -> list[Extent]:
    """How long each document is, as far as it is indexed."""
    async with context.database.read() as connection:
        found = await documents.extents(connection, [d.id for d in parents])
    return [found.get(d.id, Extent(0, None)) for d in parents]


async def get_original_urls(
    parents: Sequence[DocumentRow], context: RequestContext
) -> list[str | None]:
    """Where the viewer, who sees these documents, downloads their originals for now."""
    viewer, links = context.viewer, context.files.links
    return [
        None if d.state == DocumentState.DELETED else links.original_url(viewer, d.id)
        for d in parents
    ]


async def store_file(
    context: RequestContext, *, course_id: str, file: UploadedFile, **_: object
) -> dict[str, StoredFile]:
    """Brings a file that may come in into the storage, before the transaction that keeps it."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    return {"stored": await store_for(context, course, file)}


async def store_for(context: RequestContext, course: UUID, file: UploadedFile) -> StoredFile:
    """Brings a file that may come into this course into the storage."""
    viewer = context.require(Permission.DOCUMENT_WRITE, course)
    if not isinstance(file, UploadedFile):  # JSON can put anything in an Upload's place
        raise Refusal(RefusalCode.BAD_INPUT, "Send the file as a part of a multipart form.", _FILE)
    head = await file.read(HEAD_BYTES)
    recognise(file_name(file.filename), file.content_type, head, _FILE)
    async with context.database.read() as connection:
        await quotas.check_document(context, connection, course, len(head), exactly=False)
    most = context.files.rules.multipart_bytes
    return await store(
        context.database,
        context.files.storage,
        viewer.organization_id,
        _pieces(head, file),
        most=most,
        too_large=lambda: Refusal(
            RefusalCode.TOO_LARGE,
            f"The file is larger than {most:,} bytes. Send it with createUpload, or split it, for "
            "example by chapter.",
            _FILE,
        ),
    )


async def _pieces(head: bytes, file: UploadedFile) -> AsyncIterator[bytes]:
    piece = head
    while piece:
        yield piece
        piece = await file.read(PIECE_BYTES)


async def upload_document(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    file: UploadedFile,
    title: str | None,
    stored: StoredFile,
) -> UUID:
    """Takes a file in and has it ingested; the same content again is the document there is."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    context.require(Permission.DOCUMENT_WRITE, course)
    name = file_name(file.filename)
    media_type = recognise(name, file.content_type, stored.head, _FILE)
    return await take_in(context, transaction, course, Incoming(name, media_type, title), stored)


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is known of a file beside its bytes."""

    file_name: str
    media_type: str
    title: str | None


async def take_in(
    context: RequestContext,
    transaction: Transaction,
    course_id: UUID,
    incoming: Incoming,
    stored: StoredFile,
    replaces: DocumentRow | None = None,
) -> UUID:
    """Makes the document of a stored file and has it ingested.

    The same content again is the document there is.
    """
    viewer, connection = context.viewer, transaction.connection
    rows = await courses.courses_by_id(connection, viewer, [course_id])
    if not rows:
        raise missing("course", ("input", "courseId"))
    await quotas.check_document(
        context, connection, course_id, 0 if stored.kept else stored.byte_size
    )
    name = incoming.file_name
    title = PurePath(name).stem or name if incoming.title is None else incoming.title
    document = DocumentRow(
        organization_id=viewer.organization_id,
        course_id=course_id,
        uploaded_by=viewer.user_id,
        title=checks.line(title, "title"),
        file_name=name,
        media_type=incoming.media_type,
        byte_size=stored.byte_size,
        sha256=stored.sha256,
        language=rows[0].language,
        version=1 if replaces is None else replaces.version + 1,
        replaces_id=None if replaces is None else replaces.id,
    )
    if not stored.kept:
        await stored_objects.keep(connection, stored.object_id, stored.byte_size)
    same = await documents.add_document(connection, document, stored.object_id)
    if same is not None:
        return same.id
    await announce_state(connection, document, DocumentState.UPLOADED)
    await enqueue_ingest(connection, document)
    transaction.hint_stream()
    return document.id


async def delete_document(
    context: RequestContext, transaction: Transaction, *, document_id: str
) -> UUID:
    """Takes a document away: its bytes, its text, its vectors."""
    path = ("input", "documentId")
    key = key_of(document_id, "Document", path)
    connection = transaction.connection
    rows = await documents.documents_by_id(connection, context.viewer, [key])
    if not rows:
        raise missing("document", path)
    context.require(Permission.DOCUMENT_WRITE, rows[0].course_id)
    document = await documents.locked_document(connection, key)  # a worker may be at it
    if document is None:
        raise missing("document", path)
    await documents.delete_document(connection, document)
    await announce_state(connection, document, DocumentState.DELETED)
    transaction.hint_stream()
    return key


async def replace_older(connection: Connection, document: DocumentRow) -> None:
    """Takes the document that this one replaces, if any, out of the search in its favour."""
    if document.replaces_id is not None:
        older = await documents.replace(connection, document.replaces_id)
        if older is not None:
            await announce_state(connection, older, DocumentState.REPLACED)


async def announce_state(
    connection: Connection, document: DocumentRow, state: DocumentState
) -> None:
    """Writes the event that this document's state has changed."""
    await streams.append(
        connection,
        organization_id=document.organization_id,
        kind=StreamKind.DOCUMENT,
        stream_id=document.id,
        event="DOCUMENT_STATE",
        payload={"document_id": str(document.id), "state": state},
    )


async def enqueue_ingest(connection: Connection, document: DocumentRow) -> bool:
    """Has the document ingested; False when that waits or runs already."""
    entrypoint = INGEST if document.byte_size < LARGE_BYTES else INGEST_LARGE
    return await jobs.enqueue(
        connection,
        entrypoint,
        document.id,
        dedupe_key=f"document:{document.id}:{document.fence}",
        priority=await documents_work.turn(connection, document, entrypoint),
    )


def file_name(given: str | None, path: tuple[str, ...] = _FILE) -> str:
    """The name without a path, NFC, without control characters, with its end if it is long."""
    raw = unicodedata.normalize("NFC", (given or "").replace("\\", "/").rpartition("/")[2])
    name = "".join(c for c in raw if unicodedata.category(c) not in {"Cc", "Cf", "Cs"}).strip()
    if not name:
        raise Refusal(RefusalCode.BAD_INPUT, "The file needs a name, such as chapter-1.md.", path)
    return name[-200:]


def recognise(name: str, declared: str | None, head: bytes, path: tuple[str, ...]) -> str:
    """The media type. Raises `Refusal` for a kind of file that is not read.

    Looks at the beginning only; what is wrong further in, the ingest finds.
    """
    try:
        return media_types.recognise(name, declared, head)
    except ExtractionFailure as failure:
        code = _REFUSED[failure.code]
        raise Refusal(code, f"{failure.message} {failure.advice}", path) from failure
