"""Everything that changed has a name on it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from tests.ops.test_cli import assay
from tests.schema.test_grants import REVOKE, given, id_of, refused
from tests.world import ADMIN, INSTRUCTOR, SLUG, STUDENTS, World

ANN, BOB, _ = STUDENTS
EVENTS = """query($first: Int = 100, $after: String, $actor: ID, $course: ID, $object: ID,
    $action: String, $outcome: Outcome, $since: DateTime, $until: DateTime) {
  auditEvents(first: $first, after: $after, actorId: $actor, courseId: $course, objectId: $object,
      action: $action, outcome: $outcome, since: $since, until: $until) {
    pageInfo { hasNextPage endCursor }
    nodes { id at action permission outcome refusalCode objectIds seq hash correlationId
      actor { email } course { id } changes { path value commitment erased } } } }"""


async def events(client: Client, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.ask(EVENTS, asked))["auditEvents"]["nodes"]
    return found


def changes(event: dict[str, Any]) -> dict[str, Any]:
    return {change["path"]: change["value"] for change in event["changes"]}


async def sealed(client: Client) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while True:
            found = await events(client)
            if all(event["seq"] for event in found):
                return found
            await asyncio.sleep(0.1)


async def test_what_was_done_is_kept_with_who_and_with_what(world: World) -> None:
    grant = await given(world, INSTRUCTOR, ANN, "GRADER", reason="Marks essays")
    admin = await world.client(ADMIN)
    (event, first) = await events(admin, action="grantRole")
    assert (event["actor"]["email"], event["outcome"]) == (INSTRUCTOR, "DONE")
    assert (event["permission"], event["refusalCode"]) == ("ROLE_GRANT", None)
    assert event["objectIds"] == [grant["id"]]
    assert event["course"] == {"id": world.course_id}
    assert event["correlationId"]
    assert changes(event) == {
        "userId": await id_of(world, ANN),
        "role": "GRADER",
        "courseId": world.course_id,
        "reason": "Marks essays",
    }
    assert first["actor"]["email"] == ADMIN
    assert await events(admin, object=grant["id"]) == [event]
    by_instructor = await events(admin, actor=await id_of(world, INSTRUCTOR))
    assert [e["action"] for e in by_instructor] == ["grantRole"]
    assert await events(admin, until=first["at"]) == (await events(admin))[-3:]
    assert (await events(admin, since=event["at"]))[0] == event


async def test_what_was_refused_is_kept_after_the_rollback(world: World) -> None:
    ann, admin = await world.client(ANN), await world.client(ADMIN)
    before = len(await events(admin))
    asked = {"userId": await id_of(world, BOB), "role": "ADMIN", "reason": "Please"}
    assert await refused(ann, gql.GRANT_ROLE, **asked) == "FORBIDDEN"
    await ann.raw(REVOKE, {"input": {"roleGrantId": "nonsense", "reason": "x"}})
    second, first = (await events(admin))[: len(await events(admin)) - before]
    assert (first["outcome"], first["refusalCode"]) == ("REFUSED", "FORBIDDEN")
    assert (second["outcome"], second["refusalCode"]) == ("REFUSED", "BAD_INPUT")
    assert changes(first)["reason"] == "Please"
    assert {e["actor"]["email"] for e in (first, second)} == {ANN}
    assert await events(admin, outcome="REFUSED") == [second, first]
    anonymous = Client(world.http, None)
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        await events(anonymous)


async def test_a_replay_is_not_another_event(world: World) -> None:
    admin = await world.client(ADMIN)
    course = {"code": "A1", "title": "Once", "idempotencyKey": "k"}
    for _ in range(2):
        await admin.change(gql.CREATE_COURSE, **course)
    assert len(await events(admin, action="createCourse")) == 2  # the world's and this


async def test_everybody_reads_their_own_trail_and_staff_their_courses(world: World) -> None:
    assignment, question, _ = await world.assignment(anonymous=True)
    await world.submit(ANN, assignment, question, "A text only its owner and admins read here.")
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    (own,) = await events(ann)
    assert (own["action"], own["actor"]["email"]) == ("submitAttempt", ANN)
    assert await events(await world.client(BOB)) == []
    seen = await events(instructor)
    assert "submitAttempt" not in {e["action"] for e in seen}
    assert {"createRubric", "publishRubric", "createAssignment"} <= {e["action"] for e in seen}
    assert await events(instructor, actor=await id_of(world, ANN)) == []
    assert await events(instructor, object=own["objectIds"][0]) == []
    assert {c["path"]: c["value"] for c in own["changes"]}["responses.0.text"] is None
    everything = await events(await world.client(ADMIN))
    assert own["id"] in {e["id"] for e in everything}


async def test_pages_have_no_gap_and_no_repetition(world: World) -> None:
    admin = await world.client(ADMIN)
    whole = [e["id"] for e in await events(admin)]
    found: list[str] = []
    after = None
    while True:
        page = (await admin.ask(EVENTS, {"first": 2, "after": after}))["auditEvents"]
        found += [e["id"] for e in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == whole


async def test_long_and_many_values_are_committed_to(world: World) -> None:
    assignment, question, _ = await world.assignment()
    await world.submit(ANN, assignment, question, "word " * 200)
    admin = await world.client(ADMIN)
    (event,) = await events(admin, action="submitAttempt")
    (text,) = [c for c in event["changes"] if c["path"] == "responses.0.text"]
    assert (text["value"], text["erased"]) == (None, False)
    assert len(text["commitment"]) == 64
    people = [{"email": f"p{n}@example.edu", "name": f"P {n}"} for n in range(100)]
    await admin.raw(gql.CREATE_USERS, {"input": {"users": [p | {"name": ""} for p in people] * 2}})
    event = (await events(admin, action="createUsers"))[0]
    assert [c["path"] for c in event["changes"]] == ["input"]


async def test_the_chain_verifies_and_a_tampered_row_is_found(world: World, tmp_path: Path) -> None:
    database = world.resources.database.direct_dsn
    here = {
        "ASSAY_DATABASE_URL": database,
        "ASSAY_DATA_DIR": str(world.resources.settings.data_dir),
    }
    admin = await world.client(ADMIN)
    chain = await sealed(admin)
    assert sorted(e["seq"] for e in chain) == list(range(1, len(chain) + 1))
    code, out, err = await assay(tmp_path, "audit", "verify", **here)
    assert (code, out) == (0, f"{SLUG}: {len(chain)} events sealed: whole\n"), err
    code, kept, err = await assay(tmp_path, "audit", "checkpoint", **here)
    (tmp_path / "kept").write_text(kept)
    assert code == 0, err
    code, lines, err = await assay(tmp_path, "audit", "export", "--organization", SLUG, **here)
    assert code == 0, err
    shown = [json.loads(line) for line in lines.splitlines()]
    assert [e["seq"] for e in shown][: len(chain)] == sorted(e["seq"] for e in chain)
    assert shown[0]["values"]["email"] == ADMIN
    connection = await asyncpg.connect(database)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE audit_event SET action = 'x' WHERE seq = 2")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("DELETE FROM audit_event WHERE seq = 2")
        # A superuser who knows of the trigger:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE audit_event SET action = 'x' WHERE seq = 2")
        last = max(e["seq"] for e in await sealed(admin))
        await connection.execute("DELETE FROM audit_event WHERE seq = $1", last)
        await connection.execute("DELETE FROM audit_event WHERE seq = $1", last - 2)
    finally:
        await connection.close()
    code, out, _ = await assay(tmp_path, "audit", "verify", "--checkpoint", "kept", **here)
    assert code == 1
    assert "event 2 (" in out
    assert f"event {last - 2} is missing" in out
    assert f"the chain ends at {last - 1}, its head says {last}" in out
    (tmp_path / "kept").write_text("nonsense")
    code, _, err = await assay(tmp_path, "audit", "verify", "--checkpoint", "kept", **here)
    assert (code, err) == (1, "Line 1 is no checkpoint this server signed.\n")


@pytest.mark.parametrize(
    ("command", "given", "action"),
    [
        (("admin", "create", "x@example.edu", "--name", "X"), "", "createAdmin"),
        (("admin", "password", ADMIN), "correct horse battery\n", "setPassword"),
        (("token", ANN), "", "issueToken"),
        (("person", "export", ANN), "", "exportPersonalData"),
        (("person", "erase", ANN), "", "erasePersonalData"),
        (("audit", "export"), "", "exportAudit"),
        (("keys", "rotate"), "", "rotateSigningKeys"),
    ],
)
async def test_what_the_command_line_does_is_kept(
    world: World, tmp_path: Path, command: tuple[str, ...], given: str, action: str
) -> None:
    admin = await world.client(ADMIN)
    before = len(await events(admin, action=action))
    of = () if command[0] == "keys" else ("--organization", SLUG)
    code, out, err = await assay(
        tmp_path,
        *(*command, *of),
        given=given,
        ASSAY_DATABASE_URL=world.resources.database.direct_dsn,
        ASSAY_DATA_DIR=str(world.resources.settings.data_dir),
    )
    assert code == 0, out + err
    admin = await world.client(ADMIN)  # a new password ends the tokens there were
    (event, *older) = await events(admin, action=action)
    assert len(older) == before
    assert (event["actor"], event["outcome"]) == (None, "DONE")


async def test_keys_are_rotated_where_the_database_is_away(world: World, tmp_path: Path) -> None:
    code, out, err = await assay(
        tmp_path,
        *("keys", "rotate"),
        ASSAY_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        ASSAY_DATA_DIR=str(world.resources.settings.data_dir),
    )
    assert (code, "has now" in out) == (0, True)
    assert "the audit log does not say so" in err
