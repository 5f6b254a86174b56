"""Who reads which requests of models, and what they come to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from persistence.database import Database
from resolvers.global_ids import global_id
from tests.access.people import _foreign_admin
from tests.agents.models import openai_server as openai
from tests.model_world import ModelWorld, Place, model_world
from tests.schema.test_model_choices import answered
from tests.schema.test_model_providers import ended_run
from tests.schema.test_study import uploaded
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, STUDENTS

ANN, BOB, CEM = STUDENTS
ROWS = """query($scope: UsageScope!, $courseId: ID, $filter: ModelUsageFilter, $first: Int = 100,
    $after: String) {
  modelUsage(scope: $scope, courseId: $courseId, filter: $filter, first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { id createdAt seat provider model place number outcome inputTokens cachedTokens
      outputTokens estimated costMicros currency milliseconds course { code } user { email }
      message { id } gradingTask { id } } } }"""
TOTALS = """query($scope: UsageScope!, $by: [UsageDimension!]!, $courseId: ID,
    $filter: ModelUsageFilter, $first: Int = 100, $after: String) {
  modelUsageTotals(scope: $scope, by: $by, courseId: $courseId, filter: $filter, first: $first,
      after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { day provider model seat course { code } requests failed inputTokens cachedTokens
      outputTokens costMicros currency milliseconds } } }"""


@dataclass
class Used:
    """A course in which Ann and Bob studied and Cem's work was graded: nine requests."""

    made: ModelWorld
    replies: dict[str, str]

    async def rows(self, who: str | Client, **asked: Any) -> list[dict[str, Any]]:
        client = who if isinstance(who, Client) else await self.made.world.client(who)
        found: list[dict[str, Any]] = (await client.ask(ROWS, asked))["modelUsage"]["nodes"]
        return found

    async def totals(self, who: str, *by: str, **asked: Any) -> list[dict[str, Any]]:
        client = await self.made.world.client(who)
        answer = await client.ask(TOTALS, {"by": list(by), **asked})
        found: list[dict[str, Any]] = answer["modelUsageTotals"]["nodes"]
        return found


@pytest.fixture
async def used(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Used]:
    server = openai.openai_server()
    place = Place(database_dsn, shared_directory)
    async with server.running(), model_world(place, server, "openai") as made:
        world = made.world
        await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
        replies = {
            email: (await answered(world, await world.client(email)))["id"] for email in (ANN, BOB)
        }
        assignment, question, _ = await world.assignment()
        text = "A router forwards the packet to the next hop. Then it lowers the time to live."
        await world.submit(CEM, assignment, question, text)
        instructor = await world.client(INSTRUCTOR)
        run = (await instructor.change(gql.START_RUN, assignmentId=assignment))["id"]
        assert (await ended_run(instructor, run))["state"] == "COMPLETED"
        yield Used(made, replies)


async def test_each_reads_what_is_theirs_to_know(used: Used) -> None:
    course = used.made.world.course_id
    everything = await used.rows(ADMIN, scope="ORGANIZATION")
    assert [one["seat"] for one in reversed(everything)][:3] == ["PLANNER", "TUTOR", "CRITIC"]
    people = [one["user"] and one["user"]["email"] for one in everything]
    assert sorted(filter(None, people)) == [ANN] * 3 + [BOB] * 3
    assert people.count(None) == 3, "grading is asked for by nobody"
    assert all(one["message"] is None for one in everything), "an admin reads no answers"
    for one in everything:
        assert (one["provider"], one["model"], one["outcome"]) == ("openai", "qwen3", "ANSWERED")
        assert (one["inputTokens"] + one["outputTokens"], one["costMicros"]) == (18, 18)
        assert (one["currency"], one["course"], one["place"], one["number"]) == (
            "USD", {"code": "NET"}, 0, 1
        )  # fmt: skip

    graded = await used.rows(INSTRUCTOR, scope="COURSE", courseId=course)
    assert sorted(one["seat"] for one in graded) == ["FEEDBACK", "GRADER_A", "GRADER_B"]
    assert {one["user"] for one in graded} == {None}
    assert all(one["gradingTask"] for one in graded)

    for email in (ANN, BOB):
        own = await used.rows(email, scope="OWN")
        assert {one["message"]["id"] for one in own} == {used.replies[email]}
        assert {one["user"]["email"] for one in own} == {email}
        assert len(own) == 3
    assert await used.rows(CEM, scope="OWN") == []
    assert await used.rows(await _foreign_admin(used.made.world), scope="ORGANIZATION") == []


async def test_what_is_not_theirs_is_refused(used: Used) -> None:
    world = used.made.world
    course = {"scope": "COURSE", "courseId": world.course_id}
    ann = {"userId": global_id("User", await world.user_id(ANN))}
    for who, asked, code in (
        (ANN, course, "FORBIDDEN"),
        (ANN, {"scope": "ORGANIZATION"}, "FORBIDDEN"),
        (INSTRUCTOR, {"scope": "ORGANIZATION"}, "FORBIDDEN"),
        (INSTRUCTOR, course | {"filter": ann}, "FORBIDDEN"),
        (BOB, {"scope": "OWN", "filter": ann}, "FORBIDDEN"),
        (ADMIN, {"scope": "COURSE"}, "BAD_INPUT"),
        (ADMIN, course | {"courseId": "x"}, "BAD_INPUT"),
        (ADMIN, {"scope": "ORGANIZATION", "first": 0}, "BAD_INPUT"),
        (ADMIN, {"scope": "ORGANIZATION", "after": "WyJ4Il0"}, "BAD_INPUT"),
        (ADMIN, {"scope": "ORGANIZATION", "filter": {"since": "1850-01-01T00:00:00Z"}}, "BAD"),
    ):
        client = await world.client(who)
        with pytest.raises(ApiError, match=code):
            await client.ask(ROWS, asked)
        with pytest.raises(ApiError, match=code):
            await client.ask(TOTALS, asked | {"by": ["DAY"]})
    long_ago = (datetime.now(UTC) - timedelta(days=401)).isoformat()
    with pytest.raises(ApiError, match="400 days"):
        await used.totals(ADMIN, scope="ORGANIZATION", filter={"since": long_ago})
    assert len(await used.rows(ADMIN, scope="COURSE", courseId=world.course_id, filter=ann)) == 3


async def test_totals_are_of_everybody_and_name_nobody(used: Used) -> None:
    course = {"scope": "COURSE", "courseId": used.made.world.course_id}
    (whole,) = await used.totals(INSTRUCTOR, **course)
    named = ("day", "provider", "model", "seat", "course")
    assert [whole[name] for name in named] == [None] * 5
    assert (whole["requests"], whole["failed"], whole["costMicros"]) == (9, 0, 162)
    by_seat = await used.totals(INSTRUCTOR, "PURPOSE", **course)
    assert {one["seat"]: one["requests"] for one in by_seat} == {
        "PLANNER": 2, "TUTOR": 2, "CRITIC": 2, "GRADER_A": 1, "GRADER_B": 1, "FEEDBACK": 1
    }  # fmt: skip
    (by_all,) = await used.totals(
        ADMIN, "DAY", "MODEL", "COURSE", scope="ORGANIZATION", filter={"provider": "openai"}
    )
    assert abs((datetime.now(UTC).date() - datetime.fromisoformat(by_all["day"]).date()).days) <= 1
    assert (by_all["provider"], by_all["model"]) == ("openai", "qwen3")
    assert (by_all["course"], by_all["costMicros"]) == ({"code": "NET"}, 162)
    (own,) = await used.totals(ANN, scope="OWN", filter={"seats": ["PLANNER", "TUTOR"]})
    assert (own["requests"], own["costMicros"], own["currency"]) == (2, 36, "USD")
    assert await used.totals(ADMIN, scope="ORGANIZATION", filter={"model": "other"}) == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = {"since": tomorrow, "until": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    assert await used.totals(ADMIN, scope="ORGANIZATION", filter=later) == []
    assert await used.rows(ADMIN, scope="ORGANIZATION", filter={"since": tomorrow}) == []


async def test_pages_go_on_where_the_last_ended(used: Used) -> None:
    admin = await used.made.world.client(ADMIN)
    for document, field, asked, size in (
        (ROWS, "modelUsage", {}, 9),
        (TOTALS, "modelUsageTotals", {"by": ["PURPOSE", "DAY"]}, 6),
    ):
        seen: list[Any] = []
        after = None
        while True:
            page = (
                await admin.ask(
                    document, asked | {"scope": "ORGANIZATION", "first": 2, "after": after}
                )
            )[field]
            seen += page["nodes"]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        keys = [one.get("id") or (one["seat"], one["day"]) for one in seen]
        assert len(keys) == len(set(keys)) == size
