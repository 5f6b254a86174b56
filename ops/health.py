"""Probes: `/live` says the event loop turns, `/ready` says whether to send traffic here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from observability.logs import logger
from observability.redaction import exception_report, redact

CHECK_SECONDS = 2.0
_NO_STORE = {"Cache-Control": "no-store"}


class CheckState(StrEnum):
    """How one dependency is. `DEGRADED`: requests are still answered, worse than they should be."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `reason` is one sentence without addresses or secrets."""

    state: CheckState
    reason: str = ""


Check = Callable[[], Awaitable[CheckResult]]

OK = CheckResult(CheckState.OK)


def degraded(reason: str) -> CheckResult:
    """Return a result that leaves the process ready."""
    return CheckResult(CheckState.DEGRADED, reason)


def failed(reason: str) -> CheckResult:
    """Return a result that takes the process out of service."""
    return CheckResult(CheckState.FAILED, reason)


class Readiness:
    """Runs all checks at once. Probes that come while a round runs share its outcome."""

    def __init__(self, checks: Mapping[str, Check], seconds: float = CHECK_SECONDS) -> None:
        self._checks = dict(checks)
        self._seconds = seconds
        self._round: asyncio.Task[dict[str, CheckResult]] | None = None

    async def results(self) -> dict[str, CheckResult]:
        """Return each check's result; one that raises or takes longer than `seconds` has failed."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._run())
        return await asyncio.shield(self._round)

    async def _run(self) -> dict[str, CheckResult]:
        if not self._checks:
            return {}
        tasks = {name: asyncio.ensure_future(check()) for name, check in self._checks.items()}
        # Not `timeout`: a check that swallows its cancellation must not hold the probe.
        _, late = await asyncio.wait(tasks.values(), timeout=self._seconds)
        for task in late:
            task.cancel()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        silent = failed(f"no answer within {self._seconds:g} s")
        return {n: silent if task in late else _result(n, task) for n, task in tasks.items()}


def health_routes(
    checks: Mapping[str, Check],
    *,
    alive: Callable[[], CheckResult] = lambda: OK,
    seconds: float = CHECK_SECONDS,
) -> list[Route]:
    """Return `/live` and `/ready`.

    `/live` answers `{status}` by `alive`, which asks nobody outside this process: 200, or 503 with
    status `FAILED` and a `reason`. `/ready` answers `{status, checks: {name: {ok, reason}}}`: 200
    with status `OK` or `DEGRADED`, 503 with `FAILED`. `seconds` bounds each check.
    """
    readiness = Readiness(checks, seconds)
    return [
        Route("/live", partial(_live, alive), methods=["GET"], name="live"),
        Route("/ready", partial(_ready, readiness), methods=["GET"], name="ready"),
    ]


async def _live(alive: Callable[[], CheckResult], request: Request) -> JSONResponse:  # noqa: ARG001 - Starlette's handler shape
    found = alive()
    code = 503 if found.state is CheckState.FAILED else 200
    content = {"status": str(found.state)} | ({"reason": found.reason} if found.reason else {})
    return JSONResponse(content, status_code=code, headers=_NO_STORE)


async def _ready(readiness: Readiness, request: Request) -> JSONResponse:  # noqa: ARG001 - as above
    results = await readiness.results()
    states = {result.state for result in results.values()}
    worst_first = (CheckState.FAILED, CheckState.DEGRADED)
    status = next((state for state in worst_first if state in states), CheckState.OK)
    content = {
        "status": status,
        "checks": {
            name: {"ok": result.state is not CheckState.FAILED, "reason": result.reason}
            for name, result in results.items()
        },
    }
    code = 503 if status is CheckState.FAILED else 200
    return JSONResponse(content, status_code=code, headers=_NO_STORE)


def _result(name: str, task: asyncio.Future[CheckResult]) -> CheckResult:
    if task.cancelled():
        return failed("the check was cancelled")
    if (error := task.exception()) is None:
        found = task.result()
        return CheckResult(found.state, redact(found.reason, 300))
    logger.warning("readiness check failed", check=name, error=str(exception_report(error)["type"]))
    return failed(f"the check raised {type(error).__name__}")
