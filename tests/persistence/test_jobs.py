import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from persistence.database import Database
from persistence.jobs import (
    JobRunner,
    QueuedCounts,
    enqueue,
    outstanding,
    prune_log,
    queued_counts,
)

SOON = 10.0
REPOSITORY = Path(__file__).parents[2]

# A worker that says what it was given and never finishes it.
STUCK_WORKER = """
import asyncio, sys
from persistence.database import open_database
from persistence.jobs import JobRunner

async def stuck(payload_id):
    print(payload_id, flush=True)
    await asyncio.Event().wait()

async def main():
    async with open_database(sys.argv[1]) as database:
        await JobRunner(database, {"grade": stuck}, {"grade": 4}, takeover_seconds=0.8).run(
            asyncio.Event()
        )

asyncio.run(main())
"""


@asynccontextmanager
async def running(runner: JobRunner) -> AsyncIterator[asyncio.Event]:
    """Runs it; stops it at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


async def put(database: Database, *ids: UUID, entrypoint: str = "grade") -> None:
    async with database.transaction() as connection:
        for payload_id in ids:
            await enqueue(connection, entrypoint, payload_id, dedupe_key=f"{payload_id}:1")


async def counts(database: Database, entrypoint: str = "grade") -> QueuedCounts:
    async with database.read() as connection:
        return await queued_counts(connection, entrypoint)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await holds():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)


async def empty(database: Database, entrypoint: str = "grade") -> None:
    async def holds() -> bool:
        return await counts(database, entrypoint) == QueuedCounts(0, 0)

    await eventually(holds)


async def test_a_rolled_back_job_was_never_there(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await enqueue(connection, "grade", uuid4(), dedupe_key="k")
        assert await queued_counts(connection, "grade") == QueuedCounts(1, 0)
        await connection.rollback()
    assert await counts(database) == QueuedCounts(0, 0)


async def test_a_duplicate_is_no_error_and_the_transaction_goes_on(database: Database) -> None:
    first = uuid4()
    await put(database, first)
    async with database.transaction() as connection:
        assert not await enqueue(connection, "grade", first, dedupe_key=f"{first}:1")
        second = uuid4()
        assert await enqueue(connection, "grade", second, dedupe_key=f"{second}:1")
    async with database.read() as connection:
        assert await outstanding(connection, "grade") == {first, second}
        assert await outstanding(connection, "study") == frozenset()


async def test_of_two_transactions_with_one_key_one_enqueues(database: Database) -> None:
    async def attempt() -> bool:
        async with database.transaction() as connection:
            return await enqueue(connection, "grade", uuid4(), dedupe_key="same")

    assert sorted(await asyncio.gather(*(attempt() for _ in range(6)))) == [False] * 5 + [True]


async def test_jobs_run_by_priority_after_their_delay_and_are_gone(database: Database) -> None:
    low, high, later = uuid4(), uuid4(), uuid4()
    ran: list[UUID] = []

    async def handler(payload_id: UUID) -> None:
        ran.append(payload_id)

    async with database.transaction() as connection:
        delay = timedelta(seconds=0.3)
        await enqueue(connection, "grade", later, dedupe_key="c", priority=9, delay=delay)
        await enqueue(connection, "grade", low, dedupe_key="a")
        await enqueue(connection, "grade", high, dedupe_key="b", priority=5)
    async with running(JobRunner(database, {"grade": handler}, {"grade": 1})):
        await empty(database)
    assert ran == [high, low, later]


async def test_a_handler_that_fails_neither_ends_the_worker_nor_keeps_its_text(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    bad, cancelled, good = uuid4(), uuid4(), uuid4()
    done = asyncio.Event()

    async def handler(payload_id: UUID) -> None:
        if payload_id == bad:
            raise ValueError("what a student wrote")
        if payload_id == cancelled:
            raise asyncio.CancelledError
        done.set()

    await put(database, bad, cancelled, good)
    async with running(JobRunner(database, {"grade": handler}, {"grade": 1})):
        await empty(database)
    assert done.is_set()
    failed = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert failed == [f"job grade {bad} failed", f"job grade {cancelled} cancelled itself"]
    async with database.transaction() as connection:
        kept = text("SELECT count(*) FROM pgqueuer_log WHERE traceback IS NOT NULL")
        assert (await connection.execute(kept)).scalar_one() == 0
        assert await prune_log(connection, timedelta(hours=1)) == 0
        assert await prune_log(connection, timedelta(0)) == 9


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_concurrency_is_a_bound_and_is_used(database: Database, concurrency: int) -> None:
    now, most = 0, 0

    async def handler(payload_id: UUID) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    await put(database, *(uuid4() for _ in range(15)))
    async with running(JobRunner(database, {"grade": handler}, {"grade": concurrency})):
        await empty(database)
    assert most == concurrency


async def test_study_does_not_wait_behind_grading(database: Database) -> None:
    studied, go_on = asyncio.Event(), asyncio.Event()

    async def grade(payload_id: UUID) -> None:
        await go_on.wait()

    async def study(payload_id: UUID) -> None:
        studied.set()

    await put(database, *(uuid4() for _ in range(20)))
    runner = JobRunner(database, {"grade": grade, "study": study}, {"grade": 2, "study": 1})
    async with running(runner):
        await eventually(lambda: asyncio.sleep(0, len(runner.running()) == 2))
        await put(database, uuid4(), entrypoint="study")
        async with asyncio.timeout(SOON):
            await studied.wait()
        assert await counts(database) == QueuedCounts(18, 2)
        go_on.set()
        await empty(database)


async def test_stopping_waits_for_what_runs_and_takes_nothing_new(database: Database) -> None:
    started, finished, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(payload_id: UUID) -> None:
        started.set()
        await go_on.wait()
        finished.set()

    await put(database, uuid4())
    async with running(JobRunner(database, {"grade": handler}, {"grade": 2})) as stop:
        await asyncio.wait_for(started.wait(), SOON)
        stop.set()
        await asyncio.sleep(0.1)  # a request for jobs that is under way is still answered
        await put(database, uuid4())
        await asyncio.sleep(0.1)
        assert await counts(database) == QueuedCounts(1, 1)
        go_on.set()
    assert finished.is_set()
    assert await counts(database) == QueuedCounts(1, 0)


@pytest.mark.parametrize("hard", [False, True], ids=["drain time over", "run cancelled"])
async def test_what_cannot_finish_is_left_to_be_taken_over(database: Database, hard: bool) -> None:
    """Deleting it is what the engine does when its tasks are cancelled."""
    payload_id, started = uuid4(), asyncio.Event()
    again: list[UUID] = []

    async def endless(payload_id: UUID) -> None:
        started.set()
        await asyncio.Event().wait()

    async def quick(payload_id: UUID) -> None:
        again.append(payload_id)

    await put(database, payload_id)
    stop = asyncio.Event()
    runner = JobRunner(
        database, {"grade": endless}, {"grade": 2}, takeover_seconds=0.5, drain_seconds=0.1
    )
    task = asyncio.create_task(runner.run(stop))
    await asyncio.wait_for(started.wait(), SOON)
    if hard:
        task.cancel()
    else:
        stop.set()
    await asyncio.wait({task})
    assert task.cancelled() == hard
    assert await counts(database) == QueuedCounts(0, 1)
    async with running(JobRunner(database, {"grade": quick}, {"grade": 2}, takeover_seconds=0.5)):
        await empty(database)
    assert again == [payload_id]


async def test_a_killed_workers_jobs_are_taken_over(
    database: Database, database_dsn: str, tmp_path: Path
) -> None:
    ids = {uuid4() for _ in range(6)}
    await put(database, *ids)
    script = tmp_path / "worker.py"
    script.write_text(STUCK_WORKER)
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        database_dsn,
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    try:
        async with asyncio.timeout(SOON):
            stuck = {UUID((await worker.stdout.readline()).decode().strip()) for _ in range(4)}
        assert await counts(database) == QueuedCounts(2, 4)
    finally:
        worker.kill()
        await worker.wait()
    ran: list[UUID] = []

    async def handler(payload_id: UUID) -> None:
        ran.append(payload_id)

    async with running(JobRunner(database, {"grade": handler}, {"grade": 4}, takeover_seconds=0.8)):
        await empty(database)
    assert stuck < ids
    assert sorted(ran) == sorted(ids)


async def test_a_living_worker_is_not_taken_over(database: Database) -> None:
    ran: list[UUID] = []

    async def slow(payload_id: UUID) -> None:
        ran.append(payload_id)
        await asyncio.sleep(1.5)

    await put(database, uuid4())
    one, two = (
        JobRunner(database, {"grade": slow}, {"grade": 2}, takeover_seconds=0.6) for _ in range(2)
    )
    async with running(one), running(two):
        await empty(database)
    assert len(ran) == 1


async def test_cut_connections_cost_nothing(database: Database) -> None:
    """A handler under way ends once and is done; the next job still comes."""
    first, second = uuid4(), uuid4()
    ran: list[UUID] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def handler(payload_id: UUID) -> None:
        ran.append(payload_id)
        started.set()
        await go_on.wait()

    await put(database, first)
    admin = await database.direct()
    try:
        runner = JobRunner(database, {"grade": handler}, {"grade": 2}, takeover_seconds=2)
        async with running(runner):
            await asyncio.wait_for(started.wait(), SOON)
            for _ in range(2):

                async def cut() -> bool:
                    return bool(
                        await admin.fetch(
                            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
                            " WHERE application_name = 'assay jobs grade'"
                            " AND datname = current_database()"
                        )
                    )

                await eventually(cut)
            go_on.set()
            await put(database, second)
            await empty(database)
    finally:
        await admin.close()
    assert ran == [first, second]


def test_an_entrypoint_without_a_place_is_refused(database: Database) -> None:
    async def handler(payload_id: UUID) -> None: ...

    with pytest.raises(ValueError, match="grade"):
        JobRunner(database, {"grade": handler}, {})
    with pytest.raises(ValueError, match="at least 1"):
        JobRunner(database, {"grade": handler}, {"grade": 0})


async def test_each_kind_of_jobs_is_told_of_on_its_own_channel(database: Database) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    connection = await database.direct()

    def hear(_connection: object, _pid: int, channel: str, notice: object) -> None:
        told = json.loads(str(notice))
        heard.put_nowait((channel, told.get("operation", told["type"])))

    async def done(_payload_id: UUID) -> None:
        return

    try:
        for channel in ("ch_pgqueuer", "ch_pgqueuer_grade", "ch_pgqueuer_study"):
            await connection.add_listener(channel, hear)
        runner = JobRunner(database, {"grade": done, "study": done}, {"grade": 1, "study": 1})
        async with running(runner), asyncio.timeout(SOON):
            assert {await heard.get(), await heard.get()} == {
                ("ch_pgqueuer_grade", "health_check_event"),
                ("ch_pgqueuer_study", "health_check_event"),
            }
            await put(database, uuid4())
            assert await heard.get() == ("ch_pgqueuer_grade", "insert")
            assert await heard.get() == ("ch_pgqueuer_grade", "delete")
        assert heard.empty()
    finally:
        await connection.close()
