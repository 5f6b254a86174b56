"""What moves a grading run besides the person who started it: money, cancelling, its last task."""

from datetime import datetime
from typing import Any
from uuid import UUID

from persistence import grading, grading_work
from persistence.database import Connection
from persistence.grading import PauseReason
from persistence.lifecycle.grading import RUN, RunEvent, RunState
from persistence.tables.grading import GradingRunRow

FEED_TOPIC = "grading-feed"
"""Hints that there may be tasks to feed."""


def run_topic(run_id: UUID) -> str:
    """Hints those who grade a run that somebody paused or cancelled it."""
    return f"run:{run_id}"


async def move(
    connection: Connection, run: GradingRunRow, event: RunEvent, **values: Any
) -> RunState:
    """Moves a run. Raises `InvalidTransition` and `Conflict`."""
    target = RUN.advance(run.state, event)
    await grading.move_run(connection, run, RunState(run.state), target, values)
    return target


def left_of(run: GradingRunRow) -> int | None:
    """Micro-units of the run's budget that are not spent; None where nothing was set."""
    return None if run.budget_micros is None else max(0, run.budget_micros - run.spent_micros)


async def exceeds_budget(connection: Connection, run: GradingRunRow) -> bool:
    """Whether the run's budget is used up. Calls in flight may still add to it."""
    if run.budget_micros is None:
        return False
    return await grading_work.spent_micros(connection, run.id) >= run.budget_micros


async def pause(connection: Connection, run_id: UUID, reason: PauseReason) -> RunState | None:
    """Pauses a run that runs, and leaves it locked; its state by then, None where it is gone."""
    run = await grading.locked_run(connection, run_id)
    if run is None or run.state != RunState.RUNNING:
        return None if run is None else RunState(run.state)
    spent = await grading_work.spent_micros(connection, run.id)
    return await move(connection, run, RunEvent.PAUSE, spent_micros=spent, paused_because=reason)


async def settle(connection: Connection, run_id: UUID, now: datetime) -> bool:
    """Ends a run whose tasks have all ended, cancels what waits in a run being cancelled, and
    pauses one whose budget is used up; whether it did any.

    Harmless to repeat, and exactly one of many at once does it: the run is locked first.
    """
    run = await grading_work.run_by_id(connection, run_id)
    if run is None or not await _is_due(connection, run):
        return False
    run = await grading.locked_run(connection, run_id)
    if run is not None and run.state == RunState.CANCELLING:
        return await _settle_cancelling(connection, run, now)
    if run is not None and run.state == RunState.RUNNING:
        return await _settle_running(connection, run, now)
    return False


async def _is_due(connection: Connection, run: GradingRunRow) -> bool:
    if run.state == RunState.CANCELLING:
        return True
    if run.state != RunState.RUNNING:
        return False
    return not await grading_work.has_open_tasks(connection, run.id) or await exceeds_budget(
        connection, run
    )


async def _settle_cancelling(connection: Connection, run: GradingRunRow, now: datetime) -> bool:
    cancelled = await grading.move_tasks(connection, grading_work.cancelling_waiting(run.id))
    if await grading_work.has_open_tasks(connection, run.id):
        return cancelled > 0
    spent = await grading_work.spent_micros(connection, run.id)
    await move(connection, run, RunEvent.CANCELLED, spent_micros=spent, ended_at=now)
    return True


async def _settle_running(connection: Connection, run: GradingRunRow, now: datetime) -> bool:
    spent = await grading_work.spent_micros(connection, run.id)
    if not await grading_work.has_open_tasks(connection, run.id):
        failed = await grading_work.has_failures(connection, run.id)
        event = RunEvent.COMPLETE_WITH_ERRORS if failed else RunEvent.COMPLETE
        await move(connection, run, event, spent_micros=spent, ended_at=now)
        return True
    if run.budget_micros is not None and spent >= run.budget_micros:
        reason = PauseReason.BUDGET
        await move(connection, run, RunEvent.PAUSE, spent_micros=spent, paused_because=reason)
        return True
    return False
