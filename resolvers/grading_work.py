"""The grading worker: one task, from its lease to its result."""

import asyncio
import logging
import traceback
from contextlib import suppress
from typing import Final
from uuid import UUID

from agents.cancellation import CancellationToken
from agents.models.failures import FailureKind, ModelFailure
from agents.models.ports import Purse
from agents.ports import Account, AgentCancelled, AgentFailure
from persistence import grading_work, model_choices, streams
from persistence.database import Conflict
from persistence.direct import DATABASE_ERRORS
from persistence.grading import FailureCode, PauseReason
from persistence.grading_work import Material
from persistence.leases import LeaseLost
from persistence.lifecycle.grading import RunState, TaskEvent
from resolvers.grading_brief import QuestionTask, tasks_of
from resolvers.grading_feed import feed, sweep
from resolvers.grading_lease import HeldTask, TaskLedger, TaskStages, backoff, hold
from resolvers.grading_results import save
from resolvers.grading_runs import FEED_TOPIC, pause, settle
from resolvers.retrieval import CourseSearch
from resolvers.work import WorkResources

__all__ = ["FEED_TOPIC", "MOST_TRIES", "feed", "grade_task", "sweep"]

logger = logging.getLogger(__name__)

_PURSES: Final = {
    Purse.COURSE: PauseReason.COURSE_BUDGET,
    Purse.ORGANIZATION: PauseReason.ORGANIZATION_BUDGET,
    None: PauseReason.BUDGET,
}

MOST_TRIES: Final = 3
"""After so many tries that failed, a task has failed."""


async def grade_task(resources: WorkResources, task_id: UUID) -> None:
    """Grades one attempt, if the task waits and its run runs; else does nothing.

    Harmless to deliver more than once and to several workers: a fenced lease lets one write.
    What a committed call returned is not asked for again. Raises database errors, after which
    the lease runs out and `sweep` puts the task back.
    """
    held = await hold(resources, task_id)
    if held is None:
        await _settle_run_of(resources, task_id)
        return
    token = CancellationToken()
    keeper = asyncio.create_task(held.keep(token))
    try:
        await _grade(held, token)
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
    await streams.announce(resources.bus)
    await _settle_run(resources, held.row.run_id)
    await resources.bus.publish(FEED_TOPIC, {})


async def _grade(held: HeldTask, token: CancellationToken) -> None:
    try:
        await _grade_and_save(held, token)
    except (LeaseLost, Conflict):
        logger.warning("task %s was taken over or ended meanwhile", held.row.id)
    except AgentCancelled:
        if held.cancelled:
            await _unless_lost(held, TaskEvent.CANCEL)
    except AgentFailure as failure:
        if isinstance(failure, ModelFailure) and failure.kind is FailureKind.BUDGET:
            await _pause(held, _PURSES[failure.purse])
            return
        code = FailureCode.UNAVAILABLE if failure.retryable else FailureCode.REFUSED
        await _fail(held, code, str(failure), retryable=failure.retryable)
    except DATABASE_ERRORS:
        raise
    except _Ungradable as error:
        await _fail(held, FailureCode.MATERIAL, str(error), retryable=False)
    except Exception as error:  # noqa: BLE001 - kept on the task; the text may quote a student
        logger.error(  # noqa: TRY400 - as above: where it happened, not what it said
            "task %s failed: %s\n%s",
            held.row.id,
            type(error).__name__,
            "".join(traceback.format_tb(error.__traceback__)),
        )
        message = f"Something unforeseen: {type(error).__name__}."
        await _fail(held, FailureCode.INTERNAL, message, retryable=True)


class _Ungradable(Exception):
    """The rows of a task make no brief; says why without quoting the student."""


async def _grade_and_save(held: HeldTask, token: CancellationToken) -> None:
    resources, row = held.resources, held.row
    async with resources.database.read() as connection:
        material = await grading_work.material_of(connection, row)
        chosen = await model_choices.choices_of(connection, row.organization_id, row.course_id)
    search = CourseSearch(
        resources.database,
        resources.embedders,
        row.organization_id,
        row.course_id,
        resources.metrics,
        "grading",
    )
    account = Account(row.organization_id, row.course_id, row.id, chosen=chosen)
    team = resources.grading_team(search, account)
    graded = []
    for task in await asyncio.to_thread(_tasks, material):
        result = await team.grade(
            task.brief,
            task.attempt,
            ledger=TaskLedger(held, f"q{task.question.position}:"),
            stages=TaskStages(held),
            cancellation=token,
        )
        graded.append((task, result))
    await save(held, material, graded)


def _tasks(material: Material) -> list[QuestionTask]:
    try:
        return tasks_of(material)
    except (ValueError, LookupError, ArithmeticError) as error:
        raise _Ungradable(f"The attempt cannot be graded by this rubric: {error}.") from error


async def _fail(held: HeldTask, code: FailureCode, message: str, *, retryable: bool) -> None:
    tries = held.row.tries + 1
    failure = {"code": code.value, "message": message}
    if retryable and tries < MOST_TRIES:
        event = TaskEvent.FAIL_RETRYABLE
        not_before = held.resources.now() + backoff(tries)
    else:
        event, not_before = TaskEvent.FAIL, None
    await _unless_lost(held, event, tries=tries, failure=failure, not_before=not_before)


async def _pause(held: HeldTask, reason: PauseReason) -> None:
    """Puts the task back, with all that is paid for it in the ledger, and pauses its run."""
    with suppress(LeaseLost, Conflict):
        async with held.resources.database.transaction() as connection:
            state = await pause(connection, held.row.run_id, reason)
            cancelled = state == RunState.CANCELLING
            event = TaskEvent.CANCEL if cancelled else TaskEvent.HAND_BACK
            target = await held.end(connection, event)
        held.state = target


async def _unless_lost(held: HeldTask, event: TaskEvent, **values: object) -> None:
    with suppress(LeaseLost, Conflict):
        await held.end_alone(event, values)


async def _settle_run_of(resources: WorkResources, task_id: UUID) -> None:
    async with resources.database.read() as connection:
        task = await grading_work.task_by_id(connection, task_id)
    if task is not None:
        await _settle_run(resources, task.run_id)


async def _settle_run(resources: WorkResources, run_id: UUID) -> None:
    async with resources.database.transaction() as connection:
        settled = await settle(connection, run_id, resources.now())
    if settled:
        await streams.announce(resources.bus)
