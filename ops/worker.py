"""The worker: runs jobs, numbers events, feeds runs and heals what a dead worker left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from loguru import logger

from ops.wiring import Resources
from persistence import retention
from persistence.audit_chain import seal
from persistence.budgets import fullest
from persistence.jobs import JobRunner, prune_log, queued_counts
from persistence.reservations import settle_lost
from persistence.stalled import end_stalled
from persistence.streams import Sequencer
from resolvers.budgets import month_of
from resolvers.context import utc_now
from resolvers.documents import INGEST, INGEST_LARGE
from resolvers.documents_fetch import FETCH, fetch_document, sweep_fetches
from resolvers.documents_replace import sweep_replaced
from resolvers.documents_work import ingest_document, sweep_documents
from resolvers.grading_runs import FEED_TOPIC
from resolvers.grading_work import feed, grade_task, sweep
from resolvers.originals import move_originals, sweep_objects
from resolvers.study_work import answer_message, sweep_messages
from resolvers.uploads import sweep_uploads
from resolvers.work import WorkResources

FEED_SECONDS = 0.5
SWEEP_SECONDS = 2.0
PRUNE_SECONDS = 600.0
COUNT_SECONDS = 5.0
BUDGET_SECONDS = 15.0
SHOWN_BUDGETS = 20
ENTRYPOINTS = ("grade_task", "answer_message", INGEST, INGEST_LARGE, FETCH)
KEPT_JOB_LOG = timedelta(days=7)
LOST_CALL = timedelta(hours=2)  # the longest model call that may be configured takes one

Tick = Callable[[WorkResources], Awaitable[None]]


async def _attempt(tick: Tick, work: WorkResources) -> None:
    try:
        await tick(work)
    except Exception as e:  # noqa: BLE001 - the next tick tries again; nothing is lost meanwhile
        logger.opt(exception=e).error("{} failed", tick.__name__)


async def _repeat(tick: Tick, work: WorkResources, seconds: float, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _attempt(tick, work)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue


async def _end_stalled(work: WorkResources) -> None:
    async with work.database.read() as connection:
        if ended := await end_stalled(connection):
            logger.warning("{} transactions of a process that stalled were ended", ended)


async def _seal(work: WorkResources) -> None:
    await seal(work.database)


SWEEPS: Sequence[Tick] = (
    _end_stalled,
    _seal,
    sweep,
    sweep_messages,
    sweep_documents,
    sweep_fetches,
    sweep_replaced,
    sweep_uploads,
    sweep_objects,
    move_originals,
)


async def run_worker(resources: Resources, stop: asyncio.Event) -> None:
    """Works until `stop` is set, then lets running jobs end for `drain_seconds`."""
    work = resources.work()
    settings = resources.settings
    runner = JobRunner(
        work.database,
        {
            "grade_task": lambda key: grade_task(work, key),
            "answer_message": lambda key: answer_message(work, key),
            INGEST: lambda key: ingest_document(work, key),
            INGEST_LARGE: lambda key: ingest_document(work, key),
            FETCH: lambda key: fetch_document(work, key),
        },
        {
            "grade_task": settings.worker_concurrency,
            "answer_message": settings.study_concurrency,
            INGEST: 2,
            INGEST_LARGE: 1,
            FETCH: 2,
        },
        drain_seconds=settings.drain_seconds,
    )
    sequencer = Sequencer(work.database, resources.bus)
    drained = asyncio.Event()

    async def run_jobs() -> None:
        try:
            await runner.run(stop)
        finally:
            drained.set()  # what the last jobs wrote is still to be numbered

    async with asyncio.TaskGroup() as group:
        group.create_task(sequencer.run(drained))
        group.create_task(run_jobs())
        group.create_task(_feed(work, stop))
        for tick in SWEEPS:
            group.create_task(_repeat(tick, work, SWEEP_SECONDS, stop))
        group.create_task(_repeat(_prune, work, PRUNE_SECONDS, stop))
        group.create_task(_repeat(_count_jobs, work, COUNT_SECONDS, stop))
        group.create_task(_repeat(_show_budgets, work, BUDGET_SECONDS, stop))


async def _feed(work: WorkResources, stop: asyncio.Event) -> None:
    """Feeds when a run starts or a task ends, and every half second."""
    with work.bus.subscribe(FEED_TOPIC) as hints:
        while not stop.is_set():
            await _attempt(feed, work)
            waiting = asyncio.ensure_future(stop.wait())
            hinted = asyncio.ensure_future(hints.wake(FEED_SECONDS))
            await asyncio.wait({waiting, hinted}, return_when=asyncio.FIRST_COMPLETED)
            for one in (waiting, hinted):
                one.cancel()


async def _prune(work: WorkResources) -> None:
    async with work.database.transaction() as connection:
        await prune_log(connection, KEPT_JOB_LOG)
        if lost := await settle_lost(connection, LOST_CALL, 1_000):
            logger.warning("{} model calls of a process that died were settled", lost)
    await retention.sweep(work.database, utc_now())


async def _count_jobs(work: WorkResources) -> None:
    async with work.database.read() as connection:
        for entrypoint in ENTRYPOINTS:
            counts = await queued_counts(connection, entrypoint)
            work.metrics.jobs_state(
                entrypoint, counts.waiting, counts.running, counts.oldest_seconds
            )


async def _show_budgets(work: WorkResources) -> None:
    async with work.database.read() as connection:
        found = await fullest(
            connection, month_of(work.now()), work.monthly_budget_micros, SHOWN_BUDGETS
        )
    work.metrics.model_budgets(found)
