"""What the grading workers read and write: material, feeding, money, failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Update, and_, exists, func, select, true, update

from persistence.assignments import anchor_papers_of, questions_of
from persistence.database import Conflict, Connection, fetch, fetch_one
from persistence.grading import TASK_OPEN, move_tasks
from persistence.lifecycle.grading import RunState, TaskState
from persistence.rubrics import criteria_of, levels_of
from persistence.submissions import responses_of
from persistence.tables.assignments import (
    AnchorPaperRow,
    AssignmentRow,
    CriterionRow,
    LevelRow,
    QuestionRow,
    assignments,
)
from persistence.tables.courses import CourseRow, courses
from persistence.tables.grading import (
    GradingRunRow,
    GradingTaskRow,
    grading_runs,
    grading_tasks,
)
from persistence.tables.identity import UserRow, users
from persistence.tables.submissions import (
    AttemptRow,
    QuestionResponseRow,
    SubmissionRow,
    attempts,
    submissions,
)


@dataclass(frozen=True, slots=True)
class Material:
    """All that grading one attempt needs. `papers` are those of the questions."""

    run: GradingRunRow
    course: CourseRow
    assignment: AssignmentRow
    submission: SubmissionRow
    student: UserRow
    attempt: AttemptRow
    questions: Sequence[QuestionRow]
    criteria: Sequence[CriterionRow]
    levels: Sequence[LevelRow]
    papers: Sequence[AnchorPaperRow]
    responses: Sequence[QuestionResponseRow]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that may be delivered."""

    id: UUID
    organization_id: UUID
    run_id: UUID
    generation: int
    tries: int
    fence: int
    correlation_id: str | None


async def task_by_id(connection: Connection, task_id: UUID) -> GradingTaskRow | None:
    """A task, for a worker."""
    return await fetch_one(
        connection, select(grading_tasks).where(grading_tasks.c.id == task_id), GradingTaskRow
    )


async def run_by_id(connection: Connection, run_id: UUID) -> GradingRunRow | None:
    """A run, for a worker."""
    return await fetch_one(
        connection, select(grading_runs).where(grading_runs.c.id == run_id), GradingRunRow
    )


async def material_of(connection: Connection, task: GradingTaskRow) -> Material:
    """What the task's attempt is graded by. Raises `LookupError` when a part is gone."""
    run = await run_by_id(connection, task.run_id)
    attempt = await fetch_one(
        connection, select(attempts).where(attempts.c.id == task.attempt_id), AttemptRow
    )
    submission = await fetch_one(
        connection, select(submissions).where(submissions.c.id == task.submission_id), SubmissionRow
    )
    if run is None or attempt is None or submission is None:
        raise LookupError(task.id)
    assignment = await fetch_one(
        connection, select(assignments).where(assignments.c.id == run.assignment_id), AssignmentRow
    )
    course = await fetch_one(
        connection, select(courses).where(courses.c.id == run.course_id), CourseRow
    )
    student = await fetch_one(
        connection, select(users).where(users.c.id == submission.student_id), UserRow
    )
    if assignment is None or course is None or student is None:
        raise LookupError(task.id)
    questions = await questions_of(connection, [assignment.id])
    versions = {UUID(v) for v in run.config["rubric_versions"].values()}
    criteria = await criteria_of(connection, list(versions))
    return Material(
        run=run,
        course=course,
        assignment=assignment,
        submission=submission,
        student=student,
        attempt=attempt,
        questions=questions,
        criteria=criteria,
        levels=await levels_of(connection, [c.id for c in criteria]),
        papers=await anchor_papers_of(connection, [q.id for q in questions]),
        responses=await responses_of(connection, [attempt.id]),
    )


async def has_open_tasks(connection: Connection, run_id: UUID) -> bool:
    """Whether a task of the run has not ended."""
    return bool(await connection.scalar(select(_open_task(run_id))))


def _open_task(run_id: UUID | ColumnElement[UUID]) -> ColumnElement[bool]:
    return exists().where(grading_tasks.c.run_id == run_id, grading_tasks.c.state.in_(TASK_OPEN))


async def has_failures(connection: Connection, run_id: UUID) -> bool:
    """Whether a task of the run failed for good."""
    return bool(
        await connection.scalar(
            select(
                exists().where(
                    grading_tasks.c.run_id == run_id, grading_tasks.c.state == TaskState.FAILED
                )
            )
        )
    )


async def spent_micros(connection: Connection, run_id: UUID) -> int:
    """What the run's calls have cost, in micro-units."""
    spent = await connection.scalar(
        select(func.coalesce(func.sum(grading_tasks.c.cost_micros), 0)).where(
            grading_tasks.c.run_id == run_id
        )
    )
    return int(spent or 0)


async def note_spending(connection: Connection) -> None:
    """Brings `spent_micros` of the running runs up to date; leaves runs somebody has locked."""
    free = (
        select(grading_runs.c.id)
        .where(grading_runs.c.state.in_([RunState.RUNNING, RunState.CANCELLING]))
        .order_by(grading_runs.c.id)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("free")
    )
    sums = (
        select(grading_tasks.c.run_id, func.sum(grading_tasks.c.cost_micros).label("spent"))
        .join(free, free.c.id == grading_tasks.c.run_id)
        .group_by(grading_tasks.c.run_id)
        .subquery()
    )
    await connection.execute(
        update(grading_runs)
        .where(grading_runs.c.id == sums.c.run_id, grading_runs.c.spent_micros != sums.c.spent)
        .values(spent_micros=sums.c.spent)
    )


async def runs_in(connection: Connection, *states: RunState) -> Sequence[GradingRunRow]:
    """All runs in these states, oldest first."""
    return await fetch(
        connection,
        select(grading_runs).where(grading_runs.c.state.in_(states)).order_by(grading_runs.c.id),
        GradingRunRow,
    )


async def waiting_tasks(connection: Connection, now: datetime, most_each: int) -> Sequence[Waiting]:
    """The first `most_each` tasks that wait in each running run, in the run's own order."""
    due = (
        select(grading_tasks)
        .where(
            grading_tasks.c.run_id == grading_runs.c.id,
            grading_tasks.c.state == TaskState.PENDING,
            (grading_tasks.c.not_before.is_(None)) | (grading_tasks.c.not_before <= now),
        )
        .order_by(grading_tasks.c.id)
        .limit(most_each)
        .lateral("due")
    )
    columns = (due.c.id, due.c.organization_id, due.c.run_id, due.c.generation)
    return await fetch(
        connection,
        select(
            *columns,
            due.c.tries,
            due.c.fence,
            grading_runs.c.config["correlation_id"].astext.label("correlation_id"),
        )
        .select_from(grading_runs.join(due, true()))
        .where(grading_runs.c.state == RunState.RUNNING)
        .order_by(grading_runs.c.id, due.c.id),
        Waiting,
    )


def cancelling_waiting(run_id: UUID) -> Update:
    """Cancels the tasks of a run nobody works on."""
    return (
        update(grading_tasks)
        .where(
            grading_tasks.c.run_id == run_id,
            grading_tasks.c.state.in_([TaskState.PENDING, TaskState.FAILED_RETRYABLE]),
        )
        .values(state=TaskState.CANCELLED, not_before=None)
    )


def retrying_due(now: datetime) -> Update:
    """Puts failed tasks whose time has come back to waiting."""
    due = (
        select(grading_tasks.c.id)
        .where(
            grading_tasks.c.state == TaskState.FAILED_RETRYABLE, grading_tasks.c.not_before <= now
        )
        .with_for_update(skip_locked=True)
    )
    return (
        update(grading_tasks)
        .where(
            and_(grading_tasks.c.id.in_(due), grading_tasks.c.state == TaskState.FAILED_RETRYABLE)
        )
        .values(state=TaskState.PENDING, not_before=None)
    )


async def rerun_task(connection: Connection, task: GradingTaskRow, target: TaskState) -> None:
    """Begins a new generation of a task that has ended, with its event. Raises `Conflict`."""
    moved = await move_tasks(
        connection,
        update(grading_tasks)
        .where(
            grading_tasks.c.id == task.id,
            grading_tasks.c.state == task.state,
            grading_tasks.c.generation == task.generation,
        )
        .values(
            state=target,
            generation=task.generation + 1,
            tries=0,
            reasons=[],
            failure=None,
            not_before=None,
        ),
    )
    if not moved:
        raise Conflict


async def note_lost_worker(
    connection: Connection, task_id: UUID, failure: Mapping[str, str] | None
) -> None:
    """Counts a worker that was lost over a task as a try."""
    await connection.execute(
        update(grading_tasks)
        .where(grading_tasks.c.id == task_id)
        .values(tries=grading_tasks.c.tries + 1, failure=failure)
    )
