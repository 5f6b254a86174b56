"""The rows of stored objects: made before the object, removed after it."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, select, update

from persistence.database import Connection, add, change, fetch
from persistence.lifecycle.objects import OBJECT, ObjectEvent, ObjectState
from persistence.objects import object_key
from persistence.tables.documents import document_versions
from persistence.tables.objects import StoredObjectRow, stored_objects, upload_parts, uploads


async def begin(connection: Connection, organization_id: UUID) -> StoredObjectRow:
    """A row for an object that is about to be written. Commit it before writing."""
    row = StoredObjectRow(organization_id=organization_id, key="")
    row.key = object_key(organization_id, row.id)
    await add(connection, row)
    return row


async def beat(connection: Connection, object_id: UUID) -> None:
    """Says that an object is still being written."""
    await connection.execute(
        update(stored_objects)
        .where(stored_objects.c.id == object_id, stored_objects.c.state == ObjectState.WRITING)
        .values(state=ObjectState.WRITING)
    )


async def keep(connection: Connection, object_id: UUID, byte_size: int) -> None:
    """Keeps an object that was written, beside the row that points at it.

    Raises `Conflict` when the sweeper has given it up meanwhile.
    """
    await change(
        connection,
        update(stored_objects)
        .where(stored_objects.c.id == object_id, stored_objects.c.state == ObjectState.WRITING)
        .values(state=OBJECT.advance(ObjectState.WRITING, ObjectEvent.KEEP), byte_size=byte_size),
    )


async def doom(connection: Connection, object_ids: Select[tuple[UUID]] | Sequence[UUID]) -> None:
    """Has objects deleted once this transaction has committed."""
    await connection.execute(
        update(stored_objects)
        .where(
            stored_objects.c.id.in_(object_ids),
            stored_objects.c.state.in_(OBJECT.sources(ObjectEvent.DOOM)),
        )
        .values(state=ObjectState.DOOMED)
    )


async def abandon(connection: Connection, object_id: UUID) -> None:
    """Gives up an object, unless somebody kept it."""
    await connection.execute(
        update(stored_objects)
        .where(stored_objects.c.id == object_id, stored_objects.c.state == ObjectState.WRITING)
        .values(state=OBJECT.advance(ObjectState.WRITING, ObjectEvent.DOOM))
    )


async def doom_abandoned(connection: Connection, silent_for: timedelta) -> None:
    """Gives up objects whose writer has died: it neither beats nor keeps them."""
    await connection.execute(
        update(stored_objects)
        .where(
            stored_objects.c.state == ObjectState.WRITING,
            stored_objects.c.updated_at < func.now() - silent_for,
        )
        .values(state=OBJECT.advance(ObjectState.WRITING, ObjectEvent.DOOM))
    )


async def doomed(connection: Connection, limit: int) -> Sequence[StoredObjectRow]:
    """Objects to delete, which no row points at."""
    return await fetch(
        connection,
        select(stored_objects)
        .where(stored_objects.c.state == ObjectState.DOOMED, *_unreferenced())
        .order_by(stored_objects.c.created_at)
        .limit(limit),
        StoredObjectRow,
    )


def _unreferenced() -> list[ColumnElement[bool]]:
    return [
        ~exists().where(
            table.c.organization_id == stored_objects.c.organization_id,
            table.c.object_id == stored_objects.c.id,
        )
        for table in (document_versions, uploads, upload_parts)
    ]


async def forget(connection: Connection, object_ids: Sequence[UUID]) -> None:
    """Removes the rows of objects that were deleted."""
    await connection.execute(
        delete(stored_objects).where(
            stored_objects.c.id.in_(object_ids), stored_objects.c.state == ObjectState.DOOMED
        )
    )
