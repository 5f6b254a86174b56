"""Answers and grades by language models, over the API, with both providers' protocols."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.demo import documents as gql
from ops.demo.client import Client
from persistence.database import Database
from resolvers.study_history import MOST_EXCHANGES
from tests import study_api as api
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models.protocol_server import Reply, Request, silent
from tests.model_world import Place, by_gemini, by_openai, model_world
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
from tests.world import ADMIN, INSTRUCTOR, STUDENTS

RUN = """query($id: ID!) { node(id: $id) { ... on GradingRun { state pausedBecause spentMicros
  tasks(first: 5) { nodes { state costMicros failure { code message }
    assessments { slot model criteria { points evidence { quote verified } } } } } } } }"""
RESUME = """mutation($input: ResumeGradingRunInput!) { resumeGradingRun(input: $input) {
  gradingRun { state } userErrors { code message path } } }"""
FLOWS = "{ dataFlows { feature provider model region fields retention } }"


Make = Callable[..., Any]


@pytest.fixture(params=["gemini", "openai"])
async def models(
    request: pytest.FixtureRequest, database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Make]:
    """Opens the world, with settings of one's own."""
    gemini_like = request.param == "gemini"
    server = gemini.gemini_server() if gemini_like else openai.openai_server()
    place = Place(database_dsn, shared_directory)
    async with server.running():
        yield partial(model_world, place, server, request.param)


async def settled(client: Client, reply: str) -> dict[str, Any]:
    """The reply, once it is no longer being written."""
    async with asyncio.timeout(30):
        while True:
            answer = await node(client, ANSWER, reply)
            if answer["state"] in SETTLED:
                return answer
            await asyncio.sleep(0.05)


async def settled_run(client: Client, run: str) -> dict[str, Any]:
    """The run, once it has ended or is paused."""
    async with asyncio.timeout(30):
        while True:
            found = await node(client, RUN, run)
            if found["state"] in {"PAUSED", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"}:
                return found
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


# 1,000 micro-units a token written, next to nothing a token read: 256,001 are set aside for a call.
DEAR = [{"from": "2025-01-01", "input": 1, "output": 1_000_000_000}]


async def test_a_month_that_is_used_up_pauses_a_run_which_loses_nothing(models: Make) -> None:
    async with models(model_output_tokens=256, prices=DEAR) as made:
        world = made.world
        assignment, question, _ = await world.assignment()
        text = "A router forwards the packet to the next hop. Then it lowers the time to live."
        for student in STUDENTS:
            await world.submit(student, assignment, question, text)
        admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
        course = {"courseId": world.course_id, "currency": "USD"}
        await admin.change(api.SET_BUDGET, limitMicros=256_001 + 3 * made.cost, **course)
        run = (await instructor.change(gql.START_RUN, assignmentId=assignment))["id"]
        found = await settled_run(instructor, run)
        assert (found["state"], found["pausedBecause"]) == ("PAUSED", "COURSE_BUDGET")
        assert all(task["failure"] is None for task in found["tasks"]["nodes"])
        assert "PENDING" in {task["state"] for task in found["tasks"]["nodes"]}
        assert len(made.server.requests) == 4, "as many as the budget holds, none beyond"

        await instructor.change(RESUME, runId=run)  # too early
        assert (await settled_run(instructor, run))["pausedBecause"] == "COURSE_BUDGET"
        await admin.change(api.SET_BUDGET, **course)
        await admin.change(api.SET_BUDGET, limitMicros=0, currency="USD")
        await instructor.change(RESUME, runId=run)
        assert (await settled_run(instructor, run))["pausedBecause"] == "ORGANIZATION_BUDGET"
        assert len(made.server.requests) == 4

        await admin.change(api.SET_BUDGET, currency="USD")
        await instructor.change(RESUME, runId=run)
        ended = await settled_run(instructor, run)
        assert (ended["state"], ended["spentMicros"]) == ("COMPLETED", 9 * made.cost)
        assert len(made.server.requests) == 9, "nothing was paid for twice"


async def test_a_month_that_is_used_up_mid_answer_is_resumed_by_asking_anew(models: Make) -> None:
    async with models(model_output_tokens=256, prices=DEAR) as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        admin, ann = await made.world.client(ADMIN), await made.world.client(ANN)
        course = {"courseId": made.world.course_id, "currency": "USD"}
        await admin.change(api.SET_BUDGET, limitMicros=256_001, **course)
        _, reply, _ = await asked(ann, made.world)
        answer = await node(ann, ANSWER, reply)
        assert (answer["state"], answer["failure"]) == ("FAILED", {"code": "BUDGET_EXHAUSTED"})
        assert len(made.server.requests) == 1, "the planner was asked, the tutor was not"
        await admin.change(api.SET_BUDGET, **course)
        again = await api.answered(ann, api.REGENERATE, messageId=reply)
        assert (again["state"], again["usage"]["calls"]) == ("COMPLETE", 3)


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
        await asyncio.gather(*made.at_work.seating.gateway.settling)
        (used,) = await made.usages(reply, "Message")
        assert (used.outcome, used.estimated) == ("CANCELLED", True)
        assert used.cost_micros > 0


async def test_a_course_may_choose_to_stay_offline(models: Make) -> None:
    async with models() as made:
        instructor = await made.world.client(INSTRUCTOR)
        for seat in ("PLANNER", "TUTOR", "CRITIC", "SUMMARISER"):
            await instructor.change(
                api.SET_CHOICE, courseId=made.world.course_id, seat=seat, models=[]
            )
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        _, reply, _ = await asked(ann, made.world)
        assert (await node(ann, ANSWER, reply))["state"] == "COMPLETE"
        assert made.server.requests == []


def fields_of(request: Request) -> set[str]:
    """The properties of the answer that is asked for: they tell who asks."""
    body = request.body
    if "generationConfig" in body:
        return set(body["generationConfig"]["responseJsonSchema"]["properties"])
    return set(body["response_format"]["json_schema"]["schema"]["properties"])


async def test_a_long_conversation_is_summarised_by_a_model_and_paid_once(models: Make) -> None:
    async with models(model_seconds=2) as made:
        await uploaded(made.world, "routing.md", MATERIAL["routing.md"].encode())
        ann = await made.world.client(ANN)
        session = (await ann.change(gql.CREATE_SESSION, courseId=made.world.course_id))["id"]
        text = f"I am {ANN}. What happens when the time to live of a packet reaches zero?"
        for _ in range(MOST_EXCHANGES + 1):
            reply = await api.answered(ann, api.ASK, sessionId=session, text=text)
            assert reply["state"] == "COMPLETE"
        assert not any(fields_of(one) == {"text"} for one in made.server.requests)
        usual, begun = made.server.usual, len(made.server.requests)

        async def first_silent(request: Request, reply: Reply) -> None:
            """The summary is made; then the planner does not answer until the next try."""
            planning = [one for one in made.server.requests[begun:] if "route" in fields_of(one)]
            lost = "route" in fields_of(request) and len(planning) == 1
            await (silent if lost else usual)(request, reply)

        made.server.usual = first_silent
        reply = await api.answered(ann, api.ASK, sessionId=session, text=text)
        assert reply["state"] == "COMPLETE"
        told = made.server.requests[begun:]
        (summarised,) = [one for one in told if fields_of(one) == {"text"}]
        assert ANN not in json.dumps(summarised.body)
        assert "[e-mail]" in json.dumps(summarised.body)
        assert sum("route" in fields_of(one) for one in told) == 2, "the planner was asked again"
        planning = [json.dumps(one.body) for one in told if "route" in fields_of(one)]
        assert all("You said where the packet goes" in prompt for prompt in planning)
        roles = [one.role for one in await made.usages(reply["id"], "Message")]
        assert roles.count("summariser") == 1
        (spent,) = [
            step["result"]
            for step in reply["steps"]
            if step["kind"] == "SPENT" and step["result"]["step"] == "summary:0"
        ]
        assert (spent["provider"], spent["costMicros"]) == (made.provider, 18)
