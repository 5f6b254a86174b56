"""What a search of the web is told, as its service received it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.grading.naming import Identity
from agents.web.privacy import impersonal
from ops.demo import documents as gql
from ops.processes import serving, working
from ops.settings import load_settings
from ops.wiring import open_resources
from persistence.database import Database
from resolvers.global_ids import global_id
from tests import study_api as api
from tests.agents.web.test_tavily import Server, result, server  # noqa: F401 - a fixture
from tests.schema.test_study import uploaded
from tests.study_world import MATERIAL
from tests.world import ADMIN, APPROVE, World, make_world

NGOZI, ZEYNEP, KARL = "nokafor@example.edu", "zeynep.karadeniz@example.edu", "ks7@example.edu"
PEOPLE = {NGOZI: "Ngozi Okafor", ZEYNEP: "Zeynep Karadeniz", KARL: "Karl Schmidt"}
STEPS = """query($id: ID!) { node(id: $id) { ... on Message { state
  steps { result { ... on WebSearchResult { queries urls problem } } } } } }"""


@pytest.fixture
async def world(
    database: Database,
    database_dsn: str,
    shared_directory: Path,
    server: Server,  # noqa: F811 - the fixture
) -> AsyncIterator[World]:
    """A course whose tutor searches the web, with three more students."""
    settings = load_settings(
        database_url=database_dsn,
        data_dir=shared_directory / "data",
        port=0,
        tavily_api_key="tvly-secret",
        tavily_url=server.address,
    )
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        await stack.enter_async_context(working(resources))
        url = await stack.enter_async_context(serving(resources))
        made = await stack.enter_async_context(make_world(resources, url))
        admin = await made.client(ADMIN)
        await admin.change(APPROVE, provider="tavily", region="US", reason="Contract")
        people = [{"email": email, "name": name} for email, name in PEOPLE.items()]
        await admin.change(gql.CREATE_USERS, users=people)
        await admin.change(gql.ENROL, courseId=made.course_id, emails=list(PEOPLE))
        await uploaded(made, "routing.md", MATERIAL["routing.md"].encode())
        yield made


async def searched(world: World, text: str) -> dict[str, Any]:
    """The step of the search, once the question is answered."""
    ngozi = await world.client(NGOZI)
    session = (await ngozi.change(gql.CREATE_SESSION, courseId=world.course_id))["id"]
    reply = await api.answered(ngozi, api.ASK, sessionId=session, text=text)
    assert reply["state"] in {"COMPLETE", "ABSTAINED"}
    steps = (await ngozi.ask(STEPS, {"id": reply["id"]}))["node"]["steps"]
    (step,) = [one["result"] for one in steps if one["result"] and "urls" in one["result"]]
    return dict(step)


async def test_no_name_of_the_course_reaches_the_search(
    world: World,
    server: Server,  # noqa: F811 - the fixture
) -> None:
    server.body = {"results": [result("https://example.org/ttl", "The packet is discarded.")]}
    own = global_id("User", await world.user_id(NGOZI))
    step = await searched(
        world,
        f"Search the web: I am Ngozi Okafor ({NGOZI}, student number 4711223, {own}, "
        f"{await world.user_id(NGOZI)}). Zeynep Karadeniz, K. Schmidt, nokafor and Karadeniz's "
        "friend told me about the time to live of a packet. What happens when it reaches zero?",
    )
    assert (step["problem"], step["urls"]) == ("", ["https://example.org/ttl"])
    received = json.dumps([body for body, _ in server.asked], ensure_ascii=False)
    assert "time to live of a packet" in received
    for known in (
        *("Ngozi", "Okafor", "nokafor", "Zeynep", "Karadeniz", "Schmidt", "@", "4711223"),
        *(own, str(await world.user_id(NGOZI))),
    ):
        assert known.lower() not in received.lower(), known
    assert "[name]" not in received


async def test_a_query_of_names_alone_is_not_sent(
    world: World,
    server: Server,  # noqa: F811 - the fixture
) -> None:
    step = await searched(world, "Search the web: Zeynep Karadeniz")
    received = json.dumps([body for body, _ in server.asked])
    assert "eynep" not in received
    assert step["queries"]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("z e y n e p on congestion", "on congestion"),
        ("What did zeynepkaradeniz99 say of routers?", "What did say of routers?"),
        ("Robert's view of TCP", "view of TCP"),
        ("call 030 1234567 about TCP port 65535", "call about TCP port 65535"),
        ("the Bellman-Ford algorithm of 1958", "the Bellman-Ford algorithm of 1958"),
        ("лекция Дюлер про сети", "лекция про сети"),
    ],
)
def test_names_are_found_however_they_are_written(query: str, left: str) -> None:
    others = [
        Identity("Zeynep Karadeniz", "zk@example.edu"),
        Identity("Robert Bell", "rb@example.edu"),
        Identity("Дюлер Анна", "ad@example.edu"),
    ]
    assert impersonal(query, Identity("Ann Lee", "ann@example.edu"), others) == left
