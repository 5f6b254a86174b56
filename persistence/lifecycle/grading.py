"""Grading runs and their tasks."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class RunState(StrEnum):
    DRAFT = "DRAFT"
    ESTIMATED = "ESTIMATED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"


class RunEvent(StrEnum):
    ESTIMATE = "ESTIMATE"
    QUEUE = "QUEUE"
    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    CANCELLED = "CANCELLED"
    COMPLETE = "COMPLETE"
    COMPLETE_WITH_ERRORS = "COMPLETE_WITH_ERRORS"
    FAIL = "FAIL"
    RERUN = "RERUN"


RUN = Machine(
    "grading run",
    RunState,
    RunEvent,
    RunState.DRAFT,
    {
        (RunState.DRAFT, RunEvent.ESTIMATE): RunState.ESTIMATED,
        (RunState.ESTIMATED, RunEvent.QUEUE): RunState.QUEUED,
        (RunState.QUEUED, RunEvent.START): RunState.RUNNING,
        (RunState.RUNNING, RunEvent.PAUSE): RunState.PAUSED,
        (RunState.PAUSED, RunEvent.RESUME): RunState.RUNNING,
        (RunState.QUEUED, RunEvent.CANCEL): RunState.CANCELLING,
        (RunState.RUNNING, RunEvent.CANCEL): RunState.CANCELLING,
        (RunState.PAUSED, RunEvent.CANCEL): RunState.CANCELLING,
        (RunState.CANCELLING, RunEvent.CANCELLED): RunState.CANCELLED,
        (RunState.RUNNING, RunEvent.COMPLETE): RunState.COMPLETED,
        (RunState.RUNNING, RunEvent.COMPLETE_WITH_ERRORS): RunState.COMPLETED_WITH_ERRORS,
        (RunState.RUNNING, RunEvent.FAIL): RunState.FAILED,
        (RunState.COMPLETED, RunEvent.RERUN): RunState.RUNNING,
        (RunState.COMPLETED_WITH_ERRORS, RunEvent.RERUN): RunState.RUNNING,
    },
)


class TaskState(StrEnum):
    PENDING = "PENDING"
    PREPARING = "PREPARING"
    GRADING = "GRADING"
    CROSS_CHECKING = "CROSS_CHECKING"
    ARBITRATING = "ARBITRATING"
    PROPOSED = "PROPOSED"
    NEEDS_HUMAN = "NEEDS_HUMAN"
    FAILED_RETRYABLE = "FAILED_RETRYABLE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


class TaskEvent(StrEnum):
    PREPARE = "PREPARE"
    GRADE = "GRADE"
    CROSS_CHECK = "CROSS_CHECK"
    ARBITRATE = "ARBITRATE"
    PROPOSE = "PROPOSE"
    NEED_HUMAN = "NEED_HUMAN"
    TAKEOVER = "TAKEOVER"
    HAND_BACK = "HAND_BACK"
    FAIL_RETRYABLE = "FAIL_RETRYABLE"
    RETRY = "RETRY"
    FAIL = "FAIL"
    SKIP = "SKIP"
    CANCEL = "CANCEL"
    RERUN = "RERUN"


TASK_WORKING = (
    TaskState.PREPARING,
    TaskState.GRADING,
    TaskState.CROSS_CHECKING,
    TaskState.ARBITRATING,
)
TASK_TERMINAL = (
    TaskState.PROPOSED,
    TaskState.NEEDS_HUMAN,
    TaskState.FAILED,
    TaskState.SKIPPED,
    TaskState.CANCELLED,
)

TASK = Machine(
    "grading task",
    TaskState,
    TaskEvent,
    TaskState.PENDING,
    {
        (TaskState.PENDING, TaskEvent.PREPARE): TaskState.PREPARING,
        (TaskState.PREPARING, TaskEvent.GRADE): TaskState.GRADING,
        (TaskState.GRADING, TaskEvent.CROSS_CHECK): TaskState.CROSS_CHECKING,
        (TaskState.CROSS_CHECKING, TaskEvent.ARBITRATE): TaskState.ARBITRATING,
        # a further question of the same attempt starts again at its graders
        (TaskState.CROSS_CHECKING, TaskEvent.GRADE): TaskState.GRADING,
        (TaskState.ARBITRATING, TaskEvent.GRADE): TaskState.GRADING,
        (TaskState.PENDING, TaskEvent.SKIP): TaskState.SKIPPED,
        (TaskState.PENDING, TaskEvent.CANCEL): TaskState.CANCELLED,
        (TaskState.FAILED_RETRYABLE, TaskEvent.RETRY): TaskState.PENDING,
        (TaskState.FAILED_RETRYABLE, TaskEvent.CANCEL): TaskState.CANCELLED,
        **{(s, TaskEvent.PROPOSE): TaskState.PROPOSED for s in TASK_WORKING},
        **{(s, TaskEvent.NEED_HUMAN): TaskState.NEEDS_HUMAN for s in TASK_WORKING},
        **{(s, TaskEvent.TAKEOVER): TaskState.PENDING for s in TASK_WORKING},
        # its worker cannot go on now, through no fault of the task
        **{(s, TaskEvent.HAND_BACK): TaskState.PENDING for s in TASK_WORKING},
        **{(s, TaskEvent.FAIL_RETRYABLE): TaskState.FAILED_RETRYABLE for s in TASK_WORKING},
        **{(s, TaskEvent.FAIL): TaskState.FAILED for s in TASK_WORKING},
        **{(s, TaskEvent.CANCEL): TaskState.CANCELLED for s in TASK_WORKING},
        **{(s, TaskEvent.RERUN): TaskState.PENDING for s in TASK_TERMINAL},
    },
)
