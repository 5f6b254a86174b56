"""What the processes are asked by their probes, and the small application a worker answers with."""

import asyncio

from starlette.applications import Starlette

from observability.instrumentation import instrument
from ops.health import OK, Check, CheckResult, degraded, failed, health_routes
from ops.wiring import Resources
from persistence.bus import Bus
from persistence.database import Database
from persistence.migrations import current, head, revisions


def readiness_checks(database: Database, bus: Bus) -> dict[str, Check]:
    """Of every process: the database answers, its schema is ours or newer, hints travel."""
    needed, known = head(), revisions()

    async def answers() -> CheckResult:
        await database.answers()
        return OK

    async def is_migrated() -> CheckResult:
        async with database.read() as connection:
            found = await current(connection)
        if found == needed:
            return OK
        if found is not None and found not in known:
            # An upgrade migrates first and replaces the processes after: these still serve.
            return degraded(f"database is at {found}, which is newer than this version's {needed}")
        return failed(f"database is at {found}, this version needs {needed}: run assay migrate")

    async def reaches_others() -> CheckResult:
        fault = bus.fault
        return OK if fault is None else degraded(f"{fault}: what is followed is polled every 2 s")

    return {"database": answers, "migrations": is_migrated, "bus": reaches_others}


def worker_app(resources: Resources, work: asyncio.Task[None]) -> Starlette:
    """`/live`, `/ready` and `/metrics` of a worker that runs as `work`."""

    def alive() -> CheckResult:
        return failed("the worker has ended") if work.done() else OK

    async def works() -> CheckResult:
        return alive()

    checks = {**readiness_checks(resources.database, resources.bus), "worker": works}
    app = Starlette(routes=health_routes(checks, alive=alive))
    instrument(app, resources.metrics)
    return app
