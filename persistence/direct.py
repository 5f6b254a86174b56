"""A direct connection that outlives the server's restarts."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from persistence.database import Busy, Database

Result = TypeVar("Result")
Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between tries to connect

# What says that the connection, not the statement, has failed. The operator-intervention class
# 57 as a whole would not do: a cancelled statement (57014) belongs to it.
_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
)

# What a loop that must outlive the database catches: connecting raises the driver's own errors,
# statements raise SQLAlchemy's.
DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    Busy,
)


class ConnectionClosed(Exception):
    """`DirectConnection.close` was called: there will be no connection any more."""


class _Lost(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row: exponential, jittered by a quarter."""
    pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
    return pause * random.uniform(0.75, 1.25)


class DirectConnection:
    """One connection outside the pool, opened at the first use and again whenever it has died.

    `prepare` runs on each new connection before anything else does: LISTEN belongs there.
    Uses of it wait for each other. `lost` is set while there is no living connection.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        prepare: Callable[[Driver], Awaitable[None]] | None = None,
        call_seconds: float = 10.0,
    ) -> None:
        self._database, self._name, self._prepare = database, name, prepare
        self._call_seconds = call_seconds
        self._lock = asyncio.Lock()
        self._connection: Driver | None = None
        self._closed = False
        self.lost = asyncio.Event()
        self.lost.set()

    async def call(self, use: Callable[[Driver], Awaitable[Result]]) -> Result:
        """What `use` returns; when the connection dies meanwhile, `use` runs again on a new one.

        So `use` must be harmless to repeat. Waits for the server as long as it takes. Raises
        what `use` raises for other reasons, and `ConnectionClosed`.
        """
        failures = 0
        while True:
            try:
                return await self._attempt(use)
            except _Lost as lost:
                failures += 1
                pause = pause_after(failures)
                logger.warning(
                    "%s: no connection (%s); next try in %.2f s",
                    self._name,
                    type(lost.cause).__name__,
                    pause,
                )
            await asyncio.sleep(pause)

    async def once(self, use: Callable[[Driver], Awaitable[Result]]) -> Result:
        """What `use` returns on the connection, opened if there is none; no second try.

        Raises what connecting and `use` raise, and `ConnectionClosed`.
        """
        try:
            return await self._attempt(use)
        except _Lost as lost:
            raise lost.cause from None

    async def close(self) -> None:
        """Ends the connection; a call that waits for one gets `ConnectionClosed`."""
        self._closed = True
        connection, self._connection = self._connection, None
        self.lost.set()
        if connection is not None:
            try:
                await connection.close(timeout=2)
            except (*_LOST, asyncpg.InterfaceError, asyncpg.InternalClientError):
                logger.debug("%s: was cut as it closed", self._name)
            finally:
                connection.terminate()

    async def _attempt(self, use: Callable[[Driver], Awaitable[Result]]) -> Result:
        async with self._lock:
            try:
                connection = await self._open()
            except (*_LOST, asyncpg.TooManyConnectionsError) as error:
                raise _Lost(error) from error
            try:
                async with asyncio.timeout(self._call_seconds):
                    return await use(connection)
            except (*_LOST, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                # InternalClientError: a cut in the middle of a call leaves asyncpg's protocol
                # where no further call can begin, on a connection it does not call closed.
                if isinstance(error, asyncpg.InterfaceError) and not connection.is_closed():
                    raise  # the fault is in the call
                self._drop(connection)
                raise _Lost(error) from error

    async def _open(self) -> Driver:
        if self._closed:
            raise ConnectionClosed(self._name)
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = None
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._database.direct()
            try:
                await connection.execute(
                    "SELECT set_config('application_name', $1, false)", self._name
                )
                if self._prepare is not None:
                    await self._prepare(connection)
            except BaseException:
                connection.terminate()
                raise
        if self._closed:
            connection.terminate()
            raise ConnectionClosed(self._name)
        connection.add_termination_listener(self._terminated)
        self._connection = connection
        self.lost.clear()
        return connection

    def _terminated(self, connection: Driver) -> None:
        if connection is self._connection:
            self.lost.set()

    def _drop(self, connection: Driver) -> None:
        self.lost.set()
        if connection is self._connection:
            self._connection = None
        connection.terminate()
