"""Study sessions and their messages, as their owner reads them and whom they share them with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from persistence import jobs, study, study_tree
from persistence.database import Connection
from persistence.keyset import Page
from persistence.lifecycle.study import MessageState
from persistence.study import CitedRow, Spent
from persistence.tables.courses import CourseRow
from persistence.tables.study import AgentStepRow, Author, MessageRow, StudySessionRow
from resolvers import checks
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.grading import MOST_MICROS
from resolvers.ordering import by_parent, in_order, optional

ANSWER = "answer_message"
"""The job that answers a question."""

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


@dataclass(frozen=True)
class Share:
    """Since when, and until when at the most, a session is shared."""

    at: datetime
    until: datetime | None


def share_of(session: StudySessionRow, now: datetime) -> Share | None:
    """The share that is in force."""
    at, until = session.shared_at, session.shared_until
    return None if at is None or (until is not None and until <= now) else Share(at, until)


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
    context: RequestContext, first: int, after: str | None, *, archived: bool = False
) -> Page[StudySessionRow]:
    """The viewer's own sessions, the archived ones or the others, newest first."""
    async with context.database.read() as connection:
        return await study.page_of_sessions(
            connection,
            context.viewer,
            archived=archived,
            first=checks.page_size(first),
            after=after,
        )


async def list_shared_sessions(
    context: RequestContext, course_id: str, first: int, after: str | None
) -> Page[StudySessionRow]:
    """What students of a course share with those who instruct it, newest first."""
    key = key_of(course_id, "Course", ("courseId",))
    context.require(Permission.STUDY_READ, key)
    async with context.database.read() as connection:
        return await study.page_of_shared_sessions(
            connection, context.viewer, key, checks.page_size(first), after
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
    """Sessions by id: one's own, shared ones, and those of courses opened by break-glass."""
    async with context.database.read() as connection:
        return in_order(ids, await study.sessions_by_id(connection, context.viewer, ids))


async def load_messages(context: RequestContext, ids: Sequence[UUID]) -> list[MessageRow | None]:
    """Messages by id; None for what is in no session the viewer reads."""
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
    """The messages of each session's active branch, from its first question on."""
    async with context.database.read() as connection:
        return await study.pages_of_messages(
            connection, [s.id for s in parents], checks.page_size(first), after
        )


async def get_replied(
    parents: Sequence[MessageRow], context: RequestContext
) -> list[MessageRow | None]:
    """The question each reply answers; None for a question."""
    return await get_messages(
        context, [m.parent_id if m.author == Author.TUTOR else None for m in parents]
    )


async def list_children(
    parents: Sequence[MessageRow], context: RequestContext
) -> list[list[MessageRow]]:
    """What follows each message directly, in the order it was made."""
    keys = [m.id for m in parents]
    async with context.database.read() as connection:
        rows = await study_tree.children_of(connection, keys)
    return by_parent(keys, rows, lambda row: row.parent_id or row.id)


async def list_siblings(
    parents: Sequence[MessageRow], context: RequestContext
) -> list[list[MessageRow]]:
    """The messages in each one's place on all branches, itself among them."""
    above = [m.parent_id for m in parents if m.parent_id is not None]
    first = [m.session_id for m in parents if m.parent_id is None]
    async with context.database.read() as connection:
        rows = [
            *(await study_tree.children_of(connection, above) if above else ()),
            *(await study_tree.first_questions(connection, first) if first else ()),
        ]
    return by_parent(
        [m.parent_id or m.session_id for m in parents],
        rows,
        lambda row: row.parent_id or row.session_id,
    )


async def list_usage(parents: Sequence[MessageRow], context: RequestContext) -> list[Spent | None]:
    """What was spent on each reply so far; None for a question."""
    keys = [m.id for m in parents]
    async with context.database.read() as connection:
        found = {row.owner_id: row for row in await study.spent_on(connection, keys)}
    currency = context.offering.catalogue.currency
    return [
        None if m.author == Author.STUDENT else found.get(m.id, Spent(m.id, 0, 0, 0, 0, currency))
        for m in parents
    ]


def cost_of(spent: Spent) -> int:
    """The cost, or the most an Int holds."""
    return min(spent.cost_micros, MOST_MICROS)


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
