"""Course material: documents, their text, their chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import and_, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from persistence import ledger, stored_objects
from persistence.database import Conflict, Connection, add, change, fetch, fetch_one
from persistence.keyset import Page, page, pages_by_parent
from persistence.lifecycle.documents import (
    DOCUMENT,
    OVER,
    READABLE,
    DocumentEvent,
    DocumentState,
)
from persistence.tables.documents import (
    ChunkRow,
    DocumentRow,
    DocumentVersionRow,
    chunks,
    document_fetches,
    document_versions,
    documents,
)
from persistence.visibility import Viewer, sees_documents

_PAST = (DocumentState.DELETED, DocumentState.REPLACED)
_CHUNK = [c for c in chunks.c if c.name != "tsv"]


@dataclass(frozen=True, slots=True)
class Extent:
    """How long an indexed document is; `pages` is None where its format has none."""

    chunks: int
    pages: int | None


async def documents_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[DocumentRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(documents).where(documents.c.id.in_(ids), sees_documents(documents, viewer)),
        DocumentRow,
    )


async def pages_of_documents(
    connection: Connection,
    viewer: Viewer,
    course_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[DocumentRow]]:
    """The documents of each course the viewer sees, oldest first, without past ones."""
    return await pages_by_parent(
        connection,
        select(documents).where(sees_documents(documents, viewer), documents.c.state.not_in(_PAST)),
        shape=DocumentRow,
        parent=documents.c.course_id,
        parents=course_ids,
        key=[documents.c.id],
        first=first,
        after=after,
    )


async def chunks_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[ChunkRow]:
    """Those of `ids` whose document the viewer sees. Rows come without vectors."""
    return await fetch(
        connection,
        select(*_CHUNK)
        .join(documents, documents.c.id == chunks.c.document_id)
        .where(chunks.c.id.in_(ids), sees_documents(documents, viewer)),
        ChunkRow,
    )


async def pages_of_chunks(
    connection: Connection, document_ids: Sequence[UUID], first: int, after: str | None
) -> list[Page[ChunkRow]]:
    """The chunks of each document in reading order, without vectors."""
    statement = select(*_CHUNK).join(
        document_versions, document_versions.c.id == chunks.c.document_version_id
    )
    parent = document_versions.c.document_id
    key = [chunks.c.ordinal, chunks.c.id]
    if len(document_ids) == 1:  # the usual case: it stops at the page's end
        return [
            await page(
                connection,
                statement.where(parent == document_ids[0]),
                shape=ChunkRow,
                key=key,
                first=first,
                after=after,
            )
        ]
    return await pages_by_parent(
        connection,
        statement,
        shape=ChunkRow,
        parent=parent,
        parents=document_ids,
        key=key,
        first=first,
        after=after,
    )


async def neighbours(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID], step: int
) -> dict[UUID, ChunkRow]:
    """By chunk, the one `step` places after it in its document, where the viewer sees that."""
    beside = chunks.alias("beside")
    rows = await connection.execute(
        select(beside.c.id.label("_of"), *_CHUNK)
        .join(
            beside,
            and_(
                beside.c.document_version_id == chunks.c.document_version_id,
                beside.c.ordinal + step == chunks.c.ordinal,
            ),
        )
        .join(documents, documents.c.id == chunks.c.document_id)
        .where(beside.c.id.in_(ids), sees_documents(documents, viewer))
    )
    return {row[0]: cast(ChunkRow, row) for row in rows}


async def extents(connection: Connection, document_ids: Sequence[UUID]) -> dict[UUID, Extent]:
    """The extent of each document that has chunks."""
    rows = await connection.execute(
        select(
            document_versions.c.document_id,
            func.count().label("chunks"),
            func.max(chunks.c.page).label("pages"),
        )
        .join(chunks, chunks.c.document_version_id == document_versions.c.id)
        .where(document_versions.c.document_id.in_(document_ids))
        .group_by(document_versions.c.document_id)
    )
    return {row.document_id: Extent(row.chunks, row.pages) for row in rows}


async def add_document(
    connection: Connection, document: DocumentRow, object_id: UUID | None
) -> DocumentRow | None:
    """Stores a document with its file; None when it is new, else the one with this content.

    The object is one to keep, given up when the content is there; None while it is to be fetched.
    Raises `Conflict` when the
    other one has just failed or been deleted.
    """
    values = {
        c.name: getattr(document, c.name)
        for c in documents.c
        if c.name not in {"created_at", "updated_at"}
    }
    stored = await connection.execute(
        insert_or(documents)
        .values(values)
        .on_conflict_do_nothing(
            index_elements=["course_id", "sha256"],
            index_where=text("state NOT IN ('FAILED', 'NO_TEXT', 'REPLACED', 'DELETED')"),
        )
    )
    if stored.rowcount == 0:
        same = await document_with_content(connection, document.course_id, document.sha256)
        if same is None:
            raise Conflict
        await stored_objects.doom(connection, [] if object_id is None else [object_id])
        return same
    if object_id is None:
        return None
    version = DocumentVersionRow(
        organization_id=document.organization_id, document_id=document.id, object_id=object_id
    )
    await add(connection, version)
    return None


async def document_with_content(
    connection: Connection, course_id: UUID, sha256: str
) -> DocumentRow | None:
    """The live document of a course with this content."""
    return await fetch_one(
        connection,
        select(documents).where(
            documents.c.course_id == course_id,
            documents.c.sha256 == sha256,
            documents.c.state.not_in(OVER),
        ),
        DocumentRow,
    )


async def delete_document(connection: Connection, document: DocumentRow) -> None:
    """Removes bytes, text and vectors, and with them the quotations of answers, and what a model
    read of its pictures.

    A worker that is at it loses its lease. Raises `InvalidTransition` when it is deleted already,
    `Conflict` when its state changed meanwhile.
    """
    state = DOCUMENT.advance(document.state, DocumentEvent.DELETE)
    await change(
        connection,
        update(documents)
        .where(documents.c.id == document.id, documents.c.state == document.state)
        .values(state=state, fence=documents.c.fence + 1, failure=None),
    )
    await stored_objects.doom(
        connection,
        select(document_versions.c.object_id).where(
            document_versions.c.document_id == document.id,
            document_versions.c.object_id.is_not(None),
        ),
    )
    await ledger.forget(connection, [document.id])
    for table in (document_versions, document_fetches):
        await connection.execute(delete(table).where(table.c.document_id == document.id))


async def locked_document(connection: Connection, document_id: UUID) -> DocumentRow | None:
    """A document, locked until the end of the transaction."""
    return await fetch_one(
        connection,
        select(documents).where(documents.c.id == document_id).with_for_update(),
        DocumentRow,
    )


async def replacements_of(
    connection: Connection, viewer: Viewer, document_ids: Sequence[UUID]
) -> Sequence[DocumentRow]:
    """The documents that took the place of these, as far as the viewer sees them."""
    return await fetch(
        connection,
        select(documents).where(
            documents.c.replaces_id.in_(document_ids),
            documents.c.state.in_(READABLE),
            sees_documents(documents, viewer),
        ),
        DocumentRow,
    )


async def is_being_replaced(connection: Connection, document_id: UUID) -> bool:
    """Whether a document that would take this one's place is on its way."""
    found = await connection.scalar(
        select(documents.c.id).where(
            documents.c.replaces_id == document_id,
            documents.c.state.not_in(
                (DocumentState.FAILED, DocumentState.NO_TEXT, DocumentState.DELETED)
            ),
        )
    )
    return found is not None


async def replace(connection: Connection, document_id: UUID) -> DocumentRow | None:
    """Takes a document out of the search for its successor; None when it is gone already."""
    return await fetch_one(
        connection,
        update(documents)
        .where(
            documents.c.id == document_id,
            documents.c.state.in_(DOCUMENT.sources(DocumentEvent.REPLACE)),
        )
        .values(state=DocumentState.REPLACED, fence=documents.c.fence + 1)
        .returning(*documents.c),
        DocumentRow,
    )


async def replaced_before(
    connection: Connection, life: timedelta, limit: int
) -> Sequence[DocumentRow]:
    """Documents that were replaced so long ago, locked."""
    return await fetch(
        connection,
        select(documents)
        .where(
            documents.c.state == DocumentState.REPLACED, documents.c.updated_at < func.now() - life
        )
        .limit(limit)
        .with_for_update(skip_locked=True),
        DocumentRow,
    )
