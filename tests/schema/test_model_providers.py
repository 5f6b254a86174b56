"""Answers and grades by language models, over the API, with both providers' protocols."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.models.names import model_name
from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import serving, working
from ops.settings import load_settings
from ops.wiring import open_resources
from persistence import usage
from persistence.database import Database
from persistence.tables.usage import ModelUsageRow
from persistence.users import organization_by_slug
from resolvers.global_ids import key_of
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models.protocol_server import ProtocolServer, Reply, Request
from tests.agents.models.team_replies import reply_to
from tests.schema.test_providers import APPROVE
from tests.schema.test_study import (
    ANN,
    ANSWER,
    CANCEL,
    SETTLED,
    asked,
    node,
    uploaded,
)
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, SLUG, World, make_world

PRICES = [{"from": "2025-01-01", "input": 1_000_000, "output": 1_000_000}]
RUN = """query($id: ID!) { node(id: $id) { ... on GradingRun { state spentMicros
  tasks(first: 5) { nodes { state costMicros failure { code message }
    assessments { slot model criteria { points evidence { quote verified } } } } } } } }"""
FLOWS = "{ dataFlows { feature provider model region fields retention } }"


async def by_gemini(request: Request, reply: Reply) -> None:
    """What a member is told by its schema, in four pieces where it streams."""
    schema = request.body["generationConfig"]["responseJsonSchema"]
    prompt = request.body["contents"][-1]["parts"][0]["text"]
    text = reply_to(set(schema["properties"]), prompt)
    await gemini.says(text)(request, reply)


async def by_openai(request: Request, reply: Reply) -> None:
    """As by_gemini."""
    schema = request.body["response_format"]["json_schema"]["schema"]
    text = reply_to(set(schema["properties"]), request.body["messages"][-1]["content"])
    await openai.says(text)(request, reply)


@dataclass
class ModelWorld:
    """The usual world, with models of one server in all seats."""

    world: World
    server: ProtocolServer
    provider: str

    async def usages(self, owner: str, kind: str) -> list[ModelUsageRow]:
        async with self.world.resources.database.read() as connection:
            return list(await usage.usages_of(connection, key_of(owner, kind, ("id",))))


Make = Callable[..., Any]


@pytest.fixture(params=["gemini", "openai"])
async def models(
    request: pytest.FixtureRequest, database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Make]:
    """Opens the world, with settings of one's own."""
    gemini_like = request.param == "gemini"
    server = gemini.gemini_server() if gemini_like else openai.openai_server()
    server.usual = by_gemini if gemini_like else by_openai

    @asynccontextmanager
    async def opened(*, approved: bool = True, **given: Any) -> AsyncIterator[ModelWorld]:
        name = f"openai:qwen3@{server.address}/v1"
        if gemini_like:
            name = f"gemini:gemini-3-flash@{server.address}"
        settings = load_settings(
            database_url=database_dsn,
            data_dir=shared_directory / "data",
            port=0,
            lease_seconds=6,
            **{
                "models": [{"name": name, "prices": PRICES, "region": "EU", "retention": "none"}],
                "study_models": name,
                "grading_models": name,
                "picture_models": name,
                "model_server_key": gemini.KEY,
            }
            | given,
        )
        async with AsyncExitStack() as stack:
            resources = await stack.enter_async_context(open_resources(settings))
            await stack.enter_async_context(working(resources))
            url = await stack.enter_async_context(serving(resources))
            world = await stack.enter_async_context(make_world(resources, url))
            if approved:
                await (await world.client(ADMIN)).change(
                    APPROVE, provider=model_name(name).server, region="EU", reason="Contract"
                )
            yield ModelWorld(world, server, request.param)

    async with server.running():
        yield opened


async def settled(client: Client, reply: str) -> dict[str, Any]:
    """The reply, once it is no longer being written."""
    async with asyncio.timeout(30):
        while True:
            answer = await node(client, ANSWER, reply)
            if answer["state"] in SETTLED:
                return answer
            await asyncio.sleep(0.05)


async def ended_run(client: Client, run: str) -> dict[str, Any]:
    """The run, once it has ended."""
    async with asyncio.timeout(30):
        while True:
            found = await node(client, RUN, run)
            if found["state"].startswith(("COMPLETED", "FAILED")):
                return found
            await asyncio.sleep(0.05)


async def test_a_question_is_answered_with_a_citation_as_it_is_written(models: Make) -> None:
    async with models() as made:
        key = await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        _, reply, told = await asked(ann, made.world)
        answer = await node(ann, ANSWER, reply)
        assert (answer["state"], answer["failure"]) == ("COMPLETE", None)
        assert answer["text"].startswith("The packet is discarded")
        (citation,) = answer["citations"]
        assert citation["verified"] is True
        assert citation["document"]["id"] == key
        shown = ""
        for piece in (event["chunk"] for event in told if event["kind"] == "CHUNK"):
            shown = shown[: piece["offset"]] + piece["text"]
        assert shown == answer["text"]
        used = await made.usages(reply, "Message")
        assert [one.role for one in used] == ["planner", "tutor", "critic"]
        assert {(one.provider, one.outcome) for one in used} == {(made.provider, "ANSWERED")}
        assert all(one.cost_micros == 18 and one.user_id is not None for one in used)
        flows = (await ann.ask(FLOWS, {}))["dataFlows"]
        (study,) = [one for one in flows if one["feature"] == "study"]
        assert study["provider"].startswith(made.provider)
        assert (study["region"], study["retention"]) == ("EU", "none")


async def test_a_student_is_not_named_to_the_provider(models: Make) -> None:
    async with models() as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        session = (await ann.change(gql.CREATE_SESSION, courseId=made.world.course_id))["id"]
        text = f"I am {ANN}. What happens when the time to live of a packet reaches zero?"
        reply = (await ann.change(gql.ASK, sessionId=session, text=text))["id"]
        assert (await settled(ann, reply))["state"] == "COMPLETE"
        sent = json.dumps([one.body for one in made.server.requests])
        assert "[e-mail]" in sent
        assert ANN not in sent


async def test_an_answer_is_graded_with_evidence(models: Make) -> None:
    async with models() as made:
        world = made.world
        assignment, question, _ = await world.assignment()
        text = "A router forwards the packet to the next hop. Then it lowers the time to live."
        await world.submit(ANN, assignment, question, text)
        instructor = await world.client(INSTRUCTOR)
        run = (await instructor.change(gql.START_RUN, assignmentId=assignment))["id"]
        found = await ended_run(instructor, run)
        (task,) = found["tasks"]["nodes"]
        assert task["state"] in {"PROPOSED", "NEEDS_HUMAN"}
        assert task["failure"] is None
        assert [one["slot"] for one in task["assessments"]] == ["A", "B"]
        for assessment in task["assessments"]:
            for criterion in assessment["criteria"]:
                (span,) = criterion["evidence"]
                assert (criterion["points"], span["verified"]) == ("4.000", True)
                assert span["quote"] == "A router forwards the packet to the next hop"
        assert task["costMicros"] == 3 * 18  # two graders and the feedback
        assert found["spentMicros"] == 3 * 18


async def test_a_provider_that_is_down_is_a_failure_one_may_ask_again_after(models: Make) -> None:
    async with models(model_seconds=1) as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        made.server.usual = gemini.fails(401, "UNAUTHENTICATED")
        ann = await made.world.client(ANN)
        session, reply, _ = await asked(ann, made.world)
        assert (await node(ann, ANSWER, reply))["failure"] == {"code": "TUTOR_UNAVAILABLE"}
        made.server.usual = by_gemini if made.provider == "gemini" else by_openai
        again = (await ann.change(gql.ASK, sessionId=session, text="And at a time to live of 0?"))[
            "id"
        ]
        assert (await settled(ann, again))["state"] == "COMPLETE"


async def test_a_budget_that_is_used_up_says_so(models: Make) -> None:
    async with models(model_budget_micros=100) as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        _, reply, _ = await asked(ann, made.world)
        answer = await node(ann, ANSWER, reply)
        assert (answer["state"], answer["failure"]) == ("FAILED", {"code": "BUDGET_EXHAUSTED"})
        assert made.server.requests == []


async def test_a_cancel_stops_the_spending_within_a_second(models: Make) -> None:
    async with models() as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        endless = gemini.endless if made.provider == "gemini" else openai.endless
        made.server.usual = endless
        ann = await made.world.client(ANN)
        session = (await ann.change(gql.CREATE_SESSION, courseId=made.world.course_id))["id"]
        reply = (await ann.change(gql.ASK, sessionId=session, text="What is a router?"))["id"]
        async with asyncio.timeout(20):
            await made.server.asked.wait()
        await ann.raw(CANCEL, {"input": {"messageId": reply}})
        async with asyncio.timeout(1.5):  # a second, and what this machine is late
            await made.server.left.wait()
        await asyncio.gather(*made.world.resources.seating.gateway.settling)
        (used,) = await made.usages(reply, "Message")
        assert (used.outcome, used.estimated) == ("CANCELLED", True)
        assert used.cost_micros > 0


async def test_a_course_may_choose_to_stay_offline(models: Make) -> None:
    async with models() as made:
        course = key_of(made.world.course_id, "Course", ("id",))
        resources = made.world.resources
        async with resources.database.transaction() as connection:
            found = await organization_by_slug(connection, SLUG)
            assert found is not None
            organization = found.id
            for role in ("planner", "tutor", "critic"):
                await usage.choose(connection, organization, course, role, "offline")
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        _, reply, _ = await asked(ann, made.world)
        assert (await node(ann, ANSWER, reply))["state"] == "COMPLETE"
        assert made.server.requests == []
