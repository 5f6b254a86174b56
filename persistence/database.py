"""The database: two pools, transactions, and reads that return plain rows.

Reads come from SQLAlchemy Core as named tuples. They are typed as the row class whose columns
they carry, because they read like one; they are not entities and cannot be written back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import Executable, event, insert, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool
from sqlmodel import SQLModel

from persistence.tables.base import table_of

Shape = TypeVar("Shape")
Connection = AsyncConnection

WAIT_SECONDS: Final = 8.0
PATIENT_SECONDS: Final = 60.0
KEEPERS: Final = 2

_LOST_TO_ANOTHER = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
)


class Conflict(Exception):
    """The row was no longer in the expected state or version: nothing was written."""


class Busy(Exception):
    """Another transaction held what this one needed: nothing was written; it may be tried again."""


class Duplicate(Exception):
    """A unique constraint refused the row; the transaction can only roll back."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


def engine_url(dsn: str) -> URL:
    """The SQLAlchemy form of a `postgresql://` address."""
    return make_url(dsn).set(drivername="postgresql+asyncpg")


@dataclass(frozen=True)
class Database:
    """A pool of connections, and the direct (unpooled) address for LISTEN and jobs.

    Who finds no connection free for `wait_seconds` gets a TimeoutError.
    """

    engine: AsyncEngine
    direct_dsn: str
    wait_seconds: float = WAIT_SECONDS
    keepers: AsyncEngine | None = None
    """Connections on which nobody waits for the pool's other work."""

    def patient(self) -> "Database":
        """The same pool for who has no client waiting: a worker does not fail for being many."""
        return replace(self, wait_seconds=PATIENT_SECONDS)

    def keeping(self) -> "Database":
        """A few connections of their own, for what keeps a lease and must not come late."""
        return replace(self, engine=self.keepers or self.engine, wait_seconds=PATIENT_SECONDS)

    @cached_property
    def _autocommit(self) -> AsyncEngine:
        return self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def _lent(self, engine: AsyncEngine) -> AsyncIterator[Connection]:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self.wait_seconds):
                connection = await stack.enter_async_context(engine.connect())
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that commits at the end and rolls back on an exception.

        Raises `Busy` when PostgreSQL ended it in favour of another transaction.
        """
        with _busy():
            async with self._lent(self.engine) as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection for reads: each statement sees what is committed when it begins.

        There is no transaction, which would cost two more round trips and show the same.
        """
        async with self._lent(self._autocommit) as connection:
            yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Connection]:
        """A connection for a change that is one statement, which commits as it ends.

        Raises `Busy` as `transaction` does.
        """
        with _busy():
            async with self._lent(self._autocommit) as connection:
                yield connection

    def in_use(self) -> int:
        """How many of the pool's connections are lent out."""
        return cast(QueuePool, self.engine.pool).checkedout()

    async def answers(self) -> None:
        """Returns when the server answers. Raises what it raises."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def direct(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection of its own, outside the pool; the caller closes it."""
        return await asyncpg.connect(self.direct_dsn)


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except DBAPIError as e:
        if isinstance(_cause(e), _LOST_TO_ANOTHER):
            raise Busy from e
        raise


def need_transaction(connection: Connection) -> None:
    """Raises RuntimeError outside a transaction, where a `SET LOCAL` is forgotten at once."""
    known = connection.sync_connection
    if known is None or known.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        raise RuntimeError("this needs `Database.transaction`")


async def create_database(dsn: str, name: str) -> None:
    """Makes the database on the server at `dsn`, unless it is there."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # it was there, or another process made it at the same moment
    finally:
        await connection.close()


@asynccontextmanager
async def open_database(
    dsn: str,
    *,
    direct_dsn: str | None = None,
    pool_size: int = 10,
    statement_timeout_ms: int = 8_000,
    lock_timeout_ms: int = 4_000,
    idle_in_transaction_timeout_ms: int = 15_000,
    application_name: str = "assay",
) -> AsyncIterator[Database]:
    """Opens the pool, whose connections are made when they are asked for; closes it at the end."""
    server_settings = {
        "application_name": application_name,
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(idle_in_transaction_timeout_ms),
        "timezone": "UTC",
        "tcp_keepalives_idle": "60",  # seconds; a network forgets who is silent for long
    }
    engine, keepers = (
        create_async_engine(
            engine_url(dsn),
            pool_size=size,
            max_overflow=0,
            pool_timeout=None,  # `Database.wait_seconds` bounds it
            pool_pre_ping=False,
            pool_use_lifo=True,  # the connection used last has its statements prepared
            connect_args={"server_settings": server_settings},
        )
        for size in (pool_size, KEEPERS)
    )
    for pooled in (engine, keepers):
        event.listen(pooled.sync_engine, "checkout", _check_open)
    try:
        yield Database(engine, direct_dsn or dsn, keepers=keepers)
    finally:
        await engine.dispose()
        await keepers.dispose()


def _check_open(connection: Any, _record: object, _lent: object) -> None:
    """Has the pool connect anew where the server ended what rested: no round trip is needed."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def fetch(
    connection: Connection,
    statement: Executable,
    shape: type[Shape],  # noqa: ARG001 - names the type the rows read like
) -> Sequence[Shape]:
    """All rows of `statement`, read like `shape`."""
    return cast(Sequence[Shape], (await connection.execute(statement)).all())


async def fetch_one(
    connection: Connection,
    statement: Executable,
    shape: type[Shape],  # noqa: ARG001 - names the type the rows read like
) -> Shape | None:
    """The first row of `statement`, or None."""
    return cast(Shape | None, (await connection.execute(statement)).first())


async def add(connection: Connection, *rows: SQLModel) -> None:
    """Inserts rows of one table in one statement. Raises `Duplicate`."""
    if not rows:
        return
    with duplicates():
        await connection.execute(insert(table_of(type(rows[0]))), list(map(values_of, rows)))


def values_of(row: SQLModel) -> dict[str, Any]:
    """What is written of a row: all but what the server makes."""
    columns = table_of(type(row)).columns
    written = [c.name for c in columns if c.server_default is None and not c.computed]
    return {name: getattr(row, name) for name in written}


async def change(connection: Connection, statement: Executable) -> None:
    """Runs an UPDATE that must touch a row. Raises `Conflict` when it touches none, `Duplicate`."""
    with duplicates():
        result = await connection.execute(statement)
    if result.rowcount == 0:
        raise Conflict


@contextmanager
def duplicates() -> Iterator[None]:
    """Raises `Duplicate` where a unique key is violated inside."""
    try:
        yield
    except IntegrityError as e:
        cause = _cause(e)
        if isinstance(cause, asyncpg.UniqueViolationError):
            raise Duplicate(str(cause.constraint_name)) from e
        raise


def _cause(error: DBAPIError) -> BaseException | None:
    return getattr(error.orig, "__cause__", None)  # asyncpg's own, under the adapter's


async def driver_of(connection: Connection) -> "asyncpg.Connection[asyncpg.Record]":
    """The asyncpg connection underneath, inside the same transaction."""
    await connection.execute(text("SELECT 1"))  # the adapter begins at the first statement
    raw = await connection.get_raw_connection()
    return cast("asyncpg.Connection[asyncpg.Record]", raw.driver_connection)
