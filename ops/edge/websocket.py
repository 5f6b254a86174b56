"""GraphQL over WebSocket: runs the graphql-transport-ws machine on a socket.

Queries and mutations run as subscriptions do. Frames leave through a bounded outbox; a client
that doesn't read holds up its own operations only, and is closed with 1013 after a while (the
clients come back from that and resume).
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ops.edge.contexts import Contexts, Credentials, Principal
from ops.edge.errors import ErrorFormatter, RequestRefused, limit_error
from ops.edge.execution import Engine
from ops.edge.lifetime import Lifetime
from ops.edge.limits import EdgeLimits
from ops.edge.protocol import (
    EXPIRED,
    STALLED,
    SUBPROTOCOL,
    SUBPROTOCOL_NOT_ACCEPTABLE,
    ClientMessage,
    Close,
    Event,
    Machine,
    Outcome,
    Step,
    Violation,
    frame,
    read_message,
)
from ops.edge.requests import check_values, graphql_request
from resolvers.refusals import RefusalCode

TOO_BIG = 1009
TRY_AGAIN_LATER = 1013
INTERNAL_ERROR = 4500
FORBIDDEN = 4403
TOO_MANY = 4429
CLOSE_CODES = {RefusalCode.INTERNAL: INTERNAL_ERROR, RefusalCode.UNAVAILABLE: TRY_AGAIN_LATER}
CLOSE_SECONDS = 1.0  # for handing a close frame to a transport that may be stuffed


@dataclass(frozen=True, slots=True)
class SocketTransport:
    """The ASGI application of the endpoint's WebSocket side."""

    engine: Engine
    contexts: Contexts
    limits: EdgeLimits
    errors: ErrorFormatter
    lifetime: Lifetime
    connections: Counter[str] = field(default_factory=Counter)
    """Open connections by the principal's key, of this process."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until it ends."""
        await Connection(self, WebSocket(scope, receive, send)).serve()


class Connection:
    """One socket: its machine, its outbox, and a task for each operation."""

    def __init__(self, transport: SocketTransport, socket: WebSocket) -> None:
        self._transport = transport
        self._limits = transport.limits
        self._socket = socket
        self._machine = Machine(transport.limits.ws_operations)
        self._outbox: asyncio.Queue[str] = asyncio.Queue(transport.limits.ws_outbox_frames)
        self._closing: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._principal: Principal | None = None
        self._allowance = float(transport.limits.ws_message_burst)
        self._counted_at = asyncio.get_running_loop().time()

    async def serve(self) -> None:
        """Accept the socket and serve it until either side closes."""
        if SUBPROTOCOL not in self._socket.scope.get("subprotocols", []):
            await self._socket.accept()
            await self._close(SUBPROTOCOL_NOT_ACCEPTABLE)
            return
        await self._socket.accept(subprotocol=SUBPROTOCOL)
        self._after(self._limits.ws_init_seconds, Event.INIT_TIMEOUT)
        async with self._transport.lifetime.stream() as stopped:
            sides = {asyncio.create_task(self._read()), asyncio.create_task(self._write())}
            ends: set[asyncio.Future[Any]] = {*sides, stopped, self._closing}
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if self._closing not in done:
                    self._explain(sides & done, stopped=stopped in done)
            finally:
                await self._end(sides)

    def _explain(self, ended: set[asyncio.Task[None]], *, stopped: bool) -> None:
        """Say why the server closes, unless the client just went."""
        if stopped:
            self._react(self._machine.on(Event.STOPPING), ClientMessage(Event.STOPPING))
        for fault in filter(None, (side.exception() for side in ended)):
            error = self._transport.errors.of_exception(fault, uuid.uuid4().hex)
            self._finish(Close(INTERNAL_ERROR, error["message"]))

    async def _end(self, sides: set[asyncio.Task[None]]) -> None:
        for timer in self._timers:
            timer.cancel()
        for side in sides:
            side.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*sides, return_exceptions=True)
        if self._closing.done():
            await self._close(self._closing.result())
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._principal is not None:
            connections = self._transport.connections
            connections[self._principal.key] -= 1
            if connections[self._principal.key] <= 0:
                del connections[self._principal.key]

    async def _close(self, close: Close) -> None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(close.code, close.reason)

    def _finish(self, close: Close) -> None:
        if not self._closing.done():
            self._closing.set_result(close)

    def _after(self, seconds: float, event: Event) -> None:
        loop = asyncio.get_running_loop()

        def fire() -> None:
            self._react(self._machine.on(event), ClientMessage(event))

        self._timers.append(loop.call_later(seconds, fire))

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        with suppress(WebSocketDisconnect):
            while not self._closing.done():
                received = await self._socket.receive()
                if received["type"] == "websocket.disconnect":
                    return
                self._take(received.get("text"))
                await asyncio.sleep(0)  # a client with much to say leaves the others a turn

    def _take(self, text: str | None) -> None:
        if self._is_flooded():
            self._react(self._machine.on(Event.FLOODED), ClientMessage(Event.FLOODED))
            return
        most = self._limits.ws_message_bytes
        if text is not None and len(text) > most // 4 and len(text.encode()) > most:
            self._finish(Close(TOO_BIG, f"The message is larger than {most} bytes"))
            return
        try:
            message = read_message(text)
        except Violation as violation:
            self._finish(violation.close)
            return
        self._react(self._machine.on(message.event, message.operation_id), message)

    def _is_flooded(self) -> bool:
        now = asyncio.get_running_loop().time()
        earned = (now - self._counted_at) * self._limits.ws_messages_per_second
        self._allowance = min(self._limits.ws_message_burst, self._allowance + earned) - 1
        self._counted_at = now
        return self._allowance < 0

    def _react(self, outcome: Outcome, message: ClientMessage) -> None:
        if isinstance(outcome, Close):
            self._finish(outcome)
        elif outcome is Step.AUTHENTICATE:
            self._spawn(asyncio.create_task(self._authenticate(message.payload or {})))
        elif outcome is Step.ACKNOWLEDGE:
            self._put_soon(frame("connection_ack"))
        elif outcome is Step.PONG:
            payload = None if message.payload is None else orjson.dumps(message.payload)
            self._put_soon(frame("pong", payload=payload))
        elif outcome is Step.REFUSE:
            most = self._limits.ws_operations
            error = limit_error("ws_operations", most, f"A connection runs {most} operations.")
            self._put_soon(frame("error", message.operation_id, orjson.dumps([error])))
        elif outcome is Step.START:
            task = asyncio.create_task(self._operate(message.operation_id, message.payload or {}))
            self._operations[message.operation_id] = task
            self._spawn(task)
        elif outcome is Step.STOP:
            self._operations.pop(message.operation_id).cancel()

    async def _authenticate(self, connection_params: Mapping[str, object]) -> None:
        headers, client = self._socket.headers, self._socket.client
        credentials = Credentials(
            headers.get("authorization"),
            headers,
            connection_params,
            client.host if client else None,
        )
        try:
            check_values(connection_params, self._limits)
            principal = await self._transport.contexts.authenticate(credentials)
        except RequestRefused as refusal:
            self._finish(Close(4400, refusal.errors[0]["message"]))
            return
        except Exception as exception:  # noqa: BLE001 - the boundary that masks
            error = self._transport.errors.of_exception(exception, uuid.uuid4().hex)
            code = CLOSE_CODES.get(error["extensions"]["code"], FORBIDDEN)
            prefix = "Forbidden: " if code == FORBIDDEN else ""
            self._finish(Close(code, prefix + error["message"]))
            return
        self._admit(principal)

    def _admit(self, principal: Principal) -> None:
        if principal.anonymous:
            self._finish(Close(FORBIDDEN, "Forbidden: send a token in connection_init"))
            return
        connections, most = self._transport.connections, self._limits.ws_connections_per_user
        if connections[principal.key] >= most:
            self._finish(Close(TOO_MANY, f"Too many connections: {most} a user"))
            return
        if principal.expires_at is not None:
            left = (principal.expires_at - datetime.now(UTC)).total_seconds()
            if left <= 0:
                self._finish(EXPIRED)
                return
            self._after(left, Event.EXPIRED)
        connections[principal.key] += 1
        self._principal = principal
        self._react(self._machine.on(Event.AUTHENTICATED), ClientMessage(Event.AUTHENTICATED))

    async def _operate(self, operation_id: str, payload: Mapping[str, object]) -> None:
        correlation_id = uuid.uuid4().hex
        try:
            await self._run(operation_id, payload, correlation_id)
            last = frame("complete", operation_id)
        except RequestRefused as refusal:
            last = frame("error", operation_id, orjson.dumps(refusal.errors))
        except Exception as exception:  # noqa: BLE001 - the boundary that masks
            error = self._transport.errors.of_exception(exception, correlation_id)
            last = frame("error", operation_id, orjson.dumps([error]))
        if self._operations.get(operation_id) is asyncio.current_task():
            del self._operations[operation_id]
            self._machine.finished(operation_id)
        await self._put(last)

    async def _run(
        self, operation_id: str, payload: Mapping[str, object], correlation_id: str
    ) -> None:
        assert self._principal is not None  # noqa: S101 - START follows ACKNOWLEDGE in the table
        check_values(payload, self._limits)
        engine = self._transport.engine
        operation = await engine.prepare(graphql_request(payload), correlation_id)
        if operation.facts.kind != "subscription":
            result = await engine.run(operation, self._principal)
            await self._put(frame("next", operation_id, result.payload))
            return
        results = await engine.open(operation, self._principal)
        async with aclosing(results):
            async for result in results:
                await self._put(frame("next", operation_id, result.payload))

    def _put_soon(self, text: str) -> None:
        self._spawn(asyncio.create_task(self._put(text)))

    async def _put(self, text: str) -> None:
        try:
            self._outbox.put_nowait(text)
        except asyncio.QueueFull:
            try:
                async with asyncio.timeout(self._limits.stall_seconds):
                    await self._outbox.put(text)
            except TimeoutError:
                self._finish(STALLED)

    async def _write(self) -> None:
        with suppress(WebSocketDisconnect, OSError):
            while True:
                await self._socket.send_text(await self._outbox.get())
