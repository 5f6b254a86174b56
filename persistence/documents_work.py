"""The worker's side of documents: the fenced writes of an ingest, and what dead workers left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, update

from persistence.database import Connection, fetch, fetch_one
from persistence.embeddings import ChunkKey, add_vectors
from persistence.lifecycle.documents import DOCUMENT, DocumentEvent, DocumentState
from persistence.tables.documents import DocumentRow, chunks, document_versions, documents

WORKING = (DocumentState.EXTRACTING, DocumentState.CHUNKING, DocumentState.EMBEDDING)


class IngestLost(Exception):
    """Another worker has taken the document over, or it was deleted: nothing was written."""


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be indexed."""

    id: UUID
    ordinal: int
    page: int | None
    start: int
    end: int
    heading_path: Sequence[str]
    text: str


async def begin_ingest(connection: Connection, document_id: UUID) -> DocumentRow | None:
    """Takes an UPLOADED document under a new fence; None when there is none to take.

    What an earlier try has indexed is removed.
    """
    row = await fetch_one(
        connection,
        update(documents)
        .where(documents.c.id == document_id, documents.c.state == DocumentState.UPLOADED)
        .values(
            state=DOCUMENT.advance(DocumentState.UPLOADED, DocumentEvent.EXTRACT),
            fence=documents.c.fence + 1,
        )
        .returning(*documents.c),
        DocumentRow,
    )
    if row is not None:
        await connection.execute(
            delete(chunks).where(
                chunks.c.document_version_id.in_(
                    select(document_versions.c.id).where(
                        document_versions.c.document_id == document_id
                    )
                )
            )
        )
    return row


async def original_of(connection: Connection, document_id: UUID) -> tuple[UUID, bytes]:
    """The id of the newest version, and its bytes. Raises `IngestLost` when it is gone."""
    row = (
        await connection.execute(
            select(document_versions.c.id, document_versions.c.original)
            .where(document_versions.c.document_id == document_id)
            .order_by(document_versions.c.number.desc())
            .limit(1)
        )
    ).first()
    if row is None:
        raise IngestLost
    return row.id, row.original


async def move(
    connection: Connection,
    document: DocumentRow,
    state: DocumentState,
    event: DocumentEvent,
    *,
    failure: Mapping[str, str] | None = None,
) -> DocumentState:
    """The next state, written under the document's fence. Raises `IngestLost`."""
    reached = DOCUMENT.advance(state, event)
    await _fenced(connection, document, state, {"state": reached, "failure": failure})
    return reached


async def save_text(connection: Connection, version_id: UUID, canonical: str) -> None:
    """Keeps the canonical text, which every offset refers to."""
    await connection.execute(
        update(document_versions).where(document_versions.c.id == version_id).values(text=canonical)
    )


async def add_chunks(
    connection: Connection,
    document: DocumentRow,
    version_id: UUID,
    batch: Sequence[NewChunk],
    vectors: Mapping[str, Any],
) -> None:
    """Indexes a batch under the document's fence, with unit vectors by model. Raises `IngestLost`.

    Also says that the ingest is alive: it sets the document's `updated_at`.
    """
    await _fenced(connection, document, DocumentState.EMBEDDING, {"state": DocumentState.EMBEDDING})
    await connection.execute(
        insert(chunks),
        [
            {
                "id": new.id,
                "organization_id": document.organization_id,
                "course_id": document.course_id,
                "document_id": document.id,
                "document_version_id": version_id,
                "ordinal": new.ordinal,
                "page": new.page,
                "start": new.start,
                "end": new.end,
                "heading_path": list(new.heading_path),
                "text": new.text,
                "language": document.language,
            }
            for new in batch
        ],
    )
    rows = [
        ChunkKey(new.id, document.organization_id, document.course_id, document.id) for new in batch
    ]
    for model, of_model in vectors.items():
        await add_vectors(connection, model, rows, of_model)


async def _fenced(
    connection: Connection, document: DocumentRow, state: DocumentState, values: Mapping[str, Any]
) -> None:
    done = await connection.execute(
        update(documents)
        .where(
            documents.c.id == document.id,
            documents.c.fence == document.fence,
            documents.c.state == state,
        )
        .values(**values)
    )
    if done.rowcount == 0:
        raise IngestLost


async def take_over(
    connection: Connection, stuck_after: timedelta, most_tries: int, limit: int
) -> Sequence[DocumentRow]:
    """Documents whose ingest has stood still: back to UPLOADED, or FAILED after `most_tries`."""
    stuck = (
        select(documents.c.id)
        .where(documents.c.state.in_(WORKING), documents.c.updated_at < func.now() - stuck_after)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows: list[DocumentRow] = []
    for condition, values in (
        (documents.c.fence < most_tries, {"state": DocumentState.UPLOADED}),
        (
            documents.c.fence >= most_tries,
            {"state": DocumentState.FAILED, "failure": UNREADABLE, "fence": documents.c.fence + 1},
        ),
    ):
        taken: Sequence[Row[Any]] = (
            await connection.execute(
                update(documents)
                .where(documents.c.id.in_(stuck), condition)
                .values(values)
                .returning(*documents.c)
            )
        ).all()
        rows += cast(Sequence[DocumentRow], taken)
    return rows


UNREADABLE = {
    "code": "INTERNAL",
    "message": "The document could not be processed.",
    "advice": "Upload it again; if it fails again, tell the people who run this server.",
}
"""The failure of a document whose ingest broke down again and again."""


async def waiting(
    connection: Connection, waiting_for: timedelta, limit: int
) -> Sequence[DocumentRow]:
    """UPLOADED documents which nobody has taken for so long, the oldest first."""
    return await fetch(
        connection,
        select(documents)
        .where(
            documents.c.state == DocumentState.UPLOADED,
            documents.c.updated_at < func.now() - waiting_for,
        )
        .order_by(documents.c.updated_at)
        .limit(limit),
        DocumentRow,
    )
