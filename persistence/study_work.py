"""The worker's side of study: what a reply answers, and the fenced writes of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, case, func, literal, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from persistence import leases
from persistence.database import Connection, add, fetch, fetch_one
from persistence.leases import LeaseLost
from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.courses import EnrollmentState
from persistence.lifecycle.study import MESSAGE, MESSAGE_WORKING, MessageEvent, MessageState
from persistence.roles import Role
from persistence.tables.assignments import assignments, criteria, levels, questions
from persistence.tables.base import Json
from persistence.tables.courses import courses, enrollments
from persistence.tables.study import CitationRow, MessageRow, messages, study_sessions
from persistence.tables.web import WebSourceRow


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply answers, and for whom. `follows_id` is the reply the question came after."""

    organization_id: UUID
    course_id: UUID
    session_id: UUID
    user_id: UUID
    language: str
    question: str
    follows_id: UUID | None
    generation: int
    tries: int


@dataclass(frozen=True, slots=True)
class OpenWork:
    """A published assignment that can still be handed in; `prompts` in order, None without any.

    `references` are reference answers, `criteria` what its rubrics ask for and `levels` how they
    describe full marks: nothing of these may reach a student.
    """

    id: UUID
    title: str
    instructions: str
    ai_policy: str
    prompts: list[str] | None
    references: list[str | None] | None = field(repr=False)
    criteria: list[str] | None = field(repr=False)
    levels: list[str] | None = field(repr=False)


async def claim(
    connection: Connection, message_id: UUID, owner: UUID, seconds: float
) -> int | None:
    """Takes a QUEUED reply under a lease and counts the try; its fence, or None."""
    return await leases.acquire(
        connection,
        messages,
        message_id,
        owner,
        seconds,
        from_states=MESSAGE.sources(MessageEvent.PLAN),
        to_state=MESSAGE.advance(MessageState.QUEUED, MessageEvent.PLAN),
        values={"tries": messages.c.tries + 1},
    )


async def asked(connection: Connection, message_id: UUID) -> Asked:
    """What this reply answers."""
    question = messages.alias("question")
    row = await fetch_one(
        connection,
        select(
            messages.c.organization_id,
            messages.c.course_id,
            messages.c.session_id,
            study_sessions.c.user_id,
            courses.c.language,
            question.c.text.label("question"),
            question.c.parent_id.label("follows_id"),
            messages.c.generation,
            messages.c.tries,
        )
        .join(question, question.c.id == messages.c.parent_id)
        .join(study_sessions, study_sessions.c.id == messages.c.session_id)
        .join(courses, courses.c.id == messages.c.course_id)
        .where(messages.c.id == message_id),
        Asked,
    )
    if row is None:
        raise LeaseLost
    return row


async def open_work(
    connection: Connection, course_id: UUID, student_id: UUID
) -> Sequence[OpenWork]:
    """Published assignments of the course this student can still hand in."""
    asked = select(questions.c.rubric_version_id).where(
        questions.c.assignment_id == assignments.c.id
    )
    rewarded = criteria.c.rubric_version_id.in_(asked.correlate(assignments))
    criterion = func.concat_ws(": ", criteria.c.title, func.nullif(criteria.c.guidelines, ""))
    in_order = (criteria.c.rubric_version_id, criteria.c.position)
    return await fetch(
        connection,
        select(
            assignments.c.id,
            assignments.c.title,
            assignments.c.instructions,
            assignments.c.ai_policy,
            _questions(questions.c.prompt).label("prompts"),
            _questions(questions.c.reference_answer).label("references"),
            select(func.array_agg(aggregate_order_by(criterion, *in_order)))
            .where(rewarded)
            .scalar_subquery()
            .label("criteria"),
            select(
                func.array_agg(
                    aggregate_order_by(levels.c.description, *in_order, levels.c.position)
                )
            )
            .join(criteria, criteria.c.id == levels.c.criterion_id)
            .where(rewarded, levels.c.max_points == criteria.c.points)
            .scalar_subquery()
            .label("levels"),
        )
        .where(
            assignments.c.course_id == course_id,
            assignments.c.state == AssignmentState.PUBLISHED,
            _not_locked(),
            _studies(course_id, student_id),
        )
        .order_by(assignments.c.id),
        OpenWork,
    )


def _questions(column: ColumnElement[Any]) -> ScalarSelect[Any]:
    """One column of an assignment's questions, in their order."""
    return (
        select(func.array_agg(aggregate_order_by(column, questions.c.position)))
        .where(questions.c.assignment_id == assignments.c.id)
        .scalar_subquery()
    )


def _not_locked() -> ColumnElement[bool]:
    return or_(assignments.c.lock_at.is_(None), assignments.c.lock_at > func.now())


def _studies(course_id: UUID, student_id: UUID) -> ColumnElement[bool]:
    return (
        select(enrollments.c.id)
        .where(
            enrollments.c.course_id == course_id,
            enrollments.c.user_id == student_id,
            enrollments.c.role == Role.STUDENT,
            enrollments.c.state == EnrollmentState.ACTIVE,
        )
        .exists()
    )


async def write(
    connection: Connection,
    message_id: UUID,
    fence: int,
    state: MessageState,
    values: Mapping[str, Any],
) -> None:
    """Writes as the holder of the lease. Raises `LeaseLost`, and `Conflict` in another state."""
    await leases.fenced_update(connection, messages, message_id, fence, (state,), values)


async def hold(connection: Connection, message_id: UUID, fence: int, state: MessageState) -> None:
    """Locks the message for its holder until the commit. Raises `LeaseLost` and `Conflict`."""
    await leases.hold(connection, messages, message_id, fence, (state,))


async def lock(connection: Connection, message_id: UUID) -> bool:
    """Locks the message until the commit, whoever holds its lease; False when it was deleted."""
    found = await connection.execute(
        select(messages.c.id).where(messages.c.id == message_id).with_for_update()
    )
    return found.first() is not None


async def finish(
    connection: Connection,
    message_id: UUID,
    fence: int,
    state: MessageState,
    values: Mapping[str, Any],
    cited: Sequence[CitationRow],
    pages: Sequence[WebSourceRow] = (),
) -> None:
    """The last write of a try: text, state, what carries it, and the end of the lease.

    Raises `LeaseLost` and `Conflict`.
    """
    await write(connection, message_id, fence, state, {**values, **leases.ENDED})
    await add(connection, *pages)
    await add(connection, *cited)


async def hand_back(
    connection: Connection, message_id: UUID, fence: int, state: MessageState
) -> None:
    """Gives the reply back to be tried again, its text void. Raises `LeaseLost`, `Conflict`."""
    values = _void(MESSAGE.advance(state, MessageEvent.TAKEOVER))
    await write(connection, message_id, fence, state, {**values, **leases.ENDED})


def _void(state: MessageState) -> dict[str, Any]:
    return {"state": state, "generation": messages.c.generation + 1, "text": ""}


async def take_over(connection: Connection, most_tries: int, limit: int) -> Sequence[MessageRow]:
    """Replies whose worker is gone: QUEUED again, or FAILED after `most_tries`."""
    lapsed = await leases.expired(connection, messages, MESSAGE_WORKING, limit)
    given_up = messages.c.tries >= most_tries
    failure = case((given_up, literal(INTERRUPTED, Json)), else_=messages.c.failure)
    taken: list[MessageRow] = []
    for one in lapsed:
        state = MESSAGE.advance(one.state, MessageEvent.TAKEOVER)
        failed = MESSAGE.advance(state, MessageEvent.FAIL)
        if not await leases.take_over(
            connection,
            messages,
            one.id,
            one.fence,
            from_states=(one.state,),
            to_state=case((given_up, failed), else_=state),
            values={**_void(state), "failure": failure},
        ):
            continue
        row = await fetch_one(
            connection, select(messages).where(messages.c.id == one.id), MessageRow
        )
        if row is not None:
            taken.append(row)
    return taken


INTERRUPTED = {
    "code": "INTERRUPTED",
    "message": "The answer broke off several times. Ask again; if it goes on, tell your teacher.",
}
"""The failure of an answer whose worker died again and again."""


async def waiting(
    connection: Connection, waiting_for: timedelta, limit: int
) -> Sequence[MessageRow]:
    """QUEUED replies nobody has taken for so long, the oldest first."""
    return await fetch(
        connection,
        select(messages)
        .where(
            messages.c.state == MessageState.QUEUED,
            messages.c.updated_at < func.now() - waiting_for,
        )
        .order_by(messages.c.updated_at)
        .limit(limit),
        MessageRow,
    )
