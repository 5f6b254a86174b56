"""Study sessions as their owner changes them: named, archived, shared, deleted."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update

from persistence import ledger
from persistence.database import Connection, change
from persistence.study_tree import OPEN
from persistence.tables.identity import users
from persistence.tables.records import stream_events
from persistence.tables.study import messages, study_sessions


async def count_sessions(connection: Connection, user_id: UUID) -> int:
    """How many sessions a person has, locked against another transaction that adds one."""
    await connection.execute(
        select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    )
    found = await connection.execute(
        select(func.count()).select_from(study_sessions).where(study_sessions.c.user_id == user_id)
    )
    return found.scalar_one()


async def set_values(connection: Connection, session_id: UUID, **values: Any) -> None:
    """Changes columns of a session that is locked."""
    await change(
        connection,
        update(study_sessions).where(study_sessions.c.id == session_id).values(**values),
    )


async def share(connection: Connection, session_id: UUID, until: datetime | None) -> None:
    """Opens a session to the instructors of its course."""
    await set_values(connection, session_id, shared_at=func.now(), shared_until=until)


async def open_replies(connection: Connection, session_id: UUID) -> list[UUID]:
    """The replies that are still to come."""
    found = await connection.execute(
        select(messages.c.id).where(messages.c.session_id == session_id, messages.c.state.in_(OPEN))
    )
    return list(found.scalars())


async def delete_session(connection: Connection, session_id: UUID) -> None:
    """Deletes a session with its messages and events; of the ledger the figures stay.

    The session goes first: a worker that records a call holds its message's row, so what it
    writes is there when the ledger's responses are emptied.
    """
    found = await connection.execute(
        select(messages.c.id).where(messages.c.session_id == session_id)
    )
    owners = list(found.scalars())
    await change(connection, delete(study_sessions).where(study_sessions.c.id == session_id))
    await ledger.forget(connection, owners)
    await connection.execute(delete(stream_events).where(stream_events.c.stream_id == session_id))
