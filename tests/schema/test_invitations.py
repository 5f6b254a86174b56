"""Somebody is asked to join a course and sees nothing of it before they accept."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from tests.ops.sign_in.conftest import SignIn, sign_in  # noqa: F401 - the fixture
from tests.schema.test_audit import changes, events
from tests.schema.test_grants import REMOVE, refused
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, CEM = STUDENTS
EVE = "eve@example.edu"
INVITE = """mutation($input: InviteUserInput!) { inviteUser(input: $input) {
  invitation { id state token expiresAt user { email name } invitedBy { email } }
  userErrors { code message path } } }"""
RESEND = """mutation($input: ResendInvitationInput!) { resendInvitation(input: $input) {
  invitation { id token } userErrors { code message path } } }"""
TAKE_BACK = """mutation($input: RevokeInvitationInput!) { revokeInvitation(input: $input) {
  invitation { state } userErrors { code message path } } }"""
ACCEPT = """mutation($input: AcceptInvitationInput!) { acceptInvitation(input: $input) {
  enrollment { id state course { code } user { email } } userErrors { code message path } } }"""
SEEN = """query($c: ID!) { node(id: $c) { id } courses { nodes { id } } }"""
LISTED = """query($c: ID!) { invitations(courseId: $c) {
  nodes { state token user { email } acceptedBy { email } } } }"""


async def invited(world: World, email: str = EVE, **values: Any) -> dict[str, Any]:
    given = {"courseId": world.course_id, "email": email, "name": "Eve"} | values
    made: dict[str, Any] = await (await world.client(INSTRUCTOR)).change(INVITE, **given)
    return made


async def states(world: World, who: Client) -> list[tuple[str, str]]:
    found = (await who.ask(LISTED, {"c": world.course_id}))["invitations"]["nodes"]
    assert all(node["token"] is None for node in found)
    return [(node["user"]["email"], node["state"]) for node in found]


async def test_an_invited_person_joins_with_the_token_and_not_before(world: World) -> None:
    made = await invited(world)
    assert (made["state"], made["user"]) == ("PENDING", {"email": EVE, "name": "Eve"})
    eve, instructor = await world.client(EVE), await world.client(INSTRUCTOR)
    course = {"c": world.course_id}
    assert await eve.ask(SEEN, course) == {"node": None, "courses": {"nodes": []}}
    assert await refused(eve, gql.CREATE_SESSION, courseId=world.course_id) == "NOT_FOUND"
    assert await refused(eve, ACCEPT, token=made["token"][:-1]) == "NOT_FOUND"
    joined = await eve.change(ACCEPT, token=made["token"])
    assert (joined["state"], joined["course"]) == ("ACTIVE", {"code": "NET"})
    assert (await eve.ask(SEEN, course))["node"]
    assert await refused(eve, ACCEPT, token=made["token"]) == "INVALID_STATE"
    assert await states(world, instructor) == [(EVE, "ACCEPTED")]
    again = {"courseId": world.course_id, "email": EVE, "name": "Eve"}
    assert await refused(instructor, INVITE, **again) == "INVALID_STATE"


async def test_the_token_is_kept_nowhere(world: World) -> None:
    made = await invited(world)
    await (await world.client(EVE)).change(ACCEPT, token=made["token"])
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        for table in ("invitation", "audit_event", "personal_value", "idempotency"):
            found = await connection.fetchval(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1 || '%'",
                made["token"],
            )
            assert found == 0, table
    finally:
        await connection.close()
    admin = await world.client(ADMIN)
    (event,) = await events(admin, action="inviteUser")
    assert changes(event)["email"] == EVE
    (event,) = await events(admin, action="acceptInvitation")
    assert (event["actor"], event["outcome"]) == ({"email": EVE}, "DONE")


async def test_an_invitation_is_sent_again_taken_back_and_runs_out(world: World) -> None:
    first = await invited(world)
    eve, instructor = await world.client(EVE), await world.client(INSTRUCTOR)
    second = await instructor.change(RESEND, invitationId=first["id"])
    assert await refused(eve, ACCEPT, token=first["token"]) == "NOT_FOUND"
    assert (await instructor.change(TAKE_BACK, invitationId=first["id"]))["state"] == "REVOKED"
    assert await refused(eve, ACCEPT, token=second["token"]) == "INVALID_STATE"
    assert await refused(instructor, RESEND, invitationId=first["id"]) == "INVALID_STATE"
    third = await invited(world, days=1)
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        await connection.execute(
            "UPDATE invitation SET expires_at = expires_at - $1::interval", timedelta(days=1)
        )
    finally:
        await connection.close()
    assert await refused(eve, ACCEPT, token=third["token"]) == "INVALID_STATE"
    fourth = await instructor.change(RESEND, invitationId=third["id"])
    assert (await eve.change(ACCEPT, token=fourth["token"]))["state"] == "ACTIVE"
    assert await states(world, instructor) == [(EVE, "ACCEPTED"), (EVE, "REVOKED")]


async def test_an_enrolment_that_was_ended_takes_its_invitation_with_it(world: World) -> None:
    first = await invited(world)
    instructor, eve = await world.client(INSTRUCTOR), await world.client(EVE)
    listed = """query($c: ID!) { node(id: $c) { ... on Course { enrollments(first: 100) {
      nodes { id user { email } } } } } }"""
    nodes = (await instructor.ask(listed, {"c": world.course_id}))["node"]["enrollments"]["nodes"]
    (key,) = [node["id"] for node in nodes if node["user"]["email"] == EVE]
    await instructor.change(REMOVE, enrollmentId=key)
    assert await refused(eve, ACCEPT, token=first["token"]) == "INVALID_STATE"
    assert (await eve.change(ACCEPT, token=(await invited(world))["token"]))["id"] == key


async def test_who_may_invite_and_whom(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    given = {"courseId": world.course_id, "email": EVE, "name": "Eve"}
    assert await refused(ann, INVITE, **given) == "FORBIDDEN"
    assert await refused(instructor, INVITE, **given | {"email": INSTRUCTOR}) == "BAD_INPUT"
    assert await refused(instructor, INVITE, **given | {"email": "eve"}) == "BAD_INPUT"
    assert await refused(instructor, INVITE, **given | {"days": 61}) == "BAD_INPUT"
    assert await refused(instructor, INVITE, **given | {"email": ANN}) == "INVALID_STATE"
    made = await invited(world)
    assert await refused(ann, TAKE_BACK, invitationId=made["id"]) == "NOT_FOUND"
    assert await refused(instructor, ACCEPT, token=made["token"]) == "FORBIDDEN"
    with pytest.raises(ApiError, match="FORBIDDEN"):
        await ann.ask(LISTED, {"c": world.course_id})
    assert await states(world, await world.client(ADMIN)) == [(EVE, "PENDING")]


async def test_a_person_known_under_another_address_joins_themselves(world: World) -> None:
    people = [{"email": "mallory@example.edu", "name": "Mallory"}]
    await (await world.client(ADMIN)).change(gql.CREATE_USERS, users=people)
    made = await invited(world, "mal@private.example")
    mallory = await world.client("mallory@example.edu")
    joined = await mallory.change(ACCEPT, token=made["token"])
    assert (joined["state"], joined["user"]["email"]) == ("ACTIVE", "mallory@example.edu")
    placeholder = await world.client("mal@private.example")
    assert (await placeholder.ask(SEEN, {"c": world.course_id}))["node"] is None


async def test_only_the_invited_person_joins_where_they_can_sign_in(
    sign_in: SignIn,  # noqa: F811 - the fixture
) -> None:
    world = sign_in.world
    people = [{"email": "mallory@example.edu", "name": "Mallory"}]
    await (await world.client(ADMIN)).change(gql.CREATE_USERS, users=people)
    eves = "eve@elsewhere.org"
    made = await invited(world, eves)
    tokens = await sign_in.signed_in("eve")
    mallory = await world.client("mallory@example.edu")
    assert await refused(mallory, ACCEPT, token=made["token"]) == "FORBIDDEN"
    eve = sign_in.client(tokens["access_token"])
    assert (await eve.change(ACCEPT, token=made["token"]))["user"] == {"email": eves}
