"""A task held under a lease: every write of its worker goes through here and checks the fence."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from agents.cancellation import CancellationToken
from agents.ports import Paid
from persistence import grading, grading_work, leases, ledger, streams
from persistence.database import Connection
from persistence.direct import DATABASE_ERRORS
from persistence.lifecycle.grading import (
    TASK,
    TASK_WORKING,
    RunState,
    TaskEvent,
    TaskState,
)
from persistence.tables.grading import GradingTaskRow, grading_tasks
from resolvers.grading_runs import exceeds_budget, run_topic
from resolvers.work import WorkResources

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.9
"""How often a worker looks whether its run was cancelled, besides being told."""

_ENTERING: Final = {
    TaskState.GRADING: TaskEvent.GRADE,
    TaskState.CROSS_CHECKING: TaskEvent.CROSS_CHECK,
    TaskState.ARBITRATING: TaskEvent.ARBITRATE,
}


@dataclass
class HeldTask:
    """A task this worker holds. `state` is the one it last wrote."""

    resources: WorkResources
    row: GradingTaskRow
    fence: int
    state: TaskState
    cancelled: bool = False
    """Whether the run is being cancelled."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def move(
        self, connection: Connection, event: TaskEvent, values: dict[str, Any] | None = None
    ) -> TaskState:
        """Moves the task in the caller's transaction, with its event.

        Raises `LeaseLost` and `Conflict`. The caller notes the new state once it has committed.
        """
        target = TASK.advance(self.state, event)
        await leases.fenced_update(
            connection,
            grading_tasks,
            self.row.id,
            self.fence,
            [self.state],
            {"state": target, **(values or {})},
        )
        row = self.row
        await grading.append_task_event(connection, row.organization_id, row.run_id, row.id, target)
        return target

    async def end(
        self, connection: Connection, event: TaskEvent, values: dict[str, Any] | None = None
    ) -> TaskState:
        """As `move`, and gives the lease back."""
        freed = {"lease_owner": None, "lease_until": None}
        return await self.move(connection, event, {**freed, **(values or {})})

    async def end_alone(self, event: TaskEvent, values: dict[str, Any] | None = None) -> None:
        """As `end`, in a transaction of its own."""
        async with self.resources.database.transaction() as connection:
            target = await self.end(connection, event, values)
        self.state = target

    async def keep(self, token: CancellationToken) -> None:
        """Renews the lease until cancelled; cancels `token` when it is lost or the run is."""
        resources = self.resources
        loop = asyncio.get_running_loop()
        third = resources.lease_seconds / 3
        renewed = loop.time()
        try:
            with resources.bus.subscribe(run_topic(self.row.run_id)) as hints:
                while True:
                    await hints.wake(min(third / 2, POLL_SECONDS))
                    began = loop.time()
                    try:
                        if not await self._still_ours(renew=began - renewed >= third):
                            return
                    except DATABASE_ERRORS as error:
                        logger.warning("a lease was not renewed: %s", type(error).__name__)
                        if began - renewed > resources.lease_seconds:
                            return
                        continue
                    if began - renewed >= third:
                        renewed = began
        finally:
            token.cancel()

    async def _still_ours(self, *, renew: bool) -> bool:
        row = self.row
        async with self.resources.database.keeping().transaction() as connection:
            run = await grading_work.run_by_id(connection, row.run_id)
            if run is None or run.state == RunState.CANCELLING:
                self.cancelled = True
                return False
            return not renew or await leases.renew(
                connection, grading_tasks, row.id, self.fence, self.resources.lease_seconds
            )


async def hold(resources: WorkResources, task_id: UUID) -> HeldTask | None:
    """Takes a waiting task of a running run; None when it is not to be had now."""
    async with resources.database.transaction() as connection:
        task = await grading_work.task_by_id(connection, task_id)
        if task is None or task.state != TaskState.PENDING:
            return None
        run = await grading_work.run_by_id(connection, task.run_id)
        early = task.not_before is not None and task.not_before > resources.now()
        if run is None or run.state != RunState.RUNNING or early:
            return None
        if await exceeds_budget(connection, run):
            return None
        target = TASK.advance(task.state, TaskEvent.PREPARE)
        fence = await leases.acquire(
            connection,
            grading_tasks,
            task_id,
            resources.worker_id,
            resources.lease_seconds,
            from_states=[TaskState.PENDING],
            to_state=target,
        )
        if fence is None:
            return None
        await grading.append_task_event(
            connection, task.organization_id, task.run_id, task.id, target
        )
        # the row as it is under the lease: a re-run may have begun a generation meanwhile
        held = await grading_work.task_by_id(connection, task_id)
    await streams.announce(resources.bus)
    return None if held is None else HeldTask(resources, held, fence, target)


@dataclass(frozen=True)
class TaskStages:
    """The team's stages as states of the task, each written as it is entered."""

    held: HeldTask

    async def entered(self, stage: str) -> None:
        """Raises `LeaseLost` and `Conflict`, which end the team's work."""
        held = self.held
        event = _ENTERING.get(TaskState(stage))
        if event is None or held.state == stage:
            return
        async with held.resources.database.transaction() as connection:
            target = await held.move(connection, event)
        held.state = target
        await streams.announce(held.resources.bus)


@dataclass(frozen=True)
class TaskLedger:
    """The paid calls of one question of a held task; its cost counts on the task."""

    held: HeldTask
    prefix: str

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        """The committed response, or None."""
        row = self.held.row
        async with self.held.resources.database.read() as connection:
            return await ledger.recall(
                connection, row.id, row.generation, self.prefix + step_key, request_hash
            )

    async def record(self, step_key: str, paid: Paid) -> None:
        """Commits a response at once. Raises `LeaseLost`."""
        row = self.held.row
        async with self.held.resources.database.transaction() as connection:
            await leases.fenced_update(
                connection,
                grading_tasks,
                row.id,
                self.held.fence,
                TASK_WORKING,
                {"cost_micros": grading_tasks.c.cost_micros + paid.cost_micros},
            )
            await ledger.record(
                connection,
                organization_id=row.organization_id,
                owner_id=row.id,
                generation=row.generation,
                step_key=self.prefix + step_key,
                call=self.held.resources.call(paid),
            )
        self.held.resources.count(paid)


def backoff(tries: int, *, first: timedelta = timedelta(seconds=5)) -> timedelta:
    """How long a task waits after so many failed tries: 5 s, 20 s, 80 s."""
    return first * int(4 ** max(0, tries - 1))
