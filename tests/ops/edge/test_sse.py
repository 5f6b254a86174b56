"""Server-sent events, against a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.ops.edge.conftest import Serve, Served

EVENTS = "text/event-stream"


@asynccontextmanager
async def stream(
    edge: Served, query: str, caller: str = "ada", accept: str = EVENTS
) -> AsyncIterator[httpx.Response]:
    headers = {"accept": accept, "authorization": f"Bearer {caller}"}
    async with edge.client.stream(
        "POST", "/graphql", json={"query": query}, headers=headers
    ) as response:
        yield response


async def collect(edge: Served, query: str, caller: str = "ada") -> list[tuple[str, Any]]:
    async with stream(edge, query, caller) as response:
        assert response.status_code == 200
        text = (await response.aread()).decode()
    assert "\r" not in text
    assert text.endswith("\n\n")
    frames = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        lines = dict(line.split(":", 1) for line in block.split("\n"))
        if "event" in lines:
            data = lines["data"].strip()
            frames.append((lines["event"].strip(), json.loads(data) if data else None))
    return frames


def codes(frame: tuple[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in frame[1]["errors"]]


async def test_a_subscription(edge: Served) -> None:
    frames = await collect(edge, "subscription{counter(to:3)}")
    assert frames == [
        ("next", {"data": {"counter": 1}}),
        ("next", {"data": {"counter": 2}}),
        ("next", {"data": {"counter": 3}}),
        ("complete", None),
    ]
    assert [context.facts.event for context in edge.world.contexts] == [False, True, True, True]
    assert len({id(context) for context in edge.world.contexts}) == 4


async def test_headers_keep_proxies_from_holding_events(edge: Served) -> None:
    async with stream(edge, "subscription{counter(to:1)}") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("query", "data"),
    [("{hello}", {"hello": "world"}), ('mutation{save(input:{text:"x"})}', {"save": "x"})],
)
async def test_a_query_or_mutation_is_a_stream_of_one(
    edge: Served, query: str, data: dict[str, str]
) -> None:
    assert await collect(edge, query) == [("next", {"data": data}), ("complete", None)]


async def test_a_client_that_only_lists_events_gets_json(edge: Served) -> None:
    accept = "application/graphql-response+json, application/json, text/event-stream"
    response = await edge.post("{hello}", accept=accept)
    assert response.headers["content-type"].startswith("application/graphql-response+json")
    async with stream(edge, "subscription{counter(to:1)}", accept=accept) as subscribed:
        assert subscribed.headers["content-type"].startswith(EVENTS)


@pytest.mark.parametrize("query", ["{missing}", "subscription{counter}", "{hello"])
async def test_errors_before_the_stream_are_json(edge: Served, query: str) -> None:
    response = await edge.post(query, accept=EVENTS)
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["errors"]


async def test_a_refused_source_ends_with_its_code(edge: Served) -> None:
    first, last = await collect(edge, "subscription{forbidden}")
    assert codes(first) == ["FORBIDDEN"]
    assert last == ("complete", None)


async def test_a_source_that_breaks_is_masked(edge: Served) -> None:
    first, second, last = await collect(edge, "subscription{breaking}")
    assert first == ("next", {"data": {"breaking": 1}})
    assert codes(second) == ["INTERNAL"]
    assert "secret" not in json.dumps(second)
    assert last[0] == "complete"
    assert [text for text, _ in edge.world.reports] == ["secret of a stream"]


async def test_each_event_is_authorised(edge: Served) -> None:
    frames = await collect(edge, "subscription{counter(to:9)}", caller="revoked")
    assert [name for name, _ in frames] == ["next", "next", "next", "complete"]
    assert codes(frames[2]) == ["FORBIDDEN"]
    await asyncio.wait_for(edge.world.closed.wait(), 5)


async def test_a_stream_ends_with_its_token(edge: Served) -> None:
    frames = await collect(edge, "subscription{counter(to:9,delay:5)}", caller="short")
    assert [name for name, _ in frames] == ["next", "next", "complete"]
    assert codes(frames[1]) == ["TOKEN_EXPIRED"]
    assert edge.world.closed.is_set()


async def test_a_client_that_leaves_ends_the_operation(edge: Served) -> None:
    async with stream(edge, "subscription{counter(to:9,delay:30)}") as response:
        await anext(response.aiter_bytes())
        await asyncio.wait_for(edge.world.started.wait(), 5)
        assert not edge.world.closed.is_set()
    await asyncio.wait_for(edge.world.closed.wait(), 5)


async def test_a_quiet_stream_is_kept_alive(serve: Serve) -> None:
    async with serve(sse_keepalive_seconds=0.05) as edge:
        text = ""
        async with stream(edge, "subscription{counter(to:2,delay:0.3)}") as response:
            text = (await response.aread()).decode()
        between = text[text.index('{"data":{"counter":1}}') : text.index('{"data":{"counter":2}}')]
        assert between.count("\n\n:") >= 2


async def test_a_client_that_does_not_read_is_left(serve: Serve) -> None:
    async with serve(stall_seconds=0.3) as edge:
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1)
        body = json.dumps({"query": "subscription{flood}"}).encode()
        head = (
            "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await asyncio.wait_for(edge.world.cancelled.wait(), 10)
        assert edge.world.reports == []
        writer.transport.abort()
