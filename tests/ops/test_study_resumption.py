"""Answers a language model writes: their worker dies, they are cancelled, two tabs follow them."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.demo.client import Client
from ops.processes import serving
from ops.wiring import open_resources
from persistence.database import Database
from tests import study_api as api
from tests.agents.models.openai_server import openai_server
from tests.agents.models.protocol_server import Request
from tests.agents.models.team_replies import TEXT
from tests.model_world import ModelWorld, Place, asked_by, by_openai, model_world, working_process
from tests.schema.test_study import uploaded
from tests.study_api import (
    is_chunk,
    is_complete,
    numbers,
    read,
    steps_of,
    until,
    until_told,
)
from tests.study_world import MATERIAL
from tests.world import STUDENTS

ANN = STUDENTS[0]
QUESTION = "What happens when the time to live of a packet reaches zero?"
BEFORE_GATE = 2
STREAMS = 50


@dataclass(frozen=True)
class Held:
    """The api, and a model that stops in the middle of a tutor's answer until `gate` is set."""

    made: ModelWorld
    gate: asyncio.Event

    @property
    def calls(self) -> Counter[str]:
        """How often each member has asked."""
        return Counter(asked_by(request)[0] for request in self.made.server.requests)

    async def pace(self, request: Request, events: int) -> None:
        """See `ProtocolServer.pace`."""
        if events >= BEFORE_GATE and asked_by(request)[0] == "tutor":
            await self.gate.wait()

    async def last_event(self) -> int:
        """The number of the session's last event, once the worker has ended what it writes."""
        connection = await self.made.world.resources.database.direct()
        try:
            async with asyncio.timeout(30):
                while await connection.fetchval(  # noqa: ASYNC110 - another process's doing
                    "SELECT EXISTS (SELECT FROM stream_event WHERE seq IS NULL)"
                    " OR EXISTS (SELECT FROM message WHERE lease_owner IS NOT NULL)"
                ):
                    await asyncio.sleep(0.02)
            return int(await connection.fetchval("SELECT max(seq) FROM stream_event"))
        finally:
            await connection.close()

    async def ledger(self) -> list[str]:
        """The steps of the provider's calls that were recorded."""
        connection = await self.made.world.resources.database.direct()
        try:
            rows = await connection.fetch(
                "SELECT step_key FROM model_call WHERE provider = 'openai' ORDER BY created_at"
            )
        finally:
            await connection.close()
        return [row["step_key"] for row in rows]


@pytest.fixture
async def held(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Held]:
    """A course with such a tutor; no worker runs yet."""
    place = Place(database_dsn, shared_directory)
    async with (
        openai_server().running() as server,
        model_world(place, server, "openai", alone=True) as made,
    ):
        opened = Held(made, asyncio.Event())
        server.pace = opened.pace
        yield opened


async def begun(held: Held) -> tuple[Client, str]:
    """A session of Ann's in a course whose material is indexed."""
    world = held.made.world
    await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
    ann = await world.client(ANN)
    return ann, await api.opened(ann, world.course_id)


async def test_an_answer_whose_worker_is_killed_is_taken_over(held: Held) -> None:
    told: list[Any] = []
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(working_process(held.made.settings))
        ann, session = await begun(held)
        follow = ann.follow(api.FOLLOW, {"sessionId": session})
        events = await stack.enter_async_context(follow)
        await anext(events)
        reply = (await ann.change(api.ASK, sessionId=session, text=QUESTION))["id"]
        await until(events, told, is_chunk)
        assert read(told).text
        assert TEXT.startswith(read(told).text)
        first.kill()
        await first.wait()
        calls, ledger = held.calls.total(), await held.ledger()
        assert calls - len(ledger) <= 1, "the tutor's call was in flight"
        assert ledger == ["planner"]
        held.gate.set()
        await stack.enter_async_context(working_process(held.made.settings))
        await until(events, told, is_complete)
        found = await api.node(ann, api.MESSAGE, reply)
        kept = {step["id"] for step in found["steps"]}
        await until_told(events, told, kept)
    assert held.calls == {"planner": 1, "tutor": 2, "critic": 1}
    assert await held.ledger() == ["planner", "tutor:0", "critic:0"]
    resets = [e["chunk"] for e in told if e["chunk"] and not e["chunk"]["text"]]
    assert any(chunk["generation"] > 1 and chunk["offset"] == 0 for chunk in resets)
    assert read(told).text == TEXT
    assert numbers(told) == list(range(1, len(numbers(told)) + 1))
    assert (found["state"], found["text"]) == ("COMPLETE", TEXT)
    kinds = [step["kind"] for step in found["steps"]]
    assert sorted(kinds) == [
        *("CHECK", "CRITIQUE", "DRAFT", "PLAN", "RETRIEVE"),
        *["SPENT"] * 3,
    ]
    assert [step["ordinal"] for step in found["steps"]] == list(range(len(kinds)))
    assert steps_of(told) == kept
    usage = {"inputTokens": 33, "outputTokens": 21, "costMicros": 54, "currency": "USD"}
    assert found["usage"] == {"calls": 3} | usage


async def test_a_cancel_ends_the_call_and_says_what_was_spent(held: Held) -> None:
    async with working_process(held.made.settings):
        ann, session = await begun(held)
        async with ann.follow(api.FOLLOW, {"sessionId": session}) as events:
            reply = (await ann.change(api.ASK, sessionId=session, text=QUESTION))["id"]
            await until(events, [], is_chunk)
            assert not held.made.server.left.is_set()
            cancelled = await ann.change(api.CANCEL, messageId=reply)
            async with asyncio.timeout(10):
                await held.made.server.left.wait()
            await until(events, [], is_complete)
        assert cancelled["usage"] == {"calls": 1, "costMicros": 18}
        found = await api.node(ann, api.MESSAGE, reply)
        assert (found["state"], found["usage"]["calls"]) == ("CANCELLED", 1)
        assert [s["result"]["step"] for s in found["steps"] if s["kind"] == "SPENT"] == ["planner"]
        assert held.calls == {"planner": 1, "tutor": 1}
        held.gate.set()
        again = await api.answered(ann, api.REGENERATE, messageId=reply)
        assert (again["state"], again["text"]) == ("COMPLETE", TEXT)
        assert again["usage"]["calls"] == 3


async def test_a_cancel_among_fifty_streams_ends_its_call_alone(held: Held) -> None:
    server, course_id = held.made.server, held.made.world.course_id
    streams: dict[int, int] = {}

    async def pace(request: Request, events: int) -> None:
        if asked_by(request)[0] != "tutor":
            await held.gate.wait()
            return
        streams[id(request)] = events
        await (asyncio.sleep(0.15) if events < 120 else asyncio.Event().wait())  # none ends

    server.pace, server.usual = pace, partial(by_openai, pieces=125)
    async with working_process(held.made.settings, ASSAY_STUDY_CONCURRENCY=str(STREAMS)):
        ann, session = await begun(held)
        sessions = [session, *[await api.opened(ann, course_id) for _ in range(STREAMS - 1)]]
        replies = [
            (await ann.change(api.ASK, sessionId=one, text=QUESTION))["id"] for one in sessions
        ]
        held.gate.set()
        async with asyncio.timeout(60):
            while sum(events > 1 for events in streams.values()) < STREAMS:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.02)
        assert not server.left.is_set()
        started = asyncio.get_running_loop().time()
        await ann.change(api.CANCEL, messageId=replies[STREAMS // 2])
        async with asyncio.timeout(10):
            await server.left.wait()
        took = asyncio.get_running_loop().time() - started
        assert server.open_now == STREAMS - 1
    sys.stdout.write(f"\none of {STREAMS} streams ended {took:.3f} s after its cancel was sent\n")


async def test_two_tabs_on_two_replicas_share_one_generation(held: Held) -> None:
    tabs: list[list[dict[str, Any]]] = [[], []]
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_resources(held.made.world.resources.settings))
        address = await stack.enter_async_context(serving(other))
        http = type(held.made.world.http)(base_url=address, timeout=30)
        await stack.enter_async_context(http)
        await stack.enter_async_context(working_process(held.made.settings))
        ann, session = await begun(held)
        elsewhere = Client(http, await held.made.world.token(ANN))
        following = []
        for client in (ann, elsewhere):
            follow = client.follow(api.FOLLOW, {"sessionId": session})
            following.append(await stack.enter_async_context(follow))
            await anext(following[-1])
        given = {"sessionId": session, "text": QUESTION, "idempotencyKey": "one"}
        reply = await ann.change(api.ASK, **given)
        assert await elsewhere.change(api.ASK, **given) == reply
        for events, told in zip(following, tabs, strict=True):
            await until(events, told, is_chunk)
        mine = {"sessionId": session, "text": "And now?"}
        assert await api.refused(elsewhere, api.ASK, **mine) == "INVALID_STATE"
        held.gate.set()
        for events, told in zip(following, tabs, strict=True):
            await until(events, told, is_complete)
        last = await held.last_event()
        for events, told in zip(following, tabs, strict=True):
            if told[-1]["seq"] < last:
                await until(events, told, lambda event: event["seq"] == last)
        assert (await elsewhere.ask("{ viewer { name } }"))["viewer"]["name"] == "Ann"
    assert held.calls == {"planner": 1, "tutor": 1, "critic": 1}
    one, two = tabs
    assert numbers(one) == numbers(two) == list(range(1, last + 1))
    assert read(one).text == read(two).text == TEXT
    assert {e["chunk"]["generation"] for e in (*one, *two) if e["chunk"]} == {1}
