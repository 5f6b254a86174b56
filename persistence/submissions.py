"""Submissions, attempts and responses."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, func, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.identifiers import alias, random_id
from persistence.keyset import Page, pages_by_parent
from persistence.lifecycle.courses import EnrollmentState
from persistence.lifecycle.submissions import SubmissionState
from persistence.marking_visibility import sees_submissions
from persistence.roles import Role
from persistence.tables.assignments import AssignmentRow
from persistence.tables.courses import enrollments
from persistence.tables.submissions import (
    AttemptRow,
    QuestionResponseRow,
    SubmissionRow,
    attempts,
    question_responses,
    submissions,
)
from persistence.visibility import Viewer


async def submissions_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[SubmissionRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(submissions).where(submissions.c.id.in_(ids), sees_submissions(submissions, viewer)),
        SubmissionRow,
    )


async def pages_of_submissions(
    connection: Connection,
    viewer: Viewer,
    assignment_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[SubmissionRow]]:
    """The submissions of each assignment the viewer sees, by alias: an order that tells nothing."""
    return await pages_by_parent(
        connection,
        select(submissions).where(sees_submissions(submissions, viewer)),
        shape=SubmissionRow,
        parent=submissions.c.assignment_id,
        parents=assignment_ids,
        key=[submissions.c.alias, submissions.c.id],
        first=first,
        after=after,
    )


async def submissions_of_student(
    connection: Connection, student_id: UUID, assignment_ids: Sequence[UUID]
) -> Sequence[SubmissionRow]:
    """A student's own submissions for these assignments."""
    return await fetch(
        connection,
        select(submissions).where(
            submissions.c.student_id == student_id,
            submissions.c.assignment_id.in_(assignment_ids),
        ),
        SubmissionRow,
    )


async def attempts_of(
    connection: Connection, submission_ids: Sequence[UUID]
) -> Sequence[AttemptRow]:
    """The attempts of these submissions, newest first."""
    return await fetch(
        connection,
        select(attempts)
        .where(attempts.c.submission_id.in_(submission_ids))
        .order_by(attempts.c.number.desc()),
        AttemptRow,
    )


async def attempts_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[AttemptRow]:
    """Attempts of submissions the viewer sees."""
    return await fetch(
        connection,
        select(attempts)
        .join(
            submissions,
            and_(
                submissions.c.id == attempts.c.submission_id, sees_submissions(submissions, viewer)
            ),
        )
        .where(attempts.c.id.in_(ids)),
        AttemptRow,
    )


async def responses_of(
    connection: Connection, attempt_ids: Sequence[UUID]
) -> Sequence[QuestionResponseRow]:
    """The responses of these attempts."""
    return await fetch(
        connection,
        select(question_responses).where(question_responses.c.attempt_id.in_(attempt_ids)),
        QuestionResponseRow,
    )


async def is_enrolled(connection: Connection, course_id: UUID, user_id: UUID) -> bool:
    """Whether the person is an active student of the course."""
    return bool(
        await connection.scalar(
            select(func.count()).where(
                enrollments.c.course_id == course_id,
                enrollments.c.user_id == user_id,
                enrollments.c.role == Role.STUDENT,
                enrollments.c.state == EnrollmentState.ACTIVE,
            )
        )
    )


async def open_submission(
    connection: Connection, assignment: AssignmentRow, student_id: UUID
) -> SubmissionRow:
    """The student's submission, made if need be, locked until the transaction ends."""
    await connection.execute(
        insert(submissions)
        .values(
            id=random_id(),
            organization_id=assignment.organization_id,
            course_id=assignment.course_id,
            assignment_id=assignment.id,
            student_id=student_id,
            alias=alias(),
            state=SubmissionState.UNSUBMITTED,
        )
        .on_conflict_do_nothing(index_elements=["assignment_id", "student_id"])
    )
    found = await fetch_one(
        connection,
        select(submissions)
        .where(submissions.c.assignment_id == assignment.id, submissions.c.student_id == student_id)
        .with_for_update(),
        SubmissionRow,
    )
    if found is None:
        raise LookupError(assignment.id)
    return found


async def count_attempts(connection: Connection, submission_id: UUID) -> int:
    """How many attempts a submission has."""
    return int(
        await connection.scalar(
            select(func.count()).where(attempts.c.submission_id == submission_id)
        )
        or 0
    )


async def move_submission(
    connection: Connection, key: UUID, source: SubmissionState, target: SubmissionState
) -> None:
    """Changes a submission's state. Raises `Conflict`."""
    await change(
        connection,
        update(submissions)
        .where(submissions.c.id == key, submissions.c.state == source)
        .values(state=target),
    )
