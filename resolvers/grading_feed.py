"""Keeps the queue filled for every run, fairly, and heals what dead workers left behind."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Final
from uuid import UUID

from persistence import grading, grading_work, jobs, leases, reservations, streams
from persistence.database import Connection
from persistence.grading import FailureCode
from persistence.grading_work import Waiting
from persistence.lifecycle.grading import (
    TASK,
    TASK_WORKING,
    RunEvent,
    RunState,
    TaskEvent,
)
from persistence.tables.grading import GradingRunRow, grading_tasks
from resolvers.grading_runs import move, settle
from resolvers.work import WorkResources

ENTRYPOINT: Final = "grade_task"
MOST_LOST: Final = 5
"""A task that lost so many workers, or failed so often with them, is not tried again."""

_SWEPT_AT_ONCE: Final = 200


async def feed(resources: WorkResources) -> None:
    """Starts queued runs and keeps about twice the concurrency of each run's tasks queued.

    Tasks are queued in turn: one of each organization, and of an organization one of each run.
    Safe with several feeders at once: a task is queued once for each time it began to wait.
    """
    database, now = resources.database, resources.now()
    await _start_queued(resources)
    async with database.transaction() as connection:
        await grading_work.note_spending(connection)
    async with database.read() as connection:
        budgeted = [
            run
            for run in await grading_work.runs_in(connection, RunState.RUNNING)
            if run.budget_micros is not None and run.spent_micros >= run.budget_micros
        ]
    for run in budgeted:
        await _settle(resources, run)
    async with database.transaction() as connection:
        waiting = await grading_work.waiting_tasks(
            connection, now, 2 * resources.grading_concurrency
        )
        for task in in_turn(waiting):
            await jobs.enqueue(
                connection,
                ENTRYPOINT,
                task.id,
                # the fence rises each time the task is taken: a task put back has a new key
                dedupe_key=f"task:{task.id}:{task.generation}:{task.tries}:{task.fence}",
                correlation_id=task.correlation_id,
            )


def in_turn(waiting: Sequence[Waiting]) -> list[Waiting]:
    """One of each organization in turn; within an organization, one of each run."""
    runs: dict[UUID, dict[UUID, list[Waiting]]] = defaultdict(lambda: defaultdict(list))
    for task in waiting:
        runs[task.organization_id][task.run_id].append(task)
    queues = [_interleaved(list(by_run.values())) for by_run in runs.values()]
    return _interleaved(queues)


def _interleaved(queues: Sequence[Sequence[Waiting]]) -> list[Waiting]:
    return [task for task in chain.from_iterable(zip_longest(*queues)) if task is not None]


async def _start_queued(resources: WorkResources) -> None:
    async with resources.database.read() as connection:
        queued = await grading_work.runs_in(connection, RunState.QUEUED)
    for seen in queued:
        async with resources.database.transaction() as connection:
            run = await grading.locked_run(connection, seen.id)
            if run is not None and run.state == RunState.QUEUED:
                await move(connection, run, RunEvent.START, started_at=resources.now())
    if queued:
        await streams.announce(resources.bus)


async def sweep(resources: WorkResources) -> None:
    """Heals: lapsed leases, failed tasks whose time has come, runs nobody ended.

    Safe with several sweepers at once, and harmless to repeat.
    """
    async with resources.database.transaction() as connection:
        lapsed = await leases.expired(connection, grading_tasks, TASK_WORKING, _SWEPT_AT_ONCE)
        for lease in lapsed:
            await _take_over(connection, lease.id, lease.fence)
        await reservations.settle_taken_over(connection, [lease.id for lease in lapsed])
    async with resources.database.transaction() as connection:
        retried = await grading.move_tasks(connection, grading_work.retrying_due(resources.now()))
    async with resources.database.read() as connection:
        runs = await grading_work.runs_in(connection, RunState.RUNNING, RunState.CANCELLING)
    for run in runs:
        await _settle(resources, run)
    if lapsed or retried:
        await streams.announce(resources.bus)


async def _take_over(connection: Connection, task_id: UUID, fence: int) -> None:
    task = await grading_work.task_by_id(connection, task_id)
    if task is None:
        return
    run = await grading_work.run_by_id(connection, task.run_id)
    event, failure = TaskEvent.TAKEOVER, task.failure
    if run is not None and run.state == RunState.CANCELLING:
        event = TaskEvent.CANCEL
    elif task.tries + 1 >= MOST_LOST:
        event = TaskEvent.FAIL
        message = f"The worker was lost while grading this, {task.tries + 1} times."
        failure = {"code": FailureCode.WORKER_LOST.value, "message": message}
    target = TASK.advance(task.state, event)
    taken = await leases.take_over(
        connection, grading_tasks, task.id, fence, from_states=[task.state], to_state=target
    )
    if taken:
        await grading_work.note_lost_worker(connection, task.id, failure)
        await grading.append_task_event(
            connection, task.organization_id, task.run_id, task.id, target
        )


async def _settle(resources: WorkResources, run: GradingRunRow) -> None:
    async with resources.database.transaction() as connection:
        settled = await settle(connection, run.id, resources.now())
    if settled:
        await streams.announce(resources.bus)
