"""The bus over LISTEN and NOTIFY: what a process uses where no Redis is configured."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from persistence.bus import Bus, OutboxBus, log_end
from persistence.database import Database
from persistence.direct import DATABASE_ERRORS, DirectConnection, Driver, pause_after

logger = logging.getLogger(__name__)

CHANNEL = "assay_bus"


class PostgresBus(OutboxBus):
    """LISTEN and NOTIFY, each on a connection of its own.

    NOTIFY takes a lock of the whole database and so stays out of every writer's transaction.
    """

    def __init__(self, database: Database, *, channel: str = CHANNEL) -> None:
        super().__init__()
        self._channel = channel
        self._listener = DirectConnection(database, "assay bus listener", prepare=self._listen)
        self._sender = DirectConnection(database, "assay bus sender")

    @property
    def fault(self) -> str | None:
        """See `Bus.fault`."""
        lost = self._listener.lost.is_set()
        return "the connection that listens is lost" if lost else super().fault

    async def connect(self) -> None:
        """Opens the listening connection. Raises what connecting raises."""
        await self._listener.once(_nothing)

    async def listen(self, *, heartbeat_seconds: float) -> None:
        """Keeps the listening connection alive, until cancelled."""
        failures = 0
        while True:
            try:
                await self._listener.call(_ping)
                failures = 0
            except (*DATABASE_ERRORS, asyncpg.InternalClientError) as error:
                failures += 1
                logger.warning("the bus cannot listen: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(heartbeat_seconds):
                    await self._listener.lost.wait()

    async def send(self) -> None:
        """Sends what is published, in batches, until cancelled."""
        failures = 0
        while True:
            batch = await self.next_batch()
            try:
                await self._sender.call(_Notify(self._channel, batch))
                failures, self.mute = 0, None
            except asyncpg.PostgresError as error:
                failures += 1
                self.overflow()
                self.mute = f"PostgreSQL refuses notifications ({type(error).__name__})"
                logger.warning("the bus cannot send: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))

    async def close(self) -> None:
        """Ends both connections."""
        await self._listener.close()
        await self._sender.close()

    async def _listen(self, connection: Driver) -> None:
        await connection.add_listener(self._channel, self._notified)
        self.hearing()

    def _notified(self, _connection: object, _pid: int, _channel: str, message: object) -> None:
        self.received(str(message))


class _Notify:
    def __init__(self, channel: str, messages: list[str]) -> None:
        self._channel, self._messages = channel, messages

    async def __call__(self, connection: Driver) -> None:
        await connection.execute(
            "SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message",
            self._channel,
            self._messages,
        )


async def _ping(connection: Driver) -> None:
    await connection.execute("SELECT 1")


async def _nothing(_connection: Driver) -> None:
    pass


@asynccontextmanager
async def open_postgres_bus(
    database: Database, *, channel: str = CHANNEL, heartbeat_seconds: float = 5.0
) -> AsyncIterator[Bus]:
    """The bus of this process, on two direct connections; it finds its own way back.

    A listening connection that dies silently is noticed after `heartbeat_seconds` + 10 s.
    Raises what connecting raises.
    """
    bus = PostgresBus(database, channel=channel)
    tasks: list[asyncio.Task[None]] = []
    try:
        await bus.connect()
        tasks.append(asyncio.create_task(bus.listen(heartbeat_seconds=heartbeat_seconds)))
        tasks.append(asyncio.create_task(bus.send()))
        for task in tasks:
            task.add_done_callback(log_end)
        yield bus
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()
