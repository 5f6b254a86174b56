"""Resumable uploads: what has come, where its parts lie, and what becomes of the whole."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update

from persistence import stored_objects
from persistence.database import Connection, add, change, fetch, fetch_one
from persistence.lifecycle.uploads import UPLOAD, UploadEvent, UploadState
from persistence.tables.objects import (
    StoredObjectRow,
    UploadPartRow,
    UploadRow,
    upload_parts,
    uploads,
)
from persistence.tables.objects import stored_objects as objects
from persistence.visibility import Viewer, sees_own


async def uploads_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID], *, lock: bool = False
) -> Sequence[UploadRow]:
    """Those of `ids` that are the viewer's own, of courses they are of."""
    statement = select(uploads).where(uploads.c.id.in_(ids), sees_own(uploads, viewer))
    return await fetch(connection, statement.with_for_update() if lock else statement, UploadRow)


async def upload_by_id(connection: Connection, upload_id: UUID) -> UploadRow | None:
    """An upload, for whoever holds its signed address."""
    return await fetch_one(connection, select(uploads).where(uploads.c.id == upload_id), UploadRow)


async def add_part(
    connection: Connection, upload: UploadRow, start: int, part: UUID, size: int
) -> None:
    """Appends a part that is in the storage.

    Raises `Conflict` when the upload does not end at `start`, is not OPEN or has expired: another
    request was first.
    """
    await change(
        connection,
        update(uploads)
        .where(
            uploads.c.id == upload.id,
            uploads.c.state == UploadState.OPEN,
            uploads.c.received == start,
            uploads.c.expires_at > func.now(),
        )
        .values(received=start + size, parts=uploads.c.parts + 1),
    )
    await stored_objects.keep(connection, part, size)
    await add(
        connection,
        UploadPartRow(
            upload_id=upload.id,
            start=start,
            organization_id=upload.organization_id,
            byte_size=size,
            object_id=part,
        ),
    )


async def parts_of(connection: Connection, upload_id: UUID) -> Sequence[StoredObjectRow]:
    """The objects of an upload's parts, in order."""
    return await fetch(
        connection,
        select(objects)
        .join(upload_parts, upload_parts.c.object_id == objects.c.id)
        .where(upload_parts.c.upload_id == upload_id)
        .order_by(upload_parts.c.start),
        StoredObjectRow,
    )


async def object_of(connection: Connection, upload: UploadRow) -> StoredObjectRow | None:
    """The whole file of a COMPLETE upload."""
    return await fetch_one(
        connection, select(objects).where(objects.c.id == upload.object_id), StoredObjectRow
    )


async def assembled(
    connection: Connection, upload: UploadRow, object_id: UUID, sha256: str
) -> None:
    """Makes an OPEN upload COMPLETE: one object, no parts. Raises `Conflict`."""
    await _move(connection, upload, UploadEvent.ASSEMBLE, object_id=object_id, sha256=sha256)
    await stored_objects.keep(connection, object_id, upload.byte_size)
    await _drop_parts(connection, [upload.id])


async def reject(connection: Connection, upload: UploadRow) -> None:
    """Gives up the parts of an OPEN upload that are not the file that was announced."""
    await _move(connection, upload, UploadEvent.REJECT)
    await _drop_parts(connection, [upload.id])


async def use(connection: Connection, upload: UploadRow) -> None:
    """Hands the object of a COMPLETE upload over to the caller's row. Raises `Conflict`."""
    await _move(connection, upload, UploadEvent.USE, object_id=None)


async def end(connection: Connection, upload: UploadRow) -> None:
    """Gives an upload up with all that came of it. Raises `InvalidTransition`, `Conflict`."""
    if upload.object_id is not None:
        await stored_objects.doom(connection, [upload.object_id])
    await _move(connection, upload, UploadEvent.END, object_id=None)
    await _drop_parts(connection, [upload.id])


async def _move(
    connection: Connection, upload: UploadRow, event: UploadEvent, **values: object
) -> None:
    state = UPLOAD.advance(upload.state, event)
    await change(
        connection,
        update(uploads)
        .where(uploads.c.id == upload.id, uploads.c.state == upload.state)
        .values(state=state, **values),
    )


async def _drop_parts(connection: Connection, upload_ids: Sequence[UUID]) -> None:
    parts = upload_parts.c.upload_id.in_(upload_ids)
    await stored_objects.doom(connection, select(upload_parts.c.object_id).where(parts))
    await connection.execute(delete(upload_parts).where(parts))


async def end_expired(connection: Connection, limit: int) -> int:
    """Gives up what was not used in time; how many."""
    rows = await fetch(
        connection,
        select(uploads)
        .where(
            uploads.c.state.in_(UPLOAD.sources(UploadEvent.END)), uploads.c.expires_at < func.now()
        )
        .limit(limit)
        .with_for_update(skip_locked=True),
        UploadRow,
    )
    for row in rows:
        await end(connection, row)
    return len(rows)


async def prune(connection: Connection, older_than: timedelta) -> None:
    """Deletes the rows of uploads that were used or given up."""
    await connection.execute(
        delete(uploads).where(
            uploads.c.state.in_((UploadState.USED, UploadState.ENDED)),
            uploads.c.updated_at < func.now() - older_than,
        )
    )
