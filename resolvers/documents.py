"""Course material: handed in, listed, read, taken away."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePath
from typing import Protocol, runtime_checkable
from uuid import UUID

from agents.documents.extraction import (
    MAX_BYTES,
    ExtractionCode,
    ExtractionFailure,
    extract,
    media_type_of,
)
from persistence import courses, documents, jobs, streams
from persistence.database import Connection
from persistence.documents import Extent
from persistence.keyset import Page
from persistence.lifecycle.documents import DocumentState
from persistence.tables.courses import CourseRow
from persistence.tables.documents import ChunkRow, DocumentRow
from persistence.tables.records import StreamKind
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, optional
from resolvers.refusals import Refusal, RefusalCode

INGEST = "ingest_document"
"""The job that makes an uploaded document searchable."""

_RECOGNISED_BYTES = 65_536
_FILE = ("input", "file")
_REFUSED = {
    ExtractionCode.UNSUPPORTED_TYPE: RefusalCode.UNSUPPORTED_FILE,
    ExtractionCode.NOT_TEXT: RefusalCode.UNSUPPORTED_FILE,
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


async def upload_document(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    file: UploadedFile,
    title: str | None,
) -> UUID:
    """Takes a file in and has it ingested; the same content again is the document there is."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.DOCUMENT_WRITE, course)
    rows = await courses.courses_by_id(transaction.connection, viewer, [course])
    if not rows:
        raise missing("course", ("input", "courseId"))
    if not isinstance(file, UploadedFile):  # JSON can put anything in an Upload's place
        raise Refusal(RefusalCode.BAD_INPUT, "Send the file as a part of a multipart form.", _FILE)
    name = _file_name(file)
    original = await file.read(MAX_BYTES + 1)
    document = DocumentRow(
        organization_id=viewer.organization_id,
        course_id=course,
        uploaded_by=viewer.user_id,
        title=checks.line(PurePath(name).stem or name if title is None else title, "title"),
        file_name=name,
        media_type=_recognise(name, file.content_type, original),
        byte_size=len(original),
        sha256=file.sha256,
        language=rows[0].language,
    )
    same = await documents.add_document(transaction.connection, document, original)
    if same is not None:
        return same.id
    await announce_state(transaction.connection, document, DocumentState.UPLOADED)
    await enqueue_ingest(transaction.connection, document)
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
    await documents.delete_document(connection, rows[0])
    await announce_state(connection, rows[0], DocumentState.DELETED)
    transaction.hint_stream()
    return key


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
    return await jobs.enqueue(
        connection, INGEST, document.id, dedupe_key=f"document:{document.id}:{document.fence}"
    )


def _file_name(file: UploadedFile) -> str:
    """The name without a path, NFC, without control characters, with its end if it is long."""
    raw = unicodedata.normalize("NFC", (file.filename or "").replace("\\", "/").rpartition("/")[2])
    name = "".join(c for c in raw if unicodedata.category(c) not in {"Cc", "Cf", "Cs"}).strip()
    if not name:
        raise Refusal(RefusalCode.BAD_INPUT, "The file needs a name, such as chapter-1.md.", _FILE)
    return name[-200:]


def _recognise(name: str, declared: str | None, original: bytes) -> str:
    """The media type. Raises `Refusal` for a kind of file that is not read, and for a large one.

    Looks at the beginning only; what is wrong further in, the ingest finds.
    """
    try:
        media_type = media_type_of(name, declared)
        if len(original) > MAX_BYTES:
            raise ExtractionFailure(
                ExtractionCode.TOO_LARGE,
                f"The file is larger than {MAX_BYTES:,} bytes.",
                "Split the document, for example by chapter.",
            )
        extract(original[:_RECOGNISED_BYTES], media_type=media_type)
    except ExtractionFailure as failure:
        code = _REFUSED.get(failure.code)
        if code is not None:
            raise Refusal(code, f"{failure.message} {failure.advice}", _FILE) from failure
    return media_type
