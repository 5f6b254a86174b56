import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.grading.brief import Role as Seat
from agents.grading.verdict import GradeRequest
from agents.ports import AgentFailure
from persistence.grading_work import Waiting
from persistence.jobs import queued_counts
from persistence.tables.grades import GradeRow, GradeVersionRow
from persistence.tables.grading import AssessmentRow, EvidenceSpanRow, GradingRunRow
from persistence.tables.records import ModelCallRow, StreamEventRow, stream_events
from resolvers import grading, grading_results, grading_work
from resolvers.access import Permission
from resolvers.global_ids import global_id
from resolvers.grading_feed import MOST_LOST, in_turn
from resolvers.grading_work import MOST_TRIES, feed, grade_task, sweep
from resolvers.refusals import Refusal, RefusalCode
from tests.grading_world import QUOTE, Gate, GradingWorld, Members, grading_world, until

__all__ = ["grading_world"]


async def one_task(world: GradingWorld) -> tuple[UUID, UUID]:
    """A run of one submission: its id and its task's."""
    await world.submit()
    run_id = await world.start()
    (task,) = await world.tasks(run_id)
    return run_id, task.id


async def states_told(world: GradingWorld, run_id: UUID, kind: str) -> list[str]:
    """What the events of a run told, in the order they were written."""
    rows = await world.rows(
        StreamEventRow, stream_events.c.stream_id == run_id, stream_events.c.kind == kind
    )
    return [row.payload["state"] for row in sorted(rows, key=lambda row: row.id)]


async def killed(work: asyncio.Task[None]) -> None:
    """A worker that dies: nothing it holds is given back."""
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_a_task_becomes_a_marked_grade_with_evidence(grading_world: GradingWorld) -> None:
    submission = await grading_world.submit()
    run_id = await grading_world.start()
    await grading_world.grade_all(run_id)
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.reasons, task.cost_micros) == ("PROPOSED", [], 30)
    grade = await grading_world.grade(submission)
    version = await grading_world.version(grade)
    assert (grade.state, version.score, version.penalty) == ("MARKED", Decimal(8), Decimal(0))
    assert (version.decided_by, version.task_id) == ("AI", task.id)
    assert len(version.ledger_hash) == 64
    spans = await grading_world.rows(EvidenceSpanRow)
    assert {(s.quote, s.verified) for s in spans} == {(QUOTE, True)}
    run = await grading_world.run(run_id)
    assert (run.state, run.spent_micros) == ("COMPLETED", 30)
    assert await states_told(grading_world, run_id, "TASK_STATE") == [
        "PREPARING",
        "GRADING",
        "CROSS_CHECKING",
        "PROPOSED",
    ]


async def test_two_workers_race_for_one_task(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    members = Members()
    first, second = grading_world.work(members), grading_world.work(members, worker_id=uuid4())
    await asyncio.gather(*(grade_task(w, task_id) for w in (first, second, first, second)))
    assert members.calls == Counter({Seat.GRADER_A: 1, Seat.GRADER_B: 1, Seat.FEEDBACK: 1})
    assert await grading_world.count(AssessmentRow) == 2
    assert await grading_world.count(GradeVersionRow) == 1
    assert (await grading_world.run(run_id)).state == "COMPLETED"


async def test_a_worker_that_stalled_past_its_lease_writes_nothing(
    grading_world: GradingWorld,
) -> None:
    run_id, task_id = await one_task(grading_world)
    gate = Gate()
    stalled = Members(before=gate)
    stalling = asyncio.create_task(grade_task(grading_world.work(stalled), task_id))
    await gate.arrived.wait()
    await grading_world.expire(task_id)
    await sweep(grading_world.work())
    assert [t.state for t in await grading_world.tasks(run_id)] == ["PENDING"]
    await grade_task(grading_world.work(worker_id=uuid4()), task_id)
    gate.opened.set()
    await stalling
    assert await grading_world.count(ModelCallRow) == 3
    assert await grading_world.count(AssessmentRow) == 2
    assert await grading_world.count(GradeVersionRow) == 1
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.fence) == ("PROPOSED", 3)


async def test_a_worker_stalled_after_its_last_call_cannot_save(
    grading_world: GradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, task_id = await one_task(grading_world)
    arrived, opened = asyncio.Event(), asyncio.Event()
    written = grading_world.work().now

    async def save_late(*args: object) -> None:
        arrived.set()
        await opened.wait()
        await saved(*args)  # type: ignore[arg-type]  # passed on as they came

    saved = grading_results.save
    monkeypatch.setattr(grading_work, "save", save_late)
    stalling = asyncio.create_task(grade_task(grading_world.work(), task_id))
    await arrived.wait()
    await grading_world.expire(task_id)
    await sweep(grading_world.work())
    monkeypatch.setattr(grading_work, "save", saved)
    members = Members()
    await grade_task(grading_world.work(members, worker_id=uuid4(), now=written), task_id)
    assert not members.calls  # all three answers had been committed
    opened.set()
    await stalling
    assert await grading_world.count(AssessmentRow) == 2
    assert await grading_world.count(GradeVersionRow) == 1
    assert (await states_told(grading_world, run_id, "TASK_STATE")).count("PROPOSED") == 1


async def test_what_was_committed_before_a_kill_is_not_asked_for_again(
    grading_world: GradingWorld,
) -> None:
    run_id, task_id = await one_task(grading_world)
    gate = Gate()

    async def feedback_hangs(seat: Seat) -> None:
        if seat is Seat.FEEDBACK:
            await gate(seat)

    dying = asyncio.create_task(
        grade_task(grading_world.work(Members(before=feedback_hangs)), task_id)
    )
    await gate.arrived.wait()
    await killed(dying)
    assert [t.state for t in await grading_world.tasks(run_id)] == ["CROSS_CHECKING"]
    await grading_world.expire(task_id)
    await sweep(grading_world.work())
    successor = Members()
    await grade_task(grading_world.work(successor), task_id)
    assert successor.calls == Counter({Seat.FEEDBACK: 1})
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.cost_micros, task.tries) == ("PROPOSED", 30, 1)


async def test_a_long_call_keeps_its_lease(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    gate = Gate()
    work = grading_world.work(Members(before=gate), lease_seconds=0.6)
    working = asyncio.create_task(grade_task(work, task_id))
    await gate.arrived.wait()
    for _ in range(10):
        await asyncio.sleep(0.1)
        await sweep(work)
    gate.opened.set()
    await working
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.fence) == ("PROPOSED", 1)


async def test_no_connection_is_held_while_a_model_is_awaited(
    grading_world: GradingWorld,
) -> None:
    _, task_id = await one_task(grading_world)
    pool = grading_world.database.engine.pool

    async def all_are_back(_seat: Seat) -> None:
        async def none_out() -> bool:
            return pool.checkedout() == 0  # type: ignore[attr-defined, no-any-return]  # a queue pool

        await until(none_out)

    members = Members(before=all_are_back)
    await grade_task(grading_world.work(members), task_id)
    assert members.calls[Seat.FEEDBACK] == 1


async def test_a_paused_run_starts_no_task(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    await grading_world.control(grading.pause_grading_run, run_id)
    run = await grading_world.run(run_id)
    assert (run.state, run.paused_because) == ("PAUSED", "USER")
    await grade_task(grading_world.work(), task_id)
    assert [t.state for t in await grading_world.tasks(run_id)] == ["PENDING"]
    await grading_world.control(grading.resume_grading_run, run_id, budget_micros=None)
    await grade_task(grading_world.work(), task_id)
    run = await grading_world.run(run_id)
    assert (run.state, run.paused_because) == ("COMPLETED", None)


async def test_what_is_being_graded_is_finished_under_a_pause(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    gate = Gate()
    working = asyncio.create_task(grade_task(grading_world.work(Members(before=gate)), task_id))
    await gate.arrived.wait()
    await grading_world.control(grading.pause_grading_run, run_id)
    gate.opened.set()
    await working
    assert [t.state for t in await grading_world.tasks(run_id)] == ["PROPOSED"]
    assert (await grading_world.run(run_id)).state == "PAUSED"
    await grading_world.control(grading.resume_grading_run, run_id, budget_micros=None)
    await sweep(grading_world.work())
    assert (await grading_world.run(run_id)).state == "COMPLETED"


async def test_cancel_stops_calls_in_flight_and_what_waits(grading_world: GradingWorld) -> None:
    for _ in range(3):
        await grading_world.submit()
    run_id = await grading_world.start()
    tasks = await grading_world.tasks(run_id)
    gate = Gate()
    working = asyncio.create_task(grade_task(grading_world.work(Members(before=gate)), tasks[0].id))
    await gate.arrived.wait()
    await grading_world.control(grading.cancel_grading_run, run_id)
    assert (await grading_world.run(run_id)).state == "CANCELLING"
    waiting = [t.state for t in await grading_world.tasks(run_id) if t.id != tasks[0].id]
    assert waiting == ["CANCELLED", "CANCELLED"]
    async with asyncio.timeout(5):
        await working  # the gate was never opened
    assert {t.state for t in await grading_world.tasks(run_id)} == {"CANCELLED"}
    run = await grading_world.run(run_id)
    assert run.state == "CANCELLED"
    assert run.ended_at is not None
    assert await grading_world.count(GradeRow) == 0
    told = await states_told(grading_world, run_id, "TASK_STATE")
    assert told.count("CANCELLED") == 3


async def test_a_cancelled_run_whose_worker_died_is_ended_by_the_sweeper(
    grading_world: GradingWorld,
) -> None:
    run_id, task_id = await one_task(grading_world)
    gate = Gate()
    dying = asyncio.create_task(grade_task(grading_world.work(Members(before=gate)), task_id))
    await gate.arrived.wait()
    await killed(dying)
    await grading_world.control(grading.cancel_grading_run, run_id)
    await grading_world.expire(task_id)
    await sweep(grading_world.work())
    assert [t.state for t in await grading_world.tasks(run_id)] == ["CANCELLED"]
    assert (await grading_world.run(run_id)).state == "CANCELLED"


async def test_a_failure_that_may_pass_is_tried_again_later(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    clock = [datetime.now(UTC)]

    async def fails(_seat: Seat) -> None:
        raise AgentFailure("overloaded", retryable=True)

    members = Members(before=fails)
    work = grading_world.work(members, now=lambda: clock[0])
    for tries in range(1, MOST_TRIES):
        await grade_task(work, task_id)
        (task,) = await grading_world.tasks(run_id)
        assert (task.state, task.tries) == ("FAILED_RETRYABLE", tries)
        assert task.failure == {"code": "UNAVAILABLE", "message": "overloaded"}
        assert task.not_before is not None
        await sweep(work)
        assert [t.state for t in await grading_world.tasks(run_id)] == ["FAILED_RETRYABLE"]
        assert task.not_before > clock[0]
        clock[0] = task.not_before
        await sweep(work)
        assert [t.state for t in await grading_world.tasks(run_id)] == ["PENDING"]
    await grade_task(work, task_id)
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.tries) == ("FAILED", MOST_TRIES)
    assert (await grading_world.run(run_id)).state == "COMPLETED_WITH_ERRORS"


async def test_a_refusal_of_the_model_is_final(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)

    async def refuses(_seat: Seat) -> None:
        raise AgentFailure("key refused", retryable=False)

    await grade_task(grading_world.work(Members(before=refuses)), task_id)
    (task,) = await grading_world.tasks(run_id)
    assert task.state == "FAILED"
    assert task.failure is not None
    assert task.failure["code"] == "REFUSED"


async def test_a_task_that_keeps_losing_its_workers_fails(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    for _ in range(MOST_LOST):
        gate = Gate()
        dying = asyncio.create_task(grade_task(grading_world.work(Members(before=gate)), task_id))
        await gate.arrived.wait()
        await killed(dying)
        await grading_world.expire(task_id)
        await asyncio.gather(sweep(grading_world.work()), sweep(grading_world.work()))
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.tries) == ("FAILED", MOST_LOST)
    assert task.failure is not None
    assert task.failure["code"] == "WORKER_LOST"
    assert (await grading_world.run(run_id)).state == "COMPLETED_WITH_ERRORS"


async def test_a_run_ends_exactly_once_however_many_workers(grading_world: GradingWorld) -> None:
    for _ in range(12):
        await grading_world.submit()
    run_id = await grading_world.start()
    ids = [t.id for t in await grading_world.tasks(run_id)]
    members = Members()

    async def worker() -> None:
        work = grading_world.work(members, worker_id=uuid4())
        for task_id in ids:
            await grade_task(work, task_id)
            await sweep(work)

    await asyncio.gather(*(worker() for _ in range(4)))
    assert {t.state for t in await grading_world.tasks(run_id)} == {"PROPOSED"}
    assert members.calls[Seat.GRADER_A] == len(ids)
    assert await grading_world.count(GradeRow) == len(ids)
    assert await states_told(grading_world, run_id, "RUN_STATE") == [
        "ESTIMATED",
        "QUEUED",
        "RUNNING",
        "COMPLETED",
    ]
    assert (await grading_world.run(run_id)).spent_micros == 30 * len(ids)


async def test_a_budget_pauses_the_run_and_a_larger_one_resumes_it(
    grading_world: GradingWorld,
) -> None:
    for _ in range(3):
        await grading_world.submit()
    run_id = await grading_world.start(budget_micros=25)
    await grading_world.grade_all(run_id)
    run = await grading_world.run(run_id)
    assert (run.state, run.paused_because, run.spent_micros) == ("PAUSED", "BUDGET", 30)
    assert sorted(t.state for t in await grading_world.tasks(run_id)) == [
        "PENDING",
        "PENDING",
        "PROPOSED",
    ]
    with pytest.raises(Refusal) as refused:
        await grading_world.control(grading.resume_grading_run, run_id, budget_micros=None)
    assert refused.value.code is RefusalCode.INVALID_STATE
    assert refused.value.path == ("input", "budgetMicros")
    await grading_world.control(grading.resume_grading_run, run_id, budget_micros=1_000)
    await grading_world.grade_all(run_id)
    assert (await grading_world.run(run_id)).state == "COMPLETED"


async def test_doubt_needs_a_person_and_says_why(grading_world: GradingWorld) -> None:
    def unsure(seat: Seat, _request: GradeRequest) -> tuple[Decimal, float]:
        return Decimal(4), 0.1

    submission = await grading_world.graded(Members(unsure))
    (run,) = await grading_world.rows(GradingRunRow)
    (task,) = await grading_world.tasks(run.id)
    assert task.state == "NEEDS_HUMAN"
    reasons = grading.reasons_of(task)
    assert {r.code for r in reasons} == {"LOW_CONFIDENCE"}
    assert {r.criterion_id for r in reasons} == {c.id for c in grading_world.criteria}
    assert (await grading_world.grade(submission)).state == "MARKED"


async def test_an_empty_answer_gets_a_grade_to_look_at(grading_world: GradingWorld) -> None:
    members = Members()
    submission = await grading_world.graded(members, text="  \n")
    assert not members.calls
    version = await grading_world.version(await grading_world.grade(submission))
    assert version.score == 0


async def test_graders_who_disagree_are_arbitrated_by_the_median(
    grading_world: GradingWorld,
) -> None:
    given = {Seat.GRADER_A: Decimal(0), Seat.GRADER_B: Decimal(5), Seat.ARBITER: Decimal("4.5")}

    def torn(seat: Seat, _request: GradeRequest) -> tuple[Decimal, float]:
        return given[seat], 0.9

    submission = await grading_world.graded(Members(torn))
    version = await grading_world.version(await grading_world.grade(submission))
    assert version.score == Decimal(9)
    slots = {a.slot for a in await grading_world.rows(AssessmentRow)}
    assert slots == {"A", "B", "ARBITER"}


async def test_lateness_is_taken_off_within_the_policy(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded(late_by=timedelta(days=1, hours=1))
    version = await grading_world.version(await grading_world.grade(submission))
    assert (version.score, version.penalty) == (Decimal(8), Decimal(2))


async def test_a_grade_a_person_has_decided_outlives_a_new_run(
    grading_world: GradingWorld,
) -> None:
    submission = await grading_world.graded()
    await grading_world.adjust(await grading_world.grade(submission))
    await grading_world.grade_all(await grading_world.start())
    grade = await grading_world.grade(submission)
    version = await grading_world.version(grade)
    assert (grade.state, version.decided_by, version.number) == ("IN_REVIEW", "HUMAN", 2)
    assert await grading_world.count(AssessmentRow) == 4


async def test_a_retried_task_is_a_new_generation(grading_world: GradingWorld) -> None:
    run_id, task_id = await one_task(grading_world)
    await grading_world.grade_all(run_id)
    await grading_world.change(
        grading.retry_grading_task,
        Permission.RUN_CONTROL,
        task_id=global_id("GradingTask", task_id),
    )
    assert (await grading_world.run(run_id)).state == "RUNNING"
    members = Members()
    await grading_world.grade_all(run_id, members)
    assert members.calls[Seat.GRADER_A] == 1
    (task,) = await grading_world.tasks(run_id)
    assert (task.state, task.generation) == ("PROPOSED", 2)
    assert (await grading_world.run(run_id)).state == "COMPLETED"
    assert await grading_world.count(GradeVersionRow) == 2


async def test_the_queue_holds_twice_the_concurrency_and_no_task_twice(
    grading_world: GradingWorld,
) -> None:
    for _ in range(10):
        await grading_world.submit()
    run_id = await grading_world.start(feeding=False)
    work = grading_world.work(grading_concurrency=2)
    await asyncio.gather(*(feed(work) for _ in range(3)))
    await feed(work)
    assert (await grading_world.run(run_id)).state == "RUNNING"
    async with grading_world.database.read() as connection:
        counts = await queued_counts(connection, "grade_task")
    assert counts.waiting == 4


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40),
)
def test_no_organization_waits_for_another_s_second_task(
    owners: list[tuple[int, int]],
) -> None:
    waiting = [
        Waiting(uuid4(), UUID(int=org), UUID(int=org * 10 + run), 1, 0, 0, None)
        for org, run in owners
    ]
    turns = in_turn(waiting)
    assert sorted(t.id for t in turns) == sorted(t.id for t in waiting)
    for owner in {t.organization_id for t in turns}:
        places = [i for i, t in enumerate(turns) if t.organization_id == owner]
        for nth, place in enumerate(places):
            ahead = Counter(t.organization_id for t in turns[:place])
            assert all(count <= nth + 1 for count in ahead.values())
