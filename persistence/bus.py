"""The bus: hints and answer text between processes. What it loses costs time, never truth."""

import asyncio
import contextlib
import json
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from secrets import token_hex
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from persistence.direct import ConnectionClosed

Payload: TypeAlias = Mapping[str, Any]

logger = logging.getLogger(__name__)

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

    @property
    def fault(self) -> str | None:
        """Why hints do not travel between processes now, for an operator; None while they do."""
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


class OutboxBus:
    """What every bus does in its own process; sending and listening are the transport's.

    Local subscribers are served at once, and what goes to the others waits here to be sent.
    """

    def __init__(self) -> None:
        self._origin = token_hex(6)
        self._local = Subscriptions()
        self._outbox: dict[str, None] = {}  # an ordered set
        self._overflowed = False
        self._outgoing = asyncio.Event()
        self.deaf: str | None = "not connected yet"
        self.mute: str | None = None

    async def publish(self, topic: str, payload: Payload) -> None:
        """See `Bus.publish`."""
        message = json.dumps(
            [self._origin, topic, dict(payload)], ensure_ascii=False, separators=(",", ":")
        )
        if len(message.encode()) > MESSAGE_BYTES:
            raise ValueError(f"a payload on {topic} is larger than the bus carries")
        self._local.deliver(topic, payload)
        if len(self._outbox) >= OUTBOX_MESSAGES:
            self.overflow()
        self._outbox[message] = None
        self._outgoing.set()

    def subscribe(self, topic: str, *, size: int = 256) -> AbstractContextManager[Subscription]:
        """See `Bus.subscribe`."""
        return self._local.subscribe(topic, size)

    @property
    def fault(self) -> str | None:
        """See `Bus.fault`."""
        return self.deaf or self.mute

    async def next_batch(self) -> list[str]:
        """What is to be sent next, oldest first; waits for it."""
        await self._outgoing.wait()
        if self._overflowed:
            self._overflowed = False
            self._outbox = {json.dumps([self._origin]): None, **self._outbox}
        batch = list(self._outbox)[:BATCH_MESSAGES]
        for message in batch:
            del self._outbox[message]
        if not self._outbox:
            self._outgoing.clear()
        return batch

    def put_back(self, batch: list[str]) -> None:
        """What could not be sent, or perhaps was: it goes first when there is a connection."""
        self._outbox = {**dict.fromkeys(batch), **self._outbox}
        if len(self._outbox) > OUTBOX_MESSAGES:
            self.overflow()
        self._outgoing.set()

    def overflow(self) -> None:
        """Drops what waits; the other processes will be told to look for themselves."""
        self._outbox.clear()
        self._overflowed = True
        self._outgoing.set()

    def hearing(self) -> None:
        """The connection listens (again); what was said meanwhile is missing."""
        self.deaf = None
        self._local.wake_all()

    def received(self, message: str | bytes) -> None:
        """Delivers what another process sent."""
        try:
            if len(message) > MESSAGE_BYTES:
                raise ValueError
            origin, *rest = json.loads(message)
            if origin == self._origin:
                return
            if rest:
                topic, payload = rest
                self._local.deliver(topic, dict(payload))
            else:
                self._local.wake_all()
        except (ValueError, TypeError, RecursionError):
            logger.warning("not a message of the bus: %d characters", len(message))


def log_end(task: asyncio.Task[None]) -> None:
    """A part of a bus runs until it is cancelled or its connection closed; else it says so."""
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
