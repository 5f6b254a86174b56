"""Study sessions: opened, asked in, read by their owner alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from persistence import courses, jobs, streams, study
from persistence.database import Connection, add
from persistence.keyset import Page
from persistence.lifecycle.study import MessageState
from persistence.study import CitedRow
from persistence.tables.courses import CourseRow
from persistence.tables.records import StreamKind
from persistence.tables.study import AgentStepRow, Author, MessageRow, StudySessionRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, optional
from resolvers.refusals import Refusal, RefusalCode

ANSWER = "answer_message"
"""The job that answers a question."""

MESSAGE_STATE = "MESSAGE_STATE"
LONGEST_QUESTION = 8_000
_ANSWER_PRIORITY = 10


class StudyRoute(StrEnum):
    """Where an answer comes from. The values are those of the study team's `Route`."""

    DIRECT = "DIRECT"
    DOCUMENTS = "DOCUMENTS"
    WEB = "WEB"
    BOTH = "BOTH"
    CLARIFY = "CLARIFY"
    REFUSE_GRADED_WORK = "REFUSE_GRADED_WORK"


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    code: str
    message: str


def cancel_topic(message_id: UUID) -> str:
    """The topic that tells the worker of an answer to stop."""
    return f"cancel:{message_id}"


def is_draft(message: MessageRow) -> bool:
    """Whether the text is the tutor's and was not (or not yet) verified."""
    verified = (MessageState.COMPLETE, MessageState.ABSTAINED)
    return message.author == Author.TUTOR and message.state not in verified


def failure_of(message: MessageRow) -> Failure | None:
    """Why there is no answer; None unless it FAILED."""
    return None if message.failure is None else Failure(**message.failure)


async def list_sessions(
    context: RequestContext, first: int, after: str | None
) -> Page[StudySessionRow]:
    """The viewer's own sessions, newest first."""
    async with context.database.read() as connection:
        return await study.page_of_sessions(
            connection, context.viewer, checks.page_size(first), after
        )


async def list_sessions_of_courses(
    parents: Sequence[CourseRow], context: RequestContext, first: int, after: str | None
) -> list[Page[StudySessionRow]]:
    """The sessions of each course the viewer sees, newest first."""
    async with context.database.read() as connection:
        return await study.pages_of_sessions(
            connection, context.viewer, [c.id for c in parents], checks.page_size(first), after
        )


async def load_sessions(
    context: RequestContext, ids: Sequence[UUID]
) -> list[StudySessionRow | None]:
    """Sessions by id: one's own, and those of courses opened by break-glass."""
    async with context.database.read() as connection:
        return in_order(ids, await study.sessions_by_id(connection, context.viewer, ids))


async def load_messages(context: RequestContext, ids: Sequence[UUID]) -> list[MessageRow | None]:
    """Messages by id; None for what is not in a session the viewer sees."""
    async with context.database.read() as connection:
        return in_order(ids, await study.messages_by_id(connection, context.viewer, ids))


async def get_messages(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[MessageRow | None]:
    """Messages named by rows the viewer sees."""
    rows = await load_messages(context, [i for i in ids if i])
    return optional(ids, [row for row in rows if row is not None])


async def list_messages(
    parents: Sequence[StudySessionRow], context: RequestContext, first: int, after: str | None
) -> list[Page[MessageRow]]:
    """The messages of each session in their order."""
    async with context.database.read() as connection:
        return await study.pages_of_messages(
            connection, [s.id for s in parents], checks.page_size(first), after
        )


async def list_citations(
    parents: Sequence[MessageRow], context: RequestContext
) -> list[list[CitedRow]]:
    """The citations of each message, in the order of their claims."""
    keys = [m.id for m in parents]
    async with context.database.read() as connection:
        rows = await study.citations_of(connection, keys)
    return by_parent(keys, rows, lambda row: row.message_id)


async def list_steps(
    parents: Sequence[MessageRow], context: RequestContext
) -> list[list[AgentStepRow]]:
    """What the team did for each message, in order."""
    keys = [m.id for m in parents]
    async with context.database.read() as connection:
        rows = await study.steps_of(connection, keys)
    return by_parent(keys, rows, lambda row: row.message_id)


async def create_study_session(
    context: RequestContext, transaction: Transaction, *, course_id: str, title: str | None
) -> UUID:
    """Opens a conversation with the tutor of a course."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.STUDY_ASK, course)
    rows = await courses.courses_by_id(transaction.connection, viewer, [course])
    if not rows:
        raise missing("course", ("input", "courseId"))
    session = StudySessionRow(
        organization_id=viewer.organization_id,
        course_id=course,
        user_id=viewer.user_id,
        title=rows[0].title if title is None else checks.line(title, "title"),
    )
    await add(transaction.connection, session)
    return session.id


async def ask_question(
    context: RequestContext, transaction: Transaction, *, session_id: str, text: str
) -> UUID:
    """Asks; returns the reply, which is QUEUED. One question at a time in a session."""
    path = ("input", "sessionId")
    key = key_of(session_id, "StudySession", path)
    question = checks.prose(text, "text", least=1, most=LONGEST_QUESTION)
    connection = transaction.connection
    session = await study.lock_session(connection, context.viewer, key)
    if session is None:
        raise missing("study session", path)
    context.require(Permission.STUDY_ASK, session.course_id)
    reply = await study.add_question(connection, session, question)
    if reply is None:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "The tutor is still answering the last question. Wait for it, or cancel it.",
            path,
        )
    await announce_message(connection, reply.organization_id, key, reply.id, MessageState.QUEUED)
    await enqueue_answer(connection, reply.id, reply.fence)
    transaction.hint_stream()
    return reply.id


async def cancel_message(
    context: RequestContext, transaction: Transaction, *, message_id: str
) -> UUID:
    """Stops an answer that is still to come."""
    path = ("input", "messageId")
    key = key_of(message_id, "Message", path)
    connection = transaction.connection
    rows = await study.messages_by_id(connection, context.viewer, [key], own=True)
    if not rows:
        raise missing("message", path)
    context.note_own(Permission.STUDY_ASK)
    (message,) = rows
    await study.cancel(connection, message)
    await announce_message(
        connection, message.organization_id, message.session_id, key, MessageState.CANCELLED
    )
    transaction.hint_stream()
    transaction.hint(cancel_topic(key))
    return key


async def announce_message(
    connection: Connection,
    organization_id: UUID,
    session_id: UUID,
    message_id: UUID,
    state: MessageState,
) -> None:
    """Writes the event that this reply's state has changed."""
    await streams.append(
        connection,
        organization_id=organization_id,
        kind=StreamKind.STUDY_SESSION,
        stream_id=session_id,
        event=MESSAGE_STATE,
        payload={"message_id": str(message_id), "state": state},
    )


async def enqueue_answer(
    connection: Connection, message_id: UUID, fence: int, delay: timedelta | None = None
) -> bool:
    """Has the reply worked on; False when that waits or runs already under this fence."""
    return await jobs.enqueue(
        connection,
        ANSWER,
        message_id,
        dedupe_key=f"message:{message_id}:{fence}",
        priority=_ANSWER_PRIORITY,
        delay=delay,
    )
