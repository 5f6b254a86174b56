"""Jobs: deliveries of an id to a handler. The only place that knows the engine, pgqueuer.

A job is delivered at least once and carries nothing but an id; the truth is in the row it names.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias, cast
from uuid import UUID

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence import qb
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain import models, types
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.ports.driver import Driver, NotifyCallback
from pgqueuer.queries import Queries
from sqlalchemy import Select, Uuid, bindparam, column, func, select, table, text
from sqlalchemy import cast as cast_to

from observability.logs import (
    accept_correlation_id,
    correlation,
    current_correlation_id,
    new_correlation_id,
)
from persistence.database import Connection, Database, driver_of
from persistence.direct import ConnectionClosed, DirectConnection, pause_after
from persistence.direct import Driver as DriverConnection

Handler: TypeAlias = Callable[[UUID], Awaitable[None]]

logger = logging.getLogger(__name__)

# Every name is given, because pgqueuer takes those that are not from the environment, among them
# CHANNEL, FUNCTION and TRIGGER.
_NAMES = DBSettings(
    prefix="",
    db_schema=None,
    channel=types.Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
    widen_id=True,
)
_BATCH_JOBS = 10
_CANCEL_SECONDS = 5.0  # what handlers get to unwind once the drain time is over


@dataclass(frozen=True)
class QueuedCounts:
    """Jobs of one entrypoint: waiting (also for their time) and given to a worker."""

    waiting: int
    running: int
    oldest_seconds: float = field(default=0.0, compare=False)


class _Repository(Queries):
    """pgqueuer's statements, without the one that deletes the job of a cancelled handler."""

    async def log_jobs(
        self,
        job_status: list[tuple[models.Job, types.JOB_STATUS, models.TracebackRecord | None]],
    ) -> None:
        # Cancelling a handler's task is a hard stop: the job stays picked and is taken over.
        ended = [entry for entry in job_status if entry[1] != "canceled"]
        if ended:
            await super().log_jobs(ended)


def _repository(driver: Driver, names: DBSettings = _NAMES) -> _Repository:
    return _Repository(
        driver,
        qbe=qb.QueryBuilderEnvironment(names),
        qbq=qb.QueryQueueBuilder(names),
        qbs=qb.QuerySchedulerBuilder(names),
    )


async def enqueue(
    connection: Connection,
    entrypoint: str,
    payload_id: UUID,
    *,
    dedupe_key: str,
    priority: int = 0,
    delay: timedelta | None = None,
    correlation_id: str | None = None,
) -> bool:
    """Enqueues in the caller's transaction; False when a job with this key waits or runs.

    The job's log events carry `correlation_id`, by default that of the request that enqueues it.

    A job counts as running until its handler has returned, so a handler cannot enqueue its own
    successor under its own key. Higher priorities go first.
    """
    queries = _repository(AsyncpgDriver(await driver_of(connection)))
    ids = await queries.enqueue(
        [entrypoint],
        [payload_id.bytes],
        [priority],
        [delay],
        [dedupe_key],
        [{"correlation_id": correlation_id or current_correlation_id() or new_correlation_id()}],
        on_conflict="skip",
    )
    return ids[0] is not None


async def queued_counts(connection: Connection, entrypoint: str) -> QueuedCounts:
    """How many jobs of the entrypoint wait and run, and for how long the oldest has."""
    row = (
        await connection.execute(
            text(
                "SELECT count(*) FILTER (WHERE status = 'queued') AS waiting,"
                " count(*) FILTER (WHERE status = 'picked') AS running,"
                " coalesce(extract(epoch FROM now() - min(created)), 0)::float8 AS oldest"
                " FROM pgqueuer WHERE entrypoint = :entrypoint"
            ),
            {"entrypoint": entrypoint},
        )
    ).one()
    return QueuedCounts(row.waiting, row.running, row.oldest)


def queued(entrypoint: str) -> Select[tuple[UUID, int]]:
    """The id and priority of each job that waits, for other statements to join."""
    job = table("pgqueuer", *map(column, ("payload", "priority", "entrypoint", "status")))
    return select(
        cast_to(func.encode(job.c.payload, "hex"), Uuid).label("id"), job.c.priority
    ).where(job.c.entrypoint == entrypoint, job.c.status == text("'queued'"))


async def outstanding(connection: Connection, entrypoint: str) -> frozenset[UUID]:
    """The ids whose jobs wait or run."""
    rows = await connection.execute(
        text(
            "SELECT payload FROM pgqueuer WHERE entrypoint = :entrypoint"
            " AND status IN ('queued', 'picked')"
        ),
        {"entrypoint": entrypoint},
    )
    return frozenset(UUID(bytes=row.payload) for row in rows)


async def prune_log(connection: Connection, keep: timedelta, limit: int = 10_000) -> int:
    """Deletes the engine's log older than `keep`, at most `limit` rows; how many it deleted."""
    deleted = await connection.execute(
        text(
            "DELETE FROM pgqueuer_log WHERE id IN (SELECT id FROM pgqueuer_log"
            " WHERE created < now() - :keep ORDER BY created LIMIT :limit)"
        ).bindparams(bindparam("keep", keep), bindparam("limit", limit))
    )
    return deleted.rowcount


class _PersistentDriver(Driver):
    """pgqueuer's driver on a connection that comes back after a restart of the server.

    Its own ends its manager with the connection, waits for all handlers without a heartbeat and
    then forgets which of them were done.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._shutdown = asyncio.Event()
        self._listeners: list[tuple[str, NotifyCallback]] = []
        self._direct = DirectConnection(database, name, prepare=self._listen)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async def use(connection: DriverConnection) -> list[dict[str, object]]:
            return [dict(row) for row in await connection.fetch(query, *args)]

        return await self._direct.call(use)

    async def execute(self, query: str, *args: object) -> str:
        async def use(connection: DriverConnection) -> str:
            return str(await connection.execute(query, *args))

        return await self._direct.call(use)

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        entry = (channel, callback)

        async def use(connection: DriverConnection) -> None:
            await _add_listener(connection, *entry)

        await self._direct.call(use)
        self._listeners.append(entry)

    async def close(self) -> None:
        """Every later call raises `ConnectionClosed`."""
        await self._direct.close()

    async def _listen(self, connection: DriverConnection) -> None:
        for entry in self._listeners:
            await _add_listener(connection, *entry)

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return TaskManager()

    async def __aenter__(self) -> "_PersistentDriver":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stays open: the last heartbeats and results are still to be written."""


async def _add_listener(
    connection: DriverConnection, channel: str, callback: NotifyCallback
) -> None:
    def relay(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        callback(str(payload))

    await connection.add_listener(channel, relay)


class _Pool:
    """Takes and runs the jobs of one entrypoint, at most `concurrency` at once in this process."""

    def __init__(
        self,
        database: Database,
        entrypoint: str,
        handler: Handler,
        concurrency: int,
        takeover_seconds: float,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"{entrypoint}: a concurrency is at least 1")
        self._database, self._entrypoint, self._handler = database, entrypoint, handler
        self._concurrency, self._takeover_seconds = concurrency, takeover_seconds
        # where `fn_pgqueuer_changed` tells of such jobs
        channel = types.Channel(f"{_NAMES.channel}_{entrypoint}")
        self._names = _NAMES.model_copy(update={"channel": channel})
        # pgqueuer takes at least twice its batch, so two at a time where one is asked for
        self._seats = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[UUID] = set()
        self._stopping = False
        self._manager: QueueManager | None = None
        self._driver: _PersistentDriver | None = None

    async def run(self) -> None:
        """Until `stop` is called and the last job has ended. Survives a failing engine."""
        failures = 0
        while not self._stopping:
            self._driver = _PersistentDriver(self._database, f"assay jobs {self._entrypoint}")
            repository = _repository(self._driver, self._names)
            self._manager = QueueManager(repository, channel=self._names.channel)
            self._manager.entrypoint(self._entrypoint, accepts_context=False)(self._run_job)
            try:
                await self._manager.run(
                    dequeue_timeout=timedelta(seconds=min(2.0, self._takeover_seconds / 3)),
                    batch_size=max(1, min(_BATCH_JOBS, self._concurrency // 2)),
                    max_concurrent_tasks=max(2, self._concurrency),
                    heartbeat_timeout=timedelta(seconds=self._takeover_seconds),
                    log_aggregation_interval=timedelta(0),
                )
                failures = 0
            except ConnectionClosed:
                return
            except (asyncpg.PostgresError, RuntimeError) as error:  # RuntimeError: no such tables
                failures += 1
                logger.error("jobs %s: %s; starting again", self._entrypoint, error)  # noqa: TRY400 - the loop goes on
                await asyncio.sleep(pause_after(failures))
            finally:
                await self._driver.close()

    def stop(self) -> None:
        """Takes no more jobs."""
        self._stopping = True
        if self._manager is not None:
            self._manager.shutdown.set()

    def cancel(self) -> None:
        """Cancels the handlers. Their jobs stay as they are."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Cuts the connection, so that nothing more is reported about any job."""
        if self._driver is not None:
            await self._driver.close()

    def running(self) -> frozenset[UUID]:
        """The ids whose handlers run in this process."""
        return frozenset(self._running)

    async def _run_job(self, job: models.Job) -> None:
        payload_id = UUID(bytes=job.payload)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            async with self._seats:
                self._running.add(payload_id)
                with correlation(accept_correlation_id(_correlation_of(job))):
                    await self._handler(payload_id)
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            logger.error("job %s %s cancelled itself", self._entrypoint, payload_id)  # noqa: TRY400 - no stack of interest
        except Exception:
            logger.exception("job %s %s failed", self._entrypoint, payload_id)
        finally:
            self._running.discard(payload_id)
            self._tasks.discard(task)


def _correlation_of(job: models.Job) -> str | None:
    found = (job.headers or {}).get("correlation_id")
    return found if isinstance(found, str) else None


class JobRunner:
    """Runs the handlers of this process's entrypoints, each in a pool of its own.

    So work of one kind never waits for another's. `concurrency` is per entrypoint and process.
    A worker that dies is taken over after `takeover_seconds` and at most 2 s more; a handler that
    holds the event loop for as long is taken for dead as well, which is what fences are for.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        concurrency: Mapping[str, int],
        *,
        takeover_seconds: float = 6.0,
        drain_seconds: float = 30.0,
    ) -> None:
        if missing := handlers.keys() - concurrency.keys():
            raise ValueError(f"no concurrency for {', '.join(sorted(missing))}")
        self._pools = [
            _Pool(database, entrypoint, handler, concurrency[entrypoint], takeover_seconds)
            for entrypoint, handler in handlers.items()
        ]
        self._drain_seconds = drain_seconds

    def running(self) -> frozenset[UUID]:
        """The ids whose handlers run now."""
        return frozenset[UUID]().union(*(pool.running() for pool in self._pools))

    async def run(self, stop: asyncio.Event) -> None:
        """Runs jobs until `stop` is set, then waits for the running ones up to the drain time.

        What still runs then is cancelled and its job left to be taken over, not deleted; so also
        when this call itself is cancelled. A handler's exception is logged and its job is done:
        the sweeper heals the row. A restart of the server is outlived.
        """
        pools = {asyncio.create_task(pool.run()) for pool in self._pools}
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, *pools}, return_when=asyncio.FIRST_COMPLETED)
            for pool in self._pools:
                pool.stop()
            await asyncio.wait(pools, timeout=self._drain_seconds)
        finally:
            stopping.cancel()
            await self._end(pools)
        for task in pools:
            if task.done() and not task.cancelled():
                task.result()

    async def _end(self, pools: set[asyncio.Task[None]]) -> None:
        if left := self.running():
            logger.warning("%d jobs are left to be taken over", len(left))
        # The handlers, not the manager: one cancelled early still waits for its handlers.
        for pool in self._pools:
            pool.stop()
            pool.cancel()
        _, unfinished = await asyncio.wait(pools, timeout=_CANCEL_SECONDS)
        for pool in self._pools:
            await pool.close()
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=_CANCEL_SECONDS)
