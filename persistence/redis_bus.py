"""The bus over Redis pub/sub. Redis may be away, at start too: then its followers poll."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from redis.exceptions import TimeoutError as RedisTimeout
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from persistence.bus import Bus, OutboxBus, log_end
from persistence.database import Database
from persistence.direct import pause_after
from persistence.redis_connection import REDIS_ERRORS, close_client, redis_client

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 2.0
"""Time Redis has to connect, to confirm and to answer a ping."""


class RedisBus(OutboxBus):
    """SUBSCRIBE and PUBLISH, each on a connection of its own.

    The listener pings after `heartbeat_seconds` of silence, so that a connection which died
    silently, or a server that hangs, is noticed after `heartbeat_seconds` + 2 s.
    """

    def __init__(self, url: str, channel: str, *, heartbeat_seconds: float) -> None:
        super().__init__()
        self._channel, self._heartbeat = channel, heartbeat_seconds
        self._listener = redis_client(url, "assay-bus-listener", seconds=ANSWER_SECONDS)
        self._sender = redis_client(url, "assay-bus-sender", seconds=ANSWER_SECONDS)
        self._failures = 0
        self.tried = asyncio.Event()
        """Set once it is known whether Redis is there."""

    async def listen(self) -> None:
        """Listens and finds its way back, until cancelled."""
        while True:
            try:
                await self._hear()
            except REDIS_ERRORS as error:
                self._failures += 1
                self.deaf = f"Redis is not heard ({type(error).__name__})"
                self.tried.set()
                logger.warning("the bus cannot listen: %s", type(error).__name__)
            await asyncio.sleep(pause_after(self._failures))

    async def send(self) -> None:
        """Sends what is published, in batches, until cancelled."""
        failures = 0
        while True:
            batch = await self.next_batch()
            try:
                async with self._sender.pipeline(transaction=False) as pipeline:
                    for message in batch:
                        pipeline.publish(self._channel, message)
                    await pipeline.execute()
                failures, self.mute = 0, None
            except REDIS_ERRORS as error:
                failures += 1
                self.put_back(batch)
                self.mute = f"Redis does not take messages ({type(error).__name__})"
                logger.warning("the bus cannot send: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))

    async def close(self) -> None:
        """Ends both connections."""
        await close_client(self._listener)
        await close_client(self._sender)

    async def _hear(self) -> None:
        async with self._listener.pubsub() as channel:
            await channel.subscribe(self._channel)
            asked = True  # what is owed now is the confirmation, later the answer to a ping
            while True:
                seconds = ANSWER_SECONDS if asked else self._heartbeat
                message = await channel.get_message(timeout=seconds)
                if message is None and asked:
                    raise RedisTimeout("no answer")
                asked = message is None
                if message is None:
                    await channel.ping()
                elif message["type"] == "subscribe":
                    self._failures = 0
                    self.hearing()
                    self.tried.set()
                elif message["type"] == "message":
                    self.received(message["data"])


async def channel_name(database: Database) -> str:
    """A channel of this database's own, the same for each of its processes.

    Installations that share a Redis do not hear each other: the name is a digest of what
    identifies the server and the database on it, whatever address it is reached by.
    """
    identities = (
        "SELECT system_identifier || '/' || current_database() FROM pg_control_system()",
        "SELECT current_database()",  # where a host withholds the function above
    )
    for statement in identities:
        try:
            async with database.read() as connection:
                identity = (await connection.execute(text(statement))).scalar_one()
        except ProgrammingError:
            continue
        return f"assay:bus:{hashlib.sha256(str(identity).encode()).hexdigest()[:16]}"
    raise RuntimeError("the database does not tell its name")


@asynccontextmanager
async def open_redis_bus(
    database: Database, url: str, *, heartbeat_seconds: float = 1.0
) -> AsyncIterator[Bus]:
    """The bus of this process on two connections to Redis, which need not be there.

    Raises what reading the database raises, and ValueError for an address that cannot be one.
    """
    bus = RedisBus(url, await channel_name(database), heartbeat_seconds=heartbeat_seconds)
    tasks = [asyncio.create_task(bus.listen()), asyncio.create_task(bus.send())]
    for task in tasks:
        task.add_done_callback(log_end)
    try:
        await bus.tried.wait()
        yield bus
    finally:
        await _end(tasks)
        await bus.close()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels until it is heeded: below Python 3.12 the client's `asyncio.wait_for` drops a
    cancellation that comes just as a write ends."""
    ending = set(tasks)
    while ending:
        for task in ending:
            task.cancel()
        _, ending = await asyncio.wait(ending, timeout=0.2)
