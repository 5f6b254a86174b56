"""What is older than an organization keeps it goes; what is younger stays; the chain verifies."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ops.bootstrap import create_admin, find_user
from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from persistence import retention
from persistence.identifiers import uuid7, uuid7_floor
from persistence.register import TABLES
from persistence.tables.privacy import RetentionRow
from tests.access.people import _graded, _studied
from tests.ops.test_cli import assay
from tests.schema.test_audit import changes, events, sealed
from tests.schema.test_grants import refused
from tests.world import ADMIN, INSTRUCTOR, SLUG, STUDENTS, World

ANN, BOB, _ = STUDENTS
UPDATE = """mutation($input: UpdateRetentionInput!) { updateRetention(input: $input) {
  organization { retention { sessionDays idempotencyDays studySessionDays auditValueDays
    streamEventDays } } userErrors { code message path } } }"""
SEEN = "{ viewer { organization { retention { sessionDays idempotencyDays auditValueDays } } } }"
FOLLOW = "subscription($id: ID!, $s: Int) { gradingRun(runId: $id, afterSeq: $s) { seq kind } }"
ALL = {
    "sessionDays": 7,
    "idempotencyDays": 7,
    "studySessionDays": 7,
    "auditValueDays": 7,
    "streamEventDays": 7,
}


async def rows(dsn: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return [record[0] for record in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def test_an_admin_decides_and_everybody_reads_it(world: World) -> None:
    admin, ann = await world.client(ADMIN), await world.client(ANN)
    before = {"sessionDays": 90, "idempotencyDays": 30, "auditValueDays": None}
    assert (await ann.ask(SEEN))["viewer"]["organization"]["retention"] == before
    decided = await admin.change(UPDATE, **ALL)
    assert decided["retention"] == ALL
    forever = await admin.change(UPDATE, sessionDays=1, idempotencyDays=1)
    assert forever["retention"]["studySessionDays"] is None
    for who, values, code in [
        (admin, ALL | {"sessionDays": 0}, "BAD_INPUT"),
        (admin, ALL | {"auditValueDays": 36_501}, "BAD_INPUT"),
        (await world.client(INSTRUCTOR), ALL, "FORBIDDEN"),
        (ann, ALL, "FORBIDDEN"),
    ]:
        assert await refused(who, UPDATE, **values) == code
    (first, *_) = await events(admin, action="updateRetention", outcome="DONE")
    assert changes(first) == {"sessionDays": "1", "idempotencyDays": "1"}


async def counts(dsn: str) -> dict[str, int]:
    """How many rows each table has that something goes from."""
    kept = [name for name, store in TABLES.items() if store.kept is not None]
    kept += ["message", "citation", "agent_step", "refresh_token"]
    return {t: (await rows(dsn, f"SELECT count(*) FROM {t}"))[0] for t in kept}


async def session(dsn: str, world: World, ended: datetime) -> None:
    user_id = await world.user_id(ANN)
    key = uuid7()
    await rows(
        dsn,
        "INSERT INTO session (id, organization_id, user_id, way, expires_at, ended_at) "
        "SELECT $1, organization_id, id, 'password', now() + interval '1 day', $2 "
        "FROM users WHERE id = $3",
        key,
        ended,
        user_id,
    )
    await rows(
        dsn,
        "INSERT INTO refresh_token (hash, session_id, expires_at) VALUES ($1, $2, now())",
        uuid.uuid4().bytes,
        key,
    )


async def test_what_is_older_goes_and_the_rest_stays(world: World, tmp_path: Path) -> None:
    dsn = world.resources.database.direct_dsn
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    assignment, question, _ = await world.assignment()
    await world.submit(ANN, assignment, question, "It forwards packets to the next hop.")
    run = await _graded(instructor, assignment)
    study, _ = await _studied(await world.client(ANN), world)
    await admin.change(gql.CREATE_COURSE, code="K", title="K", idempotencyKey="k")
    await admin.change(UPDATE, **ALL)
    await sealed(admin)
    now = datetime.now(UTC)
    await session(dsn, world, now - timedelta(days=3))
    before = await counts(dsn)
    assert min(before[t] for t in ("session", "refresh_token", "study_session", "message")) > 0
    assert min(before[t] for t in ("idempotency", "personal_value", "stream_event")) > 0

    database = world.resources.database
    await retention.sweep(database, now + timedelta(days=3))
    assert await counts(dsn) == before, "nothing is seven days old in three days"
    await retention.sweep(database, now + timedelta(days=5))
    after = await counts(dsn)
    assert after == before | {"session": 0, "refresh_token": 0}, "the session ended 3 days ago"
    await retention.sweep(database, now + timedelta(days=8), batch=2)
    after = await counts(dsn)
    streams = await rows(dsn, "SELECT DISTINCT stream_id FROM stream_event")
    expected = dict.fromkeys(before, 0) | {"stream_event": len(streams)}
    assert after == expected
    assert await rows(dsn, "SELECT count(*) FROM model_call WHERE response <> ''") != [0]

    swept = await events(admin, action=retention.SWEPT)
    assert {tuple(changes(e)) for e in swept} >= {("session",)}
    gone = [int(changes(e).get("idempotency", 0)) for e in swept]
    assert sum(gone) == before["idempotency"]
    await retention.sweep(database, now + timedelta(days=8))
    assert len(await events(admin, action=retention.SWEPT)) == len(swept), "nothing more to say"
    await _still_whole(world, tmp_path, study, run)


async def _still_whole(world: World, cwd: Path, study: str, run: str) -> None:
    """The chain verifies, the study session is gone, the run is followed from its state."""
    await sealed(await world.client(ADMIN))
    code, out, err = await assay(
        cwd,
        *("audit", "verify", "--organization", SLUG),
        ASSAY_DATABASE_URL=world.resources.database.direct_dsn,
        ASSAY_DATA_DIR=str(world.resources.settings.data_dir),
    )
    assert (code, "whole" in out) == (0, True), out + err
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert (await (await world.client(ANN)).ask(node, {"id": study}))["node"] is None
    instructor = await world.client(INSTRUCTOR)
    async with instructor.follow(FOLLOW, {"id": run}) as told, asyncio.timeout(10):
        assert [event["kind"] async for event in told] == ["SNAPSHOT"]
    with pytest.raises(ApiError, match="RESYNC"):
        async with instructor.follow(FOLLOW, {"id": run, "s": 1}) as told, asyncio.timeout(10):
            await anext(told)


async def test_another_organization_keeps_its_own(world: World) -> None:
    database = world.resources.database
    await create_admin(
        database, organization="Elsewhere", slug="elsewhere", email="a@e.org", name="A"
    )
    found = await find_user(database, slug="elsewhere", email="a@e.org")
    assert found is not None
    other = Client(world.http, world.resources.issue_token(*found, 900))
    await other.change(gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k")
    await other.change(UPDATE, **ALL | {"idempotencyDays": 100})
    await (await world.client(ADMIN)).change(
        gql.CREATE_COURSE, code="A", title="A", idempotencyKey="k"
    )
    await retention.sweep(database, datetime.now(UTC) + timedelta(days=50))
    left = await rows(database.direct_dsn, "SELECT organization_id FROM idempotency")
    assert left == [found[1]]


async def test_a_run_that_goes_on_keeps_its_events(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    assignment, question, _ = await world.assignment()
    await world.submit(ANN, assignment, question, "It forwards packets to the next hop.")
    await _graded(instructor, assignment)
    await (await world.client(ADMIN)).change(UPDATE, **ALL)
    dsn = world.resources.database.direct_dsn
    statement = "SELECT count(*) FROM stream_event WHERE stream_kind = 'GRADING_RUN'"
    (before,) = await rows(dsn, statement)
    later = datetime.now(UTC) + timedelta(days=30)
    await rows(dsn, "UPDATE grading_run SET state = 'DRAFT'")
    await retention.sweep(world.resources.database, later)
    assert await rows(dsn, statement) == [before]
    await rows(dsn, "UPDATE grading_run SET state = 'COMPLETED'")
    await retention.sweep(world.resources.database, later)
    assert await rows(dsn, statement) == [1]


def test_the_floor_of_an_identifier_is_its_moment() -> None:
    before = datetime.now(UTC)
    key = uuid7()
    assert uuid7_floor(before - timedelta(milliseconds=1)) < key
    assert key < uuid7_floor(datetime.now(UTC) + timedelta(milliseconds=1))
    assert uuid7_floor(before).version == 7


def test_every_rule_names_a_setting() -> None:
    named = {store.kept.days for store in TABLES.values() if store.kept is not None}
    settings = {name for name in RetentionRow.model_fields if name.endswith("_days")}
    assert named == settings
