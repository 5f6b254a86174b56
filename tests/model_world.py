"""A world whose seats are taken by language models, which a server of the tests plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.models.names import model_name
from agents.models.tokens import CountedUsage
from ops.demo.client import Client
from ops.processes import serving, working
from ops.settings import Settings, load_settings
from ops.wiring import Resources, open_resources
from persistence import usage
from persistence.tables.usage import ModelUsageRow
from resolvers.global_ids import key_of
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models.protocol_server import ProtocolServer, Reply, Request
from tests.agents.models.team_replies import member, reply_to
from tests.worker_process import model_environment, worker_process
from tests.world import ADMIN, APPROVE, World, make_world

PRICES = [{"from": "2025-01-01", "input": 1_000_000, "output": 1_000_000}]


def asked_by(request: Request) -> tuple[str, str]:
    """The member that asks in either protocol, and its prompt."""
    body = request.body
    if "contents" in body:
        schema = body["generationConfig"]["responseJsonSchema"]
        return member(schema["properties"]), body["contents"][-1]["parts"][0]["text"]
    schema = body["response_format"]["json_schema"]["schema"]
    return member(schema["properties"]), body["messages"][-1]["content"]


async def by_gemini(request: Request, reply: Reply, *, pieces: int = 4) -> None:
    """What a member is told by its schema, in so many pieces where it streams."""
    await gemini.says(reply_to(*asked_by(request)), pieces=pieces)(request, reply)


async def by_openai(request: Request, reply: Reply, *, pieces: int = 4) -> None:
    """As by_gemini."""
    await openai.says(reply_to(*asked_by(request)), pieces=pieces)(request, reply)


@dataclass
class ModelWorld:
    """The usual world, with models of one server in all seats."""

    world: World
    server: ProtocolServer
    provider: str
    name: str
    settings: Settings
    at_work: Resources
    """The worker's."""

    @property
    def cost(self) -> int:
        """What an answer of the server costs."""
        (price, *_) = self.settings.models[0].prices
        return price.cost(CountedUsage(11, 7, cached_tokens=4))

    async def usages(self, owner: str, kind: str) -> list[ModelUsageRow]:
        """What was used for an owner, once the last of it is settled."""
        await asyncio.gather(*self.at_work.seating.gateway.settling)
        async with self.world.resources.database.read() as connection:
            return list(await usage.usages_of(connection, key_of(owner, kind, ("id",))))


@dataclass(frozen=True)
class Place:
    """Where processes of one installation find each other."""

    dsn: str
    directory: Path

    def settings(self, name: str, *, prices: Any = PRICES, **given: Any) -> Settings:
        """Those of a process with this model in all seats, unless `given` says otherwise."""
        usual = {
            "models": [{"name": name, "prices": prices, "region": "EU", "retention": "none"}],
            "study_models": name,
            "grading_models": name,
            "picture_models": name,
            "model_server_key": gemini.KEY,
        }
        return load_settings(
            database_url=self.dsn,
            data_dir=self.directory / "data",
            port=0,
            lease_seconds=6,
            **usual | given,
        )


def served_name(server: ProtocolServer, provider: str) -> str:
    """The model's name, and what the server usually answers."""
    server.usual = by_gemini if provider == "gemini" else by_openai
    if provider == "gemini":
        return f"gemini:gemini-3-flash@{server.address}"
    return f"openai:qwen3@{server.address}/v1"


def working_process(
    settings: Settings, **variables: str
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`assay worker` with the same models, as a process of its own."""
    assert settings.database_url is not None
    dsn = settings.database_url.get_secret_value()
    return worker_process(settings, dsn, **model_environment(settings), **variables)


@asynccontextmanager
async def model_world(
    place: Place,
    server: ProtocolServer,
    provider: str,
    *,
    approved: bool = True,
    alone: bool = False,
    **given: Any,
) -> AsyncIterator[ModelWorld]:
    """An api and a worker that share nothing in memory, and the usual people.

    `alone`: no worker; start `working_process`."""
    name = served_name(server, provider)
    async with AsyncExitStack() as stack:
        settings = place.settings(name, **given)
        at_work = await stack.enter_async_context(open_resources(settings))
        if not alone:
            await stack.enter_async_context(working(at_work))
        resources = await stack.enter_async_context(open_resources(settings))
        url = await stack.enter_async_context(serving(resources))
        world = await stack.enter_async_context(make_world(resources, url))
        if approved:
            await approve(await world.client(ADMIN), name)
        yield ModelWorld(world, server, provider, name, settings, at_work)


async def approve(admin: Client, name: str) -> None:
    """Lets the organization's data go to the model's provider."""
    provider = model_name(name).server
    await admin.change(APPROVE, provider=provider, region="EU", reason="Contract")
