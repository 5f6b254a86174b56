"""What the tutor remembers is its owner's alone to read and change."""

import json

import pytest

from ops.demo import documents as gql
from ops.demo.client import Client
from resolvers.global_ids import global_id
from tests import study_api as api
from tests.schema.test_api_tokens import IMPERSONATE, made
from tests.study_api import node, refusal, refused
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
FACTS = """query($c: ID) { memoryFacts(courseId: $c) { nodes { id text state } } }"""
FACT = "query($id: ID!) { node(id: $id) { ... on MemoryFact { text } } }"


async def texts(client: Client, course_id: str | None = None) -> list[str]:
    found = await client.ask(FACTS, {"c": course_id})
    return [fact["text"] for fact in found["memoryFacts"]["nodes"]]


async def test_a_person_keeps_facts_and_nobody_else_meets_them(world: World) -> None:
    ann = await world.client(ANN)
    given = {"text": "I like  short\nexamples.", "courseId": world.course_id}
    fact = await ann.change(api.REMEMBER, **given)
    assert fact == {
        "id": fact["id"],
        "text": "I like short examples.",
        "state": "ACCEPTED",
        "version": 1,
        "course": {"code": "NET"},
    }
    own = await ann.change(api.REMEMBER, text="I study at night.")
    assert own["course"] is None
    assert await texts(ann) == ["I study at night.", "I like short examples."]
    assert await texts(ann, world.course_id) == await texts(ann)

    rewritten = {"memoryFactId": fact["id"], "text": "Long examples.", "version": 1}
    changed = await ann.change(api.REWRITE, **rewritten)
    assert changed == {"text": "Long examples.", "state": "ACCEPTED", "version": 2}
    assert await refused(ann, api.REWRITE, **rewritten) == "CONFLICT"
    assert await refused(ann, api.ACCEPT, memoryFactId=fact["id"]) == "INVALID_STATE"

    for email in (BOB, INSTRUCTOR, ADMIN):
        other = await world.client(email)
        assert await node(other, FACT, fact["id"]) is None
        assert await texts(other) == []
        for document, values in (
            (api.REWRITE, rewritten | {"version": 2}),
            (api.ACCEPT, {"memoryFactId": fact["id"]}),
            (api.FORGET, {"memoryFactId": fact["id"]}),
        ):
            assert await refused(other, document, **values) == "NOT_FOUND"

    assert await ann.change(api.FORGET, memoryFactId=fact["id"]) == fact["id"]
    assert await refused(ann, api.FORGET, memoryFactId=fact["id"]) == "NOT_FOUND"
    assert await texts(ann) == ["I study at night."]
    assert await node(ann, FACT, fact["id"]) is None


async def test_who_acts_as_the_person_does_not_meet_them_either(world: World) -> None:
    ann, admin = await world.client(ANN), await world.client(ADMIN)
    fact = await ann.change(api.REMEMBER, text="I study at night.")
    acting = await admin.change(
        IMPERSONATE,
        userId=global_id("User", await world.user_id(ANN)),
        reason="She asked for help",
    )
    as_ann = Client(world.http, acting["accessToken"])
    assert (await as_ann.ask("{ viewer { email } }"))["viewer"]["email"] == ANN
    assert await texts(as_ann) == []
    assert await node(as_ann, FACT, fact["id"]) is None
    assert await texts(ann) == ["I study at night."]


async def test_a_token_of_a_service_does_not_meet_them(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    fact = await instructor.change(api.REMEMBER, text="I teach networks.")
    token = Client(world.http, (await made(world, INSTRUCTOR, scopes=["STUDY_ASK"]))["secret"])
    assert await texts(token) == []
    assert await node(token, FACT, fact["id"]) is None
    assert await refused(token, api.REMEMBER, text="I am a machine.") == "FORBIDDEN"
    assert await refused(token, api.FORGET, memoryFactId=fact["id"]) == "NOT_FOUND"


@pytest.mark.parametrize("text", ["", " ", "x" * 501, "a\u202eb", "\u200b", "x" * 90_000])
async def test_what_is_no_fact_is_refused(world: World, text: str) -> None:
    ann = await world.client(ANN)
    assert await refused(ann, api.REMEMBER, text=text) == "BAD_INPUT"
    assert await texts(ann) == []


async def test_facts_need_a_course_to_ask_in_and_have_a_limit(world: World) -> None:
    ann, admin = await world.client(ANN), await world.client(ADMIN)
    assert await refused(admin, api.REMEMBER, text="I run it all.") == "FORBIDDEN"
    other = await admin.change(gql.CREATE_COURSE, code="OTHER", title="Other")
    elsewhere = {"text": "Here.", "courseId": other["id"]}
    assert await refused(ann, api.REMEMBER, **elsewhere) == "NOT_FOUND"
    connection = await world.resources.database.direct()
    try:
        await ann.change(api.REMEMBER, text="One.")
        await connection.execute(
            "INSERT INTO memory_fact (id, organization_id, user_id, text, state, version) SELECT "
            "gen_random_uuid(), organization_id, user_id, 'More', 'ACCEPTED', 1 FROM memory_fact, "
            "generate_series(1, 199)"
        )
    finally:
        await connection.close()
    code, says = await refusal(ann, api.REMEMBER, text="Two.")
    assert (code, "200" in says) == ("LIMIT_EXCEEDED", True)


async def test_facts_are_handed_over_and_erased_with_their_person(world: World) -> None:
    ann, admin = await world.client(ANN), await world.client(ADMIN)
    await ann.change(api.REMEMBER, text="I like zyzzyva words.")
    export = api.mutation("exportPersonalData", "personalData { json }")
    assert "zyzzyva" in json.loads((await ann.change(export))["json"])["memory_fact"][0]["text"]
    await admin.change(
        api.mutation("erasePersonalData", "user { name }"),
        userId=global_id("User", await world.user_id(ANN)),
        reason="Asked by letter",
    )
    connection = await world.resources.database.direct()
    try:
        for table in ("memory_fact", "personal_value", "audit_event"):
            count = await connection.fetchval(
                f"SELECT count(*) FROM {table} t WHERE t::text ILIKE '%zyzzyva%'"
            )
            assert count == 0, table
    finally:
        await connection.close()
