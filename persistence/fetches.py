"""Documents whose file is still to be fetched."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import delete, func, select, update

from persistence.database import Connection, add, fetch, fetch_one
from persistence.lifecycle.documents import DOCUMENT, DocumentEvent, DocumentState
from persistence.tables.documents import (
    DocumentFetchRow,
    DocumentRow,
    DocumentVersionRow,
    document_fetches,
    documents,
)


async def begin(connection: Connection, document_id: UUID) -> DocumentFetchRow | None:
    """Counts a try; None when there is nothing (any more) to fetch."""
    return await fetch_one(
        connection,
        update(document_fetches)
        .where(document_fetches.c.document_id == document_id)
        .values(tries=document_fetches.c.tries + 1)
        .returning(*document_fetches.c),
        DocumentFetchRow,
    )


async def put_back(connection: Connection, document_id: UUID) -> None:
    """Takes back a try that was not the file's fault."""
    await connection.execute(
        update(document_fetches)
        .where(document_fetches.c.document_id == document_id, document_fetches.c.tries > 0)
        .values(tries=document_fetches.c.tries - 1)
    )


async def finish(connection: Connection, document_id: UUID) -> DocumentRow | None:
    """Takes the fetch off and locks its document; None when somebody else has."""
    done = await connection.execute(
        delete(document_fetches).where(document_fetches.c.document_id == document_id)
    )
    if done.rowcount == 0:
        return None
    return await fetch_one(
        connection,
        select(documents)
        .where(documents.c.id == document_id, documents.c.state == DocumentState.UPLOADED)
        .with_for_update(),
        DocumentRow,
    )


async def set_file(
    connection: Connection, document: DocumentRow, object_id: UUID, values: Mapping[str, object]
) -> DocumentRow:
    """Gives a document the file that was fetched: `byte_size`, `sha256`, names in `values`."""
    changed = await connection.execute(
        update(documents)
        .where(documents.c.id == document.id)
        .values(**values)
        .returning(*documents.c)
    )
    await add(
        connection,
        DocumentVersionRow(
            organization_id=document.organization_id, document_id=document.id, object_id=object_id
        ),
    )
    return cast(DocumentRow, changed.one())


async def fail(
    connection: Connection, document: DocumentRow, failure: Mapping[str, str]
) -> DocumentState:
    """Ends a document whose file does not come."""
    state = DOCUMENT.advance(document.state, DocumentEvent.FAIL)
    await connection.execute(
        update(documents)
        .where(documents.c.id == document.id)
        .values(state=state, failure=dict(failure), fence=documents.c.fence + 1)
    )
    return state


async def waiting(
    connection: Connection, waiting_for: timedelta, limit: int, *, besides: Collection[UUID]
) -> Sequence[DocumentFetchRow]:
    """Fetches nobody has tried for so long, the oldest first, without those named."""
    return await fetch(
        connection,
        select(document_fetches)
        .where(
            document_fetches.c.updated_at < func.now() - waiting_for,
            document_fetches.c.document_id.not_in(besides),
        )
        .order_by(document_fetches.c.updated_at)
        .limit(limit),
        DocumentFetchRow,
    )
