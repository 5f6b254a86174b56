"""Two workers are killed, each with many answers in flight: all end whole, none is paid for twice.

`pytest -s` prints what was in flight at each kill, and what the provider and the ledger count.
"""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ops.demo.client import Client
from persistence.database import Database
from resolvers.global_ids import key_of
from tests import study_api as api
from tests.agents.models.gemini_server import gemini_server
from tests.agents.models.openai_server import openai_server
from tests.agents.models.protocol_server import ProtocolServer, Request
from tests.agents.models.team_replies import TEXT
from tests.model_world import (
    PRICES,
    ModelWorld,
    Place,
    approve,
    asked_by,
    by_gemini,
    by_openai,
    model_world,
    served_name,
    working_process,
)
from tests.schema.test_study import uploaded
from tests.study_api import is_complete, numbers, read, until
from tests.study_world import MATERIAL
from tests.world import ADMIN, STUDENTS

SEED = 3
ANSWERS = 24
EVENTS = (40, 200)
"""Of all answers together, between the beginning, or a takeover, and the next kill."""
STEPS = {"planner": "planner", "tutor:0": "tutor", "critic:0": "critic"}
BUDGET = "{ viewer { organization { modelBudget { spentMicros reservedMicros } } } }"

Call = tuple[int, str]
"""The number of a question, and the member that was asked."""


@dataclass
class Providers:
    """Two servers that take their time, between events and before kills."""

    servers: Sequence[ProtocolServer]
    random: Random = field(default_factory=lambda: Random(SEED))
    events: int = 0
    moment: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    async def pace(self, _request: Request, _events: int) -> None:
        """See `ProtocolServer.pace`."""
        self.events += 1
        if self.events == self.moment:
            self.reached.set()
        await self.flowing.wait()
        await asyncio.sleep(self.random.uniform(0, 0.1))

    def choose(self) -> None:
        """Sets the next moment, at which `reached` is set."""
        self.reached.clear()
        self.flowing.set()
        self.moment = self.events + self.random.randint(*EVENTS)

    def calls(self) -> Counter[Call]:
        """What was asked so far."""
        found: Counter[Call] = Counter()
        for request in (one for server in self.servers for one in server.requests):
            member, prompt = asked_by(request)
            question = re.search(r"Question (\d+):", prompt)
            assert question is not None, prompt
            found[int(question[1]), member] += 1
        return found

    @property
    def unanswered(self) -> int:
        """Calls that have begun and are not answered to the end."""
        return sum(server.open_now for server in self.servers)


@dataclass(frozen=True)
class Kill:
    """What was at the moment: calls so far, those without their whole answer, the ledger, and
    the calls the account has not settled: an answer is kept first."""

    calls: Counter[Call]
    unanswered: int
    ledger: frozenset[Call]
    unsettled: frozenset[UUID]

    @property
    def lost(self) -> int:
        """Calls so far whose answer was not kept."""
        return self.calls.total() - len(self.ledger)


@dataclass
class Course:
    """A course, its providers, and the answers by the number of their question."""

    made: ModelWorld
    providers: Providers
    connection: "asyncpg.Connection[asyncpg.Record]"
    questions: dict[UUID, int] = field(default_factory=dict)
    """By the message that answers."""
    sessions: list[UUID] = field(default_factory=list)
    following: list[AsyncIterator[dict[str, Any]]] = field(default_factory=list)
    told: list[list[dict[str, Any]]] = field(default_factory=list)

    def worker(self) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return working_process(self.made.settings, ASSAY_STUDY_CONCURRENCY=str(ANSWERS))

    async def ask(self, student: Client, number: int, stack: AsyncExitStack) -> None:
        """Asks in a session of its own, which is followed."""
        session = await api.opened(student, self.made.world.course_id)
        follow = student.follow(api.FOLLOW, {"sessionId": session})
        events = await stack.enter_async_context(follow)
        await anext(events)
        text = f"Question {number}: what happens when the time to live of a packet is zero?"
        reply = await student.change(api.ASK, sessionId=session, text=text)
        self.questions[key_of(reply["id"], "Message", ())] = number
        self.sessions.append(key_of(session, "StudySession", ()))
        self.following.append(events)
        self.told.append([])

    async def ledger(self) -> frozenset[Call]:
        """The calls whose answers are kept."""
        rows = await self.connection.fetch(
            "SELECT owner_id, step_key FROM model_call WHERE step_key <> 'retrieval'"
        )
        return frozenset((self.questions[row["owner_id"]], STEPS[row["step_key"]]) for row in rows)

    async def all_kept(self, lost: int) -> None:
        """Has the providers fall silent, and returns when all they answered is in the ledger."""
        self.providers.flowing.clear()
        async with asyncio.timeout(20):
            while True:
                answered = self.providers.calls().total() - self.providers.unanswered
                if len(await self.ledger()) == answered - lost:
                    return
                await asyncio.sleep(0.02)

    async def kill(self, worker: asyncio.subprocess.Process) -> Kill:
        """As it says. What the worker had sent and the providers had not read is in flight, too."""
        worker.kill()
        calls, unanswered = self.providers.calls().total(), self.providers.unanswered
        self.providers.flowing.clear()
        await worker.wait()
        async with asyncio.timeout(20):
            while self.providers.unanswered:  # noqa: ASYNC110 - connections of another process
                await asyncio.sleep(0.02)
        begun = self.providers.calls()
        unanswered += begun.total() - calls
        return Kill(begun, unanswered, await self.ledger(), await self.unsettled())

    async def unsettled(self) -> frozenset[UUID]:
        """Calls whose cost the account does not know yet."""
        rows = await self.connection.fetch("SELECT id FROM model_usage WHERE outcome = 'RUNNING'")
        return frozenset(row["id"] for row in rows)

    async def all_told(self) -> None:
        """Reads each session's events to the last."""
        for events, told in zip(self.following, self.told, strict=True):
            await until(events, told, is_complete)
        async with asyncio.timeout(30):
            while await self.connection.fetchval(  # noqa: ASYNC110 - another process's doing
                "SELECT EXISTS (SELECT FROM stream_event WHERE seq IS NULL)"
                " OR EXISTS (SELECT FROM message WHERE lease_owner IS NOT NULL)"
            ):
                await asyncio.sleep(0.02)
        for session, events, told in zip(self.sessions, self.following, self.told, strict=True):
            last = await self.connection.fetchval(
                "SELECT max(seq) FROM stream_event WHERE stream_id = $1", session
            )
            if told[-1]["seq"] < last:
                await until(events, told, lambda event, last=last: event["seq"] == last)
            assert numbers(told) == list(range(1, last + 1))


@pytest.fixture
async def course(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Course]:
    """Planner and critic are OpenAI-compatible, the tutor speaks Gemini; no worker runs yet."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(openai_server().running())
        other = await stack.enter_async_context(gemini_server().running())
        providers = Providers((one, other))
        one.pace = other.pace = providers.pace
        name, tutor = served_name(one, "openai"), served_name(other, "gemini")
        models = [{"name": each, "prices": PRICES, "region": "EU"} for each in (name, tutor)]
        world = model_world(
            Place(database_dsn, shared_directory),
            one,
            "openai",
            alone=True,
            models=models,
            study_models=f"{name}, tutor={tutor}",
            ws_connections=ANSWERS,
        )
        made = await stack.enter_async_context(world)
        await approve(await made.world.client(ADMIN), tutor)
        one.usual, other.usual = partial(by_openai, pieces=6), partial(by_gemini, pieces=12)
        connection = await database.direct()
        stack.push_async_callback(connection.close)
        yield Course(made, providers, connection)


async def test_answers_in_flight_survive_two_kills_and_nothing_kept_is_paid_for_again(
    course: Course,
) -> None:
    world, providers = course.made.world, course.providers
    kills: list[Kill] = []
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(course.worker())
        await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
        students = [await world.client(email) for email in STUDENTS]
        for number in range(ANSWERS):
            await course.ask(students[number % len(students)], number, stack)
        providers.choose()
        for at_rest in (False, True):
            async with asyncio.timeout(60):
                await providers.reached.wait()
            if at_rest:
                await course.all_kept(kills[-1].lost)
            kills.append(await course.kill(worker))
            worker = await stack.enter_async_context(course.worker())
            providers.choose()
        await course.all_told()
        end = Kill(providers.calls(), providers.unanswered, await course.ledger(), frozenset())
    show(kills, end)
    assert len(end.ledger) == ANSWERS * len(STEPS)
    for kill in kills:
        assert all(end.calls[call] == kill.calls[call] for call in kill.ledger), "paid for again"
    first, second = kills
    assert first.lost <= ANSWERS, "an answer has one call in flight at a time"
    assert second.lost - first.lost <= second.unanswered
    assert end.lost == second.lost, "only kills lose calls"
    await check_answers(course)
    await check_usage(course, end, first.unsettled | second.unsettled)


async def check_answers(course: Course) -> None:
    """Each is whole, ended once, and was begun anew only where a worker died."""
    rows = await course.connection.fetch(
        "SELECT m.id, state, text, tries, generation, (SELECT count(*) FROM stream_event e"
        " WHERE e.payload ->> 'message_id' = m.id::text AND e.payload ->> 'state' = 'COMPLETE')"
        " AS ends FROM message m WHERE author = 'TUTOR'"
    )
    assert {row["id"] for row in rows} == set(course.questions)
    for row in rows:
        told = course.told[course.questions[row["id"]]]
        assert (row["state"], row["text"], row["ends"]) == ("COMPLETE", TEXT, 1)
        assert row["generation"] == row["tries"] <= 3
        seen = [event["chunk"]["generation"] for event in told if event["chunk"]]
        assert seen == sorted(seen)
        assert set(seen) <= set(range(1, row["generation"] + 1))
        assert read(told).text == TEXT


async def check_usage(course: Course, end: Kill, unsettled: frozenset[UUID]) -> None:
    """Nothing is set aside any more, and each call is in the account: as it was answered, but for
    those the dead had not settled."""
    rows = await course.connection.fetch("SELECT id, outcome, cost_micros FROM model_usage")
    outcomes = Counter(row["outcome"] for row in rows)
    assert set(outcomes) <= {"ANSWERED", "LOST"}, outcomes
    assert {row["id"] for row in rows if row["outcome"] == "LOST"} <= unsettled
    assert outcomes.total() >= end.calls.total()
    admin = await course.made.world.client(ADMIN)
    budget = (await admin.ask(BUDGET))["viewer"]["organization"]["modelBudget"]
    spent = sum(row["cost_micros"] for row in rows)
    assert budget == {"spentMicros": spent, "reservedMicros": 0}


def show(kills: Sequence[Kill], end: Kill) -> None:
    """Prints a line for each kill and one for the end."""
    lines = ["          calls   ledger   not kept   of them in flight at the provider"]
    lost = 0
    for at, kill in enumerate((*kills, end), 1):
        name = "the end" if kill is end else f"kill {at}"
        lines.append(
            f"{name:8}  {kill.calls.total():5}   {len(kill.ledger):6}   {kill.lost - lost:8}"
            f"   {kill.unanswered:8}"
        )
        lost = kill.lost
    sys.stdout.write("\n".join(["", *lines, ""]))
