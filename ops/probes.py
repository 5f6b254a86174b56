"""What the processes are asked by their probes, and the small application a worker answers with."""

import asyncio

from starlette.applications import Starlette

from observability.instrumentation import instrument
from ops.health import OK, Check, CheckResult, degraded, failed, health_routes
from ops.wiring import Resources
from persistence.database import Database
from persistence.migrations import current, head, revisions


def database_checks(database: Database) -> dict[str, Check]:
    """The readiness checks of every process: the database answers, its schema is ours or newer."""
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

    return {"database": answers, "migrations": is_migrated}


def worker_app(resources: Resources, work: asyncio.Task[None]) -> Starlette:
    """`/live`, `/ready` and `/metrics` of a worker that runs as `work`."""

    def alive() -> CheckResult:
        return failed("the worker has ended") if work.done() else OK

    async def works() -> CheckResult:
        return alive()

    checks = {**database_checks(resources.database), "worker": works}
    app = Starlette(routes=health_routes(checks, alive=alive))
    instrument(app, resources.metrics)
    return app
