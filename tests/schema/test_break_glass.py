"""Break-glass: a course laid open for a while, seen by those who run it, and closed again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from ops.demo import documents as gql
from ops.demo.client import Client
from persistence.tables.identity import break_glasses
from resolvers.global_ids import global_id, parse_global_id
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
AUDITOR = "auditor@example.edu"
BREAK = """mutation($input: BreakGlassInput!) { breakGlass(input: $input) {
  breakGlass { id role reason expiresAt endedAt user { email } course { id } }
  userErrors { code message path } } }"""
END = """mutation($input: EndBreakGlassInput!) { endBreakGlass(input: $input) {
  breakGlass { id endedAt endedBy { email } } userErrors { code message path } } }"""
GLASSES = """query($c: ID) { breakGlasses(courseId: $c) { nodes {
  id reason endedAt user { email } } } }"""
NODE = "query($id: ID!) { node(id: $id) { id } }"
SESSIONS = """query($id: ID!) { node(id: $id) { ... on Course { studySessions(first: 5) {
  nodes { id title messages(first: 5) { nodes { text } } } } } } }"""
EXPLAIN = """query($u: ID!, $p: Permission!, $c: ID) {
  explainAccess(userId: $u, permission: $p, courseId: $c) {
    allowed rule role roleGrant { id } breakGlass { id reason } } }"""
FOLLOW = """subscription($id: ID!) { gradingRun(runId: $id, afterSeq: 0) {
  kind run { progress { total } tasks(first: 5) { nodes { id } } } task { id } } }"""
PAUSE = """mutation($input: PauseGradingRunInput!) { pauseGradingRun(input: $input) {
  gradingRun { state } userErrors { code } } }"""
RESUME = """mutation($input: ResumeGradingRunInput!) { resumeGradingRun(input: $input) {
  gradingRun { state } userErrors { code } } }"""
WHY = {"reason": "A complaint about marking", "minutes": 30}


async def refused(client: Client, document: str, **values: Any) -> tuple[str, list[str]]:
    ((payload),) = (await client.raw(document, {"input": values}))["data"].values()
    (error,) = payload["userErrors"]
    return str(error["code"]), error["path"]


async def sees(client: Client, key: str) -> bool:
    return (await client.ask(NODE, {"id": key}))["node"] is not None


async def auditor_of(world: World) -> Client:
    admin = await world.client(ADMIN)
    (user,) = await admin.change(gql.CREATE_USERS, users=[{"email": AUDITOR, "name": "Auditor"}])
    grant = {"userId": user["id"], "role": "AUDITOR", "reason": "Audits"}
    await admin.change(gql.GRANT_ROLE, **grant)
    return await world.client(AUDITOR)


@pytest.mark.parametrize("role", ["ADMIN", "AUDITOR"])
async def test_it_opens_a_course_and_is_closed_again(world: World, role: str) -> None:
    client = await auditor_of(world) if role == "AUDITOR" else await world.client(ADMIN)
    assignment, question, _ = await world.assignment()
    submission = await world.submit(ANN, assignment, question, "It forwards.")
    ann = await world.client(ANN)
    session = await ann.change(gql.CREATE_SESSION, courseId=world.course_id, title="Private")
    assert not await sees(client, submission)
    assert not await sees(client, session["id"])
    made = await client.change(BREAK, courseId=world.course_id, **WHY)
    assert (made["role"], made["reason"], made["endedAt"]) == (role, WHY["reason"], None)
    left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30, seconds=5)
    assert await sees(client, submission)
    course = (await client.ask(SESSIONS, {"id": world.course_id}))["node"]
    assert [s["title"] for s in course["studySessions"]["nodes"]] == ["Private"]
    again = await refused(client, BREAK, courseId=world.course_id, **WHY)
    assert again == ("INVALID_STATE", ["input", "courseId"])
    ended = await client.change(END, breakGlassId=made["id"])
    assert ended["endedAt"] is not None
    assert not await sees(client, submission)
    assert not await sees(client, session["id"])
    course = (await client.ask(SESSIONS, {"id": world.course_id}))["node"]
    assert course["studySessions"]["nodes"] == []
    assert (await refused(client, END, breakGlassId=made["id"]))[0] == "INVALID_STATE"
    await client.change(BREAK, courseId=world.course_id, **WHY)


async def test_it_ends_by_itself(world: World) -> None:
    admin = await world.client(ADMIN)
    assignment, question, _ = await world.assignment()
    submission = await world.submit(ANN, assignment, question, "It forwards.")
    made = await admin.change(BREAK, courseId=world.course_id, **WHY)
    assert await sees(admin, submission)
    async with world.resources.database.transaction() as connection:
        await connection.execute(
            update(break_glasses)
            .where(break_glasses.c.id == parse_global_id(made["id"])[1])
            .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    assert not await sees(admin, submission)
    assert (await refused(admin, END, breakGlassId=made["id"]))[0] == "INVALID_STATE"


async def test_what_is_refused(world: World) -> None:
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    course = {"courseId": world.course_id, "reason": "x"}
    for minutes in (0, 61):
        code = await refused(admin, BREAK, minutes=minutes, **course)
        assert code == ("BAD_INPUT", ["input", "minutes"])
    blank = await refused(admin, BREAK, courseId=world.course_id, reason=" ", minutes=1)
    assert blank == ("BAD_INPUT", ["input", "reason"])
    assert (await refused(instructor, BREAK, minutes=5, **course))[0] == "FORBIDDEN"
    assert (await refused(await world.client(ANN), BREAK, minutes=5, **course))[0] == "FORBIDDEN"
    auditor = await auditor_of(world)
    made = await admin.change(BREAK, minutes=5, **course)
    assert (await refused(auditor, END, breakGlassId=made["id"]))[0] == "FORBIDDEN"
    assert (await refused(instructor, END, breakGlassId=made["id"]))[0] == "FORBIDDEN"
    assert (await refused(await world.client(ANN), END, breakGlassId=made["id"]))[0] == "NOT_FOUND"


async def test_those_who_run_the_course_see_it(world: World) -> None:
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    other = await admin.change(gql.CREATE_COURSE, code="OTHER", title="Other")
    made = await admin.change(BREAK, courseId=world.course_id, **WHY)
    await admin.change(BREAK, courseId=other["id"], **WHY)
    seen = (await instructor.ask(GLASSES))["breakGlasses"]["nodes"]
    assert [(n["id"], n["user"]["email"]) for n in seen] == [(made["id"], ADMIN)]
    assert (await (await world.client(ANN)).ask(GLASSES))["breakGlasses"]["nodes"] == []
    assert len((await admin.ask(GLASSES))["breakGlasses"]["nodes"]) == 2
    only = (await admin.ask(GLASSES, {"c": other["id"]}))["breakGlasses"]["nodes"]
    assert len(only) == 1
    audit = '{ auditEvents(action: "breakGlass") { nodes { changes { path value } } } }'
    (event,) = (await instructor.ask(audit))["auditEvents"]["nodes"]
    assert {"path": "reason", "value": WHY["reason"]} in event["changes"]


async def test_access_by_it_is_explained(world: World) -> None:
    admin = await world.client(ADMIN)
    me = global_id("User", await world.user_id(ADMIN))
    asked = {"u": me, "p": "RUBRIC_WRITE", "c": world.course_id}
    assert not (await admin.ask(EXPLAIN, asked))["explainAccess"]["allowed"]
    made = await admin.change(BREAK, courseId=world.course_id, **WHY)
    why = (await admin.ask(EXPLAIN, asked))["explainAccess"]
    assert (why["allowed"], why["role"], why["roleGrant"]) == (True, "ADMIN", None)
    assert why["breakGlass"] == {"id": made["id"], "reason": WHY["reason"]}
    assert WHY["reason"] in why["rule"]
    release = (await admin.ask(EXPLAIN, asked | {"p": "GRADE_RELEASE"}))["explainAccess"]
    assert (release["allowed"], release["breakGlass"]) == (False, None)
    granting = (await admin.ask(EXPLAIN, asked | {"p": "ROLE_GRANT"}))["explainAccess"]
    assert (granting["allowed"], granting["breakGlass"]) == (True, None)


async def test_open_sockets_see_no_more_than_counters_afterwards(world: World) -> None:
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    assignment, question, _ = await world.assignment()
    await world.submit(ANN, assignment, question, "It forwards.")
    run = await instructor.change(gql.START_RUN, assignmentId=assignment)
    await instructor.raw(PAUSE, {"input": {"runId": run["id"]}})
    made = await admin.change(BREAK, courseId=world.course_id, **WHY)
    async with (
        asyncio.timeout(60),
        admin.follow(FOLLOW, {"id": run["id"]}) as events,
    ):
        first = await anext(events)
        assert len(first["run"]["tasks"]["nodes"]) == 1
        await admin.change(END, breakGlassId=made["id"])
        await instructor.change(RESUME, runId=run["id"])
        seen = [event async for event in events]
    after = seen[[e["kind"] for e in seen].index("TASK_STATE") :]
    assert after
    assert all(e["task"] is None and e["run"]["tasks"]["nodes"] == [] for e in after)
    assert {e["run"]["progress"]["total"] for e in after} == {1}


async def test_it_reads_and_neither_asks_nor_follows_a_study_session(world: World) -> None:
    admin, ann = await world.client(ADMIN), await world.client(ANN)
    session = await ann.change(gql.CREATE_SESSION, courseId=world.course_id)
    await admin.change(BREAK, courseId=world.course_id, **WHY)
    assert await sees(admin, session["id"])
    code = await refused(admin, gql.ASK, sessionId=session["id"], text="What was asked?")
    assert code == ("NOT_FOUND", ["input", "sessionId"])


async def test_a_token_of_who_broke_it_reads_nothing(world: World) -> None:
    admin = await world.client(ADMIN)
    assignment, question, _ = await world.assignment()
    submission = await world.submit(ANN, assignment, question, "It forwards.")
    await admin.change(BREAK, courseId=world.course_id, **WHY)
    token = await admin.change(
        "mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {"
        " apiToken { id secret } userErrors { code message } } }",
        name="Reports",
        scopes=["VIEWER_READ"],
        expiresAt=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
    )
    assert await sees(admin, submission)
    assert not await sees(Client(world.http, token["secret"]), submission)
