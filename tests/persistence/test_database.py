"""The pool, seen from who borrows its connections."""

import asyncio

from sqlalchemy import text

from persistence.database import Database, open_database

SIZE = 4


async def backend(database: Database, seconds: float = 0.0) -> int:
    """The server's process behind one connection, lent for so long."""
    async with database.read() as connection:
        asked = text("SELECT pg_backend_pid() FROM pg_sleep(:seconds)")
        return int((await connection.execute(asked, {"seconds": seconds})).scalar_one())


async def backends(database: Database) -> set[int]:
    """Those of as many connections as the pool has."""
    return set(await asyncio.gather(*(backend(database, 0.2) for _ in range(SIZE))))


async def test_what_the_server_ended_while_it_rested_costs_no_request(
    database: Database, database_dsn: str
) -> None:
    async with open_database(database_dsn, pool_size=SIZE) as pooled:
        opened = await backends(pooled)
        assert len(opened) == SIZE
        used = await backend(pooled)
        async with database.read() as connection:
            for one in opened - {used}:
                ended = text("SELECT pg_terminate_backend(:pid, 2000)")
                assert (await connection.execute(ended, {"pid": one})).scalar_one()
        await backend(pooled)  # the loop hears of the ends
        assert (await backends(pooled)) & opened == {used}
