import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from ops.bootstrap import create_admin, find_user
from ops.demo import documents as gql
from ops.demo.client import Client
from persistence.tables.identity import role_grants
from resolvers.global_ids import global_id
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

COURSES = """query($first: Int!, $after: String) { courses(first: $first, after: $after) {
  nodes { id code } edges { cursor } pageInfo { hasNextPage endCursor } } }"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


FORGED = [
    base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
    for values in (
        [{"a": 1}, "x"],
        ["A", 5],
        ["A", "nope"],
        ["A\0", "0192b0a0-0000-7000-8000-000000000000"],
        ["\ud800", "0192b0a0-0000-7000-8000-000000000000"],
        ["A", {}],
        [None, None],
        ["A" * 5_000, "0192b0a0-0000-7000-8000-000000000000"],
    )
]


def code_of(answer: dict[str, Any]) -> str:
    return str(answer["errors"][0]["extensions"]["code"])


async def test_a_retried_mutation_with_its_key_gives_the_first_result(world: World) -> None:
    admin = await world.client(ADMIN)
    first = await admin.change(gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k")
    again = await admin.change(gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k")
    assert first == again


async def test_a_key_with_other_input_is_a_conflict(world: World) -> None:
    admin = await world.client(ADMIN)
    await admin.change(gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k")
    values = {"code": "B", "title": "B", "idempotencyKey": "k"}
    answer = await admin.raw(gql.CREATE_COURSE, {"input": values})
    payload = answer["data"]["createCourse"]
    assert payload["course"] is None
    assert payload["userErrors"][0]["code"] == "IDEMPOTENCY_CONFLICT"


async def test_two_requests_with_one_key_at_once_do_the_work_once(world: World) -> None:
    admin = await world.client(ADMIN)
    made = await asyncio.gather(
        *(admin.change(gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k") for _ in "12345")
    )
    assert len({course["id"] for course in made}) == 1


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"code": "", "title": "A"}, "code"),
        ({"code": "A", "title": "x" * 201}, "title"),
        ({"code": "A", "title": "A", "timeZone": "Mars/Olympus"}, "timeZone"),
        ({"code": "NET", "title": "A"}, "code"),
        ({"code": "A", "title": "A", "idempotencyKey": ""}, "idempotencyKey"),
    ],
)
async def test_a_refused_input_names_its_field(
    world: World, values: dict[str, str], path: str
) -> None:
    admin = await world.client(ADMIN)
    answer = await admin.raw(gql.CREATE_COURSE, {"input": values})
    (error,) = answer["data"]["createCourse"]["userErrors"]
    assert (error["code"], error["path"]) == ("BAD_INPUT", ["input", path])


@pytest.mark.parametrize("email", [INSTRUCTOR, STUDENTS[0]])
async def test_only_an_admin_opens_courses(world: World, email: str) -> None:
    client = await world.client(email)
    answer = await client.raw(gql.CREATE_COURSE, {"input": {"code": "A", "title": "A"}})
    assert answer["data"]["createCourse"]["userErrors"][0]["code"] == "FORBIDDEN"


async def test_nobody_grants_a_role_to_themselves(world: World) -> None:
    admin = await world.client(ADMIN)
    own = global_id("User", await world.user_id(ADMIN))
    values = {"userId": own, "role": "INSTRUCTOR", "courseId": world.course_id, "reason": "r"}
    answer = await admin.raw(gql.GRANT_ROLE, {"input": values})
    assert answer["data"]["grantRole"]["userErrors"][0]["code"] == "FORBIDDEN"


async def test_an_instructor_cannot_make_an_instructor(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    student = global_id("User", await world.user_id(STUDENTS[0]))
    values = {"userId": student, "role": "INSTRUCTOR", "courseId": world.course_id, "reason": "r"}
    answer = await instructor.raw(gql.GRANT_ROLE, {"input": values})
    assert answer["data"]["grantRole"]["userErrors"][0]["code"] == "FORBIDDEN"


async def test_pages_join_without_gap_or_repeat_while_rows_come(world: World) -> None:
    admin = await world.client(ADMIN)
    for code in "BDF":
        await admin.change(gql.CREATE_COURSE, code=code, title=code)
    seen, after = [], None
    while True:
        page = (await admin.ask(COURSES, {"first": 1, "after": after}))["courses"]
        seen += [node["code"] for node in page["nodes"]]
        if len(seen) == 2:
            await admin.change(gql.CREATE_COURSE, code="A", title="comes before the cursor")
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == ["B", "D", "F", "NET"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "bm9wZQ", "WyJhIl0", "WzFd", "W10", "é", "e30", *FORGED]
)
async def test_a_cursor_of_another_make_is_refused(world: World, cursor: str) -> None:
    admin = await world.client(ADMIN)
    answer = await admin.raw(COURSES, {"first": 1, "after": cursor})
    assert code_of(answer) == "BAD_INPUT"


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_1_to_100_rows(world: World, first: int) -> None:
    admin = await world.client(ADMIN)
    answer = await admin.raw(COURSES, {"first": first})
    assert code_of(answer) in {"BAD_INPUT", "LIMIT_EXCEEDED"}


@pytest.mark.parametrize("wrong", ["", "x", "////", "Q291cnNlOjE", "Q291cnNl", "é", "a" * 5000])
async def test_an_id_of_another_make_is_refused(world: World, wrong: str) -> None:
    admin = await world.client(ADMIN)
    answer = await admin.raw(NODE, {"id": wrong})
    assert code_of(answer) == "BAD_INPUT"


async def test_another_organizations_course_is_as_missing_as_none(world: World) -> None:
    await create_admin(
        world.resources.database, organization="O", slug="other", email="o@o.org", name="O"
    )
    found = await find_user(world.resources.database, slug="other", email="o@o.org")
    assert found is not None
    stranger = Client(world.http, world.resources.issue_token(*found, 60))
    missing = global_id("Course", found[0])
    assert await stranger.ask(NODE, {"id": world.course_id}) == {"node": None}
    assert await stranger.ask(NODE, {"id": missing}) == {"node": None}
    enrol = {"courseId": world.course_id, "emails": ["o@o.org"]}
    absent = {"courseId": missing, "emails": ["o@o.org"]}
    assert await stranger.raw(gql.ENROL, {"input": enrol}) == await stranger.raw(
        gql.ENROL, {"input": absent}
    )


async def test_an_instructor_of_one_course_reads_the_other_without_its_enrolments(
    world: World,
) -> None:
    admin = await world.client(ADMIN)
    other = await admin.change(gql.CREATE_COURSE, code="OTHER", title="Other")
    await admin.change(gql.ENROL, courseId=other["id"], emails=[INSTRUCTOR])
    document = "{ courses { nodes { code enrollments { nodes { user { name } } } } } }"
    answer = await (await world.client(INSTRUCTOR)).raw(document)
    net, closed = answer["data"]["courses"]["nodes"]
    assert len(net["enrollments"]["nodes"]) == 3
    assert closed == {"code": "OTHER", "enrollments": None}
    (error,) = answer["errors"]
    assert error["path"] == ["courses", "nodes", 1, "enrollments"]
    assert error["extensions"]["code"] == "FORBIDDEN"


async def test_a_replay_after_the_rights_are_gone_is_refused(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    grader = {"userId": global_id("User", await world.user_id(STUDENTS[0])), "role": "GRADER"}
    given = grader | {"courseId": world.course_id, "reason": "Marks", "idempotencyKey": "k"}
    await instructor.change(gql.GRANT_ROLE, **given)
    async with world.resources.database.transaction() as connection:
        await connection.execute(
            update(role_grants)
            .where(role_grants.c.user_id == await world.user_id(INSTRUCTOR))
            .values(state="REVOKED")
        )
    payload = (await instructor.raw(gql.GRANT_ROLE, {"input": given}))["data"]["grantRole"]
    assert payload["roleGrant"] is None
    assert payload["userErrors"][0]["code"] == "NOT_FOUND"


async def test_a_grant_is_read_by_its_holder_and_by_those_who_manage_it(world: World) -> None:
    admin = await world.client(ADMIN)
    ann, bob, _ = STUDENTS
    grant = await admin.change(
        gql.GRANT_ROLE,
        userId=global_id("User", await world.user_id(ann)),
        role="GRADER",
        courseId=world.course_id,
        reason="Marks",
    )
    for email in (ADMIN, INSTRUCTOR, ann):
        found = await (await world.client(email)).ask(NODE, {"id": grant["id"]})
        assert found["node"]["id"] == grant["id"]
    assert await (await world.client(bob)).ask(NODE, {"id": grant["id"]}) == {"node": None}


async def test_an_expired_grant_may_be_given_again(world: World) -> None:
    admin = await world.client(ADMIN)
    ann = global_id("User", await world.user_id(STUDENTS[0]))
    given = {"userId": ann, "role": "DESIGNER", "courseId": world.course_id, "reason": "Helps"}
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    first = await admin.change(gql.GRANT_ROLE, **given, expiresAt=soon)
    await asyncio.sleep(0.6)
    second = await admin.change(gql.GRANT_ROLE, **given)
    assert second["id"] != first["id"]


async def test_the_same_grant_and_the_same_people_at_once(world: World) -> None:
    admin = await world.client(ADMIN)
    ann = global_id("User", await world.user_id(STUDENTS[0]))
    given = {"userId": ann, "role": "GRADER", "courseId": world.course_id, "reason": "Marks"}
    grants = await asyncio.gather(*(admin.change(gql.GRANT_ROLE, **given) for _ in range(10)))
    assert len({grant["id"] for grant in grants}) == 1
    people = [{"email": f"new{i}@example.edu", "name": f"New {i}"} for i in range(10)]
    made = await asyncio.gather(
        *(admin.change(gql.CREATE_USERS, users=people[:: (-1) ** i]) for i in range(10))
    )
    assert len({user["id"] for users in made for user in users}) == 10


@pytest.mark.parametrize(
    "values",
    [
        {"title": "\u0301\u0327" * 16_000},
        {"title": "a" + "\u0301" * 65},
        {"title": "\u200b\u200b"},
        {"title": "\u202emoc.elgoog"},
        {"title": "bell\x07"},
        {"language": "a'b"},
        {"timeZone": "localtime"},
    ],
)
async def test_text_that_cannot_be_read_is_refused_at_once(
    world: World, values: dict[str, str]
) -> None:
    admin = await world.client(ADMIN)
    given = {"code": "A", "title": "A"} | values
    answer = await admin.raw(gql.CREATE_COURSE, {"input": given})
    (error,) = answer["data"]["createCourse"]["userErrors"]
    assert (error["code"], error["path"][1]) == ("BAD_INPUT", *values)


@pytest.mark.parametrize("email", ["a@@b.c", "a\tb@c.de", "a@.", "\x01@x.y", "@x.y", "a b@c.de"])
async def test_an_address_has_its_form(world: World, email: str) -> None:
    admin = await world.client(ADMIN)
    given = {"users": [{"email": email, "name": "A"}]}
    answer = await admin.raw(gql.CREATE_USERS, {"input": given})
    assert answer["data"]["createUsers"]["userErrors"][0]["code"] == "BAD_INPUT"


async def test_a_long_list_is_refused_before_it_is_looked_at(world: World) -> None:
    nobody = Client(world.http, None)
    given = {"courseId": "x", "emails": [1] * 300_000}
    answer = await nobody.raw(gql.ENROL, {"input": given})
    assert code_of(answer) == "LIMIT_EXCEEDED"
    assert answer["errors"][0]["extensions"]["limit"] == "json_values"
