"""A small Strawberry schema behind the edge, served by uvicorn on a port of its own."""
# ruff: noqa: ARG002 - the arguments of these fields are there to be measured and coerced

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NewType

import httpx
import pytest
import strawberry
import uvicorn
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse
from strawberry.schema.config import StrawberryConfig
from websockets.asyncio.client import connect

from ops.edge import Credentials, DrainingServer, EdgeLimits, GraphQLEdge, OperationFacts, Throttled
from resolvers.refusals import Refusal, RefusalCode


@dataclass
class Caller:
    key: str
    anonymous: bool = False
    expires_at: datetime | None = None


@dataclass
class World:
    """What resolvers did and what the edge reported."""

    saved: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    reports: list[tuple[str, str]] = field(default_factory=list)
    contexts: list["Context"] = field(default_factory=list)
    uploads: list[UploadFile] = field(default_factory=list)
    credentials: list[Credentials] = field(default_factory=list)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # as new, for the next test


@dataclass
class Context:
    world: World
    caller: Caller
    facts: OperationFacts


class People:
    """The tokens: anonymous without one, `expired`, `crash`, `down`, `short`, any name else."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def authenticate(self, credentials: Credentials) -> Caller:
        self.world.credentials.append(credentials)
        token = credentials.authorization
        if token is None and credentials.connection_params is not None:
            given = credentials.connection_params.get("authorization")
            token = given if isinstance(given, str) else None
        if token is None:
            return Caller("nobody", anonymous=True)
        name = token.removeprefix("Bearer ")
        if name == "expired":
            raise Refusal(RefusalCode.TOKEN_EXPIRED, "Your token has expired " + "x" * 200)
        if name == "down":
            raise Refusal(RefusalCode.UNAVAILABLE, "The identity provider is away.")
        if name == "crash":
            raise RuntimeError("secret of authenticate")
        if name.startswith("short"):
            return Caller(name, expires_at=datetime.now(UTC) + timedelta(seconds=0.3))
        return Caller(name, expires_at=datetime.now(UTC) + timedelta(hours=1))

    async def context(self, principal: Any, operation: OperationFacts) -> Context:
        context = Context(self.world, principal, operation)
        if principal.key == "throttled":
            raise Throttled("Slow down.", limit="requests", value=60, retry_after=1.5)
        if (
            principal.key == "revoked"
            and sum(each.facts.event for each in self.world.contexts) == 2
        ):
            raise Refusal(RefusalCode.FORBIDDEN, "You are no longer enrolled.")
        self.world.contexts.append(context)
        return context


def world_of(info: strawberry.Info) -> World:
    world: World = info.context.world
    return world


Upload = NewType("Upload", object)


def parse_upload(value: object) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise GraphQLError("Send the file as a part of a multipart request.")
    return value


Strange = NewType("Strange", object)


def parse_strange(value: object) -> object:
    raise AttributeError("secret of parse_strange")


@strawberry.type
class Person:
    name: str = "Ada"

    @strawberry.field
    def friend(self) -> "Person":
        return Person()

    @strawberry.field
    def friends(self, first: int | None = None, last: int | None = None) -> "PersonConnection":
        return PersonConnection()

    @strawberry.field
    def tags(self) -> list["Tag"]:
        return []


@strawberry.type
class Tag:
    name: str = "tag"


@strawberry.type
class PersonEdge:
    node: Person = strawberry.field(default_factory=Person)


@strawberry.type
class PersonConnection:
    nodes: list[Person] = strawberry.field(default_factory=list)
    edges: list[PersonEdge] = strawberry.field(default_factory=list)
    total_count: int = 0


@strawberry.type
class Failing:
    @strawberry.field
    def value(self) -> str | None:
        raise RuntimeError("secret of a row")


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "world"

    @strawberry.field
    def echo(self, text: str) -> str:
        return text

    @strawberry.field
    def number(self, x: int | None = None, required: int = 3, ratio: float = 1.0) -> int | None:
        return x

    @strawberry.field
    def people(self, ids: list[strawberry.ID]) -> int:
        return len(ids)

    @strawberry.field
    def strange(self, value: Strange) -> str:
        return "unreachable"

    @strawberry.field
    def person(self) -> Person:
        return Person()

    @strawberry.field
    async def slow(self, info: strawberry.Info, seconds: float) -> str:
        world = world_of(info)
        world.started.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            world.cancelled.set()
            raise
        return "done"

    @strawberry.field
    async def failing(self) -> str | None:
        raise RuntimeError("secret of a resolver")

    @strawberry.field
    def raw_graphql_error(self) -> str | None:
        raise GraphQLError("secret of a library")

    @strawberry.field
    def required_null(self) -> str:
        return None  # type: ignore[return-value]  # a fault of the server's, on purpose

    @strawberry.field
    async def refused(self) -> str | None:
        raise Refusal(RefusalCode.NOT_FOUND, "There is no such course.", ("courseId",))

    @strawberry.field
    def surrogate(self) -> str:
        return "\ud800"

    @strawberry.field
    def many(self) -> list[Failing]:
        return [Failing() for _ in range(9)]

    @strawberry.field
    def correlation(self, info: strawberry.Info) -> str:
        value: str = info.context.facts.correlation_id
        return value

    @strawberry.field
    def variable(self, info: strawberry.Info, x: int) -> int:
        value: int = info.variable_values["x"]
        return value


@strawberry.input
class SaveInput:
    text: str
    seconds: float = 0.0
    ids: list[strawberry.ID] = strawberry.field(default_factory=list)


@strawberry.type
class FileFacts:
    name: str
    size: int


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def save(self, info: strawberry.Info, input: SaveInput) -> str:  # noqa: A002 - its name
        world_of(info).started.set()
        await asyncio.sleep(input.seconds)
        world_of(info).saved.append(input.text)
        return input.text

    @strawberry.mutation
    async def upload(self, info: strawberry.Info, files: list[Upload]) -> list[FileFacts]:
        facts = []
        for file in files:
            assert isinstance(file, UploadFile)
            world_of(info).uploads.append(file)
            facts.append(FileFacts(name=file.filename or "", size=len(await file.read())))
        return facts


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def counter(
        self, info: strawberry.Info, to: int, delay: float = 0.0
    ) -> AsyncGenerator[int]:
        world = world_of(info)
        try:
            for number in range(1, to + 1):
                yield number
                world.started.set()
                await asyncio.sleep(delay)
        finally:
            world.closed.set()

    @strawberry.subscription
    async def flood(self, info: strawberry.Info) -> AsyncGenerator[str]:
        try:
            while True:
                yield "x" * 200_000
                world_of(info).started.set()
        finally:
            world_of(info).cancelled.set()

    @strawberry.subscription
    async def breaking(self) -> AsyncGenerator[int]:
        yield 1
        raise RuntimeError("secret of a stream")

    @strawberry.subscription
    async def forbidden(self) -> AsyncGenerator[int]:
        raise Refusal(RefusalCode.FORBIDDEN, "This run is not yours.")
        yield 1


SCHEMA = strawberry.Schema(
    Query,
    Mutation,
    Subscription,
    config=StrawberryConfig(
        scalar_map={
            Upload: strawberry.scalar(name="Upload", parse_value=parse_upload),
            Strange: strawberry.scalar(name="Strange", parse_value=parse_strange),
        }
    ),
)


@dataclass
class Served:
    """A running edge and a client for it."""

    world: World
    edge: GraphQLEdge
    server: DrainingServer
    task: "asyncio.Task[None]"
    port: int
    client: httpx.AsyncClient

    async def post(
        self,
        query: str,
        variables: Mapping[str, object] | None = None,
        *,
        caller: str | None = "ada",
        accept: str | None = None,
        **more: object,
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {caller}"} if caller else {}
        if accept:
            headers["accept"] = accept
        body = {"query": query, "variables": variables, **more}
        return await self.client.post("/graphql", json=body, headers=headers)

    def socket(self, subprotocol: str = "graphql-transport-ws", **options: Any) -> Any:
        return connect(
            f"ws://127.0.0.1:{self.port}/graphql",
            subprotocols=[subprotocol],  # type: ignore[list-item]  # a NewType of str
            **options,
        )


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Served]:
    world = World()

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<title>explorer</title>")

    edge = GraphQLEdge(
        SCHEMA._schema,  # noqa: SLF001 - the only way to the plain schema
        People(world),
        EdgeLimits(**limits),
        lambda exception, error_id: world.reports.append((str(exception), error_id)),
        page=page,
        executor_class=SCHEMA.execution_context_class,
    )
    config = uvicorn.Config(
        Starlette(routes=edge.routes()),
        port=0,
        lifespan="off",
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    server = DrainingServer(config, edge.shutdown)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
        try:
            yield Served(world, edge, server, task, port, client)
        finally:
            server.should_exit = True
            await task


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Starts an edge with limits of its own."""
    return serving


@pytest.fixture(scope="session")
async def shared_edge() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@pytest.fixture
def edge(shared_edge: Served) -> Served:
    """An edge with the default limits and an empty record."""
    shared_edge.world.clear()
    return shared_edge


@pytest.fixture(scope="session")
def schema() -> Any:
    """The plain schema behind the edge."""
    return SCHEMA._schema  # noqa: SLF001 - the only way to the plain schema
