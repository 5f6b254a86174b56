"""GraphQL over HTTP: one endpoint for JSON, uploads and event streams.

https://graphql.github.io/graphql-over-http/draft/. A request with `application/json` gets 200
once it is well formed; with `application/graphql-response+json` the status tells whether there
is data. POST only, with a content type a form cannot send without a preflight.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ops.edge.contexts import Contexts, Credentials, Principal
from ops.edge.errors import ErrorFormatter, RequestRefused, error_object, refused
from ops.edge.execution import Engine, Operation, Result
from ops.edge.lifetime import Lifetime
from ops.edge.limits import EdgeLimits
from ops.edge.multipart import multipart_request
from ops.edge.negotiation import Accepted, MediaType, negotiate
from ops.edge.requests import GraphQLRequest, body_chunks, decode, graphql_request
from ops.edge.sse import EventStream
from resolvers.refusals import RefusalCode

Page = Callable[[Request], Awaitable[Response]]
PREFLIGHT = "graphql-require-preflight"
CORRELATION = "x-correlation-id"
CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def correlation_id(headers: Mapping[str, str]) -> str:
    """The caller's `X-Correlation-Id` when it is fit for a log, else a new one."""
    given = headers.get(CORRELATION, "")
    return given if CORRELATION_ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class HttpTransport:
    """The ASGI application of the endpoint's HTTP side."""

    engine: Engine
    contexts: Contexts
    limits: EdgeLimits
    errors: ErrorFormatter
    lifetime: Lifetime
    page: Page | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for what a client sent."""
        exchange = Exchange(self, Request(scope, receive), send)
        with suppress(ClientDisconnect):
            try:
                await exchange.answer()
            except RequestRefused as refusal:
                await exchange.refuse(refusal)


class Exchange:
    """One HTTP request and its answer."""

    def __init__(self, transport: HttpTransport, request: Request, send: Send) -> None:
        self._transport = transport
        self._request = request
        self._send = send
        self._accepted: Accepted = negotiate(request.headers.get("accept"))
        self._correlation_id = correlation_id(request.headers)

    async def answer(self) -> None:
        """Answer. Raises `RequestRefused` as long as nothing was sent."""
        request, page = self._request, self._transport.page
        if request.method != "POST":
            if (
                request.method == "GET"
                and page
                and "text/html" in request.headers.get("accept", "")
            ):
                await self._respond(await page(request))
                return
            raise RequestRefused(
                [error_object(RefusalCode.BAD_INPUT, "Send GraphQL requests with POST.")],
                HTTPStatus.METHOD_NOT_ALLOWED,
                headers={"Allow": "POST"},
            )
        content_type = self._content_type()
        if self._accepted.json is None and not self._accepted.events:
            names = ", ".join(MediaType)
            raise RequestRefused(
                [error_object(RefusalCode.BAD_INPUT, f"Accept one of: {names}.")],
                HTTPStatus.NOT_ACCEPTABLE,
            )
        principal = await self._authenticate()
        parsed = await self._read(content_type)
        await self._while_connected(self._operate(parsed, principal))

    async def refuse(self, refusal: RequestRefused) -> None:
        """Answer with errors and no data."""
        media = self._accepted.errors_as
        soft = refusal.wellformed and self._accepted.tolerates_errors
        status = HTTPStatus.OK if soft else refusal.status
        body = orjson.dumps({"errors": refusal.errors})
        await self._send_json(body, status, media, refusal.headers)

    def _content_type(self) -> str:
        name, _, parameters = self._request.headers.get("content-type", "").partition(";")
        name = name.strip().lower()
        charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
        if charset and charset[1].lower() not in {"utf-8", "utf8"}:
            raise self._unsupported("Send UTF-8.")
        if name == "multipart/form-data":
            if PREFLIGHT not in self._request.headers:
                raise self._unsupported("Uploads need the header GraphQL-Require-Preflight: 1.")
        elif name != "application/json":
            raise self._unsupported("Send application/json, or multipart/form-data for uploads.")
        return name

    @staticmethod
    def _unsupported(message: str) -> RequestRefused:
        error = error_object(RefusalCode.BAD_INPUT, message)
        return RequestRefused([error], HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    async def _authenticate(self) -> Principal:
        headers = self._request.headers
        client = self._request.client
        credentials = Credentials(
            headers.get("authorization"), headers, None, client.host if client else None
        )
        try:
            return await self._transport.contexts.authenticate(credentials)
        except Exception as error:
            raise self._transport.errors.refused(error, self._correlation_id) from error

    async def _read(self, content_type: str) -> GraphQLRequest:
        limits = self._transport.limits
        if content_type == "multipart/form-data":
            return await multipart_request(self._request, limits)
        body = bytearray()
        most = limits.body_bytes
        length = self._request.headers.get("content-length", "")
        too_large = length.isdigit() and (len(length) > 15 or int(length) > most)
        if not too_large:
            async for chunk in body_chunks(self._request, limits.stall_seconds):
                body += chunk
                too_large = len(body) > most
                if too_large:
                    break
        if too_large:
            message = f"The request is larger than {most} bytes."
            raise refused(RefusalCode.TOO_LARGE, message, limit="body_bytes", value=most)
        return graphql_request(decode(bytes(body), limits))

    async def _operate(self, parsed: GraphQLRequest, principal: Principal) -> None:
        engine = self._transport.engine
        try:
            operation = await engine.prepare(parsed, self._correlation_id)
            self._check_acceptable(operation)
        except BaseException:
            for file in parsed.files:
                await file.close()
            raise
        if operation.facts.kind == "subscription":
            results = await engine.open(operation, principal)
            await self._stream(results, principal)
            return
        result = await engine.run(operation, principal)
        if self._accepted.prefers_events or self._accepted.json is None:
            await self._stream(once(result), principal)
        else:
            await self._send_json(result.payload, HTTPStatus.OK, self._accepted.json, {})

    def _check_acceptable(self, operation: Operation) -> None:
        if operation.facts.kind == "subscription" and not self._accepted.events:
            message = "A subscription needs Accept: text/event-stream, or a WebSocket."
            raise RequestRefused(
                [error_object(RefusalCode.BAD_INPUT, message)], HTTPStatus.NOT_ACCEPTABLE
            )

    async def _stream(self, results: AsyncGenerator[Result], principal: Principal) -> None:
        transport = self._transport
        stream = EventStream(results, transport.limits, transport.lifetime, principal.expires_at)
        await stream.serve(self._send, {CORRELATION: self._correlation_id})

    async def _while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work until it is done or the client has gone, which cancels it."""
        task = asyncio.create_task(work)
        gone = asyncio.create_task(disconnected(self._request.receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _send_json(
        self, body: bytes, status: int, media: MediaType, headers: Mapping[str, str]
    ) -> None:
        response = Response(body, status, headers, media_type=f"{media}; charset=utf-8")
        response.headers["cache-control"] = "no-store"
        response.headers[CORRELATION] = self._correlation_id
        await self._respond(response)

    async def _respond(self, response: Response) -> None:
        await response(self._request.scope, self._request.receive, self._send)


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def once(result: Result) -> AsyncGenerator[Result]:
    """A stream of one result."""
    yield result
