"""Who chooses models and sets budgets, what is refused, and that the next call meets it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.models.names import SeatName
from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from persistence.database import Database
from resolvers.global_ids import global_id
from tests import study_api as api
from tests.agents.models import openai_server as openai
from tests.model_world import PRICES, ModelWorld, Place, model_world, working_process
from tests.schema.test_audit import changes, events
from tests.schema.test_grants import refused
from tests.schema.test_study import ANSWER, SETTLED, node, uploaded
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN = STUDENTS[0]
CHOICE = "seat models chosenBy chosenAt problems { model code message }"
ERRORS = "userErrors { code message path }"
SET = f"""mutation($input: SetModelChoiceInput!) {{ setModelChoice(input: $input) {{
  modelChoices {{ {CHOICE} }} {ERRORS} }} }}"""
CLEAR = f"""mutation($input: ClearModelChoiceInput!) {{ clearModelChoice(input: $input) {{
  modelChoices {{ {CHOICE} }} {ERRORS} }} }}"""
BUDGET = "limitMicros isDefault spentMicros reservedMicros leftMicros exhausted currency month"
SET_BUDGET = f"""mutation($input: SetBudgetInput!) {{ setBudget(input: $input) {{
  modelBudget {{ {BUDGET} renewsAt course {{ code }} }} {ERRORS} }} }}"""
AVAILABLE = """query($c: ID) { availableModels(courseId: $c) { name region retention currency usable
  prices { since inputMicros cachedMicros outputMicros source } problem { code message } } }"""
OF_COURSE = f"""query($id: ID!) {{ node(id: $id) {{ ... on Course {{
  modelChoices {{ {CHOICE} }} modelBudget {{ {BUDGET} }} }} }} }}"""
OF_ORGANIZATION = f"""{{ viewer {{ organization {{
  modelChoices {{ {CHOICE} }} modelBudget {{ {BUDGET} }} }} }} }}"""
SECOND = "openai:spare@http://127.0.0.1:9/v1"
KEYLESS = "gemini:gemini-3-flash"
FUTURE = "openai:later@http://127.0.0.1:9/v1"


@pytest.fixture
async def opened(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Callable[..., Any]]:
    """Opens a world whose seats are offline until somebody chooses."""
    server = openai.openai_server()
    place = Place(database_dsn, shared_directory)
    async with server.running():
        name = f"openai:qwen3@{server.address}/v1"
        offered = [
            {
                "name": name,
                "prices": [PRICES[0] | {"source": "Contract 7"}],
                "region": "EU",
                "retention": "none",
            },
            {"name": SECOND, "prices": PRICES, "region": "EU"},
            {"name": KEYLESS, "prices": PRICES},
            {"name": FUTURE, "prices": [PRICES[0] | {"from": "2199-01-01"}]},
        ]
        teams = ("study_models", "grading_models", "picture_models")
        given = dict.fromkeys(teams, "offline")
        yield partial(model_world, place, server, "openai", models=offered, **given)


@pytest.fixture
async def made(opened: Callable[..., Any]) -> AsyncIterator[ModelWorld]:
    """Such a world, with a worker."""
    async with opened() as world:
        yield world


def by_seat(choices: list[dict[str, Any]]) -> dict[str, tuple[list[str], str]]:
    return {one["seat"]: (one["models"], one["chosenBy"]) for one in choices}


async def answered(world: World, client: Client) -> dict[str, Any]:
    """A new question's reply, once it is no longer being written."""
    session = (await client.change(gql.CREATE_SESSION, courseId=world.course_id))["id"]
    text = "What happens when the time to live of a packet reaches zero?"
    reply = (await client.change(gql.ASK, sessionId=session, text=text))["id"]
    async with asyncio.timeout(60):
        while True:
            answer = await node(client, ANSWER, reply)
            if answer["state"] in SETTLED:
                return answer | {"id": reply}
            await asyncio.sleep(0.05)


async def test_what_is_offered_says_why_it_cannot_be_used(made: ModelWorld) -> None:
    instructor = await made.world.client(INSTRUCTOR)
    found = (await instructor.ask(AVAILABLE, {"c": made.world.course_id}))["availableModels"]
    problems = {one["name"]: one["problem"] and one["problem"]["code"] for one in found}
    assert problems == {
        made.name: None, SECOND: "NOT_APPROVED", KEYLESS: "NO_KEY", FUTURE: "NO_PRICE"
    }  # fmt: skip
    assert [one["usable"] for one in found] == [True, False, False, False]
    assert (found[0]["region"], found[0]["retention"], found[0]["currency"]) == (
        "EU", "none", "USD"
    )  # fmt: skip
    assert found[0]["prices"] == [
        {
            "since": "2025-01-01",
            "inputMicros": 1_000_000,
            "cachedMicros": None,
            "outputMicros": 1_000_000,
            "source": "Contract 7",
        }
    ]
    assert "approveProvider" in found[1]["problem"]["message"]
    for who, asked in ((INSTRUCTOR, None), (ANN, made.world.course_id)):
        with pytest.raises(ApiError, match="model:choose"):
            await (await made.world.client(who)).ask(AVAILABLE, {"c": asked})


async def test_a_course_chooses_before_its_organization_and_that_before_the_server(
    made: ModelWorld,
) -> None:
    world, name = made.world, made.name
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    at_first = await node(instructor, OF_COURSE, world.course_id)
    seats = by_seat(at_first["modelChoices"])
    assert len(seats) == len(SeatName)
    assert all(chosen == ([], "SERVER") for chosen in seats.values())
    chosen = await admin.change(SET, seat="TUTOR", models=[name, name])
    assert by_seat(chosen)["TUTOR"] == ([name], "ORGANIZATION")
    of_course = by_seat((await node(instructor, OF_COURSE, world.course_id))["modelChoices"])
    assert of_course["TUTOR"] == ([name], "ORGANIZATION")
    own = await instructor.change(SET, courseId=world.course_id, seat="TUTOR", models=[])
    assert by_seat(own)["TUTOR"] == ([], "COURSE")
    organization = (await admin.ask(OF_ORGANIZATION))["viewer"]["organization"]
    assert by_seat(organization["modelChoices"])["TUTOR"] == ([name], "ORGANIZATION")
    back = await instructor.change(CLEAR, courseId=world.course_id, seat="TUTOR")
    assert by_seat(back)["TUTOR"] == ([name], "ORGANIZATION")
    again = {"courseId": world.course_id, "seat": "TUTOR"}
    assert await refused(instructor, CLEAR, **again) == "INVALID_STATE"
    assert by_seat(await admin.change(CLEAR, seat="TUTOR"))["TUTOR"] == ([], "SERVER")
    (event,) = await events(admin, action="setModelChoice", course=world.course_id)
    assert event["objectIds"] == [world.course_id]
    assert changes(event)["seat"] == "TUTOR"
    organization = await admin.ask("{ viewer { organization { id } } }")
    newest, *_ = await events(admin, action="clearModelChoice", outcome="DONE")
    assert newest["objectIds"] == [organization["viewer"]["organization"]["id"]]


async def test_what_cannot_be_asked_is_not_chosen(made: ModelWorld) -> None:
    world = made.world
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    ann = await world.client(ANN)
    for models, code in (
        ([made.name, "openai:unheard-of"], "UNKNOWN_MODEL"),
        ([SECOND], "PROVIDER_NOT_APPROVED"),
        ([KEYLESS], "INVALID_STATE"),
        ([FUTURE], "INVALID_STATE"),
        (["gpt"], "BAD_INPUT"),
        (["openai:" + "x" * 5_000], "BAD_INPUT"),
        ([made.name] * 6, "BAD_INPUT"),
    ):
        answer = await admin.raw(SET, {"input": {"seat": "TUTOR", "models": models}})
        (error,) = answer["data"]["setModelChoice"]["userErrors"]
        assert error["code"] == code, models
        assert error["path"][:2] == ["input", "models"]
    course = {"courseId": world.course_id, "seat": "TUTOR", "models": []}
    assert await refused(instructor, SET, seat="TUTOR", models=[]) == "FORBIDDEN"
    assert await refused(ann, SET, **course) == "FORBIDDEN"
    elsewhere = global_id("Course", (await world.user_id(ANN)))
    assert await refused(admin, SET, **course | {"courseId": elsewhere}) == "NOT_FOUND"
    assert await refused(admin, SET, **course | {"courseId": "?"}) == "BAD_INPUT"
    with pytest.raises(ApiError, match="model:choose"):
        await ann.ask(OF_COURSE, {"id": world.course_id})


async def test_budgets_are_set_by_admins_in_the_currency_of_the_prices(made: ModelWorld) -> None:
    world = made.world
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    large = 50_000_000_000  # beyond an Int
    budget = await admin.change(SET_BUDGET, limitMicros=large, currency="USD")
    assert (budget["limitMicros"], budget["leftMicros"]) == (large, large)
    assert (budget["isDefault"], budget["course"], budget["exhausted"]) == (False, None, False)
    month, renews = budget["month"], budget["renewsAt"]
    assert month.endswith("-01")
    assert renews > month
    course = {"courseId": world.course_id, "currency": "USD"}
    own = await admin.change(SET_BUDGET, limitMicros=0, **course)
    assert (own["limitMicros"], own["leftMicros"], own["exhausted"]) == (0, 0, True)
    assert own["course"] == {"code": "NET"}
    shown = (await node(instructor, OF_COURSE, world.course_id))["modelBudget"]
    assert shown["limitMicros"] == 0
    for values, path in (
        ({"limitMicros": -1, "currency": "USD"}, "limitMicros"),
        ({"limitMicros": 5, "currency": "EUR"}, "currency"),
        ({"limitMicros": 5, "currency": "usd"}, "currency"),
    ):
        answer = await admin.raw(SET_BUDGET, {"input": values})
        (error,) = answer["data"]["setBudget"]["userErrors"]
        assert (error["code"], error["path"]) == ("BAD_INPUT", ["input", path])
    for huge in (2**53, 1.5, "5", True):
        answer = await admin.raw(SET_BUDGET, {"input": {"limitMicros": huge, "currency": "USD"}})
        assert answer["errors"]
    assert await refused(instructor, SET_BUDGET, limitMicros=5, **course) == "FORBIDDEN"
    none = await admin.change(SET_BUDGET, **course)
    assert (none["limitMicros"], none["leftMicros"], none["isDefault"]) == (None, None, True)
    (event, *_) = await events(admin, action="setBudget", outcome="DONE")
    assert event["objectIds"] == [world.course_id]
    with pytest.raises(ApiError, match="usage:read"):
        await instructor.ask(OF_ORGANIZATION)


async def test_the_next_call_of_another_process_meets_a_choice_and_a_budget(
    opened: Callable[..., Any],
) -> None:
    """The api and the worker are two processes, and neither is started anew."""
    async with opened(alone=True) as made, working_process(made.settings):
        world, course = made.world, {"courseId": made.world.course_id}
        admin, ann = await world.client(ADMIN), await world.client(ANN)
        await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
        assert (await answered(world, ann))["state"] == "COMPLETE"
        assert made.server.requests == []
        await admin.change(SET, seat="CRITIC", models=[made.name], **course)
        assert (await answered(world, ann))["state"] == "COMPLETE"
        assert len(made.server.requests) == 1
        await admin.change(SET_BUDGET, limitMicros=0, currency="USD", **course)
        reply = await answered(world, ann)
        assert (reply["state"], reply["failure"]) == ("FAILED", {"code": "BUDGET_EXHAUSTED"})
        await admin.change(SET_BUDGET, limitMicros=50_000, currency="USD", **course)
        assert (await answered(world, ann))["state"] == "COMPLETE"
        assert len(made.server.requests) == 2
        budget = (await node(admin, OF_COURSE, world.course_id))["modelBudget"]
        assert (budget["spentMicros"], budget["reservedMicros"]) == (36, 0)
        assert budget["leftMicros"] == 50_000 - 36
        await admin.change(CLEAR, seat="CRITIC", **course)
        assert (await answered(world, ann))["state"] == "COMPLETE"
        assert len(made.server.requests) == 2


async def test_all_money_is_in_the_currency_of_the_prices(opened: Callable[..., Any]) -> None:
    async with opened(currency="EUR") as made:
        world, course = made.world, {"courseId": made.world.course_id}
        admin, ann = await world.client(ADMIN), await world.client(ANN)
        instructor = await world.client(INSTRUCTOR)
        assert await refused(admin, SET_BUDGET, limitMicros=5, currency="USD") == "BAD_INPUT"
        budget = await admin.change(SET_BUDGET, limitMicros=500_000, currency="EUR")
        assert budget["currency"] == "EUR"
        found = (await instructor.ask(AVAILABLE, {"c": world.course_id}))["availableModels"]
        assert {one["currency"] for one in found} == {"EUR"}
        await instructor.change(SET, seat="CRITIC", models=[made.name], **course)
        await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
        session = (await ann.change(gql.CREATE_SESSION, **course))["id"]
        text = "What happens when the time to live of a packet reaches zero?"
        reply = await api.answered(ann, api.ASK, sessionId=session, text=text)
        assert (reply["usage"]["costMicros"], reply["usage"]["currency"]) == (18, "EUR")
        own = "{ modelUsage(scope: OWN) { nodes { costMicros currency } } }"
        (row,) = (await ann.ask(own))["modelUsage"]["nodes"]
        assert row == {"costMicros": 18, "currency": "EUR"}
        assignment, question, _ = await world.assignment()
        await world.submit(ANN, assignment, question, "A router forwards packets.")
        start = {"assignmentId": assignment, "budgetMicros": 1_000}
        assert await refused(instructor, gql.START_RUN, currency="USD", **start) == "BAD_INPUT"
        run = await instructor.change(gql.START_RUN, **start)
        shown = "query($id: ID!) { node(id: $id) { ... on GradingRun { currency leftMicros } } }"
        assert await node(instructor, shown, run["id"]) == {"currency": "EUR", "leftMicros": 1_000}
