"""The worker: runs jobs, numbers events, feeds runs and heals what a dead worker left."""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from ops.wiring import Resources
from persistence.jobs import JobRunner
from persistence.streams import Sequencer
from resolvers.documents_work import ingest_document, sweep_documents
from resolvers.grading_work import feed, grade_task, sweep
from resolvers.study_work import answer_message, sweep_messages
from resolvers.work import WorkResources

FEED_SECONDS = 0.5
SWEEP_SECONDS = 2.0

Tick = Callable[[WorkResources], Awaitable[None]]


async def _repeat(tick: Tick, work: WorkResources, seconds: float, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await tick(work)
        except Exception as e:  # noqa: BLE001 - the next tick tries again; nothing is lost meanwhile
            logger.opt(exception=e).error("{} failed", tick.__name__)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue


async def run_worker(resources: Resources, stop: asyncio.Event) -> None:
    """Works until `stop` is set, then lets running jobs end for `drain_seconds`."""
    work = resources.work()
    settings = resources.settings
    runner = JobRunner(
        resources.database,
        {
            "grade_task": lambda key: grade_task(work, key),
            "answer_message": lambda key: answer_message(work, key),
            "ingest_document": lambda key: ingest_document(work, key),
        },
        {
            "grade_task": settings.worker_concurrency,
            "answer_message": settings.study_concurrency,
            "ingest_document": 1,
        },
        drain_seconds=settings.drain_seconds,
    )
    sequencer = Sequencer(resources.database, resources.bus)
    async with asyncio.TaskGroup() as group:
        group.create_task(sequencer.run(stop))
        group.create_task(runner.run(stop))
        group.create_task(_repeat(feed, work, FEED_SECONDS, stop))
        for tick in (sweep, sweep_messages, sweep_documents):
            group.create_task(_repeat(tick, work, SWEEP_SECONDS, stop))
