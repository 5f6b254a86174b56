"""Custom roles: made of known permissions, given within what one may give, felt at once."""

import asyncio
from typing import Any

import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from persistence.visibility import READ_BY, STUDENTS_OWN
from resolvers.access import CUSTOM_WIDE, NEEDS, NEVER_CUSTOM, ROLES, Permission
from tests.access.people import IDS, _document, _graded
from tests.schema.test_grants import CAN, EXPLAIN, FOLLOW, REVOKE, id_of, refused, told
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, CEM = STUDENTS
ZOE = "zoe@example.edu"
CREATE = """mutation($input: CreateCustomRoleInput!) { createCustomRole(input: $input) {
  customRole { id name permissions version } userErrors { code message path } } }"""
CHANGE = """mutation($input: UpdateCustomRoleInput!) { updateCustomRole(input: $input) {
  customRole { id permissions version } userErrors { code message path } } }"""
DELETE = """mutation($input: DeleteCustomRoleInput!) { deleteCustomRole(input: $input) {
  customRole { id deletedAt } userErrors { code message path } } }"""
ROLES_SEEN = "{ customRoles { nodes { id name } } }"
HELD = "{ roleGrants { nodes { id role customRole { name permissions } } } }"


async def made(world: World, *permissions: str, **values: Any) -> dict[str, Any]:
    role = {"name": "Helper", "description": "Helps", "permissions": permissions}
    done: dict[str, Any] = await (await world.client(ADMIN)).change(CREATE, **role | values)
    return done


def grant(user: str, role: str, course: str | None) -> dict[str, Any]:
    return {"userId": user, "customRoleId": role, "courseId": course, "reason": "Helps"}


async def outsider(world: World) -> Client:
    """Somebody of the organization who is of no course."""
    people = [{"email": ZOE, "name": "Zoe"}]
    await (await world.client(ADMIN)).change(gql.CREATE_USERS, users=people)
    return await world.client(ZOE)


async def test_each_permission_gives_the_rows_it_is_about_and_no_others(world: World) -> None:
    zoe, admin, instructor = (
        await outsider(world),
        await world.client(ADMIN),
        await world.client(INSTRUCTOR),
    )
    assignment, question, criteria = await world.assignment()
    marks = [{"criterionId": c, "points": "1"} for c in criteria]
    await instructor.change(gql.CREATE_ANCHOR_PAPER, questionId=question, text="t", marks=marks)
    draft = await instructor.change(
        gql.CREATE_ASSIGNMENT,
        courseId=world.course_id,
        title="Draft",
        kind="ESSAY",
        questions=[{"prompt": "p", "points": "1"}],
    )
    text = "It looks up the destination address and forwards the packet to the next hop."
    submission = await world.submit(ANN, assignment, question, text)
    document = await _document(world, instructor)
    run = await _graded(instructor, assignment)
    (enrollment,) = await instructor.change(gql.ENROL, courseId=world.course_id, emails=[ANN])
    ids = {"a": assignment, "r": run, "s": submission, "d": document, "b": submission}
    found = await instructor.ask(IDS, ids | {"n": submission, "m": submission})
    rows = {
        "Course": world.course_id,
        "Assignment": assignment,
        "draft": draft["id"],
        "AnchorPaper": found["a"]["questions"][0]["anchorPapers"][0]["id"],
        "Rubric": world.rubric_id,
        "Document": document,
        "Enrollment": enrollment["id"],
        "Submission": submission,
        "Attempt": found["s"]["attempts"][0]["id"],
        "Grade": found["s"]["grade"]["id"],
        "GradingRun": run,
        "GradingTask": found["r"]["tasks"]["nodes"][0]["id"],
    }
    of_a_course = {"Course", "Assignment"}
    designs = {"draft", "AnchorPaper", "Rubric"}
    work = {"Submission", "Attempt"}
    expected = {
        "AUDIT_READ": set(),
        "TOKEN_CREATE": set(),
        "ENROLMENT_WRITE": {"Enrollment"},
        "DOCUMENT_READ": {"Document"},
        "DOCUMENT_WRITE": {"Document"},
        "STUDY_ASK": {"Document"},
        "RUBRIC_WRITE": {"Rubric"},
        "ASSIGNMENT_WRITE": designs,
        "SUBMISSION_WRITE": set(),
        "SUBMISSION_READ": work,
        "SUBMISSION_PROXY": work,
        "RUN_FOLLOW": {"GradingRun"},
        "RUN_CONTROL": {"GradingRun", "GradingTask"},
        "GRADE_READ": {"Grade", "GradingTask"},
        "GRADE_RELEASE": {"Grade", "GradingTask"},
        "GRADE_DECIDE": {"Grade", "GradingTask", "GradingRun", *work},
    }
    role = await made(world, "DOCUMENT_READ")
    await instructor.change(
        gql.GRANT_ROLE, **grant(await id_of(world, ZOE), role["id"], world.course_id)
    )
    for permission, gives in expected.items():
        change = {"name": "Helper", "description": "Helps", "permissions": [permission]}
        role |= await admin.change(
            CHANGE, customRoleId=role["id"], version=role["version"], **change
        )
        seen = {
            name
            for name, key in rows.items()
            if (await zoe.ask("query($id: ID!) { node(id: $id) { id } }", {"id": key}))["node"]
        }
        assert seen == gives | of_a_course, permission
        for other in (permission, "ROLE_GRANT"):
            may = await zoe.ask(CAN, {"p": other, "c": world.course_id})
            assert may == {"viewerCan": other == permission}


async def test_each_permission_does_its_work_and_sees_what_it_did(world: World) -> None:
    zoe, admin, instructor = (
        await outsider(world),
        await world.client(ADMIN),
        await world.client(INSTRUCTOR),
    )
    role = await made(world, "DOCUMENT_READ")
    values = grant(await id_of(world, ZOE), role["id"], world.course_id)
    await instructor.change(gql.GRANT_ROLE, **values)

    async def only(permission: str) -> None:
        """From now on the role gives this alone, with what it needs."""
        nonlocal role
        change = {"name": "Helper", "description": "Helps", "permissions": [permission]}
        role |= await admin.change(
            CHANGE, customRoleId=role["id"], version=role["version"], **change
        )

    course = {"courseId": world.course_id}
    levels = [{"title": "T", "description": "d", "minPoints": "0", "maxPoints": "1"}]
    criteria = [{"title": "C", "guidelines": "g", "points": "1", "levels": levels}]
    await only("RUBRIC_WRITE")
    rubric = await zoe.change(gql.CREATE_RUBRIC, **course, title="R", criteria=criteria)
    await zoe.change(gql.PUBLISH_RUBRIC, rubricId=rubric["id"])
    await only("ASSIGNMENT_WRITE")
    question = {"prompt": "p", "points": "1", "rubricId": rubric["id"], "referenceAnswer": "r"}
    essay = {"title": "E", "kind": "ESSAY", "questions": [question]}
    assignment = await zoe.change(gql.CREATE_ASSIGNMENT, **course, **essay)
    await zoe.change(gql.PUBLISH_ASSIGNMENT, assignmentId=assignment["id"])
    await only("SUBMISSION_PROXY")
    response = {"questionId": assignment["questions"][0]["id"], "text": "It forwards packets."}
    await zoe.change(
        gql.SUBMIT,
        assignmentId=assignment["id"],
        studentId=await id_of(world, ANN),
        responses=[response],
    )
    await only("DOCUMENT_WRITE")
    await _document(world, zoe)
    await only("ENROLMENT_WRITE")
    await zoe.change(gql.ENROL, **course, emails=[ANN])
    await only("RUN_CONTROL")
    await _graded(zoe, assignment["id"])
    await only("GRADE_DECIDE")
    grades = "query($id: ID!) { node(id: $id) { ... on Assignment { grades { nodes { id } } } } }"
    found = (await zoe.ask(grades, {"id": assignment["id"]}))["node"]["grades"]["nodes"]
    await zoe.change(gql.ADJUST, gradeId=found[0]["id"], scores=[], reason="Seen")
    await zoe.change(gql.FINALISE, gradeIds=[found[0]["id"]])
    assert await refused(zoe, gql.RELEASE, gradeIds=[found[0]["id"]]) == "FORBIDDEN"
    await only("GRADE_RELEASE")
    await zoe.change(gql.RELEASE, gradeIds=[found[0]["id"]])
    values = {"gradeId": found[0]["id"], "scores": [], "reason": "x"}
    assert await refused(zoe, gql.ADJUST, **values) == "FORBIDDEN"


def test_what_the_rules_name_exists() -> None:
    known = {permission.value for permission in Permission}
    assert {p for permissions in READ_BY.values() for p in permissions} <= known
    assert set(STUDENTS_OWN) <= known
    assert not NEVER_CUSTOM & (CUSTOM_WIDE | {n for needed in NEEDS.values() for n in needed})
    assert all(any(not r.of_course for r in ROLES[p]) for p in CUSTOM_WIDE)


async def test_an_admin_makes_roles_of_what_may_be_given(world: World) -> None:
    admin = await world.client(ADMIN)
    role = await made(world, "GRADE_DECIDE")
    needed = ["GRADE_ASSESS", "GRADE_DECIDE", "GRADE_READ", "RUN_FOLLOW", "SUBMISSION_READ"]
    assert role["permissions"] == needed
    other = {"name": "Other", "description": "x"}
    for permissions, wide in [
        (["ROLE_GRANT"], False),
        (["USER_IMPERSONATE"], True),
        (["ORGANIZATION_WRITE"], True),
        (["GRADE_READ"], True),
        (["USER_CREATE"], False),
        ([], False),
    ]:
        values = other | {"permissions": permissions, "organizationWide": wide}
        assert await refused(admin, CREATE, **values) == "BAD_INPUT", permissions
    named = {"name": "Helper", "description": "x", "permissions": ["RUN_FOLLOW"]}
    assert await refused(admin, CREATE, **named) == "BAD_INPUT"
    for email in (INSTRUCTOR, ANN):
        assert await refused(await world.client(email), CREATE, **named) == "FORBIDDEN"
    stale = named | {"customRoleId": role["id"], "version": 7}
    assert await refused(admin, CHANGE, **stale) == "CONFLICT"


async def test_who_gives_a_custom_role_and_takes_it(world: World) -> None:
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    ann = await id_of(world, ANN)
    marker = await made(world, "GRADE_READ", name="Marker")
    wide = await made(world, "AUDIT_READ", name="Reader", organizationWide=True)
    given = await instructor.change(gql.GRANT_ROLE, **grant(ann, marker["id"], world.course_id))
    again = await instructor.change(gql.GRANT_ROLE, **grant(ann, marker["id"], world.course_id))
    assert given["id"] == again["id"]
    for client, values, code in [
        (instructor, grant(ann, wide["id"], world.course_id), "FORBIDDEN"),
        (instructor, grant(ann, wide["id"], None), "FORBIDDEN"),
        (admin, grant(ann, wide["id"], world.course_id), "BAD_INPUT"),
        (admin, grant(ann, marker["id"], None), "BAD_INPUT"),
        (admin, grant(await id_of(world, ADMIN), marker["id"], world.course_id), "FORBIDDEN"),
        (admin, grant(ann, marker["id"], world.course_id) | {"role": "GRADER"}, "BAD_INPUT"),
        (admin, {"userId": ann, "courseId": world.course_id, "reason": "x"}, "BAD_INPUT"),
    ]:
        assert await refused(client, gql.GRANT_ROLE, **values) == code, values
    seen = {
        email: [r["name"] for r in (await c.ask(ROLES_SEEN))["customRoles"]["nodes"]]
        for email, c in {e: await world.client(e) for e in (ADMIN, INSTRUCTOR, ANN, BOB)}.items()
    }
    assert seen == {
        ADMIN: ["Marker", "Reader"],
        INSTRUCTOR: ["Marker", "Reader"],
        ANN: ["Marker"],
        BOB: [],
    }
    (held,) = (await (await world.client(ANN)).ask(HELD))["roleGrants"]["nodes"]
    assert held["role"] is None
    assert held["customRole"] == {"name": "Marker", "permissions": ["GRADE_READ"]}
    await instructor.change(REVOKE, roleGrantId=given["id"], reason="Over")


async def test_an_instructor_gives_none_in_another_course(world: World) -> None:
    other = await (await world.client(ADMIN)).change(gql.CREATE_COURSE, code="X", title="X")
    role = await made(world, "GRADE_READ")
    instructor, ann = await world.client(INSTRUCTOR), await id_of(world, ANN)
    values = grant(ann, role["id"], other["id"])
    assert await refused(instructor, gql.GRANT_ROLE, **values) == "NOT_FOUND"


async def test_a_role_over_the_organization(world: World) -> None:
    zoe, admin = await outsider(world), await world.client(ADMIN)
    assert (await zoe.ask("{ courses { nodes { id } } }"))["courses"]["nodes"] == []
    role = await made(world, "ENROLMENT_WRITE", "USER_CREATE", organizationWide=True)
    await admin.change(gql.GRANT_ROLE, **grant(await id_of(world, ZOE), role["id"], None))
    new = [{"email": "new@example.edu", "name": "New"}]
    (user,) = await zoe.change(gql.CREATE_USERS, users=new)
    assert user["id"]
    enrol = {"courseId": world.course_id, "emails": ["new@example.edu"]}
    assert await zoe.change(gql.ENROL, **enrol)
    assert (await zoe.ask("{ courses { nodes { id } } }"))["courses"]["nodes"]
    events = "{ auditEvents { nodes { actor { email } } } }"
    actors = {e["actor"]["email"] for e in (await zoe.ask(events))["auditEvents"]["nodes"]}
    assert actors == {ZOE}
    course = {"code": "Z", "title": "Z"}
    assert await refused(zoe, gql.CREATE_COURSE, **course) == "FORBIDDEN"


async def test_nobody_adds_to_a_role_they_hold(world: World) -> None:
    role = await made(world, "RUN_FOLLOW")
    admin, ann = await world.client(ADMIN), await id_of(world, ANN)
    await admin.change(gql.GRANT_ROLE, userId=ann, role="ADMIN", courseId=None, reason="Deputises")
    await (await world.client(ANN)).change(
        gql.GRANT_ROLE, **grant(await id_of(world, ADMIN), role["id"], world.course_id)
    )
    values = {"customRoleId": role["id"], "name": "Helper", "description": "x", "version": 1}
    more = values | {"permissions": ["RUN_FOLLOW", "GRADE_DECIDE"]}
    assert await refused(admin, CHANGE, **more) == "FORBIDDEN"
    assert await (await world.client(ANN)).change(CHANGE, **more)


async def test_a_role_is_deleted_once_nobody_holds_it(world: World) -> None:
    role = await made(world, "RUN_FOLLOW")
    admin, ann = await world.client(ADMIN), await id_of(world, ANN)
    given = await admin.change(gql.GRANT_ROLE, **grant(ann, role["id"], world.course_id))
    assert await refused(admin, DELETE, customRoleId=role["id"]) == "INVALID_STATE"
    await admin.change(REVOKE, roleGrantId=given["id"], reason="Over")
    gone = await admin.change(DELETE, customRoleId=role["id"])
    assert gone["deletedAt"]
    assert await refused(admin, DELETE, customRoleId=role["id"]) == "NOT_FOUND"
    values = grant(ann, role["id"], world.course_id)
    assert await refused(admin, gql.GRANT_ROLE, **values) == "NOT_FOUND"
    assert (await admin.ask(ROLES_SEEN))["customRoles"]["nodes"] == []
    assert (await made(world, "RUN_FOLLOW"))["id"] != role["id"], "the name is free again"


async def test_access_by_a_custom_role_is_explained(world: World) -> None:
    role = await made(world, "GRADE_RELEASE", name="Registrar")
    instructor, ann = await world.client(INSTRUCTOR), await id_of(world, ANN)
    given = await instructor.change(gql.GRANT_ROLE, **grant(ann, role["id"], world.course_id))
    asked = {"u": ann, "p": "GRADE_RELEASE", "c": world.course_id}
    why = (await instructor.ask(EXPLAIN, asked))["explainAccess"]
    assert (why["allowed"], why["role"]) == (True, None)
    assert why["roleGrant"] == {"reason": "Helps", "grantedBy": {"email": INSTRUCTOR}}
    assert "the custom role Registrar" in why["rule"]
    why = (await instructor.ask(EXPLAIN, asked | {"p": "RUN_CONTROL"}))["explainAccess"]
    assert (why["allowed"], why["roleGrant"]) == (False, None)
    await instructor.change(REVOKE, roleGrantId=given["id"], reason="Over")
    why = (await instructor.ask(EXPLAIN, asked))["explainAccess"]
    assert not why["allowed"]


@pytest.mark.parametrize("how", ["change", "revoke"])
async def test_an_open_subscription_ends_with_the_permission(world: World, how: str) -> None:
    zoe, admin = await outsider(world), await world.client(ADMIN)
    instructor = await world.client(INSTRUCTOR)
    assignment, question, _ = await world.assignment()
    await world.submit(ANN, assignment, question, "It forwards packets.")
    run = await instructor.change(gql.START_RUN, assignmentId=assignment)
    pause = """mutation($input: PauseGradingRunInput!) { pauseGradingRun(input: $input) {
      gradingRun { state } userErrors { code } } }"""
    await instructor.raw(pause, {"input": {"runId": run["id"]}})
    role = await made(world, "RUN_FOLLOW")
    values = grant(await id_of(world, ZOE), role["id"], world.course_id)
    given = await instructor.change(gql.GRANT_ROLE, **values)
    async with zoe.follow(FOLLOW, {"id": run["id"]}) as events:
        await anext(events)
        if how == "revoke":
            await instructor.change(REVOKE, roleGrantId=given["id"], reason="Over")
        else:
            less = {"name": "Helper", "description": "x", "permissions": ["DOCUMENT_READ"]}
            await admin.change(CHANGE, customRoleId=role["id"], version=1, **less)
        async with asyncio.timeout(10):
            with pytest.raises(ApiError, match="NOT_FOUND"):
                await told(events)
