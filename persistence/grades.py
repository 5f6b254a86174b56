"""Grades, their versions, the points and the evidence behind them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, add, change, fetch, fetch_one
from persistence.identifiers import random_id
from persistence.keyset import Page, page, pages_by_parent
from persistence.lifecycle.grades import GradeState
from persistence.marking_visibility import decides_grades, reads_grades, sees_grades, sees_tasks
from persistence.roles import Role
from persistence.tables.assignments import AssignmentRow, assignments, criteria, questions
from persistence.tables.grades import (
    CriterionScoreRow,
    GradeRow,
    GradeVersionRow,
    criterion_scores,
    grade_versions,
    grades,
)
from persistence.tables.grading import (
    assessments,
    criterion_assessments,
    evidence_spans,
    grading_tasks,
)
from persistence.tables.submissions import SubmissionRow, attempts, submissions
from persistence.visibility import Viewer


@dataclass(slots=True)
class DecidedGrade:
    """A grade with its current version. `points_possible` is what the assignment is worth."""

    id: UUID
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    submission_id: UUID
    student_id: UUID
    state: str
    released_at: datetime | None
    alias: str
    version_id: UUID
    version: int
    score: Decimal
    penalty: Decimal
    decided_by: str
    decided_by_user_id: UUID | None
    task_id: UUID | None
    reason: str
    feedback: str
    ledger_hash: str
    points_possible: Decimal


@dataclass(frozen=True, slots=True)
class ScoreEvidence:
    """A verified quotation behind the points of one criterion of one grade version."""

    grade_version_id: UUID
    question_id: UUID
    criterion_id: UUID
    start: int
    end: int
    quote: str
    verified: bool


@dataclass(frozen=True, slots=True)
class DecidedTask:
    """The task behind a grade's current version."""

    grade_id: UUID
    task_state: str
    decided_by: str


def _decided() -> Select[Any]:
    return (
        select(
            *(grades.c[name] for name in ("id", "organization_id", "course_id", "assignment_id")),
            *(grades.c[name] for name in ("submission_id", "student_id", "state", "released_at")),
            submissions.c.alias,
            grade_versions.c.id.label("version_id"),
            grade_versions.c.number.label("version"),
            *(grade_versions.c[name] for name in ("score", "penalty", "decided_by")),
            *(grade_versions.c[name] for name in ("decided_by_user_id", "task_id", "reason")),
            *(grade_versions.c[name] for name in ("feedback", "ledger_hash")),
            assignments.c.points.label("points_possible"),
        )
        .select_from(grades)
        .join(
            grade_versions,
            and_(grade_versions.c.grade_id == grades.c.id, grade_versions.c.is_current),
        )
        .join(submissions, submissions.c.id == grades.c.submission_id)
        .join(assignments, assignments.c.id == grades.c.assignment_id)
    )


async def grades_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[DecidedGrade]:
    """Those of `ids` that are decided and the viewer may read."""
    return await fetch(
        connection,
        _decided().where(grades.c.id.in_(ids), sees_grades(grades, viewer)),
        DecidedGrade,
    )


async def grades_of_submissions(
    connection: Connection, viewer: Viewer, submission_ids: Sequence[UUID]
) -> Sequence[DecidedGrade]:
    """The decided grades of these submissions that the viewer may read."""
    return await fetch(
        connection,
        _decided().where(grades.c.submission_id.in_(submission_ids), sees_grades(grades, viewer)),
        DecidedGrade,
    )


async def states_of_submissions(
    connection: Connection, viewer: Viewer, submission_ids: Sequence[UUID]
) -> dict[UUID, GradeState]:
    """Where the grades of these submissions stand, for those who oversee or mark them."""
    rows = await connection.execute(
        select(grades.c.submission_id, grades.c.state).where(
            grades.c.submission_id.in_(submission_ids), sees_tasks(grades, viewer)
        )
    )
    return {row.submission_id: GradeState(row.state) for row in rows}


async def pages_of_grades(
    connection: Connection,
    viewer: Viewer,
    assignment_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[DecidedGrade]]:
    """The decided grades of each assignment by alias, for those who read them in every state."""
    return await pages_by_parent(
        connection,
        _decided().where(reads_grades(grades, viewer)),
        shape=DecidedGrade,
        parent=grades.c.assignment_id,
        parents=assignment_ids,
        key=[submissions.c.alias, grades.c.id],
        first=first,
        after=after,
    )


async def page_of_released(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[DecidedGrade]:
    """Released grades of the viewer and of whom they observe; their order tells nothing."""
    return await page(
        connection,
        _decided().where(
            sees_grades(grades, viewer),
            grades.c.state == GradeState.RELEASED,
            or_(
                grades.c.student_id == viewer.user_id,
                tuple_(grades.c.course_id, grades.c.student_id).in_(viewer.observes),
            ),
        ),
        shape=DecidedGrade,
        key=[grades.c.id],
        first=first,
        after=after,
    )


async def pages_of_versions(
    connection: Connection, viewer: Viewer, grade_ids: Sequence[UUID], first: int, after: str | None
) -> list[Page[GradeVersionRow]]:
    """The versions of each grade, newest first; the current one for who reads released ones."""
    return await pages_by_parent(
        connection,
        select(grade_versions)
        .join(grades, grades.c.id == grade_versions.c.grade_id)
        .where(
            sees_grades(grades, viewer),
            or_(reads_grades(grades, viewer), grade_versions.c.is_current),
        ),
        shape=GradeVersionRow,
        parent=grade_versions.c.grade_id,
        parents=grade_ids,
        key=[grade_versions.c.number, grade_versions.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def scores_of(
    connection: Connection, version_ids: Sequence[UUID]
) -> Sequence[CriterionScoreRow]:
    """The points of these versions, in the order of questions and criteria."""
    return await fetch(
        connection,
        select(criterion_scores)
        .join(questions, questions.c.id == criterion_scores.c.question_id)
        .join(criteria, criteria.c.id == criterion_scores.c.criterion_id)
        .where(criterion_scores.c.grade_version_id.in_(version_ids))
        .order_by(questions.c.position, criteria.c.position),
        CriterionScoreRow,
    )


async def evidence_of_versions(
    connection: Connection, version_ids: Sequence[UUID]
) -> Sequence[ScoreEvidence]:
    """The verified quotations these versions rest on, in the order of the text.

    A version rests on the newest assessments of its task that there were when it was decided.
    """
    deciding = (
        select(
            grade_versions.c.id.label("version_id"),
            grade_versions.c.number.label("version"),
            assessments.c.id.label("assessment_id"),
            assessments.c.question_id,
            func.rank()
            .over(partition_by=grade_versions.c.id, order_by=assessments.c.generation.desc())
            .label("age"),
        )
        .join(
            assessments,
            and_(
                assessments.c.task_id == grade_versions.c.task_id,
                assessments.c.created_at <= grade_versions.c.created_at,
            ),
        )
        .where(grade_versions.c.id.in_(version_ids))
        .subquery()
    )
    return await fetch(
        connection,
        select(
            deciding.c.version_id.label("grade_version_id"),
            deciding.c.question_id,
            criterion_assessments.c.criterion_id,
            *(evidence_spans.c[name] for name in ("start", "end", "quote", "verified")),
        )
        .select_from(deciding)
        .join(
            criterion_assessments, criterion_assessments.c.assessment_id == deciding.c.assessment_id
        )
        .join(
            evidence_spans, evidence_spans.c.criterion_assessment_id == criterion_assessments.c.id
        )
        .where(deciding.c.age == 1, evidence_spans.c.verified)
        .distinct()
        .order_by(evidence_spans.c.start, evidence_spans.c.end),
        ScoreEvidence,
    )


async def lock_grades(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID], roles: Collection[Role]
) -> Sequence[GradeRow]:
    """Grades of courses the viewer instructs, or allocated to them under one of `roles`.

    Locked in the order of their ids.
    """
    return await fetch(
        connection,
        select(grades)
        .where(grades.c.id.in_(ids), decides_grades(grades, viewer, *roles))
        .order_by(grades.c.id)
        .with_for_update(key_share=True),
        GradeRow,
    )


async def open_grade(connection: Connection, submission: SubmissionRow) -> GradeRow:
    """The submission's grade, made if need be, locked until the transaction ends."""
    await connection.execute(
        insert(grades)
        .values(
            id=random_id(),
            organization_id=submission.organization_id,
            course_id=submission.course_id,
            assignment_id=submission.assignment_id,
            submission_id=submission.id,
            student_id=submission.student_id,
            state=GradeState.NOT_MARKED,
            version=1,
        )
        .on_conflict_do_nothing()
    )
    grade = await fetch_one(
        connection,
        select(grades)
        .where(grades.c.submission_id == submission.id)
        .with_for_update(key_share=True),
        GradeRow,
    )
    if grade is None:
        raise LookupError(submission.id)
    return grade


async def current_version(connection: Connection, grade_id: UUID) -> GradeVersionRow | None:
    """The version in force."""
    return await fetch_one(
        connection,
        select(grade_versions).where(
            grade_versions.c.grade_id == grade_id, grade_versions.c.is_current
        ),
        GradeVersionRow,
    )


async def tasks_behind(connection: Connection, grade_ids: Sequence[UUID]) -> Sequence[DecidedTask]:
    """Who decided each grade and where the task behind it stands."""
    return await fetch(
        connection,
        select(
            grade_versions.c.grade_id,
            grading_tasks.c.state.label("task_state"),
            grade_versions.c.decided_by,
        )
        .join(grading_tasks, grading_tasks.c.id == grade_versions.c.task_id)
        .where(grade_versions.c.grade_id.in_(grade_ids), grade_versions.c.is_current),
        DecidedTask,
    )


async def assignment_of(connection: Connection, grade_id: UUID) -> AssignmentRow:
    """The assignment of a grade."""
    row = await fetch_one(
        connection,
        select(assignments)
        .join(grades, grades.c.assignment_id == assignments.c.id)
        .where(grades.c.id == grade_id),
        AssignmentRow,
    )
    if row is None:
        raise LookupError(grade_id)
    return row


async def late_by_of_task(connection: Connection, task_id: UUID) -> timedelta | None:
    """How late the attempt of a task was."""
    late_by: timedelta | None = await connection.scalar(
        select(attempts.c.late_by)
        .join(grading_tasks, grading_tasks.c.attempt_id == attempts.c.id)
        .where(grading_tasks.c.id == task_id)
    )
    return late_by


async def add_version(
    connection: Connection, version: GradeVersionRow, scores: Sequence[CriterionScoreRow]
) -> None:
    """Puts a version in force in the place of the one before. The grade is locked."""
    last = await connection.scalar(
        select(func.coalesce(func.max(grade_versions.c.number), 0)).where(
            grade_versions.c.grade_id == version.grade_id
        )
    )
    version.number = int(last or 0) + 1
    await connection.execute(
        update(grade_versions)
        .where(grade_versions.c.grade_id == version.grade_id, grade_versions.c.is_current)
        .values(is_current=False)
    )
    await add(connection, version)
    await add(connection, *scores)


async def move_grade(
    connection: Connection, grade_id: UUID, source: GradeState, target: GradeState, **values: Any
) -> None:
    """Changes a grade's state. Raises `Conflict`."""
    await change(
        connection,
        update(grades)
        .where(grades.c.id == grade_id, grades.c.state == source)
        .values(state=target, version=grades.c.version + 1, **values),
    )
