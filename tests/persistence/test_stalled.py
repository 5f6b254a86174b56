"""A backend whose process went silent between a Parse and the Sync after it, and its neighbours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from persistence.database import Database
from persistence.stalled import end_stalled
from tests.persistence.test_leases import MINUTE, OVER, TASK, get, make

LOCK = "UPDATE grading_task SET tries = tries WHERE id = $1"


@asynccontextmanager
async def silent(dsn: str, row_id: UUID, name: str) -> AsyncIterator[None]:
    """A process that locked the row, began a statement and stopped answering."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": name})
    try:
        await connection.execute("BEGIN")
        await connection.execute(LOCK, row_id)
        await connection.prepare("SELECT 1")  # Parse and Flush, no Sync: `active`, reading
        yield
    finally:
        connection.terminate()


async def end(database: Database, seconds: float) -> int:
    async with database.read() as connection:
        return await end_stalled(connection, seconds)


@pytest.fixture
async def row_id(database: Database) -> UUID:
    row_id = await make(database, TASK)
    assert await get(database, TASK, row_id, OVER) == 1
    return row_id


async def test_what_a_silent_process_locked_is_free_again(
    database: Database, database_dsn: str, row_id: UUID
) -> None:
    async with silent(database_dsn, row_id, "assay"):
        await asyncio.sleep(0.3)
        assert await end(database, 60) == 0
        assert await end(database, 0.2) == 1
        assert await get(database, TASK, row_id, MINUTE) == 2


async def test_a_stranger_s_silence_is_left_alone(
    database: Database, database_dsn: str, row_id: UUID
) -> None:
    async with silent(database_dsn, row_id, "psql"):
        await asyncio.sleep(0.3)
        assert await end(database, 0.2) == 0


async def test_a_statement_that_runs_and_a_connection_that_rests_are_left_alone(
    database: Database, database_dsn: str
) -> None:
    named = {"application_name": "assay-worker"}
    resting = await asyncpg.connect(database_dsn, server_settings=named)
    running = await asyncpg.connect(database_dsn, server_settings=named)
    try:
        await resting.execute("SELECT 1")
        work = asyncio.create_task(running.fetchval("SELECT 1 FROM pg_sleep(1)"))
        await asyncio.sleep(0.5)
        assert await end(database, 0.2) == 0
        assert await work == 1
        assert await resting.fetchval("SELECT 2") == 2
    finally:
        await resting.close()
        await running.close()
