"""A small HTTP/1.1 server on loopback whose answers are scripted, to the byte where need be."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Reply:
    """What is sent back, piece by piece."""

    def __init__(self, writer: asyncio.StreamWriter, request: Request, pace: "Pace") -> None:
        self._writer, self._request, self._pace = writer, request, pace
        self._events = 0
        self.cut = False

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in headers.items())]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def json(self, body: Any, status: int = 200, **headers: str) -> None:
        await self.text(json.dumps(body), status, **headers)

    async def text(self, text: str, status: int = 200, **headers: str) -> None:
        data = text.encode()
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        await self.begin(
            status,
            {"content-type": "application/json", "content-length": str(len(data)), **named},
        )
        await self.raw(data)

    async def chunk(self, data: str) -> None:
        content = data.encode()
        await self.raw(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    async def event(self, body: Any) -> None:
        await self._pace(self._request, self._events)
        self._events += 1
        await self.chunk(f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n")

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cuts the connection where it is."""
        self.cut = True
        self._writer.transport.abort()


Behaviour = Callable[[Request, Reply], Awaitable[None]]
Pace = Callable[[Request, int], Awaitable[None]]


async def at_once(_request: Request, _events: int) -> None:
    """Waits for nothing."""


@dataclass
class ProtocolServer:
    """Answers each request with the next of `script`, or by `usual` when there is none."""

    usual: Behaviour
    refuse: Callable[[Request], tuple[int, Any] | None] = lambda _: None
    """What the provider's protocol forbids: a status and a body, before any script."""
    pace: Pace = at_once
    """Awaited before each event of a stream, with how many there were."""
    script: deque[Behaviour] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request has come."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closed its connection before the answer's end."""
    port: int = 0
    open_now: int = 0
    open_most: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def then(self, *behaviours: Behaviour) -> Self:
        self.script.extend(behaviours)
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve(reader, writer):
                    pass
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=2_048)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        if request is None:
            return False
        self.requests.append(request)
        self.asked.set()
        reply = Reply(writer, request, self.pace)
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            if (refusal := self.refuse(request)) is not None:
                await reply.json(refusal[1], refusal[0])
                return True
            behave = self.script.popleft() if self.script else self.usual
            answering = asyncio.ensure_future(behave(request, reply))
            watching = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
            watching.cancel()
            await asyncio.wait({answering, watching})
            gone = not watching.cancelled()  # the end of the stream, or a reset
            if gone:
                watching.exception()
            if answering.cancelled() or isinstance(answering.exception(), ConnectionError):
                self.left.set()
                return False
            answering.result()
            return not reply.cut and not gone
        finally:
            self.open_now -= 1


async def _read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, json.loads(body) if body else None)


def answers(status: int, body: Any, **headers: str) -> Behaviour:
    """One JSON body."""

    async def behave(_request: Request, reply: Reply) -> None:
        await reply.json(body, status, **headers)

    return behave


async def silent(_request: Request, _reply: Reply) -> None:
    """Never says anything."""
    await asyncio.Event().wait()


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Waits, then behaves as given."""

    async def behave(request: Request, reply: Reply) -> None:
        await asyncio.sleep(seconds)
        await then(request, reply)

    return behave
