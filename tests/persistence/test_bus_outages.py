"""What each bus does about a server that is away, at the start and later."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ops.embedded_postgres import EmbeddedPostgres
from persistence.bus import Bus
from persistence.database import Database, open_database
from persistence.postgres_bus import open_postgres_bus
from persistence.redis_bus import open_redis_bus
from tests.redis_server import RedisServer, redis_folder

SOON = 15.0


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    """Not started yet."""
    with redis_folder() as made:
        yield made
        await made.kill()


async def until_fault(bus: Bus, *, expected: bool) -> str | None:
    async with asyncio.timeout(SOON):
        while (bus.fault is not None) != expected:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)
    return bus.fault


async def check_heard(bus: Bus, other: Bus) -> None:
    with other.subscribe("t") as far:
        await bus.publish("t", {"n": 1})
        async with asyncio.timeout(SOON):
            while await far.get() != {"n": 1}:
                pass


async def test_connecting_to_no_database_is_told_at_once(database: Database) -> None:
    nowhere = replace(database, direct_dsn="postgresql:///none?host=/nowhere")
    with pytest.raises(OSError, match="No such file"):
        async with open_postgres_bus(nowhere):
            pass


async def test_a_process_starts_without_redis_and_finds_it_later(
    database: Database, server: RedisServer
) -> None:
    async with (
        asyncio.timeout(60),
        open_redis_bus(database, server.url) as bus,
        open_redis_bus(database, server.url) as other,
    ):
        assert "Redis is not heard" in str(bus.fault)
        with bus.subscribe("near") as near, other.subscribe("t") as far:
            await bus.publish("near", {"n": 1})
            assert await near.get() == {"n": 1}
            await bus.publish("t", {"early": 1})
            await server.start()
            async with asyncio.timeout(SOON):
                assert await far.get() is None  # whoever waited looks for what was missed
        await until_fault(bus, expected=False)
        await check_heard(bus, other)


async def test_redis_is_killed_and_comes_back(database: Database, server: RedisServer) -> None:
    await server.start()
    async with (
        asyncio.timeout(60),
        open_redis_bus(database, server.url) as bus,
        open_redis_bus(database, server.url) as other,
    ):
        assert bus.fault is None
        await server.kill()
        assert "Redis" in str(await until_fault(bus, expected=True))
        await bus.publish("t", {"meanwhile": 1})
        await server.start()
        await until_fault(other, expected=False)
        await check_heard(bus, other)
        await until_fault(bus, expected=False)


async def test_a_redis_that_hangs_is_noticed(database: Database, server: RedisServer) -> None:
    await server.start()
    async with (
        asyncio.timeout(60),
        open_redis_bus(database, server.url) as bus,
        open_redis_bus(database, server.url) as other,
    ):
        server.freeze()
        assert "Redis" in str(await until_fault(other, expected=True))
        await bus.publish("t", {"meanwhile": 1})
        await until_fault(bus, expected=True)
        server.thaw()
        await until_fault(other, expected=False)
        await check_heard(bus, other)


async def test_a_bus_ends_at_once_while_redis_hangs(
    database: Database, server: RedisServer
) -> None:
    await server.start()
    async with asyncio.timeout(SOON), open_redis_bus(database, server.url) as bus:
        server.freeze()
        await bus.publish("t", {"n": 1})


async def test_two_databases_on_one_redis_do_not_hear_each_other(
    database: Database, redis_server: RedisServer, postgres: EmbeddedPostgres
) -> None:
    async with (
        open_database(postgres.dsn("postgres")) as elsewhere,
        open_redis_bus(elsewhere, redis_server.url) as theirs,
        open_redis_bus(database, redis_server.url) as bus,
        open_redis_bus(database, redis_server.url) as other,
    ):
        with theirs.subscribe("t") as foreign, other.subscribe("t") as far:
            await bus.publish("t", {"n": 1})
            async with asyncio.timeout(SOON):
                assert await far.get() == {"n": 1}
            assert not await foreign.wake(0.2)
