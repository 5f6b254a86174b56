"""Grading runs, their tasks and assessments, as people read and control them.

Lock order, here and wherever runs are written: run, then task, then grade. A transaction that
holds a task's row never asks for its run's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    Update,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from persistence.database import Connection, change, fetch, fetch_one
from persistence.keyset import Page, pages_by_parent
from persistence.lifecycle.assignments import RubricVersionState
from persistence.lifecycle.grades import GradeState
from persistence.lifecycle.grading import TASK_TERMINAL, TASK_WORKING, RunState, TaskState
from persistence.lifecycle.submissions import AttemptState, SubmissionState
from persistence.marking_visibility import counts_tasks, sees_runs, sees_tasks
from persistence.streams import append
from persistence.tables.assignments import QuestionRow, questions, rubric_versions
from persistence.tables.grades import grades
from persistence.tables.grading import (
    AssessmentRow,
    CriterionAssessmentRow,
    EvidenceSpanRow,
    GradingRunRow,
    GradingTaskRow,
    assessments,
    criterion_assessments,
    evidence_spans,
    grading_runs,
    grading_tasks,
)
from persistence.tables.records import StreamKind, stream_events
from persistence.tables.submissions import attempts, submissions
from persistence.visibility import Viewer

TASK_OPEN = tuple(s for s in TaskState if s not in TASK_TERMINAL)
RUN_LIVE = tuple(
    s
    for s in RunState
    if s
    not in {
        RunState.CANCELLED,
        RunState.COMPLETED,
        RunState.COMPLETED_WITH_ERRORS,
        RunState.FAILED,
    }
)

RUN_STATE = "RUN_STATE"
TASK_STATE = "TASK_STATE"


class PauseReason(StrEnum):
    """Why a run is paused."""

    USER = "USER"
    BUDGET = "BUDGET"
    COURSE_BUDGET = "COURSE_BUDGET"
    ORGANIZATION_BUDGET = "ORGANIZATION_BUDGET"
    DRIFT = "DRIFT"


class FailureCode(StrEnum):
    """Why a task failed."""

    UNAVAILABLE = "UNAVAILABLE"
    REFUSED = "REFUSED"
    MATERIAL = "MATERIAL"
    WORKER_LOST = "WORKER_LOST"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Progress:
    """How many tasks of a run stand where. `pending` counts those that wait for another try."""

    total: int = 0
    pending: int = 0
    working: int = 0
    proposed: int = 0
    needs_human: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0


async def runs_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID], *, lock: bool = False
) -> Sequence[GradingRunRow]:
    """Those of `ids` the viewer sees; with `lock` until the transaction ends."""
    statement = select(grading_runs).where(
        grading_runs.c.id.in_(ids), sees_runs(grading_runs, viewer)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return await fetch(connection, statement, GradingRunRow)


async def locked_run(connection: Connection, run_id: UUID) -> GradingRunRow | None:
    """A run, locked until the transaction ends."""
    return await fetch_one(
        connection,
        select(grading_runs).where(grading_runs.c.id == run_id).with_for_update(key_share=True),
        GradingRunRow,
    )


async def pages_of_runs(
    connection: Connection,
    viewer: Viewer,
    assignment_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[GradingRunRow]]:
    """The runs of each assignment, newest first."""
    return await pages_by_parent(
        connection,
        select(grading_runs).where(sees_runs(grading_runs, viewer)),
        shape=GradingRunRow,
        parent=grading_runs.c.assignment_id,
        parents=assignment_ids,
        key=[grading_runs.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def tasks_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[GradingTaskRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(grading_tasks).where(grading_tasks.c.id.in_(ids), sees_tasks(grading_tasks, viewer)),
        GradingTaskRow,
    )


async def pages_of_tasks(
    connection: Connection,
    viewer: Viewer,
    run_ids: Sequence[UUID],
    first: int,
    after: str | None,
    states: Sequence[TaskState] | None,
) -> list[Page[GradingTaskRow]]:
    """The tasks of each run by alias, those in `states` alone when given."""
    statement = select(grading_tasks).where(sees_tasks(grading_tasks, viewer))
    if states is not None:
        statement = statement.where(grading_tasks.c.state.in_(states))
    return await pages_by_parent(
        connection,
        statement,
        shape=GradingTaskRow,
        parent=grading_tasks.c.run_id,
        parents=run_ids,
        # the column's own type does not tell a cursor that it holds str
        key=[grading_tasks.c.alias, grading_tasks.c.id],
        first=first,
        after=after,
    )


async def progress_of(
    connection: Connection, viewer: Viewer, run_ids: Sequence[UUID]
) -> dict[UUID, Progress]:
    """How far each run is, in the tasks that count for the viewer."""

    def among(*states: TaskState) -> ColumnElement[int]:
        return func.count().filter(grading_tasks.c.state.in_(states))

    rows = await connection.execute(
        select(
            grading_tasks.c.run_id,
            func.count().label("total"),
            among(TaskState.PENDING, TaskState.FAILED_RETRYABLE).label("pending"),
            among(*TASK_WORKING).label("working"),
            among(TaskState.PROPOSED).label("proposed"),
            among(TaskState.NEEDS_HUMAN).label("needs_human"),
            among(TaskState.FAILED).label("failed"),
            among(TaskState.SKIPPED).label("skipped"),
            among(TaskState.CANCELLED).label("cancelled"),
        )
        .where(grading_tasks.c.run_id.in_(run_ids), counts_tasks(grading_tasks, viewer))
        .group_by(grading_tasks.c.run_id)
    )
    return {row[0]: Progress(*row[1:]) for row in rows}


async def assessments_of(
    connection: Connection, task_ids: Sequence[UUID]
) -> Sequence[AssessmentRow]:
    """The assessments of these tasks: newest generation first, by question and slot."""
    return await fetch(
        connection,
        select(assessments)
        .where(assessments.c.task_id.in_(task_ids))
        .order_by(assessments.c.generation.desc(), assessments.c.question_id, assessments.c.slot),
        AssessmentRow,
    )


async def criterion_assessments_of(
    connection: Connection, assessment_ids: Sequence[UUID]
) -> Sequence[CriterionAssessmentRow]:
    """What these assessments say of each criterion."""
    return await fetch(
        connection,
        select(criterion_assessments)
        .where(criterion_assessments.c.assessment_id.in_(assessment_ids))
        .order_by(criterion_assessments.c.criterion_id),
        CriterionAssessmentRow,
    )


async def evidence_of(
    connection: Connection, criterion_assessment_ids: Sequence[UUID]
) -> Sequence[EvidenceSpanRow]:
    """The quotations behind these judgements, in their order."""
    return await fetch(
        connection,
        select(evidence_spans)
        .where(evidence_spans.c.criterion_assessment_id.in_(criterion_assessment_ids))
        .order_by(evidence_spans.c.position),
        EvidenceSpanRow,
    )


async def questions_without_rubric(
    connection: Connection, assignment_id: UUID
) -> Sequence[QuestionRow]:
    """Questions of the assignment whose rubric version is none or was never published."""
    return await fetch(
        connection,
        select(questions)
        .outerjoin(rubric_versions, rubric_versions.c.id == questions.c.rubric_version_id)
        .where(
            questions.c.assignment_id == assignment_id,
            or_(
                rubric_versions.c.id.is_(None), rubric_versions.c.state == RubricVersionState.DRAFT
            ),
        )
        .order_by(questions.c.position),
        QuestionRow,
    )


async def live_run(connection: Connection, assignment_id: UUID) -> GradingRunRow | None:
    """The assignment's run that has not ended, if there is one."""
    return await fetch_one(
        connection,
        select(grading_runs).where(
            grading_runs.c.assignment_id == assignment_id, grading_runs.c.state.in_(RUN_LIVE)
        ),
        GradingRunRow,
    )


async def add_tasks(connection: Connection, run: GradingRunRow) -> int:
    """A task for each submission to be graded; how many there are.

    To be graded is the latest READY attempt of a SUBMITTED submission whose grade the student
    has not been given.
    """
    latest = (
        select(
            attempts.c.id, attempts.c.submission_id, submissions.c.alias, attempts.c.organization_id
        )
        .join(submissions, submissions.c.id == attempts.c.submission_id)
        .outerjoin(grades, grades.c.submission_id == submissions.c.id)
        .where(
            submissions.c.assignment_id == run.assignment_id,
            submissions.c.state == SubmissionState.SUBMITTED,
            attempts.c.state == AttemptState.READY,
            func.coalesce(grades.c.state, GradeState.NOT_MARKED).not_in(
                [GradeState.RELEASED, GradeState.HIDDEN]
            ),
        )
        .ext(distinct_on(attempts.c.submission_id))
        .order_by(attempts.c.submission_id, attempts.c.number.desc())
        .subquery()
    )
    columns: dict[str, ColumnElement[Any]] = {
        "id": func.gen_random_uuid(),
        "organization_id": latest.c.organization_id,
        "course_id": literal(run.course_id),
        "run_id": literal(run.id),
        "attempt_id": latest.c.id,
        "submission_id": latest.c.submission_id,
        "alias": latest.c.alias,
        "state": literal(TaskState.PENDING.value),
        "generation": literal(1),
        "tries": literal(0),
        "cost_micros": literal(0),
        "reasons": literal([], JSONB),
        "fence": literal(0),
    }
    added = await connection.execute(
        insert(grading_tasks).from_select(list(columns), select(*columns.values()))
    )
    return added.rowcount


async def move_run(
    connection: Connection,
    run: GradingRunRow,
    source: RunState,
    target: RunState,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Changes a run's state, with its event. Raises `Conflict`."""
    await change(
        connection,
        update(grading_runs)
        .where(grading_runs.c.id == run.id, grading_runs.c.state == source)
        .values(state=target, **(values or {})),
    )
    await append(
        connection,
        organization_id=run.organization_id,
        kind=StreamKind.GRADING_RUN,
        stream_id=run.id,
        event=RUN_STATE,
        payload={"state": target.value},
    )


async def move_tasks(connection: Connection, statement: Update) -> int:
    """Runs an UPDATE of tasks with an event for each; how many were moved."""
    moved = statement.returning(
        grading_tasks.c.id,
        grading_tasks.c.organization_id,
        grading_tasks.c.run_id,
        grading_tasks.c.state,
    ).cte("moved")
    told = await connection.execute(
        insert(stream_events).from_select(
            ["organization_id", "stream_kind", "stream_id", "kind", "payload"],
            select(
                moved.c.organization_id,
                literal(StreamKind.GRADING_RUN.value),
                moved.c.run_id,
                literal(TASK_STATE),
                func.jsonb_build_object("task_id", cast(moved.c.id, Text), "state", moved.c.state),
            ),
        )
    )
    return told.rowcount


async def append_task_event(
    connection: Connection, organization_id: UUID, run_id: UUID, task_id: UUID, state: TaskState
) -> None:
    """The event of one task's change, in the transaction that made it."""
    await append(
        connection,
        organization_id=organization_id,
        kind=StreamKind.GRADING_RUN,
        stream_id=run_id,
        event=TASK_STATE,
        payload={"task_id": str(task_id), "state": state.value},
    )
