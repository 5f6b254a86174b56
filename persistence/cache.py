"""Caches of bytes that can be computed again: in this process, and in Redis for all of them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from cachetools import TLRUCache
from redis.asyncio import Redis

from persistence.redis_connection import REDIS_ERRORS, close_client, redis_client

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

MEMORY_BYTES: Final = 16_000_000
COPIED_SECONDS: Final = 60.0
"""How long a tier keeps what it took over from a slower one, whose own end it does not know."""
ANSWER_SECONDS: Final = 0.05
SKIPPED_SECONDS: Final = 5.0
_ENTRY_BYTES: Final = 200  # what an entry costs beside its value


class Cache(Protocol):
    """Keeps a value for a while, perhaps. A reader checks what it gets: anyone may have put it."""

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """Keeps it for at most `seconds`."""
        ...


class Observer(Protocol):
    """What is told of each read of a tier."""

    def __call__(self, tier: str, *, hit: bool) -> None:
        """`tier` is `memory` or `redis`."""
        ...


class MemoryCache:
    """In this process, up to `size` bytes; the least recently used go first."""

    tier: Final = "memory"

    def __init__(self, size: int = MEMORY_BYTES) -> None:
        self._entries: TLRUCache[tuple[str, str], tuple[bytes, float]] = TLRUCache(
            size,
            ttu=lambda _, entry, now: now + entry[1],
            getsizeof=lambda entry: len(entry[0]) + _ENTRY_BYTES,
        )

    async def get(self, namespace: str, key: str) -> bytes | None:
        """See `Cache.get`."""
        entry = self._entries.get((namespace, key))
        return None if entry is None else entry[0]

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """See `Cache.set`."""
        if len(value) + _ENTRY_BYTES <= self._entries.maxsize:
            self._entries[namespace, key] = value, seconds


class RedisCache:
    """In Redis. An answer that takes over 50 ms is not waited for, and Redis then left alone for
    five seconds."""

    tier: Final = "redis"

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._skipped_until = 0.0

    async def get(self, namespace: str, key: str) -> bytes | None:
        """See `Cache.get`."""
        if self._skipped():
            return None
        value = await self._within(self._client.get(_redis_key(namespace, key)))
        return value if isinstance(value, bytes) else None

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """See `Cache.set`."""
        if not self._skipped():
            milliseconds = max(1, int(seconds * 1_000))
            await self._within(self._client.set(_redis_key(namespace, key), value, px=milliseconds))

    def _skipped(self) -> bool:
        return time.monotonic() < self._skipped_until

    async def _within(self, call: Awaitable[Answer]) -> Answer | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await call
        except REDIS_ERRORS as error:
            self._skipped_until = time.monotonic() + SKIPPED_SECONDS
            logger.warning("the cache in Redis is skipped: %s", type(error).__name__)
            return None


def _redis_key(namespace: str, key: str) -> str:
    return f"assay:cache:{namespace}:{key}"


class TieredCache:
    """The fastest tier first. What a slower one has is copied to the faster ones."""

    def __init__(self, tiers: Sequence[MemoryCache | RedisCache], observe: Observer) -> None:
        self._tiers, self._observe = tiers, observe

    async def get(self, namespace: str, key: str) -> bytes | None:
        """See `Cache.get`."""
        for i, tier in enumerate(self._tiers):
            value = await tier.get(namespace, key)
            self._observe(tier.tier, hit=value is not None)
            if value is not None:
                for faster in self._tiers[:i]:
                    await faster.set(namespace, key, value, COPIED_SECONDS)
                return value
        return None

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """See `Cache.set`."""
        for tier in self._tiers:
            await tier.set(namespace, key, value, seconds)


@asynccontextmanager
async def open_cache(redis_url: str | None, observe: Observer) -> AsyncIterator[Cache]:
    """The cache of this process, over Redis where an address is given."""
    memory = MemoryCache()
    if redis_url is None:
        yield TieredCache([memory], observe)
        return
    client = redis_client(redis_url, "assay-cache", seconds=ANSWER_SECONDS)
    try:
        yield TieredCache([memory, RedisCache(client)], observe)
    finally:
        await close_client(client)
