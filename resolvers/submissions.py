"""Submissions: handed in by students, or by an instructor for one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson

from persistence import allocations, answers, assignments, courses, submissions
from persistence.database import Connection, add
from persistence.grades import DecidedGrade
from persistence.keyset import Page
from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.submissions import (
    ATTEMPT,
    SUBMISSION,
    AttemptEvent,
    SubmissionEvent,
    SubmissionState,
)
from persistence.tables.assignments import AssignmentRow
from persistence.tables.identity import UserRow
from persistence.tables.submissions import AttemptRow, QuestionResponseRow, SubmissionRow
from resolvers import checks, users
from resolvers.access import Permission, missing
from resolvers.assignments import get_assignments
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, optional
from resolvers.redaction import redactions
from resolvers.refusals import Refusal, RefusalCode

LONGEST_RESPONSE = 200_000


class NewResponse(Protocol):
    """An answer to one question."""

    question_id: str
    text: str


async def load_submissions(
    context: RequestContext, ids: Sequence[UUID]
) -> list[SubmissionRow | None]:
    """Submissions by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        rows = await submissions.submissions_by_id(connection, context.viewer, ids)
    return in_order(ids, rows)


async def get_submissions(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[SubmissionRow | None]:
    """Submissions named by rows the viewer sees."""
    rows = await load_submissions(context, [i for i in ids if i])
    return optional(ids, [row for row in rows if row is not None])


async def list_submissions(
    parents: Sequence[AssignmentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[SubmissionRow]]:
    """The submissions of each assignment the viewer sees, by alias."""
    async with context.database.read() as connection:
        return await submissions.pages_of_submissions(
            connection, context.viewer, [a.id for a in parents], checks.page_size(first), after
        )


async def get_own_submissions(
    parents: Sequence[AssignmentRow], context: RequestContext
) -> list[SubmissionRow | None]:
    """The viewer's own submission for each assignment."""
    keys = [a.id for a in parents]
    async with context.database.read() as connection:
        rows = await submissions.submissions_of_student(connection, context.viewer.user_id, keys)
    found = {row.assignment_id: row for row in rows}
    return [found.get(key) for key in keys]


@dataclass(frozen=True)
class RedactedResponse:
    """A response without what names its student."""

    id: UUID
    attempt_id: UUID
    question_id: UUID
    text: str


class StudentsWork(Protocol):
    """A submission, or its grade."""

    assignment_id: UUID
    course_id: UUID
    student_id: UUID


async def get_students_of_submissions(
    parents: Sequence[SubmissionRow], context: RequestContext
) -> list[UserRow | None]:
    """Whose each is; None where the viewer is not to know."""
    return await _students(parents, [s.id for s in parents], context)


async def get_students_of_grades(
    parents: Sequence[DecidedGrade], context: RequestContext
) -> list[UserRow | None]:
    """Whose each is; None where the viewer is not to know."""
    return await _students(parents, [g.submission_id for g in parents], context)


async def _students(
    parents: Sequence[StudentsWork], submission_ids: Sequence[UUID], context: RequestContext
) -> list[UserRow | None]:
    """None for who marks blind; under anonymous marking, unless it is one's own or observed."""
    rows = await get_assignments(context, [s.assignment_id for s in parents])
    async with context.database.read() as connection:
        blind = await allocations.blind_among(connection, context.viewer, submission_ids)
    own, observes = context.viewer.user_id, context.viewer.observes
    return await users.get_users(
        context,
        [
            s.student_id
            if key not in blind
            and (
                s.student_id == own
                or (s.course_id, s.student_id) in observes
                or (a and not a.anonymous)
            )
            else None
            for s, key, a in zip(parents, submission_ids, rows, strict=True)
        ],
    )


async def list_attempts(
    parents: Sequence[SubmissionRow], context: RequestContext
) -> list[list[AttemptRow]]:
    """The attempts of each submission, newest first."""
    async with context.database.read() as connection:
        rows = await submissions.attempts_of(connection, [s.id for s in parents])
    return by_parent([s.id for s in parents], rows, lambda row: row.submission_id)


async def get_attempts(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[AttemptRow | None]:
    """Attempts by id, of submissions the viewer sees."""
    async with context.database.read() as connection:
        rows = await submissions.attempts_by_id(connection, context.viewer, [i for i in ids if i])
    return optional(ids, rows)


async def get_receipts(
    parents: Sequence[AttemptRow], context: RequestContext
) -> list[AttemptRow | None]:
    """The attempts whose time and digest the viewer may know: either would tell whose it is.

    None under blind marking; under anonymous marking, unless it is one's own.
    """
    rows = await get_assignments(context, [a.assignment_id for a in parents])
    async with context.database.read() as connection:
        blind = await allocations.blind_among(
            connection, context.viewer, [a.submission_id for a in parents]
        )
    own = context.viewer.user_id
    return [
        attempt
        if attempt.submission_id not in blind
        and (attempt.submitted_by == own or (assignment and not assignment.anonymous))
        else None
        for attempt, assignment in zip(parents, rows, strict=True)
    ]


async def list_responses(
    parents: Sequence[AttemptRow], context: RequestContext
) -> list[list[QuestionResponseRow | RedactedResponse]]:
    """The responses of each attempt; redacted where marking is anonymous or blind."""
    keys = [a.id for a in parents]
    async with context.database.read() as connection:
        rows = await submissions.responses_of(connection, keys)
        anonymous = await answers.answers_of_attempts(connection, context.viewer, keys)
    hidden = await redactions(context.viewer, anonymous)
    seen = [
        RedactedResponse(
            row.id, row.attempt_id, row.question_id, hidden[row.id, row.question_id].text
        )
        if (row.id, row.question_id) in hidden
        else row
        for row in rows
    ]
    return by_parent(keys, seen, lambda row: row.attempt_id)


async def submit_attempt(
    context: RequestContext,
    transaction: Transaction,
    *,
    assignment_id: str,
    responses: Sequence[NewResponse],
    student_id: str | None,
) -> UUID:
    """Hands in an attempt; an instructor may for a student. Refused after the lock date."""
    connection = transaction.connection
    key = key_of(assignment_id, "Assignment", ("input", "assignmentId"))
    found = await assignments.assignments_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("assignment", ("input", "assignmentId"))
    assignment = found[0]
    viewer = context.require(Permission.SUBMISSION_WRITE, assignment.course_id)
    student = viewer.user_id
    if student_id is not None:
        student = key_of(student_id, "User", ("input", "studentId"))
    if student != viewer.user_id:
        context.require(Permission.SUBMISSION_PROXY, assignment.course_id)
    if not await submissions.is_enrolled(connection, assignment.course_id, student):
        raise missing("student in this course", ("input", "studentId"))
    await _check_open(context, connection, assignment)
    texts = await _texts(connection, assignment, responses)
    submission = await submissions.open_submission(connection, assignment, student)
    await _hand_in(context, connection, assignment, submission, texts)
    return submission.id


async def _check_open(
    context: RequestContext, connection: Connection, assignment: AssignmentRow
) -> None:
    now = context.now()
    if assignment.state != AssignmentState.PUBLISHED:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"The assignment is {assignment.state}; it takes submissions while PUBLISHED.",
        )
    unlock_at, lock_at = assignment.unlock_at, assignment.lock_at
    for moment, word, is_closed in (
        (unlock_at, "opens", unlock_at is not None and now < unlock_at),
        (lock_at, "locked", lock_at is not None and now > lock_at),
    ):
        if moment is not None and is_closed:
            (course,) = await courses.courses_by_id(
                connection, context.viewer, [assignment.course_id]
            )
            shown = moment.astimezone(ZoneInfo(course.time_zone)).strftime("%d %B %Y, %H:%M %Z")
            raise Refusal(
                RefusalCode.INVALID_STATE, f"The assignment {word} on {shown}. Ask your instructor."
            )


async def _texts(
    connection: Connection, assignment: AssignmentRow, responses: Sequence[NewResponse]
) -> dict[UUID, str]:
    texts: dict[UUID, str] = {}
    for response in responses:
        key = key_of(response.question_id, "Question", ("input", "responses"))
        if key in texts:
            raise checks.bad("responses", "A question is answered twice.")
        texts[key] = checks.prose(response.text, "responses", most=LONGEST_RESPONSE)
    asked = {q.id for q in await assignments.questions_of(connection, [assignment.id])}
    if set(texts) - asked:
        raise checks.bad("responses", "A question is not of this assignment.")
    if asked - set(texts):
        raise checks.bad("responses", "Answer each question, with an empty text if need be.")
    return texts


async def _hand_in(
    context: RequestContext,
    connection: Connection,
    assignment: AssignmentRow,
    submission: SubmissionRow,
    texts: dict[UUID, str],
) -> None:
    target = SUBMISSION.advance(submission.state, SubmissionEvent.SUBMIT)
    number = await submissions.count_attempts(connection, submission.id) + 1
    if number > assignment.attempts_allowed:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"All {assignment.attempts_allowed} attempts of this assignment are used.",
        )
    now = context.now()
    late = now - assignment.due_at if assignment.due_at and now > assignment.due_at else None
    attempt = AttemptRow(
        organization_id=assignment.organization_id,
        course_id=assignment.course_id,
        assignment_id=assignment.id,
        submission_id=submission.id,
        submitted_by=context.viewer.user_id,
        number=number,
        sha256=hashlib.sha256(
            orjson.dumps(sorted([str(k), v] for k, v in texts.items()))
        ).hexdigest(),
        submitted_at=now,
        late_by=late or timedelta(0),
        # text typed in needs no extraction
        state=ATTEMPT.advance(ATTEMPT.initial, AttemptEvent.EXTRACTED),
    )
    await add(connection, attempt)
    await add(
        connection,
        *(
            QuestionResponseRow(
                organization_id=assignment.organization_id,
                attempt_id=attempt.id,
                question_id=question_id,
                text=text,
            )
            for question_id, text in texts.items()
        ),
    )
    await submissions.move_submission(
        connection, submission.id, SubmissionState(submission.state), target
    )
