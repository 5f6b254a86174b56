"""How Redis is reached: clients that never retry by themselves and never wait for long."""

import asyncio
import contextlib
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

# What says that Redis is away, slow, refuses or answers nonsense: never the caller's fault.
REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)


def redis_client(url: str, name: str, *, seconds: float) -> Redis:
    """A client that connects when it is first used; connecting, sending and each answer may take
    `seconds`.

    The caller's loop tries again, so the library's own retries are off. RESP2: the pub/sub
    dialect of every server version. Raises ValueError for an address that cannot be one.
    """
    return Redis.from_url(
        url,
        client_name=name,
        protocol=2,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )


async def close_client(client: Redis) -> None:
    """Closes its connections; a server that hangs is not waited for."""
    with contextlib.suppress(*REDIS_ERRORS):
        async with asyncio.timeout(1):
            await client.aclose()
