"""A client of the public API: HTTP for queries and mutations, graphql-transport-ws for the rest."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol


class ApiError(RuntimeError):
    """The API answered with errors; the message holds them as they came."""


class Client:
    """One person's connection to the API, by their access token."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self._http = http
        self._token = token

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/graphql-response+json, application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    async def raw(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The whole response of a query or mutation, errors and all."""
        body = {"query": query, "variables": dict(variables or {})}
        response = await self._http.post("/graphql", json=body, headers=self._headers())
        answer: dict[str, Any] = response.json()
        return answer

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of a query. Raises `ApiError`."""
        return _data(await self.raw(query, variables))

    async def change(self, mutation: str, **values: Any) -> Any:
        """The noun of a mutation's payload. Raises `ApiError` when it was refused."""
        return _noun(await self.raw(mutation, {"input": values}))

    async def upload(self, mutation: str, file: tuple[str, bytes, str], **values: Any) -> Any:
        """As `change`, with one file (name, content, media type) as `input.file`."""
        return _noun(await self.raw_upload(mutation, file, **values))

    async def raw_upload(
        self, mutation: str, file: tuple[str, bytes, str], **values: Any
    ) -> dict[str, Any]:
        """As `upload`, but the whole response, errors and all."""
        operations = {"query": mutation, "variables": {"input": values | {"file": None}}}
        response = await self._http.post(
            "/graphql",
            data={
                "operations": json.dumps(operations),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": file},
            headers=self._headers() | {"GraphQL-Require-Preflight": "1"},
        )
        answer: dict[str, Any] = response.json()
        return answer

    @asynccontextmanager
    async def follow(
        self, subscription: str, variables: Mapping[str, Any]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a subscription, each the value of its one root field."""
        url = str(self._http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
        async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            params = {"Authorization": f"Bearer {self._token}"}
            await socket.send(json.dumps({"type": "connection_init", "payload": params}))
            await socket.recv()
            payload = {"query": subscription, "variables": dict(variables)}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            yield _events(socket)


def _data(answer: Mapping[str, Any]) -> dict[str, Any]:
    if answer.get("errors"):
        raise ApiError(json.dumps(answer["errors"], indent=2))
    data: dict[str, Any] = answer["data"]
    return data


def _noun(answer: Mapping[str, Any]) -> Any:
    ((name, payload),) = _data(answer).items()
    if payload["userErrors"]:
        raise ApiError(f"{name}: {json.dumps(payload['userErrors'], indent=2)}")
    (noun,) = (value for key, value in payload.items() if key != "userErrors")
    return noun


async def _events(socket: Any) -> AsyncIterator[dict[str, Any]]:
    async for frame in socket:
        message = json.loads(frame)
        if message["type"] == "ping":
            await socket.send(json.dumps({"type": "pong"}))
        elif message["type"] == "next":
            if message["payload"].get("errors"):
                raise ApiError(json.dumps(message["payload"]["errors"], indent=2))
            (event,) = message["payload"]["data"].values()
            yield event
        elif message["type"] == "error":
            raise ApiError(json.dumps(message["payload"], indent=2))
        elif message["type"] == "complete":
            return
