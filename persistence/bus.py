"""The bus: hints and answer text between processes. What it loses costs time, never truth."""

import asyncio
import contextlib
import json
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from secrets import token_hex
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import asyncpg

from persistence.database import Database
from persistence.direct import (
    DATABASE_ERRORS,
    ConnectionClosed,
    DirectConnection,
    Driver,
    pause_after,
)

Payload: TypeAlias = Mapping[str, Any]

logger = logging.getLogger(__name__)

CHANNEL = "assay_bus"
MESSAGE_BYTES = 7_900  # NOTIFY takes less than 8,000
CHUNK_BYTES = 7_000
OUTBOX_MESSAGES = 10_000
BATCH_MESSAGES = 200


class Subscription:
    """What came on one topic, oldest first, at most `size` (>= 2) of it.

    None stands for a gap: this subscriber was slow and the oldest were dropped, or the bus was
    down. Whoever reads None looks at the database.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[Payload | None] = deque()
        self._size = max(size, 2)  # room for a gap and what came last
        self._filled = asyncio.Event()

    def offer(self, payload: Payload | None) -> None:
        """Appends; never waits."""
        if payload is None:
            self._items.clear()
        elif len(self._items) >= self._size:
            self._items.popleft()
            self._items[0] = None
        self._items.append(payload)
        self._filled.set()

    async def get(self) -> Payload | None:
        """The next one. A cancelled wait takes nothing."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        return self._items.popleft()

    async def wake(self, seconds: float) -> bool:
        """Whether anything came within so many seconds; takes all of it."""
        if not self._items:
            self._filled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._filled.wait()
        came = bool(self._items)
        self._items.clear()
        return came

    def __aiter__(self) -> AsyncIterator[Payload | None]:
        return self

    async def __anext__(self) -> Payload | None:
        return await self.get()


class Bus(Protocol):
    """Carries small payloads to every process that listens, best effort, in the sender's order."""

    async def publish(self, topic: str, payload: Payload) -> None:
        """Hands over and returns; identical ones not yet sent become one.

        Raises ValueError when topic and payload together exceed 7,900 bytes of JSON.
        """
        ...

    def subscribe(self, topic: str, *, size: int = 256) -> AbstractContextManager[Subscription]:
        """What is published on `topic` from now on."""
        ...


class Subscriptions:
    """The subscribers of one process, by topic."""

    def __init__(self) -> None:
        self._by_topic: defaultdict[str, set[Subscription]] = defaultdict(set)

    @contextmanager
    def subscribe(self, topic: str, size: int) -> Iterator[Subscription]:
        """Delivers to the subscription while the context lasts."""
        subscription = Subscription(size)
        self._by_topic[topic].add(subscription)
        try:
            yield subscription
        finally:
            self._by_topic[topic].discard(subscription)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    def deliver(self, topic: str, payload: Payload) -> None:
        """To all subscribers of the topic."""
        for subscription in self._by_topic.get(topic, ()):
            subscription.offer(payload)

    def wake_all(self) -> None:
        """Tells everyone that something may be missing."""
        for subscriptions in self._by_topic.values():
            for subscription in subscriptions:
                subscription.offer(None)


class PostgresBus:
    """LISTEN and NOTIFY, each on a connection of its own.

    Local subscribers are served at once, others after NOTIFY, which takes a lock of the whole
    database and so stays out of every writer's transaction.
    """

    def __init__(self, database: Database, *, channel: str = CHANNEL) -> None:
        self._channel = channel
        self._origin = token_hex(6)
        self._local = Subscriptions()
        self._outbox: dict[str, None] = {}  # an ordered set
        self._overflowed = False
        self._outgoing = asyncio.Event()
        self._listener = DirectConnection(database, "assay bus listener", prepare=self._listen)
        self._sender = DirectConnection(database, "assay bus sender")

    async def publish(self, topic: str, payload: Payload) -> None:
        """See `Bus.publish`."""
        message = json.dumps(
            [self._origin, topic, dict(payload)], ensure_ascii=False, separators=(",", ":")
        )
        if len(message.encode()) > MESSAGE_BYTES:
            raise ValueError(f"a payload on {topic} is larger than the bus carries")
        self._local.deliver(topic, payload)
        if len(self._outbox) >= OUTBOX_MESSAGES:
            self._outbox.clear()
            self._overflowed = True
        self._outbox[message] = None
        self._outgoing.set()

    def subscribe(self, topic: str, *, size: int = 256) -> AbstractContextManager[Subscription]:
        """See `Bus.subscribe`."""
        return self._local.subscribe(topic, size)

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
            await self._outgoing.wait()
            if self._overflowed:
                self._overflowed = False
                self._outbox = {json.dumps([self._origin]): None, **self._outbox}
            batch = list(self._outbox)[:BATCH_MESSAGES]
            for message in batch:
                del self._outbox[message]
            if not self._outbox:
                self._outgoing.clear()
            try:
                await self._sender.call(_Notify(self._channel, batch))
                failures = 0
            except asyncpg.PostgresError as error:
                failures += 1
                self._overflowed = True  # the others must look for themselves
                self._outgoing.set()
                logger.warning("the bus cannot send: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))

    async def close(self) -> None:
        """Ends both connections."""
        await self._listener.close()
        await self._sender.close()

    async def _listen(self, connection: Driver) -> None:
        await connection.add_listener(self._channel, self._received)
        self._local.wake_all()

    def _received(self, _connection: object, _pid: int, _channel: str, message: object) -> None:
        try:
            origin, *rest = json.loads(str(message))
            if origin == self._origin:
                return
            if rest:
                topic, payload = rest
                self._local.deliver(topic, dict(payload))
            else:
                self._local.wake_all()
        except (ValueError, TypeError):
            logger.warning("not a message of the bus: %d characters", len(str(message)))


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
            task.add_done_callback(_log_end)
        yield bus
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and not isinstance(task.exception(), ConnectionClosed):
        logger.error("a part of the bus ended", exc_info=task.exception())


def answer_topic(message_id: UUID) -> str:
    """The topic on which the text of one answer travels while it is written."""
    return f"answer:{message_id}"


async def publish_answer(
    bus: Bus, message_id: UUID, *, generation: int, offset: int, text: str
) -> None:
    """Publishes text that starts at code point `offset`, as `{generation, offset, text}`.

    Text over 7,000 bytes goes in several pieces, each with its own offset.
    """
    for start, piece in split_text(text, CHUNK_BYTES):
        await bus.publish(
            answer_topic(message_id),
            {"generation": generation, "offset": offset + start, "text": piece},
        )


def split_text(text: str, limit: int) -> Iterator[tuple[int, str]]:
    """Pieces of at most `limit` bytes of UTF-8 JSON (at least one code point), with offsets."""
    start = 0
    while start < len(text):
        end = min(start + limit, len(text))
        while (size := len(json.dumps(text[start:end], ensure_ascii=False).encode())) > limit:
            if end - start == 1:
                break
            end = start + max(1, min((end - start) * limit // size, end - start - 1))
        yield start, text[start:end]
        start = end
