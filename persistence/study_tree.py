"""The tree of a session's messages: branches read, grown and chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Select, func, select, update
from sqlalchemy.orm import aliased

from persistence import leases
from persistence.database import Conflict, Connection, add, fetch, fetch_one
from persistence.lifecycle.study import MESSAGE, MessageEvent, MessageState
from persistence.tables.study import (
    Author,
    MessageRow,
    StudySessionRow,
    messages,
    study_sessions,
)

OPEN = tuple(s for s in MessageState if s not in MESSAGE.terminal())
"""States of a reply that is still to come."""


def paths(leaves: Select[Any]) -> CTE:
    """The ids of the messages from `leaves` (a select of ids) up to their first questions."""
    start = select(messages.c.id, messages.c.parent_id).where(messages.c.id.in_(leaves))
    found = start.cte("branch", recursive=True)
    above = select(messages.c.id, messages.c.parent_id).join(
        found, messages.c.id == found.c.parent_id
    )
    return found.union_all(above)


async def children_of(connection: Connection, parents: Sequence[UUID]) -> Sequence[MessageRow]:
    """The messages right below these, in the order they were made."""
    return await fetch(
        connection,
        select(messages).where(messages.c.parent_id.in_(parents)).order_by(messages.c.ordinal),
        MessageRow,
    )


async def first_questions(connection: Connection, sessions: Sequence[UUID]) -> Sequence[MessageRow]:
    """The questions that follow nothing, in the order they were asked."""
    return await fetch(
        connection,
        select(messages)
        .where(messages.c.session_id.in_(sessions), messages.c.parent_id.is_(None))
        .order_by(messages.c.ordinal),
        MessageRow,
    )


async def message_in(
    connection: Connection, session_id: UUID, message_id: UUID
) -> MessageRow | None:
    """A message of this session."""
    return await fetch_one(
        connection,
        select(messages).where(messages.c.id == message_id, messages.c.session_id == session_id),
        MessageRow,
    )


@dataclass(frozen=True, slots=True)
class Room:
    """What a session's limits are measured by: whether a reply is still to come, how many messages
    there are on all branches, and how many branches start where a message shall be added."""

    waits: bool
    messages: int
    branches: int


async def room(connection: Connection, session_id: UUID, parent_id: UUID | None) -> Room:
    """Of a session, for what shall follow `parent_id`; None for a first question."""
    follows = messages.c.parent_id.is_not_distinct_from(parent_id)
    found = await connection.execute(
        select(
            func.coalesce(func.bool_or(messages.c.state.in_(OPEN)), False),
            func.count(),
            func.count().filter(follows),
        ).where(messages.c.session_id == session_id)
    )
    return Room(*found.one())


async def add_question(
    connection: Connection, session: StudySessionRow, parent_id: UUID | None, text: str
) -> MessageRow:
    """The QUEUED reply to a new question after `parent_id`. Call it under `lock_session`."""
    question = MessageRow(
        organization_id=session.organization_id,
        course_id=session.course_id,
        session_id=session.id,
        ordinal=await _next_ordinal(connection, session.id),
        author=Author.STUDENT,
        parent_id=parent_id,
        text=text,
        state=MessageState.COMPLETE,
    )
    reply = _reply(session, question.id, question.ordinal + 1)
    await add(connection, question, reply)
    await show_branch(connection, session.id, reply.id)
    return reply


async def add_reply(
    connection: Connection, session: StudySessionRow, question_id: UUID
) -> MessageRow:
    """A QUEUED reply to a question, the end of the active branch. Under `lock_session`."""
    reply = _reply(session, question_id, await _next_ordinal(connection, session.id))
    await add(connection, reply)
    await show_branch(connection, session.id, reply.id)
    return reply


def _reply(session: StudySessionRow, question_id: UUID, ordinal: int) -> MessageRow:
    return MessageRow(
        organization_id=session.organization_id,
        course_id=session.course_id,
        session_id=session.id,
        ordinal=ordinal,
        author=Author.TUTOR,
        parent_id=question_id,
    )


async def _next_ordinal(connection: Connection, session_id: UUID) -> int:
    found = await connection.execute(
        select(func.coalesce(func.max(messages.c.ordinal) + 1, 0)).where(
            messages.c.session_id == session_id
        )
    )
    return int(found.scalar_one())


async def show_branch(connection: Connection, session_id: UUID, leaf_id: UUID) -> None:
    """Makes the branch that ends here the active one."""
    await connection.execute(
        update(study_sessions)
        .where(study_sessions.c.id == session_id)
        .values(active_leaf_id=leaf_id)
    )


async def latest_leaf(connection: Connection, message_id: UUID) -> UUID:
    """The end of the branch through this message that takes the latest child each time."""
    start = select(messages.c.id).where(messages.c.id == message_id)
    found = start.cte("latest", recursive=True)
    child, other = aliased(messages), aliased(messages)
    youngest = (
        select(func.max(other.c.ordinal)).where(other.c.parent_id == found.c.id).scalar_subquery()
    )
    below = select(child.c.id).join(found, child.c.parent_id == found.c.id)
    found = found.union_all(below.where(child.c.ordinal == youngest))
    row = await connection.execute(
        select(messages.c.id)
        .where(messages.c.id.in_(select(found.c.id)))
        .order_by(messages.c.ordinal.desc())
        .limit(1)
    )
    leaf: UUID = row.scalar_one()
    return leaf


async def cancel(connection: Connection, message: MessageRow) -> None:
    """Ends an answer that is still to come. Raises `InvalidTransition` and `Conflict`."""
    state = MESSAGE.advance(message.state, MessageEvent.CANCEL)
    if not await leases.revoke(connection, messages, message.id, from_states=OPEN, to_state=state):
        raise Conflict
