"""Where one way to a right meets another: custom roles, allocations, invitations, the audit log."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from ops.demo import documents as gql
from resolvers.global_ids import global_id
from tests.access.people import ALLOCATE
from tests.access.test_blind_marking import BLIND, FOLLOW, leaks, make, read_everything
from tests.schema.test_custom_roles import CREATE as CREATE_ROLE
from tests.schema.test_grants import REVOKE, UPDATE, refused
from tests.schema.test_invitations import ACCEPT, RESEND, invited
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
COORDINATOR = "coordinator@example.edu"
WITHDRAW = """mutation($input: WithdrawAllocationInput!) { withdrawAllocation(input: $input) {
  allocation { id state } userErrors { code message path } } }"""
MINE = "{ viewer { allocations(first: 9) { nodes { id submission { id } } } } }"
EVENTS = """query($id: ID) { auditEvents(first: 100, objectId: $id) {
  nodes { action actor { id name } objectIds } } }"""
OF_COURSE = ["MARKING_ALLOCATE", "ENROLMENT_WRITE", "AUDIT_READ", "SUBMISSION_READ", "GRADE_READ",
             "RUN_FOLLOW", "RUN_CONTROL", "STUDY_READ", "DOCUMENT_READ", "ASSIGNMENT_WRITE",
             "RUBRIC_WRITE", "DOCUMENT_WRITE"]  # fmt: skip


async def person(world: World, email: str) -> str:
    """The id of somebody the organization knows from now on."""
    admin = await world.client(ADMIN)
    (made,) = await admin.change(gql.CREATE_USERS, users=[{"email": email, "name": "Somebody"}])
    return str(made["id"])


async def give(world: World, user: str, **values: Any) -> str:
    """Gives a role, by an admin; the grant's id."""
    admin = await world.client(ADMIN)
    return str((await admin.change(gql.GRANT_ROLE, userId=user, reason="x", **values))["id"])


async def give_custom(world: World, user: str, *permissions: str, wide: bool = False) -> str:
    """A custom role of these permissions, given; the grant's id."""
    admin = await world.client(ADMIN)
    role = await admin.change(
        CREATE_ROLE,
        name=f"R {len(permissions)} {wide} {permissions[0]}",
        description="x",
        permissions=list(permissions),
        organizationWide=wide,
    )
    where = {} if wide else {"courseId": world.course_id}
    return await give(world, user, customRoleId=role["id"], **where)


async def test_who_sends_an_invitation_again_does_not_accept_it(world: World) -> None:
    made = await invited(world, "nobody.yet@example.edu")
    await give_custom(world, await person(world, COORDINATOR), "ENROLMENT_WRITE")
    coordinator = await world.client(COORDINATOR)
    again = await coordinator.change(RESEND, invitationId=made["id"])
    assert await refused(coordinator, ACCEPT, token=again["token"]) == "FORBIDDEN"


async def handed_in(world: World) -> tuple[str, str]:
    assignment, question, _ = await world.assignment()
    return assignment, await world.submit(ANN, assignment, question, "It forwards packets.")


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_role_given_anew_revives_no_old_allocation(world: World, how: str) -> None:
    assignment, submission = await handed_in(world)
    grader = await person(world, "grader@example.edu")
    held = {"role": "GRADER", "courseId": world.course_id}
    grant = await give(world, grader, **held)
    instructor = await world.client(INSTRUCTOR)
    given = {"assignmentId": assignment, "submissionIds": [submission], "userId": grader}
    await instructor.change(ALLOCATE, **given)
    client = await world.client("grader@example.edu")
    assert (await client.ask(MINE))["viewer"]["allocations"]["nodes"]
    if how == "revoked":
        await instructor.change(REVOKE, roleGrantId=grant, reason="Left")
    else:
        await expire(world)
    assert not (await client.ask(MINE))["viewer"]["allocations"]["nodes"]
    await give(world, grader, **held)
    assert not (await client.ask(MINE))["viewer"]["allocations"]["nodes"]
    await instructor.change(ALLOCATE, **given)
    assert (await client.ask(MINE))["viewer"]["allocations"]["nodes"]


async def expire(world: World) -> None:
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        await connection.execute(
            "UPDATE role_grant SET expires_at = now() - interval '1 s' WHERE role = 'GRADER'"
        )
    finally:
        await connection.close()


async def test_a_grant_that_ran_out_is_not_prolonged(world: World) -> None:
    grader = await person(world, "grader@example.edu")
    grant = await give(world, grader, role="GRADER", courseId=world.course_id)
    await expire(world)
    instructor = await world.client(INSTRUCTOR)
    assert await refused(instructor, UPDATE, roleGrantId=grant) == "INVALID_STATE"


async def test_nobody_gives_themselves_marking_nor_sight_of_blind_work(world: World) -> None:
    assignment, submission = await handed_in(world)
    user = await person(world, COORDINATOR)
    await give_custom(world, user, "MARKING_ALLOCATE")
    await give(world, user, role="MODERATOR", courseId=world.course_id)
    await give(world, user, role="BLIND_GRADER", courseId=world.course_id)
    coordinator, instructor = await world.client(COORDINATOR), await world.client(INSTRUCTOR)
    given = {"assignmentId": assignment, "submissionIds": [submission]}
    for to in ({"userId": user}, {"userIds": [user]}):
        assert await refused(coordinator, ALLOCATE, **given, **to, role="MODERATOR") == "FORBIDDEN"
    (made,) = await instructor.change(ALLOCATE, **given, userId=user, role="BLIND_GRADER")
    assert await refused(coordinator, WITHDRAW, allocationId=made["id"]) == "FORBIDDEN"


@pytest.mark.parametrize("with_role", ["custom", "AUDITOR", "ADMIN"])
async def test_the_audit_log_does_not_tell_who_marks_whose_the_work_is(
    world: World, with_role: str
) -> None:
    marked = await make(world)
    blind = global_id("User", await world.user_id(BLIND))
    if with_role == "custom":
        await give_custom(world, blind, "AUDIT_READ", wide=True)
    else:
        await give(world, blind, role=with_role)
    client = await world.client(BLIND)
    for key in [*marked.objects["Submission"], *marked.objects["Attempt"], None]:
        told = await client.ask(EVENTS, {"id": key})
        students = {global_id("User", student) for student in marked.students}
        linked = [
            n
            for n in told["auditEvents"]["nodes"]
            if n["actor"] and n["actor"]["id"] in students and n["objectIds"]
        ]
        assert linked == []


async def test_blind_wins_over_a_custom_role_of_everything(world: World) -> None:
    marked = await make(world)
    blind = global_id("User", await world.user_id(BLIND))
    await give_custom(world, blind, *OF_COURSE)
    await read_everything(world, marked, BLIND)
    for place, told in enumerate(marked.answers):
        data = json.loads(told)
        if isinstance(data, dict) and "auditEvents" in data:  # that somebody is of the course is
            nodes = data["auditEvents"]["nodes"]  # no secret; what is said of their work is
            data["auditEvents"]["nodes"] = [n for n in nodes if n["action"] != "enrolUsers"]
            marked.answers[place] = json.dumps(data)
    assert leaks(marked) == {}


async def test_nobody_decides_about_their_own_grade(world: World) -> None:
    """A student who helps to mark by a custom role, and an instructor who studies there too."""
    assignment, question, _ = await world.assignment()
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    await admin.change(gql.ENROL, courseId=world.course_id, emails=[INSTRUCTOR])
    await give_custom(
        world, global_id("User", await world.user_id(ANN)), "GRADE_DECIDE", "GRADE_RELEASE"
    )
    people = [ANN, BOB, INSTRUCTOR]
    keys = [await world.submit(e, assignment, question, "It forwards packets.") for e in people]
    run = await instructor.change(gql.START_RUN, assignmentId=assignment)
    async with instructor.follow(FOLLOW, {"id": run["id"]}) as events, asyncio.timeout(60):
        async for _ in events:
            pass
    asked = (
        "query($id: ID!) { node(id: $id) { ... on Submission { grade { ... on Grade { id } } } } }"
    )
    ann = await world.client(ANN)
    graded = [(await ann.ask(asked, {"id": key}))["node"]["grade"]["id"] for key in keys]
    for client, own in ((ann, graded[0]), (instructor, graded[2])):
        change = {"gradeId": own, "scores": [], "reason": "I deserve it."}
        assert await refused(client, gql.ADJUST, **change) == "FORBIDDEN"
        assert await refused(client, gql.FINALISE, gradeIds=[own]) == "FORBIDDEN"
        assert await refused(client, gql.RELEASE, gradeIds=[own]) == "FORBIDDEN"
    await ann.change(gql.ADJUST, gradeId=graded[1], scores=[], reason="Right.")


async def test_a_replay_after_the_role_is_gone_tells_nothing(world: World) -> None:
    people = [{"email": "late@example.edu", "name": "Late Comer"}]
    await (await world.client(ADMIN)).change(gql.CREATE_USERS, users=people)
    user = await person(world, COORDINATOR)
    grant = await give_custom(world, user, "ENROLMENT_WRITE")
    coordinator = await world.client(COORDINATOR)
    document = """mutation($input: EnrolUsersInput!) { enrolUsers(input: $input) {
      enrollments { id state user { name email } } userErrors { code } } }"""
    values = {"courseId": world.course_id, "emails": ["late@example.edu"], "idempotencyKey": "k"}
    await coordinator.change(document, **values)
    await (await world.client(ADMIN)).change(REVOKE, roleGrantId=grant, reason="x")
    answer = json.dumps(await coordinator.raw(document, {"input": values}))
    assert "Late Comer" not in answer
    assert "late@example.edu" not in answer
