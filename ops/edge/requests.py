"""A GraphQL request as JSON carries it, refused here when it is not one.

Shape: GraphQL over HTTP, section 5.1 (`query`, `operationName`, `variables`, `extensions`);
graphql-transport-ws sends the same object as the payload of `subscribe`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ops.edge.errors import RequestRefused, error_object, limit_error, refused
from ops.edge.limits import EdgeLimits
from resolvers.refusals import RefusalCode


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """One request. `files` are the uploads among `variables`; who runs the request closes them."""

    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    operation_name: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[UploadFile, ...] = ()


def loads(body: bytes) -> object:
    """Decode JSON. Raises `RequestRefused` with BAD_INPUT.

    Text that is not UTF-8, lone surrogates and integers beyond a double are not JSON here.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refused(RefusalCode.BAD_INPUT, f"The body is not valid JSON: {error}.") from None


def decode(body: bytes, limits: EdgeLimits) -> object:
    """Decode JSON and check its values (see `check_values`). Raises `RequestRefused`."""
    value = loads(body)
    nested, values = body.count(b"[") + body.count(b"{"), 2 * body.count(b",")
    if b"\\u0000" in body or nested > limits.json_depth or values > limits.json_values:
        check_values(value, limits)
    return value


def graphql_request(value: object) -> GraphQLRequest:
    """Read a request from decoded JSON. Raises `RequestRefused` with BAD_INPUT."""
    if isinstance(value, list):
        raise refused(RefusalCode.BAD_INPUT, "Batches are not accepted; send one request each.")
    if not isinstance(value, dict):
        raise refused(RefusalCode.BAD_INPUT, "The request must be a JSON object.")
    query = value.get("query")
    if not isinstance(query, str) or not query.strip():
        raise refused(RefusalCode.BAD_INPUT, "The request needs a `query` string.")
    name = value.get("operationName")
    if name is not None and not isinstance(name, str):
        raise refused(RefusalCode.BAD_INPUT, "`operationName` must be a string or null.")
    return GraphQLRequest(
        query=query,
        variables=_mapping(value, "variables"),
        operation_name=name or None,
        extensions=_mapping(value, "extensions"),
    )


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise refused(RefusalCode.BAD_INPUT, f"`{key}` must be an object or null.")
    return found


async def body_chunks(request: Request, stall_seconds: float) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises `RequestRefused` with TIMEOUT when it stops coming."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(stall_seconds):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = f"Nothing more of the body came for {stall_seconds:g} s."
            error = error_object(RefusalCode.TIMEOUT, message, limit="stall", value=stall_seconds)
            raise RequestRefused([error], HTTPStatus.REQUEST_TIMEOUT) from None
        yield chunk


def check_values(value: object, limits: EdgeLimits) -> None:
    """Refuse NUL characters, which PostgreSQL cannot store, and what exhausts stack or processor.

    Raises `RequestRefused` with BAD_INPUT, or LIMIT_EXCEEDED beyond `json_depth` and `json_values`.
    """
    deepest, most, count = limits.json_depth, limits.json_values, 0
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        count += 1
        if count > most:
            message = f"The JSON holds more than {most} values."
            raise RequestRefused([limit_error("json_values", most, message)])
        if isinstance(item, str):
            if "\0" in item:
                raise refused(RefusalCode.BAD_INPUT, "Text must not contain the NUL character.")
        elif isinstance(item, dict | list):
            if depth > deepest:
                message = f"The JSON nests more than {deepest} levels deep."
                raise RequestRefused([limit_error("json_depth", deepest, message)])
            if isinstance(item, dict):
                stack.extend((key, depth) for key in item)
                stack.extend((each, depth + 1) for each in item.values())
            else:
                stack.extend((each, depth + 1) for each in item)
