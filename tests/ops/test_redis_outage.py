"""Redis comes and goes under an api and a worker; followers lose time and nothing else.

`pytest -s tests/ops/test_redis_outage.py` prints how long events took in each phase.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from ops.demo import documents as gql
from ops.processes import serving
from ops.settings import load_settings
from ops.wiring import open_resources
from persistence.database import Database
from persistence.redis_bus import channel_name
from tests.ops.test_takeover import worker
from tests.redis_server import RedisServer, redis_folder
from tests.schema.test_study import ANSWER, asked, node, uploaded
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World, make_world

SUBMISSIONS = 16
FOLLOW = """subscription($runId: ID!) { gradingRun(runId: $runId, afterSeq: 0) {
  seq kind at run { state } } }"""
LONGEST_SECONDS = 15.0  # polls take up to 2.5 s on an idle machine

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Phase:
    """The events after the change to Redis, in seconds from commit to arrival, and `/ready`."""

    name: str
    delays: list[float]
    ready: str
    reason: str

    def __str__(self) -> str:
        median, longest = statistics.median(self.delays), max(self.delays)
        return (
            f"{self.name:24} {len(self.delays):6} {median:8.2f} s {longest:8.2f} s  "
            f"200 {self.ready:9} {self.reason}"
        )


HEADER = f"{'phase':24} {'events':>6} {'median':>10} {'max':>10}  /ready"


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    """Not started yet."""
    with redis_folder() as made:
        yield made
        await made.kill()


@pytest.fixture
async def apart(
    database: Database, database_dsn: str, shared_directory: Path, server: RedisServer
) -> AsyncIterator[World]:
    """The api here, the worker a process of its own; both started without Redis."""
    settings = load_settings(
        database_url=database_dsn,
        redis_url=server.url,
        data_dir=shared_directory / "data",
        port=0,
        lease_seconds=6,
    )
    async with (
        open_resources(settings) as resources,
        worker(resources),
        serving(resources) as base_url,
        make_world(resources, base_url) as made,
    ):
        yield made


async def ready(world: World, expected: str) -> str:
    """The reason of the bus, once the status is `expected`; never anything but 200."""
    async with asyncio.timeout(30):
        while True:
            answer = await world.http.get("/ready")
            assert answer.status_code == 200, answer.text
            found = answer.json()
            if found["status"] == expected:
                return str(found["checks"]["bus"]["reason"])
            await asyncio.sleep(0.05)


async def heard(world: World, server: RedisServer) -> None:
    """Returns when both processes listen to Redis."""
    channel = await channel_name(world.resources.database)
    async with asyncio.timeout(30):
        with server.client() as client:
            while client.pubsub_numsub(channel) != [(channel.encode(), 2)]:  # noqa: ASYNC110 - theirs
                await asyncio.sleep(0.05)


async def assignment(world: World, emails: list[str]) -> str:
    """One with a submission of each of these students."""
    assignment_id, question_id, _ = await world.assignment()
    for i, email in enumerate(emails):
        text = f"Number {i}: it reads the destination address and forwards to the next hop. " * 3
        await world.submit(email, assignment_id, question_id, text)
    return assignment_id


async def phase(
    world: World, name: str, status: str, emails: list[str], act: Act | None = None
) -> Phase:
    """A whole run; `act` is done in the midst of it."""
    instructor = await world.client(INSTRUCTOR)
    assignment_id = await assignment(world, emails)
    run = await instructor.change(gql.START_RUN, assignmentId=assignment_id)
    seqs, delays, acted = [], [], act is None
    state = ""
    async with asyncio.timeout(120), instructor.follow(FOLLOW, {"runId": run["id"]}) as events:
        async for event in events:
            state = event["run"]["state"]
            if event["kind"] == "SNAPSHOT":
                continue
            seqs.append(event["seq"])
            if acted:
                delays.append(time.time() - datetime.fromisoformat(event["at"]).timestamp())
            elif act is not None and len(seqs) >= SUBMISSIONS:
                await act()
                acted = True
    assert state == "COMPLETED"
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 3 * SUBMISSIONS
    assert max(delays) < LONGEST_SECONDS
    return Phase(name, delays, status, await ready(world, status))


async def answered(world: World) -> None:
    """An answer's text reaches its follower whole, whatever carries it."""
    student = await world.client(STUDENTS[0])
    _, reply, told = await asked(student, world)
    chunks = [event["chunk"] for event in told if event["kind"] == "CHUNK"]
    last = max(chunk["generation"] for chunk in chunks)
    text = ""
    for chunk in chunks:
        if chunk["generation"] == last:
            text = text[: chunk["offset"]] + chunk["text"]
    assert text
    assert text == (await node(student, ANSWER, reply))["text"]


async def test_redis_comes_and_goes_and_nothing_is_lost(apart: World, server: RedisServer) -> None:
    admin = await apart.client(ADMIN)
    emails = [f"student{i}@example.edu" for i in range(SUBMISSIONS)]
    await admin.change(gql.CREATE_USERS, users=[{"email": e, "name": e} for e in emails])
    await admin.change(gql.ENROL, courseId=apart.course_id, emails=emails)
    await uploaded(apart, "routing.md", MATERIAL["routing.md"].encode())

    async def freeze() -> None:
        server.freeze()

    async def back(name: str) -> Phase:
        await heard(apart, server)
        await ready(apart, "OK")
        return await phase(apart, name, "OK", emails)

    phases = [await phase(apart, "down at the start", "DEGRADED", emails)]
    await answered(apart)
    await server.start()
    phases.append(await back("started"))
    await answered(apart)
    phases.append(await phase(apart, "kill -9 in a run", "DEGRADED", emails, server.kill))
    await server.start()
    phases.append(await back("started again"))
    phases.append(await phase(apart, "SIGSTOP in a run", "DEGRADED", emails, freeze))
    await answered(apart)
    server.thaw()
    phases.append(await back("SIGCONT"))
    print("", HEADER, *phases, sep="\n")  # noqa: T201 - the table, with -s
