"""Study sessions, their messages, and what carries an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from persistence import leases
from persistence.database import Conflict, Connection, add, fetch, fetch_one
from persistence.keyset import Page, page, pages_by_parent
from persistence.lifecycle.study import MESSAGE, MessageEvent, MessageState
from persistence.tables.documents import chunks
from persistence.tables.study import (
    AgentStepRow,
    Author,
    MessageRow,
    StudySessionRow,
    agent_steps,
    citations,
    messages,
    study_sessions,
)
from persistence.visibility import Viewer, sees_own

OPEN = tuple(s for s in MessageState if s not in MESSAGE.terminal())
"""States of an answer that is still to come."""


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
    """Those of `ids` that are the viewer's own."""
    return await fetch(
        connection,
        select(study_sessions).where(
            study_sessions.c.id.in_(ids), sees_own(study_sessions, viewer)
        ),
        StudySessionRow,
    )


async def page_of_sessions(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[StudySessionRow]:
    """The viewer's own sessions, newest first."""
    return await page(
        connection,
        select(study_sessions).where(sees_own(study_sessions, viewer)),
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
    """Those of `ids` in the viewer's own sessions."""
    return await fetch(
        connection,
        select(messages)
        .join(study_sessions, study_sessions.c.id == messages.c.session_id)
        .where(messages.c.id.in_(ids), sees_own(study_sessions, viewer)),
        MessageRow,
    )


async def pages_of_messages(
    connection: Connection, session_ids: Sequence[UUID], first: int, after: str | None
) -> list[Page[MessageRow]]:
    """The messages of each session in their order."""
    return await pages_by_parent(
        connection,
        select(messages),
        shape=MessageRow,
        parent=messages.c.session_id,
        parents=session_ids,
        key=[messages.c.ordinal],
        first=first,
        after=after,
    )


async def latest_message(connection: Connection, session_id: UUID) -> MessageRow | None:
    """The last message of a session."""
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


async def add_question(
    connection: Connection, session: StudySessionRow, text: str
) -> MessageRow | None:
    """The QUEUED reply to a new question; None while an earlier one is still to be answered.

    Call it under `lock_session`.
    """
    last = await latest_message(connection, session.id)
    if last is not None and last.state in OPEN:
        return None
    ordinal = 0 if last is None else last.ordinal + 1
    question = MessageRow(
        organization_id=session.organization_id,
        course_id=session.course_id,
        session_id=session.id,
        ordinal=ordinal,
        author=Author.STUDENT,
        text=text,
        state=MessageState.COMPLETE,
    )
    reply = MessageRow(
        organization_id=session.organization_id,
        course_id=session.course_id,
        session_id=session.id,
        ordinal=ordinal + 1,
        author=Author.TUTOR,
        reply_to_id=question.id,
    )
    await add(connection, question)
    await add(connection, reply)
    return reply


async def cancel(connection: Connection, message: MessageRow) -> None:
    """Ends an answer that is still to come. Raises `InvalidTransition` and `Conflict`."""
    state = MESSAGE.advance(message.state, MessageEvent.CANCEL)
    if not await leases.revoke(connection, messages, message.id, from_states=OPEN, to_state=state):
        raise Conflict
