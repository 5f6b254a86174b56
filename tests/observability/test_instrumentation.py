"""Against a live server: the test client buffers streams and normalises methods."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from observability.instrumentation import instrument
from observability.metrics import Metrics


class Live:
    """The server, and the gate its stream waits at between two events."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.address = ""
        self.metrics = Metrics(with_process=False)

    async def item(self, request: Request) -> Response:
        return PlainTextResponse(request.path_params.get("name", ""))

    async def broken(self, request: Request) -> Response:
        raise LookupError(request.url.path)

    async def stream(self, _request: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "data: first\n\n"
            await self.gate.wait()
            yield "data: second\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    def app(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/live", self.item),
                Route("/items/{name}", self.item),
                Route("/broken", self.broken),
                Route("/stream", self.stream),
                Mount("/files", routes=[Route("/{name}", self.item)]),
                WebSocketRoute("/socket", self.echo),
            ]
        )
        instrument(app, self.metrics)
        return app

    def handlers(self) -> dict[tuple[str, str, str], float]:
        return {
            (s.labels["method"], s.labels["handler"], s.labels["status"]): s.value
            for family in self.metrics.registry.collect()
            for s in family.samples
            if s.name == "assay_http_requests_total"
        }


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    live = Live()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        live.address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(live.app(), log_config=None, http="h11", ws="websockets-sansio")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield live
        live.gate.set()
        server.should_exit = True
        await serving


async def test_clients_cannot_invent_label_values(live: Live) -> None:
    async with httpx.AsyncClient(base_url=f"http://{live.address}") as client:
        for number in range(5):
            await client.get(f"/items/{number}")
            await client.get(f"/items/{number}/")  # would be redirected
            await client.get(f"/nowhere/{number}")
            await client.get(f"/files/{number}")
            await client.request(f"ODD{number}", "/items/1")
        await client.get("/broken")
        await client.get("/live")
        await client.get("/metrics")
    assert live.handlers() == {
        ("GET", "/items/{name}", "2xx"): 5,
        ("GET", "none", "3xx"): 5,
        ("GET", "none", "4xx"): 5,
        ("GET", "/files/{name}", "2xx"): 5,
        ("other", "/items/{name}", "4xx"): 5,
        ("GET", "/broken", "5xx"): 1,
    }


async def test_metrics_are_served_in_the_text_format_with_our_series(live: Live) -> None:
    live.metrics.limit_refused("depth")
    async with httpx.AsyncClient(base_url=f"http://{live.address}") as client:
        await client.get("/items/1")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {
        "assay_limit_refusals",
        "assay_http_requests",
        "assay_http_request_duration_seconds",
    } <= names


async def test_a_stream_is_passed_on_as_it_comes_and_timed_to_its_first_byte(live: Live) -> None:
    async with (
        httpx.AsyncClient(base_url=f"http://{live.address}") as client,
        client.stream("GET", "/stream") as answer,
    ):
        chunks = answer.aiter_text()
        # The server sends the second event only after this one has arrived here.
        assert await asyncio.wait_for(anext(chunks), 5) == "data: first\n\n"
        await asyncio.sleep(0.15)
        live.gate.set()
        assert await asyncio.wait_for(anext(chunks), 5) == "data: second\n\n"
        async for _ in chunks:
            pass
    assert live.handlers() == {("GET", "/stream", "2xx"): 1}
    within = live.metrics.registry.get_sample_value(
        "assay_http_request_duration_seconds_bucket",
        {"method": "GET", "handler": "/stream", "le": "0.1"},
    )
    assert within == 1


async def test_websockets_pass_through(live: Live) -> None:
    async with connect(f"ws://{live.address}/socket") as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"
    assert live.handlers() == {}


def test_one_application_for_one_set_of_metrics() -> None:
    metrics = Metrics(with_process=False)
    instrument(Starlette(), metrics)
    with pytest.raises(ValueError, match="another application"):
        instrument(Starlette(), metrics)
