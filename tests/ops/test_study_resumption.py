"""Answers a language model writes: their worker dies, they are cancelled, two tabs follow them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ops.demo.client import Client
from ops.processes import serving
from ops.wiring import Resources, open_resources
from resolvers.answer_text import AnswerChunk
from tests import study_api as api
from tests.ops.slow_provider import TEXT, SlowProvider, slow_provider
from tests.resolvers.test_answer_text import Client as Reader
from tests.schema.test_study import uploaded
from tests.study_world import MATERIAL
from tests.worker_process import worker_process
from tests.world import STUDENTS, World, make_world

ANN = STUDENTS[0]
logger = logging.getLogger(__name__)
QUESTION = "What happens when the time to live of a packet reaches zero?"


@dataclass(frozen=True)
class Place:
    """The api here, its workers as processes, and the provider they ask."""

    world: World
    provider: SlowProvider

    def worker(self) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """`assay worker` with the provider's model."""
        resources = self.world.resources
        return worker_process(
            resources.settings,
            resources.database.direct_dsn,
            command=("-m", "tests.ops.model_worker", self.provider.address),
            ASSAY_LEASE_SECONDS="5",
        )

    async def last_event(self) -> int:
        """The number of the session's last event, once the worker has ended what it writes."""
        connection = await self.world.resources.database.direct()
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
        connection = await self.world.resources.database.direct()
        try:
            rows = await connection.fetch(
                "SELECT step_key FROM model_call WHERE provider = 'openai' ORDER BY created_at"
            )
        finally:
            await connection.close()
        return [row["step_key"] for row in rows]


@pytest.fixture
async def place(resources: Resources) -> AsyncIterator[Place]:
    """A course with material's place; no worker runs yet."""
    async with (
        serving(resources) as base_url,
        make_world(resources, base_url) as world,
        slow_provider() as provider,
    ):
        yield Place(world, provider)


async def begun(place: Place) -> tuple[Client, str]:
    """A session of Ann's in a course whose material is indexed."""
    await uploaded(place.world, "routing.md", MATERIAL["routing.md"].encode())
    ann = await place.world.client(ANN)
    return ann, await api.opened(ann, place.world.course_id)


async def until(events: AsyncIterator[dict[str, Any]], told: list[Any], enough: Any) -> None:
    """Adds events to `told` up to the one that is enough."""
    async with asyncio.timeout(90):
        async for event in events:
            told.append(event)
            if enough(event):
                return
    raise AssertionError(f"it ended early, after {told[-1:]}")


def is_chunk(event: dict[str, Any]) -> bool:
    return bool(event["chunk"] and event["chunk"]["text"])


def is_complete(event: dict[str, Any]) -> bool:
    return event["kind"] == "MESSAGE_STATE" and event["message"]["state"] in api.SETTLED


def read(told: list[dict[str, Any]]) -> Reader:
    """What a client shows that takes chunks alone."""
    reader = Reader(0, "")
    for event in told:
        if event["chunk"]:
            reader.receive(AnswerChunk(**event["chunk"]))
    return reader


def numbers(told: list[dict[str, Any]]) -> list[int]:
    return [e["seq"] for e in told if e["kind"] in {"MESSAGE_STATE", "STEP"}]


def steps_of(told: list[Any]) -> set[str]:
    """The steps that events have told."""
    return {event["step"]["id"] for event in told if event["step"]}


async def until_told(
    events: AsyncIterator[dict[str, Any]], told: list[Any], steps: set[str]
) -> None:
    """Adds events up to the last of `steps`.

    An event shows the message as it reads by then, so one that shows it whole may have steps
    behind it.
    """
    if not steps_of(told) >= steps:
        await until(events, told, lambda _: steps_of(told) >= steps)


async def test_an_answer_whose_worker_is_killed_is_taken_over(place: Place) -> None:
    provider, told = place.provider, []  # type: ignore[var-annotated]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(place.worker())
        ann, session = await begun(place)
        follow = ann.follow(api.FOLLOW, {"sessionId": session})
        events = await stack.enter_async_context(follow)
        await anext(events)
        reply = (await ann.change(api.ASK, sessionId=session, text=QUESTION))["id"]
        await until(events, told, is_chunk)
        assert read(told).text
        assert TEXT.startswith(read(told).text)
        first.kill()
        await first.wait()
        calls, ledger = provider.calls.total(), await place.ledger()
        assert calls - len(ledger) <= 1, "the tutor's call was in flight"
        assert ledger == ["planner"]
        provider.gate.set()
        await stack.enter_async_context(place.worker())
        await until(events, told, is_complete)
        found = await api.node(ann, api.MESSAGE, reply)
        kept = {step["id"] for step in found["steps"]}
        await until_told(events, told, kept)
    assert provider.calls == {"StudyPlan": 1, "TutorAnswer": 2, "CriticVerdict": 1}
    assert await place.ledger() == ["planner", "tutor:0", "critic:0"]
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
    usage = {"inputTokens": 300, "outputTokens": 30, "costMicros": 900, "currency": "USD"}
    assert found["usage"] == {"calls": 3} | usage


async def test_a_cancel_ends_the_call_and_says_what_was_spent(place: Place) -> None:
    provider = place.provider
    async with place.worker():
        ann, session = await begun(place)
        async with ann.follow(api.FOLLOW, {"sessionId": session}) as events:
            reply = (await ann.change(api.ASK, sessionId=session, text=QUESTION))["id"]
            await until(events, [], is_chunk)
            assert not provider.broken_off.is_set()
            started = asyncio.get_running_loop().time()
            cancelled = await ann.change(api.CANCEL, messageId=reply)
            async with asyncio.timeout(10):
                await provider.broken_off.wait()
            logger.info("ended after %.3f s", asyncio.get_running_loop().time() - started)
            await until(events, [], is_complete)
        assert cancelled["usage"] == {"calls": 1, "costMicros": 300}
        found = await api.node(ann, api.MESSAGE, reply)
        assert (found["state"], found["usage"]["calls"]) == ("CANCELLED", 1)
        assert [s["result"]["step"] for s in found["steps"] if s["kind"] == "SPENT"] == ["planner"]
        assert provider.calls == {"StudyPlan": 1, "TutorAnswer": 1}
        provider.gate.set()
        again = await api.answered(ann, api.REGENERATE, messageId=reply)
        assert (again["state"], again["text"]) == ("COMPLETE", TEXT)
        assert again["usage"]["calls"] == 3


async def test_two_tabs_on_two_replicas_share_one_generation(place: Place) -> None:
    provider = place.provider
    tabs: list[list[dict[str, Any]]] = [[], []]
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_resources(place.world.resources.settings))
        address = await stack.enter_async_context(serving(other))
        http = type(place.world.http)(base_url=address, timeout=30)
        await stack.enter_async_context(http)
        await stack.enter_async_context(place.worker())
        ann, session = await begun(place)
        elsewhere = Client(http, await place.world.token(ANN))
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
        provider.gate.set()
        for events, told in zip(following, tabs, strict=True):
            await until(events, told, is_complete)
        last = await place.last_event()
        for events, told in zip(following, tabs, strict=True):
            if told[-1]["seq"] < last:
                await until(events, told, lambda event: event["seq"] == last)
        assert (await elsewhere.ask("{ viewer { name } }"))["viewer"]["name"] == "Ann"
    assert provider.calls == {"StudyPlan": 1, "TutorAnswer": 1, "CriticVerdict": 1}
    one, two = tabs
    assert numbers(one) == numbers(two) == list(range(1, last + 1))
    assert read(one).text == read(two).text == TEXT
    assert {e["chunk"]["generation"] for e in (*one, *two) if e["chunk"]} == {1}
