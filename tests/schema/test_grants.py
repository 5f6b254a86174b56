"""Roles: given, changed, taken away at once, and explained."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from ops.processes import serving
from ops.wiring import open_resources
from resolvers.global_ids import global_id
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
logger = logging.getLogger(__name__)
REVOKE = """mutation($input: RevokeRoleInput!) { revokeRole(input: $input) {
  roleGrant { id state } userErrors { code message path } } }"""
UPDATE = """mutation($input: UpdateRoleInput!) { updateRole(input: $input) {
  roleGrant { id expiresAt } userErrors { code message path } } }"""
SUSPEND = """mutation($input: SuspendUserInput!) { suspendUser(input: $input) {
  user { suspended } userErrors { code message path } } }"""
REINSTATE = """mutation($input: SuspendUserInput!) { reinstateUser(input: $input) {
  user { suspended } userErrors { code message path } } }"""
REMOVE = """mutation($input: RemoveEnrollmentInput!) { removeEnrollment(input: $input) {
  enrollment { id state } userErrors { code message path } } }"""
GRANTS = """query($user: ID, $course: ID) { roleGrants(userId: $user, courseId: $course) {
  nodes { id role state user { email } course { code } grantedBy { email } } } }"""
CAN = "query($p: Permission!, $c: ID) { viewerCan(permission: $p, courseId: $c) }"
EXPLAIN = """query($u: ID!, $p: Permission!, $c: ID) {
  explainAccess(userId: $u, permission: $p, courseId: $c) {
    allowed rule role roleGrant { reason grantedBy { email } } rolesThatAllow } }"""
FOLLOW = "subscription($id: ID!) { gradingRun(runId: $id) { seq run { state } } }"


async def told(events: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event async for event in events]


async def id_of(world: World, email: str) -> str:
    return global_id("User", await world.user_id(email))


async def given(world: World, by: str, to: str, role: str, **values: Any) -> dict[str, Any]:
    course = None if role in {"ADMIN", "AUDITOR"} else world.course_id
    grant = {"userId": await id_of(world, to), "role": role, "courseId": course, "reason": "Helps"}
    made: dict[str, Any] = await (await world.client(by)).change(gql.GRANT_ROLE, **grant | values)
    return made


async def refused(client: Client, document: str, **values: Any) -> str:
    ((payload),) = (await client.raw(document, {"input": values}))["data"].values()
    (error,) = payload["userErrors"]
    assert all(value is None for key, value in payload.items() if key != "userErrors")
    return str(error["code"])


async def test_a_role_taken_away_gives_nothing_any_more(world: World) -> None:
    grant = await given(world, INSTRUCTOR, ANN, "DESIGNER")
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    may = {"p": "RUBRIC_WRITE", "c": world.course_id}
    assert await ann.ask(CAN, may) == {"viewerCan": True}
    taken = await instructor.change(REVOKE, roleGrantId=grant["id"], reason="Term is over")
    assert taken == {"id": grant["id"], "state": "REVOKED"}
    assert await ann.ask(CAN, may) == {"viewerCan": False}
    again = await refused(instructor, REVOKE, roleGrantId=grant["id"], reason="Again")
    assert again == "INVALID_STATE"
    assert (await given(world, INSTRUCTOR, ANN, "DESIGNER"))["id"] != grant["id"]


async def test_who_may_take_and_change_a_role(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    admin = await world.client(ADMIN)
    grader = await given(world, INSTRUCTOR, ANN, "GRADER")
    (own,) = (await instructor.ask(GRANTS, {"user": await id_of(world, INSTRUCTOR)}))["roleGrants"][
        "nodes"
    ]
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await refused(ann, REVOKE, roleGrantId=grader["id"], reason="x") == "FORBIDDEN"
    assert await refused(ann, UPDATE, roleGrantId=grader["id"]) == "FORBIDDEN"
    assert await refused(instructor, REVOKE, roleGrantId=own["id"], reason="x") == "FORBIDDEN"
    bob = await world.client(BOB)
    assert await refused(bob, REVOKE, roleGrantId=grader["id"], reason="x") == "NOT_FOUND"
    changed = await instructor.change(UPDATE, roleGrantId=grader["id"], expiresAt=soon)
    assert changed["expiresAt"] is not None
    assert (await admin.change(UPDATE, roleGrantId=grader["id"]))["expiresAt"] is None


async def test_the_last_admin_stays(world: World) -> None:
    admin = await world.client(ADMIN)
    (grant,) = (await admin.ask(GRANTS, {"user": await id_of(world, ADMIN)}))["roleGrants"]["nodes"]
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await refused(admin, REVOKE, roleGrantId=grant["id"], reason="x") == "INVALID_STATE"
    # One whose own role ends does not count: the day after there would be none.
    await given(world, ADMIN, ANN, "ADMIN", expiresAt=soon)
    assert await refused(admin, REVOKE, roleGrantId=grant["id"], reason="x") == "INVALID_STATE"
    first, second = grant["id"], (await given(world, ADMIN, BOB, "ADMIN"))["id"]
    bob = await world.client(BOB)
    for _ in range(10):
        answers = await asyncio.gather(
            admin.raw(REVOKE, {"input": {"roleGrantId": second, "reason": "x"}}),
            bob.raw(REVOKE, {"input": {"roleGrantId": first, "reason": "x"}}),
        )
        done = [not answer["data"]["revokeRole"]["userErrors"] for answer in answers]
        assert done.count(True) == 1, answers
        if done[0]:
            second = (await given(world, ADMIN, BOB, "ADMIN"))["id"]
        else:
            first = (await given(world, BOB, ADMIN, "ADMIN"))["id"]


async def test_a_suspended_person_is_shut_out_and_let_in_again(world: World) -> None:
    admin, ann = await world.client(ADMIN), await world.client(ANN)
    who = {"userId": await id_of(world, ANN), "reason": "Lost laptop"}
    assert await admin.change(SUSPEND, **who) == {"suspended": True}
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        await ann.ask("{ viewer { name } }")
    assert await admin.change(REINSTATE, **who) == {"suspended": False}
    await ann.ask("{ viewer { name } }")
    myself = {"userId": await id_of(world, ADMIN), "reason": "x"}
    assert await refused(admin, SUSPEND, **myself) == "FORBIDDEN"
    assert await refused(await world.client(INSTRUCTOR), SUSPEND, **who) == "FORBIDDEN"


async def test_an_enrolment_ends_and_begins_again(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    emails = {"courseId": world.course_id, "emails": [ANN]}
    (enrollment,) = await instructor.change(gql.ENROL, **emails)
    course = "query($id: ID!) { node(id: $id) { id } }"
    key = {"id": world.course_id}
    removed = await instructor.change(REMOVE, enrollmentId=enrollment["id"])
    assert removed == {"id": enrollment["id"], "state": "REMOVED"}
    assert await ann.ask(course, key) == {"node": None}
    assert await refused(instructor, REMOVE, enrollmentId=enrollment["id"]) == "INVALID_STATE"
    assert await refused(ann, REMOVE, enrollmentId=enrollment["id"]) == "NOT_FOUND"
    await instructor.change(gql.ENROL, **emails)
    assert (await ann.ask(course, key))["node"] == key


async def test_access_is_explained(world: World) -> None:
    await given(world, INSTRUCTOR, ANN, "DESIGNER", reason="Writes rubrics")
    instructor = await world.client(INSTRUCTOR)
    asked = {"u": await id_of(world, ANN), "p": "RUBRIC_WRITE", "c": world.course_id}
    why = (await instructor.ask(EXPLAIN, asked))["explainAccess"]
    assert (why["allowed"], why["role"]) == (True, "DESIGNER")
    assert why["roleGrant"] == {"reason": "Writes rubrics", "grantedBy": {"email": INSTRUCTOR}}
    why = (await instructor.ask(EXPLAIN, asked | {"p": "STUDY_ASK"}))["explainAccess"]
    assert why["allowed"]
    why = (await instructor.ask(EXPLAIN, asked | {"p": "GRADE_RELEASE"}))["explainAccess"]
    assert (why["allowed"], why["roleGrant"], why["rolesThatAllow"]) == (
        False,
        None,
        ["INSTRUCTOR"],
    )
    assert "INSTRUCTOR" in why["rule"]
    own = (await (await world.client(ANN)).ask(EXPLAIN, asked))["explainAccess"]
    assert own["allowed"]
    with pytest.raises(ApiError, match="FORBIDDEN"):
        await (await world.client(BOB)).ask(EXPLAIN, asked)


async def test_grants_are_listed_to_those_they_concern(world: World) -> None:
    await given(world, INSTRUCTOR, ANN, "GRADER")
    seen = {}
    for email in (ADMIN, INSTRUCTOR, ANN, BOB):
        page = (await (await world.client(email)).ask(GRANTS))["roleGrants"]["nodes"]
        seen[email] = [(node["role"], node["user"]["email"]) for node in page]
    course = [("GRADER", ANN), ("INSTRUCTOR", INSTRUCTOR)]
    assert seen == {
        ADMIN: [*course, ("ADMIN", ADMIN)],
        INSTRUCTOR: course,
        ANN: [("GRADER", ANN)],
        BOB: [],
    }


@pytest.mark.parametrize("how", ["revoke", "suspend"])
async def test_an_open_subscription_on_another_replica_ends_with_the_right(
    world: World, how: str
) -> None:
    assignment_id, question_id, _ = await world.assignment()
    await world.submit(ANN, assignment_id, question_id, "It forwards packets.")
    instructor, admin = await world.client(INSTRUCTOR), await world.client(ADMIN)
    run = await instructor.change(gql.START_RUN, assignmentId=assignment_id)
    (grant,) = (await admin.ask(GRANTS, {"user": await id_of(world, INSTRUCTOR)}))["roleGrants"][
        "nodes"
    ]
    pause = """mutation($input: PauseGradingRunInput!) { pauseGradingRun(input: $input) {
      gradingRun { state } userErrors { code } } }"""
    await instructor.raw(pause, {"input": {"runId": run["id"]}})
    async with (
        open_resources(world.resources.settings) as resources,
        serving(resources) as url,
        httpx.AsyncClient(base_url=url) as http,
        Client(http, await world.token(INSTRUCTOR)).follow(FOLLOW, {"id": run["id"]}) as events,
    ):
        await anext(events)
        began = time.monotonic()
        if how == "revoke":
            await admin.change(REVOKE, roleGrantId=grant["id"], reason="Left")
        else:
            who = {"userId": await id_of(world, INSTRUCTOR), "reason": "Left"}
            await admin.change(SUSPEND, **who)
        async with asyncio.timeout(10):
            with pytest.raises(ApiError, match=r"NOT_FOUND|UNAUTHENTICATED"):
                await told(events)
        logger.info("%s to the end on another replica: %.2f s", how, time.monotonic() - began)


async def test_an_observer_names_a_student_of_the_course(world: World) -> None:
    admin = await world.client(ADMIN)
    ann, bob = await id_of(world, ANN), await id_of(world, BOB)
    observer = {"userId": ann, "role": "OBSERVER", "courseId": world.course_id, "reason": "Parent"}
    assert await refused(admin, gql.GRANT_ROLE, **observer) == "BAD_INPUT"
    instructor = await id_of(world, INSTRUCTOR)
    nobody = observer | {"observedStudentId": instructor}
    assert await refused(admin, gql.GRANT_ROLE, **nobody) == "NOT_FOUND"
    other = observer | {"role": "GRADER", "observedStudentId": bob}
    assert await refused(admin, gql.GRANT_ROLE, **other) == "BAD_INPUT"
    await admin.change(gql.GRANT_ROLE, **observer, observedStudentId=bob)
    await admin.change(
        gql.GRANT_ROLE,
        **observer,
        observedStudentId=global_id("User", await world.user_id(STUDENTS[2])),
    )
    shown = "query($u: ID) { roleGrants(userId: $u) { nodes { observedStudent { id } } } }"
    nodes = (await admin.ask(shown, {"u": ann}))["roleGrants"]["nodes"]
    assert len({node["observedStudent"]["id"] for node in nodes}) == 2
