"""The team when something fails, is cancelled or is run again."""

import asyncio
from datetime import timedelta

import pytest
from autogen_core import CancellationToken

from agents.grading.brief import Role
from agents.grading.result import Outcome
from agents.grading.verdict import GradeRequest, GradeVerdict
from agents.ports import AgentCancelled, AgentFailure, Passage
from tests.agents.grading.conftest import (
    Grade,
    MemoryLedger,
    ScriptedMembers,
    Shelf,
    StageList,
)


class Overloaded(Exception):
    retryable = True


async def test_a_rerun_repeats_no_committed_call(
    grade: Grade, agreeing: ScriptedMembers, shelf: Shelf, ledger: MemoryLedger
) -> None:
    first = await grade()
    asked = len(agreeing.made)
    shelf.passages = [Passage("c", "d", "Re-indexed", "", 1, 0, 4, "Bees", 0.5)]
    assert await grade() == first
    assert len(agreeing.made) == asked
    assert len(ledger.calls) == 3


async def test_a_rerun_after_a_failure_pays_only_for_what_is_missing(
    grade: Grade, agreeing: ScriptedMembers, ledger: MemoryLedger
) -> None:
    works = agreeing.answers[Role.GRADER_B]

    async def fail(request: GradeRequest) -> GradeVerdict:
        await ledger.written.wait()
        raise ConnectionError("reset")

    agreeing.answers[Role.GRADER_B] = fail
    with pytest.raises(AgentFailure) as caught:
        await grade()
    assert (caught.value.retryable, caught.value.step_key) == (True, "grader:B")
    agreeing.answers[Role.GRADER_B] = works
    assert (await grade()).outcome is Outcome.PROPOSED
    assert sorted(ledger.steps) == ["feedback", "grader:A", "grader:B"]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(ValueError("bad key"), False), (Overloaded(), True), (TimeoutError(), True)],
)
async def test_one_grader_failing_cancels_the_other(
    grade: Grade, members: ScriptedMembers, error: Exception, retryable: bool
) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: GradeRequest) -> GradeVerdict:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async def fail(request: GradeRequest) -> GradeVerdict:
        await started.wait()
        raise error

    members.answers = {Role.GRADER_A: wait, Role.GRADER_B: fail}
    with pytest.raises(AgentFailure) as caught:
        await asyncio.wait_for(grade(), 5)
    assert caught.value.retryable is retryable
    assert "Bees" not in str(caught.value)
    assert cancelled.is_set()


async def test_a_member_that_takes_too_long_is_a_retryable_failure(
    grade: Grade, members: ScriptedMembers
) -> None:
    async def wait(request: GradeRequest) -> GradeVerdict:
        await asyncio.Event().wait()
        raise AssertionError

    members.answers = {Role.GRADER_A: wait, Role.GRADER_B: wait}
    with pytest.raises(AgentFailure) as caught:
        await grade(allowed=timedelta(milliseconds=20))
    assert caught.value.retryable


@pytest.mark.parametrize("stubborn", [False, True])
async def test_cancelling_stops_although_a_member_resists(
    grade: Grade, members: ScriptedMembers, ledger: MemoryLedger, stubborn: bool
) -> None:
    started, let_go = asyncio.Event(), asyncio.Event()

    async def wait(request: GradeRequest) -> GradeVerdict:
        started.set()
        while True:
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise
            else:
                raise asyncio.CancelledError

    members.answers = {Role.GRADER_A: wait, Role.GRADER_B: wait}
    token = CancellationToken()
    task = asyncio.create_task(grade(token=token))
    await started.wait()
    token.cancel()
    with pytest.raises(AgentCancelled):
        await asyncio.wait_for(task, 5)
    assert ledger.calls == []
    let_go.set()
    await asyncio.sleep(0)


async def test_a_cancelled_worker_task_is_cancelled_not_failed(
    grade: Grade, members: ScriptedMembers
) -> None:
    started = asyncio.Event()

    async def wait(request: GradeRequest) -> GradeVerdict:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    members.answers = {Role.GRADER_A: wait, Role.GRADER_B: wait}
    task = asyncio.create_task(grade())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_run_cancelled_before_it_starts_calls_nobody(
    grade: Grade, agreeing: ScriptedMembers
) -> None:
    token = CancellationToken()
    token.cancel()
    with pytest.raises(AgentCancelled):
        await grade(token=token)
    assert agreeing.made == []


@pytest.mark.parametrize("stage", ["PREPARING", "GRADING", "CROSS_CHECKING"])
async def test_a_lost_lease_stops_the_team_at_once(
    grade: Grade, agreeing: ScriptedMembers, stages: StageList, stage: str
) -> None:
    stages.stop_at = stage
    with pytest.raises(RuntimeError) as caught:
        await grade()
    assert caught.value is stages.stop
    assert len(agreeing.made) == (2 if stage == "CROSS_CHECKING" else 0)


async def test_a_ledger_that_refuses_is_heard(
    grade: Grade, agreeing: ScriptedMembers, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError("fence")

    monkeypatch.setattr(ledger, "record", refuse)
    with pytest.raises(PermissionError, match="fence"):
        await grade()
