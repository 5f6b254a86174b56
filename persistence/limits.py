"""Rate limits: in Redis for all processes, in this process where there is none or it is away.

The generic cell rate algorithm (ITU-T I.371, annex A), a leaky bucket that keeps one number: the
time at which the next call would be due if calls came evenly.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from cachetools import LRUCache
from redis.asyncio import Redis

from persistence.redis_connection import REDIS_ERRORS, close_client, redis_client

logger = logging.getLogger(__name__)

BURST_SECONDS: Final = 6.0
"""Calls that may come at once: as many as are due in this time, and at least one."""
ANSWER_SECONDS: Final = 0.1
SKIPPED_SECONDS: Final = 5.0
_KEYS: Final = 10_000

_SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
if due - burst > now then
  return math.ceil(due - burst - now)
end
local left = math.ceil(due + interval - now) + 1
redis.call('SET', KEYS[1], string.format('%.3f', due + interval), 'PX', left)
return 0
"""


class Limits(Protocol):
    """Buckets by key."""

    async def take(self, key: str, per_minute: int) -> float:
        """0 when one was taken, else the seconds after which to ask again."""
        ...


class MemoryLimits:
    """Of this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: LRUCache[str, float] = LRUCache(_KEYS)

    async def take(self, key: str, per_minute: int) -> float:
        """See `Limits.take`."""
        now = self._clock()
        interval = 60 / per_minute
        due = max(now, self._due.get(key, now))
        wait = due - _burst(interval) - now
        if wait > 1e-9:
            return wait
        self._due[key] = due + interval
        return 0.0


class RedisLimits:
    """Of all processes. A Redis that does not answer in 100 ms is left alone for five seconds, and
    each process limits by itself meanwhile."""

    def __init__(self, client: Redis, fallback: MemoryLimits) -> None:
        self._script = client.register_script(_SCRIPT)
        self._fallback = fallback
        self._skipped_until = 0.0

    async def take(self, key: str, per_minute: int) -> float:
        """See `Limits.take`."""
        if time.monotonic() < self._skipped_until:
            return await self._fallback.take(key, per_minute)
        interval = 60 / per_minute
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                waited = await self._script(
                    keys=[f"assay:limit:{key}"],
                    args=[interval * 1_000, _burst(interval) * 1_000],
                )
                return float(waited) / 1_000
        except (*REDIS_ERRORS, TypeError, ValueError) as error:
            self._skipped_until = time.monotonic() + SKIPPED_SECONDS
            logger.warning("limits are kept by each process: %s", type(error).__name__)
            return await self._fallback.take(key, per_minute)


def _burst(interval: float) -> float:
    """How far ahead of its time a call may come, in seconds."""
    return max(0.0, BURST_SECONDS - interval)


@asynccontextmanager
async def open_limits(redis_url: str | None) -> AsyncIterator[Limits]:
    """The limits of this process, over Redis where an address is given."""
    memory = MemoryLimits()
    if redis_url is None:
        yield memory
        return
    client = redis_client(redis_url, "assay-limits", seconds=ANSWER_SECONDS)
    try:
        yield RedisLimits(client, memory)
    finally:
        await close_client(client)
