"""A real PostgreSQL for the session, and a clean database of its own for each test."""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from ops.embedded_postgres import embedded_postgres
from ops.processes import serving, working
from ops.settings import load_settings
from ops.wiring import Resources, open_resources
from persistence.database import Database, open_database
from persistence.migrations import migrate
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer, redis_folder
from tests.world import World, make_world

TEMPLATE = "assay_template"
# A superuser's address of a server to use instead of the embedded one. No second run may use it at
# the same time: databases named after TEMPLATE and the test workers are dropped and made anew.
GIVEN_SERVER = os.environ.get("ASSAY_TEST_DATABASE_URL")


@pytest.fixture(scope="session", autouse=True)
def scrubbed_environment() -> Iterator[None]:
    """No setting of the person who runs the tests reaches them."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("ASSAY_", "PG"))}
    for name in kept:
        del os.environ[name]
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder all test workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
async def postgres(shared_directory: Path) -> AsyncIterator[PostgresServer]:
    """One server for all test workers: the embedded one, or `ASSAY_TEST_DATABASE_URL`'s."""
    if GIVEN_SERVER:
        yield PostgresServer(GIVEN_SERVER)
        return
    async with embedded_postgres(shared_directory / "postgres", durable=False) as server:
        yield PostgresServer(server.dsn("postgres"))


@pytest.fixture(scope="session")
async def template(postgres: PostgresServer, shared_directory: Path) -> str:
    """The name of a migrated, empty database to clone, made by the first test worker."""
    made = shared_directory / "template.made"
    with (shared_directory / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            admin = await asyncpg.connect(postgres.dsn("postgres"))
            try:
                await admin.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
                await admin.execute(f"CREATE DATABASE {TEMPLATE}")
            finally:
                await admin.close()
            await migrate(postgres.dsn(TEMPLATE))
            made.touch()
    return TEMPLATE


@pytest.fixture(scope="session")
async def database_dsn(postgres: PostgresServer, template: str, worker_id: str) -> str:
    """The address of this test worker's own database."""
    name = f"test_{worker_id}"
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await admin.close()
    return postgres.dsn(name)


async def wipe(dsn: str) -> None:
    """Deletes every row. DELETE, because TRUNCATE of this many tables costs ten times as much."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT quote_ident(tablename) AS name FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
        # replica: neither foreign keys nor triggers stand in the way of the order
        await connection.execute(
            "SET session_replication_role = replica; "
            + "; ".join(f"DELETE FROM {row['name']}" for row in tables)
        )
    finally:
        await connection.close()


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """A clean database."""
    await wipe(database_dsn)
    async with open_database(database_dsn) as opened:
        yield opened


@pytest.fixture
async def resources(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[Resources]:
    """A process's resources over the clean database."""
    settings = load_settings(
        database_url=database_dsn, data_dir=shared_directory / "data", port=0, lease_seconds=6
    )
    async with open_resources(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    """A Redis of this test worker, which is up; a test that stops it brings its own."""
    with redis_folder() as server:
        await server.start()
        yield server
        await server.kill()


@pytest.fixture
async def world(resources: Resources) -> AsyncIterator[World]:
    """The api and a worker over HTTP and WebSocket, with people and a course."""
    async with (
        working(resources),
        serving(resources) as base_url,
        make_world(resources, base_url) as made,
    ):
        yield made
