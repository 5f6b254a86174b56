import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import update
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from ops.auth import AccessTokens
from ops.bootstrap import find_user
from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import serving
from ops.settings import load_settings
from ops.signing_keys import SigningKeys
from ops.wiring import open_resources
from persistence.database import Database
from persistence.migrations import head
from persistence.tables.identity import users
from tests.world import ADMIN, INSTRUCTOR, SLUG, STUDENTS, World


async def test_live_and_ready_and_metrics(world: World) -> None:
    assert (await world.http.get("/live")).status_code == 200
    ready = await world.http.get("/ready")
    assert ready.status_code == 200, ready.text
    assert ready.json()["status"] == "OK"
    assert set(ready.json()["checks"]) >= {"database", "migrations", "bus"}
    metrics = await world.http.get("/metrics")
    assert metrics.status_code == 200
    assert "http_request" in metrics.text


async def test_what_is_served_and_worked_on_is_counted(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    await world.submit(STUDENTS[0], assignment_id, question_id, "It forwards packets.")
    instructor = await world.client(INSTRUCTOR)
    await instructor.raw("query Named { nothing }")
    await instructor.raw("query Deep { " + "a { " * 20 + "b" + " }" * 20 + " }")
    await instructor.raw('query Named { node(id: "x") { id } }')
    run = await instructor.change(gql.START_RUN, assignmentId=assignment_id)
    follow = "subscription($id: ID!) { gradingRun(runId: $id, afterSeq: 0) { seq } }"
    async with instructor.follow(follow, {"id": run["id"]}) as events:
        await anext(events)
        text = (await world.http.get("/metrics")).text
        assert 'assay_subscriptions_active{field="gradingRun"} 1.0' in text
        seen = 1 + len([event async for event in events])
    async with asyncio.timeout(10):
        while (
            'assay_jobs{entrypoint="grade_task"' not in text
            or 'assay_subscriptions_active{field="gradingRun"} 0.0' not in text
        ):
            await asyncio.sleep(0.2)
            text = (await world.http.get("/metrics")).text
    for line in (
        f'assay_subscription_events_total{{field="gradingRun"}} {seen}.0',
        'assay_graphql_operations_total{kind="query",operation="Named",outcome="bad_input"} 1.0',
        'assay_limit_refusals_total{limit="depth"} 1.0',
        "assay_unforeseen_errors_total 0.0",
        "assay_db_pool_size 10.0",
    ):
        assert line in text
    assert 'assay_model_calls_total{model="' in text


async def test_ready_says_why_it_is_not(world: World) -> None:
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
        ready = await world.http.get("/ready")
        assert ready.status_code == 503
        assert "migrate" in ready.json()["checks"]["migrations"]["reason"]
    finally:
        await connection.execute(f"UPDATE alembic_version SET version_num = '{head()}'")
        await connection.close()


async def test_a_newer_schema_leaves_this_version_in_service(world: World) -> None:
    # An upgrade migrates before it replaces the first process.
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        await connection.execute("UPDATE alembic_version SET version_num = 'of_tomorrow'")
        ready = await world.http.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "DEGRADED")
        assert "newer" in ready.json()["checks"]["migrations"]["reason"]
    finally:
        await connection.execute(f"UPDATE alembic_version SET version_num = '{head()}'")
        await connection.close()


async def test_ready_says_that_the_bus_is_away_and_stays_ready(
    database_dsn: str, database: Database, shared_directory: Path
) -> None:
    settings = load_settings(
        database_url=database_dsn,
        data_dir=shared_directory / "data",
        port=0,
        redis_url=f"unix://{shared_directory}/nothing.sock",
    )
    async with (
        open_resources(settings) as resources,
        serving(resources) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "DEGRADED")
        assert "Redis is not heard" in ready.json()["checks"]["bus"]["reason"]
        assert str(shared_directory) not in ready.text


async def test_ready_notices_that_listen_was_cut_and_recovers(world: World) -> None:
    seen = set()
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        async with asyncio.timeout(20):
            while "DEGRADED" not in seen:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'assay bus listener'"
                    " AND datname = current_database()"
                )
                ready = await world.http.get("/ready")
                assert ready.status_code == 200
                seen.add(ready.json()["status"])
            while (await world.http.get("/ready")).json()["status"] != "OK":  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def test_without_a_token_only_the_schema_is_told(world: World) -> None:
    nobody = Client(world.http, None)
    answer = await nobody.raw("{ viewer { name } }")
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert (await nobody.raw("{ __typename }"))["data"] == {"__typename": "Query"}


async def test_an_expired_token_says_so(world: World) -> None:
    keys = SigningKeys.load(world.resources.settings.signing_key_path)
    an_hour_ago = AccessTokens(keys, "assay", "assay", clock=lambda: time.time() - 3600)
    found = await find_user(world.resources.database, slug=SLUG, email=ADMIN)
    assert found is not None
    answer = await Client(world.http, an_hour_ago.issue_token(*found)).raw("{ viewer { name } }")
    assert answer["errors"][0]["extensions"]["code"] == "TOKEN_EXPIRED"


@pytest.mark.parametrize("token", ["x", "a.b.c", "é", "x" * 9000])
async def test_a_broken_token_is_refused(world: World, token: str) -> None:
    response = await world.http.post(
        "/graphql",
        json={"query": "{ viewer { name } }"},
        headers={"Authorization": f"Bearer {token}".encode()},
    )
    assert response.status_code < 500
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_suspended_person_has_no_access(world: World) -> None:
    token = await world.token(ADMIN)
    async with world.resources.database.transaction() as connection:
        await connection.execute(update(users).values(suspended=True))
    answer = await Client(world.http, token).raw("{ viewer { name } }")
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def socket_close(world: World, payload: dict[str, Any] | None) -> int:
    url = str(world.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        message: dict[str, Any] = {"type": "connection_init"}
        await socket.send(json.dumps(message | ({"payload": payload} if payload else {})))
        async with asyncio.timeout(30):
            await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


async def test_a_socket_without_a_token_is_closed(world: World) -> None:
    assert await socket_close(world, None) == 4403


async def test_a_socket_with_a_broken_token_is_closed(world: World) -> None:
    assert await socket_close(world, {"Authorization": "Bearer x"}) in {4401, 4403}


async def test_a_socket_closes_when_its_token_expires(world: World) -> None:
    token = await world.token(ADMIN, timedelta(seconds=2))
    assert await socket_close(world, {"Authorization": f"Bearer {token}"}) == 4403


async def test_an_unknown_field_is_an_invalid_document(world: World) -> None:
    admin = await world.client(ADMIN)
    answer = await admin.raw("{ viewer { shoeSize } }")
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_DOCUMENT"


async def test_graphiql_is_served_without_any_other_host(world: World) -> None:
    page = await world.http.get("/graphql", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://127.0.0.1", "")
