"""Study sessions as they are read: their messages, and what carries an answer."""

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import and_, func, select

from persistence.database import Connection, fetch, fetch_one
from persistence.keyset import Page, page, pages_by_parent
from persistence.study_tree import paths
from persistence.tables.documents import chunks
from persistence.tables.records import model_calls
from persistence.tables.study import (
    AgentStepRow,
    MessageRow,
    StudySessionRow,
    agent_steps,
    citations,
    messages,
    study_sessions,
)
from persistence.visibility import Viewer, sees_own, sees_shared_study, sees_study_sessions

SEARCH = "search"
"""The provider under which the ledger keeps what was retrieved, which is no model call."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of a message came to, in millionths of `currency`."""

    owner_id: UUID
    calls: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    currency: str


@dataclass(frozen=True, slots=True)
class CitedRow:
    """A citation with the place of its chunk, or the page of the web it is of."""

    message_id: UUID
    ordinal: int
    chunk_id: UUID | None
    web_source_id: UUID | None
    document_id: UUID | None
    page: int | None
    claim_start: int
    claim_end: int
    quote: str
    quote_start: int
    quote_end: int
    verified: bool


async def sessions_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[StudySessionRow]:
    """Those of `ids` the viewer reads."""
    return await fetch(
        connection,
        select(study_sessions).where(
            study_sessions.c.id.in_(ids), sees_study_sessions(study_sessions, viewer)
        ),
        StudySessionRow,
    )


async def pages_of_sessions(
    connection: Connection,
    viewer: Viewer,
    course_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[StudySessionRow]]:
    """The sessions of each course the viewer sees, newest first."""
    return await pages_by_parent(
        connection,
        select(study_sessions).where(sees_study_sessions(study_sessions, viewer)),
        shape=StudySessionRow,
        parent=study_sessions.c.course_id,
        parents=course_ids,
        key=[study_sessions.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def page_of_sessions(
    connection: Connection, viewer: Viewer, *, archived: bool, first: int, after: str | None
) -> Page[StudySessionRow]:
    """The viewer's own sessions, the archived ones or the others, newest first."""
    at = study_sessions.c.archived_at
    return await page(
        connection,
        select(study_sessions).where(
            sees_own(study_sessions, viewer), at.is_not(None) if archived else at.is_(None)
        ),
        shape=StudySessionRow,
        key=[study_sessions.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def page_of_shared_sessions(
    connection: Connection, viewer: Viewer, course_id: UUID, first: int, after: str | None
) -> Page[StudySessionRow]:
    """What students of a course share with the viewer, who instructs it; newest first."""
    return await page(
        connection,
        select(study_sessions).where(
            study_sessions.c.course_id == course_id,
            sees_shared_study(study_sessions, viewer),
        ),
        shape=StudySessionRow,
        key=[study_sessions.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def lock_session(
    connection: Connection, viewer: Viewer, session_id: UUID
) -> StudySessionRow | None:
    """The viewer's own session, locked, so that its messages get their places one by one."""
    return await fetch_one(
        connection,
        select(study_sessions)
        .where(study_sessions.c.id == session_id, sees_own(study_sessions, viewer))
        .with_for_update(),
        StudySessionRow,
    )


async def messages_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[MessageRow]:
    """Those of `ids` in sessions the viewer reads."""
    return await fetch(
        connection,
        select(messages)
        .join(study_sessions, study_sessions.c.id == messages.c.session_id)
        .where(messages.c.id.in_(ids), sees_study_sessions(study_sessions, viewer)),
        MessageRow,
    )


# The columns of these three share names, so a row of all three is cut by place.
_ROWS: Final[Sequence[Any]] = [
    namedtuple(one.name, one.columns.keys()) for one in (study_sessions, messages, agent_steps)
]


async def read_together(
    connection: Connection,
    viewer: Viewer,
    session_id: UUID,
    message_id: UUID | None,
    step_id: UUID | None,
) -> tuple[StudySessionRow, MessageRow | None, AgentStepRow | None] | None:
    """A session the viewer reads, a message of it and a step of that; None without the session."""
    a_message = and_(messages.c.session_id == study_sessions.c.id, messages.c.id == message_id)
    a_step = and_(agent_steps.c.message_id == messages.c.id, agent_steps.c.id == step_id)
    statement = (
        select(study_sessions, messages, agent_steps)
        .select_from(study_sessions.outerjoin(messages, a_message).outerjoin(agent_steps, a_step))
        .where(study_sessions.c.id == session_id, sees_study_sessions(study_sessions, viewer))
    )
    row = (await connection.execute(statement)).first()
    if row is None:
        return None
    values = iter(row)
    session, message, step = [shape._make(islice(values, len(shape._fields))) for shape in _ROWS]
    return (
        cast(StudySessionRow, session),
        None if message.id is None else cast(MessageRow, message),
        None if step.id is None else cast(AgentStepRow, step),
    )


async def pages_of_messages(
    connection: Connection, session_ids: Sequence[UUID], first: int, after: str | None
) -> list[Page[MessageRow]]:
    """The messages of each session's active branch, from its first question on."""
    leaves = select(study_sessions.c.active_leaf_id).where(study_sessions.c.id.in_(session_ids))
    branch = paths(leaves)
    return await pages_by_parent(
        connection,
        select(messages).where(messages.c.id.in_(select(branch.c.id))),
        shape=MessageRow,
        parent=messages.c.session_id,
        parents=session_ids,
        key=[messages.c.ordinal],
        first=first,
        after=after,
    )


async def latest_message(connection: Connection, session_id: UUID) -> MessageRow | None:
    """The message that was made last, whichever branch it is on."""
    return await fetch_one(
        connection,
        select(messages)
        .where(messages.c.session_id == session_id)
        .order_by(messages.c.ordinal.desc())
        .limit(1),
        MessageRow,
    )


async def citations_of(connection: Connection, message_ids: Sequence[UUID]) -> Sequence[CitedRow]:
    """The citations of these messages, in the order of their claims."""
    columns = [c for c in citations.c if c.name not in {"id", "organization_id", "created_at"}]
    return await fetch(
        connection,
        select(*columns, chunks.c.document_id, chunks.c.page)
        .outerjoin(chunks, chunks.c.id == citations.c.chunk_id)
        .where(citations.c.message_id.in_(message_ids))
        .order_by(citations.c.message_id, citations.c.ordinal),
        CitedRow,
    )


async def steps_of(connection: Connection, message_ids: Sequence[UUID]) -> Sequence[AgentStepRow]:
    """What the team did for these messages, in order."""
    return await fetch(
        connection,
        select(agent_steps)
        .where(agent_steps.c.message_id.in_(message_ids))
        .order_by(agent_steps.c.message_id, agent_steps.c.ordinal),
        AgentStepRow,
    )


async def spent_on(connection: Connection, message_ids: Sequence[UUID]) -> Sequence[Spent]:
    """What the ledger says was spent on these messages; none for a message without a call."""
    return await fetch(
        connection,
        select(
            model_calls.c.owner_id,
            func.count().filter(model_calls.c.provider != SEARCH).label("calls"),
            func.sum(model_calls.c.input_tokens).label("input_tokens"),
            func.sum(model_calls.c.output_tokens).label("output_tokens"),
            func.sum(model_calls.c.cost_micros).label("cost_micros"),
            func.max(model_calls.c.currency).label("currency"),
        )
        .where(model_calls.c.owner_id.in_(message_ids))
        .group_by(model_calls.c.owner_id),
        Spent,
    )
