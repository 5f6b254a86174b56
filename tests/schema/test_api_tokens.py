"""API tokens and break-glass: what is let in beside a person, and how far."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from tests.schema.test_audit import changes, events
from tests.schema.test_grants import id_of, refused
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
CREATE = """mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {
  apiToken { id secret prefix scopes course { id } } userErrors { code message path } } }"""
REVOKE = """mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) {
  apiToken { id revokedAt secret } userErrors { code } } }"""
IMPERSONATE = """mutation($input: ImpersonateUserInput!) { impersonateUser(input: $input) {
  impersonation { user { email } accessToken } userErrors { code } } }"""
TOKENS = "{ apiTokens { nodes { id name prefix secret lastUsedAt user { email } } } }"
ME = "{ viewer { email } }"


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def made(world: World, email: str, **values: Any) -> dict[str, Any]:
    asked = {"name": "LMS", "scopes": ["RUBRIC_WRITE"], "expiresAt": in_days(30)}
    asked |= {"courseId": world.course_id}
    found: dict[str, Any] = await (await world.client(email)).change(CREATE, **asked | values)
    return found


async def test_a_token_acts_as_its_owner_within_its_scopes(world: World) -> None:
    token = await made(world, INSTRUCTOR)
    assert token["secret"].startswith(f"assay_{token['prefix']}_")
    service = Client(world.http, token["secret"])
    assert await service.ask(ME) == {"viewer": {"email": INSTRUCTOR}}
    rubric = {"courseId": world.course_id, "title": "By a service", "criteria": []}
    ((payload),) = (await service.raw(gql.CREATE_RUBRIC, {"input": rubric}))["data"].values()
    assert {e["code"] for e in payload["userErrors"]} <= {"BAD_INPUT"}, "the scope lets it"
    enrol = {"courseId": world.course_id, "emails": [ANN]}
    assert await refused(service, gql.ENROL, **enrol) == "FORBIDDEN"
    assert await refused(service, CREATE, name="x", scopes=[], expiresAt=in_days(1)) == "FORBIDDEN"
    listed = (await (await world.client(INSTRUCTOR)).ask(TOKENS))["apiTokens"]["nodes"]
    assert [(t["name"], t["secret"]) for t in listed] == [("LMS", None)]
    assert listed[0]["lastUsedAt"] is not None
    assert (await service.ask(TOKENS))["apiTokens"]["nodes"] == []
    assert (await (await world.client(ANN)).ask(TOKENS))["apiTokens"]["nodes"] == []
    stored = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        rows = await stored.fetch("SELECT t::text FROM api_token t")
        assert token["secret"].rpartition("_")[2] not in str(rows)
    finally:
        await stored.close()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"scopes": ["GRADE_RELEASE"]}, "BAD_INPUT"),
        ({"scopes": ["ROLE_GRANT"]}, "BAD_INPUT"),
        ({"scopes": ["USER_CREATE"]}, "FORBIDDEN"),
        ({"scopes": []}, "BAD_INPUT"),
        ({"expiresAt": in_days(-1)}, "BAD_INPUT"),
        ({"expiresAt": in_days(400)}, "BAD_INPUT"),
        ({"courseId": None}, "FORBIDDEN"),
        ({"name": ""}, "BAD_INPUT"),
    ],
)
async def test_nobody_hands_on_what_they_do_not_hold(
    world: World, values: dict[str, Any], code: str
) -> None:
    asked = {"name": "x", "scopes": ["RUBRIC_WRITE"], "expiresAt": in_days(1)}
    asked |= {"courseId": world.course_id}
    instructor = await world.client(INSTRUCTOR)
    assert await refused(instructor, CREATE, **asked | values) == code
    assert await refused(await world.client(ANN), CREATE, **asked) == "FORBIDDEN"


async def test_a_token_ends_when_revoked_or_expired_or_its_owner_is_shut_out(world: World) -> None:
    token = await made(world, INSTRUCTOR)
    service = Client(world.http, token["secret"])
    stranger = await world.client(ANN)
    assert await refused(stranger, REVOKE, apiTokenId=token["id"]) == "NOT_FOUND"
    revoked = await (await world.client(INSTRUCTOR)).change(REVOKE, apiTokenId=token["id"])
    assert revoked["revokedAt"]
    assert revoked["secret"] is None
    for shown in (token["secret"], token["secret"][:-1] + "x", "assay_x_y", "assay_"):
        with pytest.raises(ApiError, match="UNAUTHENTICATED"):
            await Client(world.http, shown).ask(ME)
    second = await made(world, INSTRUCTOR)
    service = Client(world.http, second["secret"])
    assert await service.ask(ME)
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        await connection.execute("UPDATE api_token SET expires_at = now()")
    finally:
        await connection.close()
    with pytest.raises(ApiError, match="TOKEN_EXPIRED"):
        await service.ask(ME)


async def test_a_course_s_token_sees_that_course_alone(world: World) -> None:
    admin = await world.client(ADMIN)
    other = await admin.change(gql.CREATE_COURSE, code="OTHER", title="Other")
    grant = {"userId": await id_of(world, INSTRUCTOR), "role": "INSTRUCTOR", "reason": "x"}
    await admin.change(gql.GRANT_ROLE, **grant, courseId=other["id"])
    service = Client(world.http, (await made(world, INSTRUCTOR))["secret"])
    courses = (await service.ask("{ courses { nodes { id } } }"))["courses"]["nodes"]
    assert courses == [{"id": world.course_id}]


async def test_a_replay_shows_no_secret(world: World) -> None:
    first = await made(world, INSTRUCTOR, idempotencyKey="k", expiresAt="2027-06-01T00:00:00Z")
    again = await made(world, INSTRUCTOR, idempotencyKey="k", expiresAt="2027-06-01T00:00:00Z")
    assert (again["id"], again["secret"]) == (first["id"], None)


async def test_break_glass_sees_and_changes_nothing_and_is_kept(world: World) -> None:
    admin = await world.client(ADMIN)
    asked = {"userId": await id_of(world, ANN), "reason": "Ticket 12", "minutes": 5}
    begun = await admin.change(IMPERSONATE, **asked)
    assert begun["user"] == {"email": ANN}
    token = begun["accessToken"]
    said = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert said["exp"] - said["iat"] == 300
    as_ann = Client(world.http, token)
    assert await as_ann.ask(ME) == {"viewer": {"email": ANN}}
    session = {"courseId": world.course_id}
    assert await refused(as_ann, gql.CREATE_SESSION, **session) == "FORBIDDEN"
    (event,) = await events(admin, action="impersonateUser")
    assert changes(event)["reason"] == "Ticket 12"
    (tried,) = await events(admin, action="createStudySession")
    real = "query($id: ID!) { node(id: $id) { ... on AuditEvent { realActor { email } } } }"
    assert (await admin.ask(real, {"id": tried["id"]}))["node"] == {"realActor": {"email": ADMIN}}
    for email in (INSTRUCTOR, BOB):
        assert await refused(await world.client(email), IMPERSONATE, **asked) == "FORBIDDEN"
    myself = asked | {"userId": await id_of(world, ADMIN)}
    assert await refused(admin, IMPERSONATE, **myself) == "FORBIDDEN"
    for minutes in (0, 16):
        assert await refused(admin, IMPERSONATE, **asked | {"minutes": minutes}) == "BAD_INPUT"
    await admin.change(
        "mutation($input: SignOutEverywhereInput!) { signOutEverywhere(input: $input) {"
        " user { email } userErrors { code } } }"
    )
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        await as_ann.ask(ME)
