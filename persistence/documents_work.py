"""The worker's side of documents: the fenced writes of an ingest, and what dead workers left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, delete, exists, func, insert, select, update

from persistence.database import Connection, fetch, fetch_one
from persistence.embeddings import ChunkKey, add_vectors
from persistence.jobs import queued
from persistence.lifecycle.documents import DOCUMENT, DocumentEvent, DocumentState
from persistence.tables.documents import (
    DocumentRow,
    DocumentVersionRow,
    chunks,
    document_versions,
    documents,
)
from persistence.tables.objects import stored_objects

WORKING = (DocumentState.EXTRACTING, DocumentState.CHUNKING, DocumentState.EMBEDDING)


class IngestLost(Exception):
    """Another worker has taken the document over, or it was deleted: nothing was written."""


class Place(Protocol):
    """Where a chunk stands in the original; see `ChunkRow`."""

    @property
    def kind(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def first(self) -> int | None: ...
    @property
    def last(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be indexed."""

    id: UUID
    ordinal: int
    page: int | None
    place: "Place | None"
    start: int
    end: int
    heading_path: Sequence[str]
    language: str
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
            notes=[],
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


@dataclass(frozen=True, slots=True)
class StoredOriginal:
    """Where the bytes of a version are: under `key`, or `inline` while they are not moved."""

    version_id: UUID
    key: str | None
    byte_size: int
    inline: bytes | None


async def original_to_read(connection: Connection, document_id: UUID) -> StoredOriginal | None:
    """The newest version of an UPLOADED document; None when there is none to take."""
    return await stored_original(
        connection, document_id, documents.c.state == DocumentState.UPLOADED
    )


async def stored_original(
    connection: Connection, document_id: UUID, *conditions: ColumnElement[bool]
) -> StoredOriginal | None:
    """The newest version of a document; None when there is none."""
    row = (
        await connection.execute(
            select(
                document_versions.c.id,
                document_versions.c.original,
                stored_objects.c.key,
                stored_objects.c.byte_size,
            )
            .join(documents, documents.c.id == document_versions.c.document_id)
            .join(
                stored_objects, stored_objects.c.id == document_versions.c.object_id, isouter=True
            )
            .where(documents.c.id == document_id, *conditions)
            .order_by(document_versions.c.number.desc())
            .limit(1)
        )
    ).first()
    if row is None:
        return None
    return StoredOriginal(row.id, row.key, row.byte_size or 0, row.original)


async def unmoved(connection: Connection) -> DocumentVersionRow | None:
    """A version whose bytes are still in the database."""
    return await fetch_one(
        connection,
        select(document_versions).where(document_versions.c.original.is_not(None)).limit(1),
        DocumentVersionRow,
    )


async def set_object(connection: Connection, version_id: UUID, object_id: UUID) -> bool:
    """Points a version at its object instead of the bytes in the row; False when it is so."""
    done = await connection.execute(
        update(document_versions)
        .where(document_versions.c.id == version_id, document_versions.c.original.is_not(None))
        .values(object_id=object_id, original=None)
    )
    return done.rowcount > 0


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


async def beat(connection: Connection, document: DocumentRow) -> bool:
    """Says that the ingest is alive; False when it is another's by now."""
    done = await connection.execute(
        update(documents)
        .where(
            documents.c.id == document.id,
            documents.c.fence == document.fence,
            documents.c.state.in_(WORKING),
        )
        .values(fence=document.fence)
    )
    return done.rowcount > 0


async def check_held(connection: Connection, document: DocumentRow) -> None:
    """Raises `IngestLost` when the ingest is another's by now, or the document was deleted."""
    found = await connection.execute(
        select(documents.c.id).where(
            documents.c.id == document.id,
            documents.c.fence == document.fence,
            documents.c.state.in_(WORKING),
        )
    )
    if found.first() is None:
        raise IngestLost


async def save_text(
    connection: Connection,
    document: DocumentRow,
    version_id: UUID,
    canonical: str,
    media_type: str,
    notes: Sequence[Mapping[str, str]],
) -> None:
    """Keeps the canonical text, which every offset refers to, and what it was read as.

    Called in the transaction of a `move`, which has checked the fence.
    """
    await connection.execute(
        update(document_versions).where(document_versions.c.id == version_id).values(text=canonical)
    )
    await connection.execute(
        update(documents)
        .where(documents.c.id == document.id)
        .values(media_type=media_type, notes=list(notes))
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
                "language": new.language,
                "location_kind": None if new.place is None else new.place.kind,
                "location_label": None if new.place is None else new.place.label,
                "location_first": None if new.place is None else new.place.first,
                "location_last": None if new.place is None else new.place.last,
                "start": new.start,
                "end": new.end,
                "heading_path": list(new.heading_path),
                "text": new.text,
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


_LONGER = 3
"""Failed tries after which the wait grows no more."""


async def waiting(
    connection: Connection, waiting_for: timedelta, limit: int
) -> Sequence[DocumentRow]:
    """UPLOADED documents with a file which nobody has taken for so long, the oldest first.

    After each try that failed, four times as long.
    """
    pauses = {tries: waiting_for * 4**tries for tries in range(_LONGER)}
    pause = case(pauses, value=documents.c.fence, else_=waiting_for * 4**_LONGER)
    return await fetch(
        connection,
        select(documents)
        .where(
            documents.c.state == DocumentState.UPLOADED,
            documents.c.updated_at < func.now() - pause,
            exists().where(document_versions.c.document_id == documents.c.id),
        )
        .order_by(documents.c.updated_at)
        .limit(limit),
        DocumentRow,
    )


async def turn(connection: Connection, document: DocumentRow, entrypoint: str) -> int:
    """The priority with which the document waits among those of other courses.

    Start-time fair queueing (Goyal, Vin and Cheng 1996) of jobs of one length: a document stands
    behind the last one of its course by as many places as its organization has courses waiting, but
    never before the head of the queue. So organizations, and the courses of one, are served in
    turn, however many documents one of them has handed in.
    """
    waiting = queued(entrypoint).subquery()
    own = documents.c.course_id == document.course_id
    same = documents.c.organization_id == document.organization_id
    row = (
        await connection.execute(
            select(
                func.coalesce(-func.max(waiting.c.priority), 0).label("head"),
                func.max(-waiting.c.priority).filter(own).label("last"),
                func.count(documents.c.course_id.distinct()).filter(same, ~own).label("others"),
            ).select_from(waiting.join(documents, documents.c.id == waiting.c.id))
        )
    ).one()
    head = int(row.head)
    return -(head if row.last is None else max(head, int(row.last) + int(row.others) + 1))
