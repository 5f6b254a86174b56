"""The end of the process."""

import asyncio
import json

from tests.ops.edge.conftest import Serve

FOREVER = "subscription{counter(to:9,delay:3600)}"


async def test_streams_and_sockets_end_with_the_server(serve: Serve) -> None:
    async with serve() as edge, edge.socket() as socket:
        await socket.send(
            json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer ada"}})
        )
        await socket.recv()
        await socket.send(
            json.dumps({"type": "subscribe", "id": "1", "payload": {"query": FOREVER}})
        )
        await socket.recv()
        async with edge.client.stream(
            "POST",
            "/graphql",
            json={"query": FOREVER},
            headers={"accept": "text/event-stream", "authorization": "Bearer ada"},
        ) as response:
            chunks = response.aiter_text()
            text = await anext(chunks)
            edge.server.should_exit = True
            async with asyncio.timeout(5):
                text += "".join([chunk async for chunk in chunks])
                await socket.wait_closed()
                await edge.task
        assert socket.close_code == 1001
        assert "counter" in text
        assert "event: complete" not in text


async def test_a_mutation_under_way_is_finished_before_the_server_ends(serve: Serve) -> None:
    async with serve() as edge:
        text = 'mutation{save(input:{text:"kept",seconds:0.4})}'
        sent = asyncio.create_task(edge.post(text))
        await asyncio.wait_for(edge.world.started.wait(), 5)
        edge.server.should_exit = True
        response = await sent
        await edge.task
    assert response.json() == {"data": {"save": "kept"}}
    assert edge.world.saved == ["kept"]


async def test_shutdown_twice_does_no_harm(serve: Serve) -> None:
    async with serve() as edge:
        await edge.edge.shutdown()
        await edge.edge.shutdown()
        assert (await edge.post("{hello}")).status_code == 200
