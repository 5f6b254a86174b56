import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from persistence.lifecycle.grading import TaskState
from persistence.streams import Sequencer
from persistence.tables.assignments import assignments, questions
from persistence.tables.base import table_of
from persistence.tables.grading import GradingRunRow
from persistence.tables.identity import RoleGrantRow
from persistence.tables.submissions import AttemptRow, attempts
from resolvers import grades, grading
from resolvers.access import Permission
from resolvers.global_ids import global_id
from resolvers.grading import RunFollowed, follow_run
from resolvers.grading_work import feed, grade_task
from resolvers.refusals import Refusal, RefusalCode
from tests.grading_world import GradingWorld, Members, grading_world

__all__ = ["grading_world"]


async def refusal_of_start(world: GradingWorld, **values: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await world.start(**values)
    return refused.value


async def test_a_run_takes_the_latest_ready_attempt_of_each_submission(
    grading_world: GradingWorld,
) -> None:
    submission = await grading_world.submit(attempts=3)
    async with grading_world.database.transaction() as connection:
        await connection.execute(
            update(attempts).where(attempts.c.number == 3).values(state="QUARANTINED")
        )
    (task,) = await grading_world.tasks(await grading_world.start())
    (attempt,) = await grading_world.rows(AttemptRow, attempts.c.number == 2)
    assert (task.submission_id, task.attempt_id) == (submission.id, attempt.id)
    assert task.alias == submission.alias


async def test_a_run_without_submissions_is_refused(grading_world: GradingWorld) -> None:
    refusal = await refusal_of_start(grading_world)
    assert refusal.code is RefusalCode.INVALID_STATE
    assert "Nothing waits" in refusal.message


async def test_a_question_without_rubric_is_named(grading_world: GradingWorld) -> None:
    await grading_world.submit()
    async with grading_world.database.transaction() as connection:
        await connection.execute(update(questions).values(rubric_version_id=None))
    refusal = await refusal_of_start(grading_world)
    assert refusal.code is RefusalCode.INVALID_STATE
    assert "question 1" in refusal.message


async def test_a_draft_is_not_graded(grading_world: GradingWorld) -> None:
    await grading_world.submit()
    async with grading_world.database.transaction() as connection:
        await connection.execute(update(assignments).values(state="DRAFT"))
    assert "draft" in (await refusal_of_start(grading_world)).message


async def test_of_two_runs_at_once_one_is_refused(grading_world: GradingWorld) -> None:
    await grading_world.submit()
    outcomes = await asyncio.gather(
        *(grading_world.start(feeding=False) for _ in range(3)), return_exceptions=True
    )
    refused = [o for o in outcomes if isinstance(o, Refusal)]
    assert len(refused) == 2
    assert {r.code for r in refused} == {RefusalCode.CONFLICT}
    assert await grading_world.count(GradingRunRow) == 1


@pytest.mark.parametrize("values", [{"budget_micros": 0}, {"currency": "dollars"}])
async def test_money_is_checked(grading_world: GradingWorld, values: dict[str, Any]) -> None:
    await grading_world.submit()
    assert (await refusal_of_start(grading_world, **values)).code is RefusalCode.BAD_INPUT


async def test_a_stranger_learns_nothing(grading_world: GradingWorld) -> None:
    await grading_world.submit()
    run_id = await grading_world.start()
    stranger = await grading_world.context(grading_world.outsider)
    assert await grading.load_runs(stranger, [run_id]) == [None]
    (task,) = await grading_world.tasks(run_id)
    assert await grading.load_tasks(stranger, [task.id]) == [None]
    with pytest.raises(Refusal) as refused:
        await anext(follow_run(stranger, global_id("GradingRun", run_id), None))
    assert refused.value.code is RefusalCode.NOT_FOUND
    with pytest.raises(Refusal) as refused:
        await grading_world.change(
            grading.cancel_grading_run,
            Permission.RUN_CONTROL,
            grading_world.outsider,
            run_id=global_id("GradingRun", run_id),
        )
    assert refused.value.code is RefusalCode.NOT_FOUND
    assert (await grading_world.run(run_id)).state == "RUNNING"


async def test_tasks_are_paged_and_filtered(grading_world: GradingWorld) -> None:
    for _ in range(3):
        await grading_world.submit()
    run_id = await grading_world.start()
    first, *_ = await grading_world.tasks(run_id)
    await grade_task(grading_world.work(), first.id)
    context, run = await grading_world.context(), await grading_world.run(run_id)
    (page,) = await grading.list_tasks_of_run([run], context, 2, None)
    (rest,) = await grading.list_tasks_of_run([run], context, 2, page.cursors[-1])
    assert (len(page.rows), page.has_next, len(rest.rows), rest.has_next) == (2, True, 1, False)
    (done,) = await grading.list_tasks_of_run([run], context, 9, None, [TaskState.PROPOSED])
    assert [t.id for t in done.rows] == [first.id]
    (progress,) = await grading.get_progress([run], context)
    assert (progress.total, progress.pending, progress.proposed) == (3, 2, 1)


async def told(events: AsyncIterator[RunFollowed]) -> list[RunFollowed]:
    async with asyncio.timeout(20):
        return [event async for event in events]


async def follow(world: GradingWorld, run_id: Any, after: int | None) -> list[RunFollowed]:
    context = await world.context()
    return await told(follow_run(context, global_id("GradingRun", run_id), after))


async def test_followers_miss_nothing_and_see_nothing_twice(grading_world: GradingWorld) -> None:
    for _ in range(4):
        await grading_world.submit()
    run_id = await grading_world.start(feeding=False)
    stop = asyncio.Event()
    numbering = asyncio.create_task(Sequencer(grading_world.database, grading_world.bus).run(stop))
    early = asyncio.create_task(follow(grading_world, run_id, 0))
    await feed(grading_world.work())
    await grading_world.grade_all(run_id)
    everything = await early
    late = await follow(grading_world, run_id, 5)
    now = await follow(grading_world, run_id, None)
    stop.set()
    await numbering

    assert (everything[0].kind, everything[0].seq) == ("SNAPSHOT", 0)
    seqs = [event.seq for event in everything[1:]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) == 4 + 4 * 4  # the run's four changes of state, and each task's
    assert everything[-1].run.state == "COMPLETED"
    tasks = [e for e in everything if e.kind == "TASK_STATE"]
    assert all(e.task is not None for e in tasks)
    assert [e.seq for e in late] == [5, *range(6, len(seqs) + 1)]
    assert [(e.kind, e.seq, e.run.state) for e in now] == [("SNAPSHOT", len(seqs), "COMPLETED")]


async def test_a_cursor_beyond_the_stream_asks_for_a_resync(grading_world: GradingWorld) -> None:
    await grading_world.submit()
    run_id = await grading_world.start()
    await grading_world.number()
    context, key = await grading_world.context(), global_id("GradingRun", run_id)
    for after, code in ((99, RefusalCode.RESYNC), (-1, RefusalCode.BAD_INPUT)):
        with pytest.raises(Refusal) as refused:
            await anext(follow_run(context, key, after))
        assert refused.value.code is code


async def test_a_follower_whose_rights_end_is_told_no_further(
    grading_world: GradingWorld,
) -> None:
    await grading_world.submit()
    run_id = await grading_world.start()
    await grading_world.number()
    events = follow_run(await grading_world.context(), global_id("GradingRun", run_id), None)
    assert (await anext(events)).kind == "SNAPSHOT"
    async with grading_world.database.transaction() as connection:
        await connection.execute(
            update(table_of(RoleGrantRow)).values(expires_at=datetime.now(UTC))
        )
    with pytest.raises(Refusal) as refused:
        async with asyncio.timeout(5):
            await anext(events)
    assert refused.value.code is RefusalCode.NOT_FOUND


async def test_a_released_grade_is_not_graded_again(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded(Members())
    key = global_id("Grade", (await grading_world.grade(submission)).id)
    for work, permission in (
        (grades.finalise_grades, Permission.GRADE_DECIDE),
        (grades.release_grades, Permission.GRADE_RELEASE),
    ):
        await grading_world.change(work, permission, grade_ids=[key])
    assert "released" in (await refusal_of_start(grading_world)).message
