"""graphql-transport-ws, against a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.ops.edge.conftest import Serve, Served
from tests.ops.edge.test_protocol import BAD_FRAMES


async def say(socket: ClientConnection, kind: str, **more: object) -> None:
    await socket.send(json.dumps({"type": kind, **more}))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return message


async def subscribe(
    socket: ClientConnection, operation_id: str, query: str, **more: object
) -> None:
    await say(socket, "subscribe", id=operation_id, payload={"query": query, **more})


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Wait for the server to close, whatever it says before."""
    async with asyncio.timeout(5):
        with suppress(ConnectionClosed):
            async for _ in socket:
                pass
        await socket.wait_closed()
    close = socket.protocol.close_rcvd
    assert close is not None, "the connection was cut without a close frame"
    return close.code, close.reason


@asynccontextmanager
async def ready(
    edge: Served, caller: str = "ada", **options: Any
) -> AsyncIterator[ClientConnection]:
    async with edge.socket(**options) as socket:
        await say(socket, "connection_init", payload={"authorization": f"Bearer {caller}"})
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def test_a_subscription(edge: Served) -> None:
    async with ready(edge) as socket:
        assert socket.subprotocol == "graphql-transport-ws"
        await subscribe(socket, "1", "subscription($n:Int!){counter(to:$n)}", variables={"n": 2})
        assert [await hear(socket) for _ in range(3)] == [
            {"type": "next", "id": "1", "payload": {"data": {"counter": 1}}},
            {"type": "next", "id": "1", "payload": {"data": {"counter": 2}}},
            {"type": "complete", "id": "1"},
        ]
    assert [context.facts.event for context in edge.world.contexts] == [False, True, True]
    assert len({id(context) for context in edge.world.contexts}) == 3


async def test_queries_and_mutations_work_as_well(edge: Served) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "q", "{hello}", extensions={"trace": 1})
        assert (await hear(socket))["payload"] == {"data": {"hello": "world"}}
        assert await hear(socket) == {"type": "complete", "id": "q"}
        text = "mutation M($i:SaveInput!){save(input:$i)}"
        await subscribe(socket, "m", text, variables={"i": {"text": "x"}}, operationName="M")
        assert (await hear(socket))["payload"] == {"data": {"save": "x"}}
        assert await hear(socket) == {"type": "complete", "id": "m"}
    facts = [context.facts for context in edge.world.contexts]
    assert [(each.kind, each.name, dict(each.extensions)) for each in facts] == [
        ("query", None, {"trace": 1}),
        ("mutation", "M", {}),
    ]
    assert facts[0].correlation_id != facts[1].correlation_id


async def test_an_id_may_be_used_again_once_it_is_complete(edge: Served) -> None:
    async with ready(edge) as socket:
        for _ in range(3):
            await subscribe(socket, "1", "{hello}")
            assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "complete"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{hello", "INVALID_DOCUMENT"),
        ("", "BAD_INPUT"),
        ("{missing}", "INVALID_DOCUMENT"),
        ("{" + "hello " * 21 + "}", "LIMIT_EXCEEDED"),
        ("subscription{forbidden}", "FORBIDDEN"),
        ("subscription{counter}", "INVALID_DOCUMENT"),
        (r'{echo(text:"\u0000")}', "BAD_INPUT"),
    ],
)
async def test_an_error_of_one_operation_leaves_the_others_alone(
    edge: Served, query: str, code: str
) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "other", "subscription{counter(to:2,delay:0.1)}")
        assert (await hear(socket))["payload"] == {"data": {"counter": 1}}
        await subscribe(socket, "bad", query)
        error = await hear(socket)
        assert (error["type"], error["id"]) == ("error", "bad")
        assert [each["extensions"]["code"] for each in error["payload"]] == [code]
        assert (await hear(socket))["payload"] == {"data": {"counter": 2}}
        assert await hear(socket) == {"type": "complete", "id": "other"}


async def test_a_nul_in_variables_is_an_error_of_its_operation(edge: Served) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "1", "query($t:String!){echo(text:$t)}", variables={"t": "\0"})
        error = await hear(socket)
        assert error["payload"][0]["extensions"]["code"] == "BAD_INPUT"
        await say(socket, "ping")
        assert await hear(socket) == {"type": "pong"}


async def test_a_source_that_breaks_is_masked(edge: Served) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "1", "subscription{breaking}")
        assert (await hear(socket))["type"] == "next"
        error = await hear(socket)
        assert error["type"] == "error"
        assert error["payload"][0]["extensions"]["code"] == "INTERNAL"
        assert "secret" not in json.dumps(error)
    assert [text for text, _ in edge.world.reports] == ["secret of a stream"]


async def test_each_event_is_authorised(edge: Served) -> None:
    async with ready(edge, "revoked") as socket:
        await subscribe(socket, "1", "subscription{counter(to:9)}")
        heard = [await hear(socket) for _ in range(3)]
        assert [each["type"] for each in heard] == ["next", "next", "error"]
        assert heard[2]["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        await asyncio.wait_for(edge.world.closed.wait(), 5)


async def test_complete_stops_a_subscription(edge: Served) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "1", "subscription{counter(to:9,delay:30)}")
        await hear(socket)
        await say(socket, "complete", id="1")
        await asyncio.wait_for(edge.world.closed.wait(), 5)
        await say(socket, "complete", id="unknown")
        await say(socket, "ping", payload={"n": 1})
        assert await hear(socket) == {"type": "pong", "payload": {"n": 1}}


async def test_a_client_that_leaves_ends_its_operations(edge: Served) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "1", "subscription{counter(to:9,delay:30)}")
        await hear(socket)
    await asyncio.wait_for(edge.world.closed.wait(), 5)


@pytest.mark.parametrize("way", ["complete", "leave"])
async def test_a_mutation_under_way_is_finished(edge: Served, way: str) -> None:
    async with ready(edge) as socket:
        await subscribe(socket, "1", 'mutation{save(input:{text:"kept",seconds:0.2})}')
        await asyncio.wait_for(edge.world.started.wait(), 5)
        if way == "complete":
            await say(socket, "complete", id="1")
            await say(socket, "ping")
            await hear(socket)
    assert edge.world.saved == []
    for _ in range(100):
        if edge.world.saved:
            break
        await asyncio.sleep(0.02)
    assert edge.world.saved == ["kept"]


@pytest.mark.parametrize("text", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_closes_with_4400(edge: Served, text: str | None) -> None:
    async with ready(edge) as socket:
        await socket.send(b"\0\1" if text is None else text)
        code, reason = await closed(socket)
        assert code == 4400
        assert reason
    assert edge.world.reports == []


async def test_close_codes_of_the_handshake(edge: Served) -> None:
    async with edge.socket() as socket:
        await subscribe(socket, "1", "{hello}")
        assert await closed(socket) == (4401, "Unauthorized")
    async with ready(edge) as socket:
        await say(socket, "connection_init")
        assert (await closed(socket))[0] == 4429
    async with ready(edge) as socket:
        for _ in range(2):
            await subscribe(socket, "1", "subscription{counter(to:9,delay:30)}")
        assert await closed(socket) == (4409, "Subscriber for 1 already exists")


async def test_the_legacy_subprotocol_is_not_spoken(edge: Served) -> None:
    async with edge.socket("graphql-ws") as socket:
        assert (await closed(socket))[0] == 4406


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, 4403),
        ({}, 4403),
        ({"authorization": "Bearer expired"}, 4403),
        ({"authorization": "Bearer down"}, 1013),
        ({"authorization": "Bearer crash"}, 4500),
        ({"authorization": "Bearer a\0b"}, 4400),
    ],
)
async def test_credentials_that_fail(
    edge: Served, payload: dict[str, str] | None, code: int
) -> None:
    async with edge.socket() as socket:
        await say(socket, "connection_init", payload=payload)
        found, reason = await closed(socket)
        assert found == code
        assert len(reason.encode()) <= 123
        assert "secret" not in reason


async def test_the_socket_closes_with_its_token(edge: Served) -> None:
    async with ready(edge, "short") as socket:
        await subscribe(socket, "1", "subscription{counter(to:9,delay:30)}")
        assert (await closed(socket))[0] == 4403
    await asyncio.wait_for(edge.world.closed.wait(), 5)


async def test_init_must_come_in_time(serve: Serve) -> None:
    async with serve(ws_init_seconds=0.1) as edge, edge.socket() as socket:
        assert (await closed(socket))[0] == 4408


async def test_limits_of_a_connection(serve: Serve) -> None:
    async with serve(ws_operations=1, ws_message_bytes=1_000, ws_message_burst=10) as edge:
        async with ready(edge) as socket:
            await subscribe(socket, "1", "subscription{counter(to:9,delay:30)}")
            await hear(socket)
            await subscribe(socket, "2", "{hello}")
            error = await hear(socket)
            assert (error["type"], error["id"]) == ("error", "2")
            assert error["payload"][0]["extensions"] == {
                "code": "LIMIT_EXCEEDED",
                "limit": "ws_operations",
                "value": 1,
            }
            await say(socket, "complete", id="1")
            await subscribe(socket, "2", "{hello}")
            assert (await hear(socket))["type"] == "next"
            await socket.send(" " * 1_001)
            assert (await closed(socket))[0] == 1009
        async with ready(edge) as socket:
            for _ in range(40):
                await say(socket, "pong")
            assert await closed(socket) == (4429, "Too many messages")


async def test_connections_of_a_user_are_counted(serve: Serve) -> None:
    async with serve(ws_connections_per_user=1) as edge:
        async with ready(edge, "ada"):
            async with ready(edge, "bob"):
                pass
            async with edge.socket() as socket:
                await say(socket, "connection_init", payload={"authorization": "Bearer ada"})
                assert (await closed(socket))[0] == 4429
        for _ in range(50):
            try:
                async with ready(edge, "ada"):
                    break
            except ConnectionClosed:  # the first socket's end is not noticed yet
                await asyncio.sleep(0.02)
        else:
            pytest.fail("the place of a closed connection is not given back")


async def test_a_client_that_does_not_read_stalls_nobody_and_is_closed(serve: Serve) -> None:
    async with (
        serve(ws_outbox_frames=2, stall_seconds=0.3) as edge,
        ready(edge, "bob") as quick,
        ready(edge, "slow", max_queue=1) as slow,
    ):
        await subscribe(slow, "1", "subscription{flood}")
        await asyncio.wait_for(edge.world.started.wait(), 5)
        await subscribe(quick, "1", "subscription{counter(to:20,delay:0.01)}")
        for number in range(1, 21):
            assert (await hear(quick))["payload"]["data"]["counter"] == number
        await asyncio.wait_for(edge.world.cancelled.wait(), 10)
        assert (await closed(slow))[0] == 1013
