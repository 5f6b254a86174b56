"""Workers die and stall; each submission still gets one grade, and nothing is paid for twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import serving
from ops.wiring import Resources
from tests.worker_process import worker_process
from tests.world import ADMIN, INSTRUCTOR, World, make_world

SUBMISSIONS = 24
FOLLOW = """subscription($runId: ID!) { gradingRun(runId: $runId, afterSeq: 0) {
  seq run { state progress { total proposed needsHuman failed } } task { id state } } }"""
STATE = "query($id: ID!) { node(id: $id) { ... on GradingRun { state progress { total pending "
STATE += "proposed needsHuman failed } } } }"

# BEFORE INSERT also fires for a row that ON CONFLICT then drops: each call that was made leaves
# a line here, whether or not its answer was there already.
WATCH = """
CREATE TABLE IF NOT EXISTS made_call (owner_id uuid, generation int, step_key text);
CREATE OR REPLACE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO made_call VALUES (NEW.owner_id, NEW.generation, NEW.step_key); RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER note_call BEFORE INSERT ON model_call
FOR EACH ROW EXECUTE FUNCTION note_call();
"""
UNWATCH = "DROP TRIGGER note_call ON model_call; DROP FUNCTION note_call; DROP TABLE made_call"


@pytest.fixture
async def api(resources: Resources) -> AsyncIterator[World]:
    """The api alone; workers are processes of their own."""
    connection = await asyncpg.connect(resources.database.direct_dsn)
    await connection.execute(WATCH)
    try:
        async with serving(resources) as base_url, make_world(resources, base_url) as world:
            yield world
    finally:
        await connection.execute(UNWATCH)
        await connection.close()


def worker(resources: Resources) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`assay worker` as a process."""
    redis_url = resources.settings.redis_url
    redis = {"ASSAY_REDIS_URL": redis_url.get_secret_value()} if redis_url else {}
    return worker_process(
        resources.settings,
        resources.database.direct_dsn,
        ASSAY_WORKER_CONCURRENCY="4",
        **redis,
    )


async def start_run(world: World) -> tuple[Client, str]:
    assignment_id, question_id, _ = await world.assignment()
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    emails = [f"student{i}@example.edu" for i in range(SUBMISSIONS)]
    await admin.change(gql.CREATE_USERS, users=[{"email": e, "name": e} for e in emails])
    await admin.change(gql.ENROL, courseId=world.course_id, emails=emails)
    for i, email in enumerate(emails):
        text = f"Number {i}: it reads the destination address and forwards to the next hop. " * 3
        await world.submit(email, assignment_id, question_id, text)
    run = await instructor.change(gql.START_RUN, assignmentId=assignment_id)
    return instructor, run["id"]


async def settled(instructor: Client, run_id: str) -> dict[str, Any]:
    node = (await instructor.ask(STATE, {"id": run_id}))["node"]
    progress = node["progress"]
    return dict(node) | {
        "settled": progress["proposed"] + progress["needsHuman"] + progress["failed"]
    }


async def until_settled(instructor: Client, run_id: str, count: int) -> None:
    async with asyncio.timeout(60):
        while (await settled(instructor, run_id))["settled"] < count:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)


async def until_ended(instructor: Client, run_id: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(90), instructor.follow(FOLLOW, {"runId": run_id}) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - what was seen is told when it ends too late
    except TimeoutError:
        now = await settled(instructor, run_id)
        pytest.fail(f"no end after {len(seen)} events; last {seen[-1:]}; now {now}")
    return seen


async def check_one_grade_each(world: World) -> None:
    async with world.resources.database.read() as connection:
        for query, expected in (
            ("SELECT count(*) FROM grade WHERE state = 'MARKED'", SUBMISSIONS),
            ("SELECT count(*) FROM grade_version", SUBMISSIONS),
            ("SELECT count(*) FROM grade_version WHERE is_current", SUBMISSIONS),
            ("SELECT count(DISTINCT (task_id, slot)) - count(*) FROM assessment", 0),
        ):
            found = await connection.exec_driver_sql(query)
            assert found.scalar_one() == expected, query


async def repeated_calls(world: World) -> int:
    async with world.resources.database.read() as connection:
        found = await connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM made_call) - (SELECT count(*) FROM model_call)"
        )
        return int(found.scalar_one())


def numbered(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events[1:]]


async def test_a_killed_workers_tasks_are_taken_over(api: World) -> None:
    async with worker(api.resources) as first:
        instructor, run_id = await start_run(api)
        await until_settled(instructor, run_id, 3)
        first.kill()
        await first.wait()
    left = await settled(instructor, run_id)
    assert left["settled"] < SUBMISSIONS, "the worker was too fast to be killed mid-run"
    async with worker(api.resources):
        events = await until_ended(instructor, run_id)
    assert events[-1]["run"]["state"] == "COMPLETED"
    assert numbered(events) == list(range(1, len(events)))
    await check_one_grade_each(api)
    assert await repeated_calls(api) == 0


async def test_a_stalled_workers_late_writes_are_refused(api: World) -> None:
    async with worker(api.resources) as stalled:
        instructor, run_id = await start_run(api)
        await until_settled(instructor, run_id, 3)
        stalled.send_signal(signal.SIGSTOP)
        assert (await settled(instructor, run_id))["settled"] < SUBMISSIONS
        async with worker(api.resources):
            events = await until_ended(instructor, run_id)
            stalled.send_signal(signal.SIGCONT)
            await asyncio.sleep(2)
    assert events[-1]["run"]["state"] == "COMPLETED"
    await check_one_grade_each(api)
    ended = await settled(instructor, run_id)
    assert ended["state"] == "COMPLETED"


async def test_sigterm_lets_running_tasks_finish(api: World) -> None:
    async with worker(api.resources) as first:
        instructor, run_id = await start_run(api)
        await until_settled(instructor, run_id, 3)
        first.terminate()
        async with asyncio.timeout(30):
            assert await first.wait() == 0
    async with worker(api.resources):
        events = await until_ended(instructor, run_id)
    assert events[-1]["run"]["state"] == "COMPLETED"
    await check_one_grade_each(api)
    assert await repeated_calls(api) == 0
