"""Results as server-sent events: the distinct connections mode of graphql-sse.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md: `next` events with a result,
one `complete` at the end. Frames end with two line feeds; with CRLF urql finds no frame. Queries
and mutations are streams of one result. When the process ends the stream ends without
`complete`, so that a client knows it was cut and comes again.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from http import HTTPStatus

import orjson
from starlette.types import Send

from ops.edge.errors import RequestRefused, error_object
from ops.edge.execution import Result
from ops.edge.lifetime import Lifetime
from ops.edge.limits import EdgeLimits
from ops.edge.negotiation import MediaType
from resolvers.refusals import RefusalCode

KEEPALIVE = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"


class EventStream:
    """One response of server-sent events."""

    def __init__(
        self,
        results: AsyncGenerator[Result],
        limits: EdgeLimits,
        lifetime: Lifetime,
        expires_at: datetime | None,
    ) -> None:
        self._results = results
        self._limits = limits
        self._lifetime = lifetime
        self._expires_at = expires_at
        # one frame ahead: the client's pace is the source's pace
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)

    async def serve(self, send: Send, headers: Mapping[str, str]) -> None:
        """Send results until the source, the credentials or the process end.

        The caller cancels it when the client has gone. A client that reads nothing for
        `stall_seconds` is left.
        """
        pump = asyncio.create_task(self._pump())
        try:
            async with self._lifetime.stream() as stopped:
                with suppress(TimeoutError):
                    await self._send_frames(stopped, send, headers)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _send_frames(
        self, stopped: asyncio.Task[bool], send: Send, headers: Mapping[str, str]
    ) -> None:
        named = {
            "content-type": f"{MediaType.EVENTS}; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **headers,
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": encoded})
        frame: bytes | None = KEEPALIVE  # opens the stream in proxies and clients
        while frame is not None:
            await self._send_body(send, frame)
            frame = await self._next_frame(stopped)
        await self._send_body(send, b"")

    async def _send_body(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._limits.stall_seconds):
            await send({"type": "http.response.body", "body": body, "more_body": bool(body)})

    async def _next_frame(self, stopped: asyncio.Task[bool]) -> bytes | None:
        frame = asyncio.create_task(self._frames.get())
        try:
            done, _ = await asyncio.wait(
                {frame, stopped},
                timeout=self._limits.sse_keepalive_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if frame in done:
                return frame.result()
            return None if done else KEEPALIVE
        finally:
            frame.cancel()

    async def _pump(self) -> None:
        seconds = None
        if self._expires_at is not None:
            seconds = max(0.0, (self._expires_at - datetime.now(UTC)).total_seconds())
        try:
            async with asyncio.timeout(seconds) as timer, aclosing(self._results):
                async for result in self._results:
                    await self._frames.put(next_event(result.payload))
        except RequestRefused as refusal:
            await self._frames.put(next_event(orjson.dumps({"errors": refusal.errors})))
        except TimeoutError:
            if not timer.expired():
                raise
            message = "Your token has expired; get a new one."
            error = error_object(RefusalCode.TOKEN_EXPIRED, message)
            await self._frames.put(next_event(orjson.dumps({"errors": [error]})))
        await self._frames.put(COMPLETE)
        await self._frames.put(None)


def next_event(payload: bytes) -> bytes:
    """A `next` event. JSON has no raw line feeds, so one `data` line holds it."""
    return b"event: next\ndata: " + payload + b"\n\n"
