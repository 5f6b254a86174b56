"""Grading runs: run by those who instruct the course, followed by those who mark and oversee."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agents.grading.brief import GradingPolicy
from persistence import answers, assignments, grading, grading_work, streams
from persistence.database import Connection, Duplicate, add
from persistence.followers import Tick
from persistence.grading import PauseReason, Progress
from persistence.keyset import Page
from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.grading import RUN, TASK, RunEvent, RunState, TaskEvent, TaskState
from persistence.tables.assignments import AssignmentRow
from persistence.tables.grading import (
    AssessmentRow,
    CriterionAssessmentRow,
    EvidenceSpanRow,
    GradingRunRow,
    GradingTaskRow,
)
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.grading_runs import FEED_TOPIC, move, run_topic, settle
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, unless_refused
from resolvers.redaction import SeenQuotation, as_seen, redactions
from resolvers.refusals import Refusal, RefusalCode

MOST_MICROS = 2_147_483_647
SNAPSHOT = "SNAPSHOT"
_RUN_PATH = ("input", "runId")


@dataclass(frozen=True, slots=True)
class RunFollowed:
    """An event of a run, with the state of what it tells of as the viewer may read it now."""

    seq: int
    kind: str
    at: datetime
    run: GradingRunRow
    task: GradingTaskRow | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a person must look, of one question and perhaps one criterion."""

    code: str
    question_id: UUID
    criterion_id: UUID | None
    detail: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed."""

    code: str
    message: str


def reasons_of(task: GradingTaskRow) -> list[Reason]:
    """The reasons kept on a task."""
    return [
        Reason(
            code=kept["code"],
            question_id=UUID(kept["question_id"]),
            criterion_id=UUID(kept["criterion_id"]) if kept["criterion_id"] else None,
            detail=kept["detail"],
        )
        for kept in task.reasons
    ]


def failure_of(task: GradingTaskRow) -> Failure | None:
    """The failure kept on a task."""
    return None if task.failure is None else Failure(**task.failure)


async def load_runs(context: RequestContext, ids: Sequence[UUID]) -> list[GradingRunRow | None]:
    """Runs by id; None for those the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await grading.runs_by_id(connection, context.viewer, ids))


async def load_tasks(context: RequestContext, ids: Sequence[UUID]) -> list[GradingTaskRow | None]:
    """Tasks by id; None for those the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await grading.tasks_by_id(connection, context.viewer, ids))


async def list_runs(
    parents: Sequence[AssignmentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[GradingRunRow] | Refusal]:
    """The runs of each assignment, newest first; a refusal where the viewer follows none."""
    refusals = context.refusals(Permission.RUN_FOLLOW, [a.course_id for a in parents])
    async with context.database.read() as connection:
        pages = await grading.pages_of_runs(
            connection, context.viewer, [a.id for a in parents], checks.page_size(first), after
        )
    return unless_refused(refusals, pages)


async def list_tasks_of_run(
    parents: Sequence[GradingRunRow],
    context: RequestContext,
    first: int,
    after: str | None,
    states: Sequence[TaskState] | None = None,
) -> list[Page[GradingTaskRow]]:
    """The tasks of each run by alias, those in `states` alone when given."""
    async with context.database.read() as connection:
        return await grading.pages_of_tasks(
            connection,
            context.viewer,
            [r.id for r in parents],
            checks.page_size(first),
            after,
            states,
        )


async def get_progress(parents: Sequence[GradingRunRow], context: RequestContext) -> list[Progress]:
    """How far each run is, in the tasks that count for the viewer."""
    async with context.database.read() as connection:
        found = await grading.progress_of(connection, context.viewer, [r.id for r in parents])
    return [found.get(r.id, Progress()) for r in parents]


async def list_assessments(
    parents: Sequence[GradingTaskRow], context: RequestContext
) -> list[list[AssessmentRow]]:
    """What the graders of each task found, newest generation first."""
    keys = [t.id for t in parents]
    async with context.database.read() as connection:
        rows = await grading.assessments_of(connection, keys)
    return by_parent(keys, rows, lambda row: row.task_id or row.id)  # all are of a task


async def list_criterion_assessments(
    parents: Sequence[AssessmentRow], context: RequestContext
) -> list[list[CriterionAssessmentRow]]:
    """What each assessment says of each criterion."""
    keys = [a.id for a in parents]
    async with context.database.read() as connection:
        rows = await grading.criterion_assessments_of(connection, keys)
    return by_parent(keys, rows, lambda row: row.assessment_id)


async def list_evidence(
    parents: Sequence[CriterionAssessmentRow], context: RequestContext
) -> list[list[EvidenceSpanRow | SeenQuotation]]:
    """The quotations behind each judgement; of the redacted answer for who must not know."""
    keys = [c.id for c in parents]
    async with context.database.read() as connection:
        rows = await grading.evidence_of(connection, keys)
        anonymous = await answers.answers_of_judgements(connection, context.viewer, keys)
    hidden = {key: each for (key, _), each in (await redactions(context.viewer, anonymous)).items()}
    found = by_parent(keys, rows, lambda row: row.criterion_assessment_id)
    return [
        [as_seen(row, hidden.get(key)) for row in of_one]
        for key, of_one in zip(keys, found, strict=True)
    ]


async def start_grading_run(
    context: RequestContext,
    transaction: Transaction,
    *,
    assignment_id: str,
    budget_micros: int | None,
    currency: str | None,
) -> UUID:
    """Starts grading the latest attempt of each submission whose grade is not released."""
    path = ("input", "assignmentId")
    connection = transaction.connection
    key = key_of(assignment_id, "Assignment", path)
    found = await assignments.assignments_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("assignment", path)
    assignment = found[0]
    viewer = context.require(Permission.RUN_CONTROL, assignment.course_id)
    _check_budget(budget_micros)
    ours = context.offering.catalogue.currency
    if currency not in {None, ours}:
        raise checks.bad("currency", f"Money here is counted in {ours}; write the budget in it.")
    run = GradingRunRow(
        organization_id=viewer.organization_id,
        course_id=assignment.course_id,
        assignment_id=assignment.id,
        started_by=viewer.user_id,
        config={
            "rubric_versions": await _rubric_versions(connection, assignment),
            "sample_rate": str(GradingPolicy().sample_rate),
            "correlation_id": context.correlation_id,
        },
        budget_micros=budget_micros,
        currency=ours,
    )
    await _insert_run(connection, run)
    if not await grading.add_tasks(connection, run):
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "Nothing waits to be graded: no submission was handed in, or all grades are released.",
            path,
        )
    await move(connection, run, RunEvent.ESTIMATE)
    run.state = RUN.advance(RunState.DRAFT, RunEvent.ESTIMATE)
    await move(connection, run, RunEvent.QUEUE)
    transaction.hint_stream()
    transaction.hint(FEED_TOPIC)
    return run.id


def _check_budget(budget_micros: int | None) -> None:
    if budget_micros is not None and not 1 <= budget_micros <= MOST_MICROS:
        raise checks.bad("budgetMicros", f"budgetMicros lies between 1 and {MOST_MICROS}.")


async def _rubric_versions(connection: Connection, assignment: AssignmentRow) -> dict[str, str]:
    path = ("input", "assignmentId")
    if assignment.state == AssignmentState.DRAFT:
        raise Refusal(
            RefusalCode.INVALID_STATE, "The assignment is a draft: publish it first.", path
        )
    bare = await grading.questions_without_rubric(connection, assignment.id)
    if bare:
        places = ", ".join(str(q.position + 1) for q in bare)
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"Nothing to grade question {places} by: publish a rubric and attach it first.",
            path,
        )
    asked = await assignments.questions_of(connection, [assignment.id])
    return {str(q.id): str(q.rubric_version_id) for q in asked}


async def _insert_run(connection: Connection, run: GradingRunRow) -> None:
    lives = Refusal(
        RefusalCode.CONFLICT,
        "A grading run of this assignment is already under way: follow, resume or cancel it.",
        ("input", "assignmentId"),
    )
    if await grading.live_run(connection, run.assignment_id):
        raise lives
    try:
        await add(connection, run)
    except Duplicate as e:
        raise lives from e


async def _locked_run(
    context: RequestContext, transaction: Transaction, run_id: str
) -> GradingRunRow:
    key = key_of(run_id, "GradingRun", _RUN_PATH)
    found = await grading.runs_by_id(transaction.connection, context.viewer, [key], lock=True)
    if not found:
        raise missing("grading run", _RUN_PATH)
    context.require(Permission.RUN_CONTROL, found[0].course_id)
    transaction.hint_stream()
    transaction.hint(run_topic(key))
    transaction.hint(FEED_TOPIC)
    return found[0]


async def pause_grading_run(
    context: RequestContext, transaction: Transaction, *, run_id: str
) -> UUID:
    """Starts no further tasks; those being graded are finished."""
    run = await _locked_run(context, transaction, run_id)
    await move(transaction.connection, run, RunEvent.PAUSE, paused_because=PauseReason.USER)
    return run.id


async def resume_grading_run(
    context: RequestContext, transaction: Transaction, *, run_id: str, budget_micros: int | None
) -> UUID:
    """Goes on with a paused run; one whose budget is used up needs a larger one."""
    run = await _locked_run(context, transaction, run_id)
    _check_budget(budget_micros)
    budget = run.budget_micros if budget_micros is None else budget_micros
    spent = await grading_work.spent_micros(transaction.connection, run.id)
    if budget is not None and spent >= budget:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"{spent} micro-units are spent: pass a larger budgetMicros, or cancel the run.",
            ("input", "budgetMicros"),
        )
    await move(
        transaction.connection,
        run,
        RunEvent.RESUME,
        paused_because=None,
        budget_micros=budget,
        spent_micros=spent,
    )
    return run.id


async def cancel_grading_run(
    context: RequestContext, transaction: Transaction, *, run_id: str
) -> UUID:
    """Cancels what waits at once and stops what is being graded; what is done stays."""
    run = await _locked_run(context, transaction, run_id)
    await move(transaction.connection, run, RunEvent.CANCEL, paused_because=None)
    await settle(transaction.connection, run.id, context.now())
    return run.id


async def retry_grading_task(
    context: RequestContext, transaction: Transaction, *, task_id: str
) -> UUID:
    """Grades an attempt anew, as a new generation; a run that had ended runs again."""
    connection = transaction.connection
    path = ("input", "taskId")
    key = key_of(task_id, "GradingTask", path)
    found = await grading.tasks_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("grading task", path)
    context.require(Permission.RUN_CONTROL, found[0].course_id)
    (run,) = await grading.runs_by_id(connection, context.viewer, [found[0].run_id], lock=True)
    (task,) = await grading.tasks_by_id(connection, context.viewer, [key])
    target = TASK.advance(task.state, TaskEvent.RERUN)
    if run.state not in {RunState.RUNNING, RunState.PAUSED}:
        try:
            await move(connection, run, RunEvent.RERUN, ended_at=None)
        except Duplicate as e:
            raise Refusal(
                RefusalCode.CONFLICT, "Another run of this assignment is under way.", path
            ) from e
    await grading_work.rerun_task(connection, task, target)
    transaction.hint_stream()
    transaction.hint(FEED_TOPIC)
    return task.id


async def follow_run(
    context: RequestContext, run_id: str, after_seq: int | None
) -> AsyncIterator[RunFollowed]:
    """A snapshot, then each event after it; ends once a run that has ended was told in full.

    Markers are told of tasks allocated to them alone; of others, admins and auditors that one
    changed, for the counters.

    Raises `Refusal`: BAD_INPUT for a negative `after_seq`, RESYNC where events do not go on
    from it, NOT_FOUND and FORBIDDEN at once or as soon as the viewer may no longer follow.
    """
    key = key_of(run_id, "GradingRun", ("runId",))
    if after_seq is not None and after_seq < 0:
        raise Refusal(RefusalCode.BAD_INPUT, "afterSeq is at least 0.", ("afterSeq",))
    async with context.database.read() as connection:
        latest = await streams.latest_seq(connection, key)  # before the state it is as of
        goes_on = after_seq is None or await streams.goes_on_from(connection, key, after_seq)
    run = await _followed_run(context, key)
    if not goes_on:
        raise Refusal(
            RefusalCode.RESYNC,
            f"The run's events, {latest} so far, do not go on from there (any more); leave "
            "afterSeq out to begin with its state.",
            ("afterSeq",),
        )
    seq = latest if after_seq is None else after_seq
    yield RunFollowed(seq, SNAPSHOT, context.now(), run, None)
    async with context.followers.follow(key, seq) as events:
        async for event in events:
            fresh = context if context.renew is None else await context.renew()
            if isinstance(event, Tick):
                if await _is_told(fresh, key, seq):
                    return
                continue
            seq = event.seq or seq
            run = await _followed_run(fresh, key)
            task_id = event.payload.get("task_id")
            (task,) = [None] if task_id is None else await load_tasks(fresh, [UUID(task_id)])
            if task_id is None or task is not None or fresh.viewer.organization_roles:
                yield RunFollowed(seq, event.kind, event.at, run, task)


async def _followed_run(context: RequestContext, key: UUID) -> GradingRunRow:
    (run,) = await load_runs(context, [key])
    if run is None:
        raise missing("grading run", ("runId",))
    context.require(Permission.RUN_FOLLOW, run.course_id)
    return run


async def _is_told(context: RequestContext, key: UUID, seq: int) -> bool:
    run = await _followed_run(context, key)
    if run.state in grading.RUN_LIVE:
        return False
    async with context.database.read() as connection:
        return not await streams.has_undelivered(connection, key, seq)
