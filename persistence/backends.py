"""Which bus a process uses: over Redis where an address is configured, else over PostgreSQL."""

from contextlib import AbstractAsyncContextManager

from persistence.bus import Bus
from persistence.database import Database
from persistence.postgres_bus import open_postgres_bus
from persistence.redis_bus import open_redis_bus


def open_bus(database: Database, redis_url: str | None = None) -> AbstractAsyncContextManager[Bus]:
    """The bus of this process; every process of an installation is given the same address."""
    if redis_url is None:
        return open_postgres_bus(database)
    return open_redis_bus(database, redis_url)
