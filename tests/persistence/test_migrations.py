import asyncio

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from persistence.database import Database
from persistence.migrations import current, head, migrate
from persistence.tables import metadata
from tests.postgres_server import PostgresServer


def differences(connection: Connection) -> list[object]:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
        elsewhere = {"table": "pgqueuer", "index": "hnsw_"}  # made by others; one a model
        return not (kind in elsewhere and (name or "").startswith(elsewhere[kind]))

    return compare_metadata(
        MigrationContext.configure(connection, opts={"include_object": ours}), metadata
    )


async def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
        assert await current(connection) == head()


async def test_two_migrators_at_once_both_succeed(postgres: PostgresServer) -> None:
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await admin.execute("CREATE DATABASE migrated_twice")
        dsn = postgres.dsn("migrated_twice")
        await asyncio.gather(migrate(dsn), migrate(dsn))
        await admin.execute("DROP DATABASE migrated_twice WITH (FORCE)")
    finally:
        await admin.close()
