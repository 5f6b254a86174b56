from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import pytest

from persistence.bus import Bus
from persistence.database import Database, add
from persistence.postgres_bus import open_postgres_bus
from persistence.redis_bus import channel_name, open_redis_bus
from persistence.tables.identity import OrganizationRow
from tests.redis_server import RedisServer

Part = Literal["listener", "sender"]


@pytest.fixture
async def organization_id(database: Database) -> UUID:
    """A tenant."""
    row = OrganizationRow(name="Org", slug="org")
    async with database.transaction() as connection:
        await add(connection, row)
    return row.id


@dataclass(frozen=True)
class PostgresTransport:
    """LISTEN and NOTIFY, seen from outside."""

    database: Database

    def open(self) -> AbstractAsyncContextManager[Bus]:
        """Another process's bus."""
        return open_postgres_bus(self.database, heartbeat_seconds=0.5)

    async def cut(self, part: Part) -> int:
        """Ends the connections of that part of every bus; how many there were."""
        admin = await self.database.direct()
        try:
            rows = await admin.fetch(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
                " WHERE application_name = $1 AND datname = current_database()",
                f"assay bus {part}",
            )
            return len(rows)
        finally:
            await admin.close()

    async def send(self, message: bytes) -> None:
        """Says something to every process that is none of the bus's messages."""
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql(
                "SELECT pg_notify('assay_bus', $1)", (message.decode(errors="replace"),)
            )


@dataclass(frozen=True)
class RedisTransport:
    """Redis pub/sub, seen from outside."""

    database: Database
    server: RedisServer

    def open(self) -> AbstractAsyncContextManager[Bus]:
        """See `PostgresTransport.open`."""
        return open_redis_bus(self.database, self.server.url, heartbeat_seconds=0.5)

    async def cut(self, part: Part) -> int:
        """See `PostgresTransport.cut`."""
        with self.server.client() as client:
            ours = [c["id"] for c in client.client_list() if c["name"] == f"assay-bus-{part}"]
            return sum(client.client_kill_filter(_id=one) for one in ours)

    async def send(self, message: bytes) -> None:
        """See `PostgresTransport.send`."""
        with self.server.client() as client:
            client.publish(await channel_name(self.database), message)


Transport = PostgresTransport | RedisTransport


@pytest.fixture(params=["postgres", "redis"])
def transport(request: pytest.FixtureRequest, database: Database) -> Transport:
    """What the bus travels over: each test that asks for a bus runs over both."""
    if request.param == "postgres":
        return PostgresTransport(database)
    server: RedisServer = request.getfixturevalue("redis_server")
    return RedisTransport(database, server)


@pytest.fixture
async def bus(transport: Transport) -> AsyncIterator[Bus]:
    """The bus of this process."""
    async with transport.open() as opened:
        yield opened


@pytest.fixture
async def other(transport: Transport) -> AsyncIterator[Bus]:
    """Another process's bus."""
    async with transport.open() as opened:
        yield opened
