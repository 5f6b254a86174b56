"""Grading runs, as the API shows them."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.grading import FailureCode, PauseReason
from persistence.lifecycle.grading import RunState, TaskState
from resolvers import assignments, grading, submissions, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.grading import MOST_MICROS
from resolvers.grading_runs import left_of
from schema.assessments import Assessment, ReviewReason
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, subscription
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connections
from schema.users import User

if TYPE_CHECKING:
    from schema.assignments import Assignment
    from schema.submissions import Attempt, Submission

AssignmentRef = Annotated["Assignment", strawberry.lazy("schema.assignments")]
SubmissionRef = Annotated["Submission", strawberry.lazy("schema.submissions")]
AttemptRef = Annotated["Attempt", strawberry.lazy("schema.submissions")]

described_enum(
    RunState,
    "Where a grading run stands.",
    DRAFT="Being put together.",
    ESTIMATED="Its tasks are known.",
    QUEUED="Waits for a worker.",
    RUNNING="Submissions are being graded.",
    PAUSED="Starts no further submissions; `pausedBecause` says why.",
    CANCELLING="Those being graded are being stopped.",
    CANCELLED="Ended by a person; what was done stays.",
    COMPLETED="Every task has ended.",
    COMPLETED_WITH_ERRORS="Every task has ended, some in failure.",
    FAILED="Ended by an error of the run as a whole.",
)
described_enum(
    TaskState,
    "Where the grading of one submission stands.",
    PENDING="Waits for a worker.",
    PREPARING="Its material is being gathered.",
    GRADING="Two graders read it, independently.",
    CROSS_CHECKING="Quotations are verified and the graders compared.",
    ARBITRATING="A third reads what the two disagree about.",
    PROPOSED="A grade is proposed.",
    NEEDS_HUMAN="A grade is proposed and a person must look; `reasons` says why.",
    FAILED_RETRYABLE="Failed for now; it is tried again by itself.",
    FAILED="Failed for good; `failure` says why.",
    SKIPPED="Left out.",
    CANCELLED="Not graded, because the run was cancelled.",
)
described_enum(
    PauseReason,
    "Why a run is paused.",
    USER="A person paused it.",
    BUDGET="Its budget is used up: resume it with a larger one.",
    COURSE_BUDGET="What the course may spend on models this month is used up: resume it once an "
    "admin has raised that, or next month.",
    ORGANIZATION_BUDGET="What the organization may spend on models this month is used up: resume "
    "it once an admin has raised that, or next month.",
    DRIFT="The graders' results moved away from those of people.",
)
described_enum(
    FailureCode,
    "Why a task failed.",
    UNAVAILABLE="A model did not answer, or not as asked, however often it was tried.",
    REFUSED="A model will not answer this, however often it is tried.",
    MATERIAL="The rubric or the attempt cannot be graded as they are.",
    WORKER_LOST="Workers were lost while grading it, again and again.",
    INTERNAL="Something unforeseen.",
)


class RunEventKind(StrEnum):
    """What an event of a run tells."""

    SNAPSHOT = "SNAPSHOT"
    RUN_STATE = "RUN_STATE"
    TASK_STATE = "TASK_STATE"


described_enum(
    RunEventKind,
    "What an event of a run tells.",
    SNAPSHOT="How things stand; the first event.",
    RUN_STATE="The run changed its state.",
    TASK_STATE="`task` changed its state.",
)


@strawberry.type(
    description="How many tasks of a run stand where; for markers, of those allocated to them."
)
class RunProgress:
    total: int = described("All of them.")
    pending: int = described("Wait, for the first time or for another try.")
    working: int = described("Are being graded.")
    proposed: int = described("Ended with a proposed grade.")
    needs_human: int = described("Ended with a grade a person must look at.")
    failed: int = described("Failed for good.")
    skipped: int = described("Were left out.")
    cancelled: int = described("Were cancelled.")


@strawberry.type(description="Why a task failed.")
class TaskFailure:
    code: FailureCode = described("The kind of failure.")
    message: str = described("What happened, for the instructor.")


@strawberry.type(description="The grading of one submission in one run.")
class GradingTask(Node):
    state: TaskState = described("Where it stands.")
    alias: str = described("What markers call the submission.")
    generation: int = described("1, and one more for each retryGradingTask.")
    tries: int = described("How often this generation failed or lost its worker.")
    cost_micros: int = described("What its calls cost, in millionths of the run's currency.")

    @strawberry.field(description="Why a person must look; empty unless NEEDS_HUMAN.")
    def reasons(root: Any) -> list[ReviewReason]:
        return grading.reasons_of(root)

    @strawberry.field(description="Why it failed, for now or for good; null when it has not.")
    def failure(root: Any) -> TaskFailure | None:
        return grading.failure_of(root)

    @batched("The submission; null for who reads grades and not submissions.")
    async def submission(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[SubmissionRef | None]:
        return await submissions.get_submissions(context, [t.submission_id for t in parents])

    @batched("The attempt that is graded.")
    async def attempt(parents: Sequence[Any], context: RequestContext) -> Sequence[AttemptRef]:
        return await submissions.get_attempts(context, [t.attempt_id for t in parents])

    @batched("What each assessor found, newest generation first.")
    async def assessments(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[Assessment]]:
        return await grading.list_assessments(parents, context)


@strawberry.type(description="One grading of an assignment's submissions.")
class GradingRun(Node):
    state: RunState = described("Where it stands.")
    paused_because: PauseReason | None = described("Why it is paused; null when it is not.")
    started_at: datetime | None = described("When the first worker took it up.")
    ended_at: datetime | None = described("When it ended; null while it lives.")
    budget_micros: int | None = described(
        "What it may cost, in millionths of the currency; null when nothing was set."
    )
    currency: str = described("The currency, as an ISO 4217 code.")

    @strawberry.field(
        description="What its calls cost so far, in millionths of the currency; brought up to "
        f"date every few seconds. {MOST_MICROS} stands for that or more."
    )
    def spent_micros(root: Any) -> int:
        return min(root.spent_micros, MOST_MICROS)

    @strawberry.field(
        description="What is left of its budget, 0 at least; null when nothing was set. The "
        "budgets that its course and organization have for the month count beside it."
    )
    def left_micros(root: Any) -> int | None:
        return left_of(root)

    @batched("The assignment.")
    async def assignment(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[AssignmentRef]:
        return await assignments.get_assignments(context, [r.assignment_id for r in parents])

    @batched("Who started it.")
    async def started_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [r.started_by for r in parents])

    @batched("How far it is.")
    async def progress(parents: Sequence[Any], context: RequestContext) -> Sequence[RunProgress]:
        return await grading.get_progress(parents, context)

    @batched(
        "Its tasks by alias; for markers those allocated to them.",
        first=FIRST,
        after=AFTER,
        states="Only tasks in these states; all when left out.",
    )
    async def tasks(
        parents: Sequence[Any],
        context: RequestContext,
        first: int = 20,
        after: str | None = None,
        states: list[TaskState] | None = None,
    ) -> Sequence[Connection[GradingTask]]:
        return connections(await grading.list_tasks_of_run(parents, context, first, after, states))


@strawberry.type(
    description="Something that happened in a grading run, with the state as it is now."
)
class GradingRunEvent:
    seq: int = described(
        "Its number: pass the last one as `afterSeq`. From 1 without gaps, but for markers, who "
        "are told of their tasks alone."
    )
    kind: RunEventKind = described("What it tells.")
    at: datetime = described("When it happened.")
    run: GradingRun = described("The run as it is now.")
    task: GradingTask | None = described(
        "The task it tells of, as it is now; null for admins and auditors, who follow counters."
    )


@strawberry.input(description="A grading run to be started.")
class StartGradingRunInput:
    assignment_id: strawberry.ID = strawberry.field(description="The assignment.")
    budget_micros: int | None = strawberry.field(
        default=None,
        description="What it may cost, in millionths of the currency: it pauses once that is "
        "spent. Calls under way at that moment are finished.",
    )
    currency: str | None = strawberry.field(
        default=None,
        description="The currency of the budget, which must be the one money is counted in here; "
        "leave out for that.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What startGradingRun did.")
class StartGradingRunPayload:
    grading_run: GradingRun | None = described("The run; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A grading run to be paused.")
class PauseGradingRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What pauseGradingRun did.")
class PauseGradingRunPayload:
    grading_run: GradingRun | None = described("The run; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A paused grading run to go on.")
class ResumeGradingRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run.")
    budget_micros: int | None = strawberry.field(
        default=None, description="A new budget for the whole run, what is spent included."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What resumeGradingRun did.")
class ResumeGradingRunPayload:
    grading_run: GradingRun | None = described("The run; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A grading run to be cancelled.")
class CancelGradingRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What cancelGradingRun did.")
class CancelGradingRunPayload:
    grading_run: GradingRun | None = described("The run; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A task to be graded anew.")
class RetryGradingTaskInput:
    task_id: strawberry.ID = strawberry.field(description="The task.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What retryGradingTask did.")
class RetryGradingTaskPayload:
    grading_task: GradingTask | None = described("The task; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class GradingMutations:
    start_grading_run = mutation(
        grading.start_grading_run,
        permission=Permission.RUN_CONTROL,
        input_type=StartGradingRunInput,
        payload=StartGradingRunPayload,
        noun="grading_run",
        load=grading.load_runs,
        text="Starts grading an assignment: the latest attempt of each submission whose grade is "
        "not released. Grades are proposed; releasing them takes a person.",
    )
    pause_grading_run = mutation(
        grading.pause_grading_run,
        permission=Permission.RUN_CONTROL,
        input_type=PauseGradingRunInput,
        payload=PauseGradingRunPayload,
        noun="grading_run",
        load=grading.load_runs,
        text="Pauses a running run: submissions being graded are finished, no others started.",
    )
    resume_grading_run = mutation(
        grading.resume_grading_run,
        permission=Permission.RUN_CONTROL,
        input_type=ResumeGradingRunInput,
        payload=ResumeGradingRunPayload,
        noun="grading_run",
        load=grading.load_runs,
        text="Goes on with a paused run. One whose budget is used up needs a larger one.",
    )
    cancel_grading_run = mutation(
        grading.cancel_grading_run,
        permission=Permission.RUN_CONTROL,
        input_type=CancelGradingRunInput,
        payload=CancelGradingRunPayload,
        noun="grading_run",
        load=grading.load_runs,
        text="Cancels a run: what waits at once, what is being graded within a second or two. "
        "What is done stays.",
    )
    retry_grading_task = mutation(
        grading.retry_grading_task,
        permission=Permission.RUN_CONTROL,
        input_type=RetryGradingTaskInput,
        payload=RetryGradingTaskPayload,
        noun="grading_task",
        load=grading.load_tasks,
        text="Grades an attempt whose task has ended anew, as a new generation. A run that had "
        "ended runs again.",
    )


@strawberry.type
class GradingSubscriptions:
    @subscription(
        "A grading run, live: its state first, then each event in order, each once. Ends once the "
        "run has ended and everything was told. `afterSeq` beyond the last event is refused with "
        "RESYNC.",
        Permission.RUN_FOLLOW,
        run_id="The run.",
        after_seq="The number of the last event you have; leave out to begin with the state now.",
    )
    async def grading_run(
        context: RequestContext, run_id: strawberry.ID, after_seq: int | None = None
    ) -> AsyncGenerator[GradingRunEvent, None]:
        async for event in grading.follow_run(context, run_id, after_seq):
            yield event


LOADERS = {"GradingRun": grading.load_runs, "GradingTask": grading.load_tasks}
