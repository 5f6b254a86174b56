import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.applications import Starlette

from ops.health import OK, Check, CheckResult, Readiness, degraded, failed, health_routes


async def fine() -> CheckResult:
    return OK


async def slow_replica() -> CheckResult:
    return degraded("the replica is 40 s behind")


async def database() -> CheckResult:
    return failed("postgresql://assay:hunter2@db/assay refuses connections")


async def broken() -> CheckResult:
    raise ConnectionError("postgresql://assay:hunter2@db/assay")


async def hanging() -> CheckResult:
    await asyncio.Event().wait()
    return OK


async def probe(
    checks: Mapping[str, Check], path: str = "/ready"
) -> tuple[int, dict[str, Any], httpx.Headers]:
    app = Starlette(routes=health_routes(checks, seconds=0.05))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://assay") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json(), answer.headers


async def test_live_answers_whatever_the_dependencies_do() -> None:
    code, body, headers = await probe({"database": hanging}, "/live")
    assert (code, body) == (200, {"status": "OK"})
    assert headers["cache-control"] == "no-store"


async def test_ready_when_every_check_is_ok() -> None:
    code, body, headers = await probe({"database": fine, "bus": fine})
    ok = {"ok": True, "reason": ""}
    assert (code, body) == (200, {"status": "OK", "checks": {"database": ok, "bus": ok}})
    assert headers["cache-control"] == "no-store"


async def test_degraded_is_ready_and_says_why() -> None:
    code, body, _ = await probe({"database": fine, "replica": slow_replica})
    assert code == 200
    assert body["status"] == "DEGRADED"
    assert body["checks"]["replica"] == {"ok": True, "reason": "the replica is 40 s behind"}


async def test_failures_are_told_apart_and_none_shows_a_secret() -> None:
    code, body, _ = await probe(
        {"database": database, "bus": broken, "store": hanging, "replica": slow_replica, "ok": fine}
    )
    assert code == 503
    assert body["status"] == "FAILED"
    assert {name for name, check in body["checks"].items() if not check["ok"]} == {
        "database",
        "bus",
        "store",
    }
    assert "refuses connections" in body["checks"]["database"]["reason"]
    assert body["checks"]["bus"]["reason"] == "the check raised ConnectionError"
    assert body["checks"]["store"]["reason"] == "no answer within 0.05 s"
    assert "hunter2" not in str(body)


async def test_checks_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(3)

    async def waits_for_the_others() -> CheckResult:
        await meeting.wait()
        return OK

    results = await Readiness(dict.fromkeys("abc", waits_for_the_others), seconds=5).results()
    assert set(results.values()) == {OK}


async def test_a_check_that_refuses_to_be_cancelled_does_not_hold_the_probe() -> None:
    release = asyncio.Event()

    async def stubborn() -> CheckResult:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise RuntimeError("late")

    results = await asyncio.wait_for(Readiness({"a": stubborn}, seconds=0.02).results(), 5)
    assert results["a"].reason == "no answer within 0.02 s"
    release.set()
    await asyncio.sleep(0)


async def test_probes_share_a_running_round_and_one_that_leaves_does_not_end_it() -> None:
    rounds = 0
    gate = asyncio.Event()

    async def counted() -> CheckResult:
        nonlocal rounds
        rounds += 1
        await gate.wait()
        return OK

    readiness = Readiness({"database": counted}, seconds=5)
    probes = [asyncio.create_task(readiness.results()) for _ in range(10)]
    await asyncio.sleep(0)
    probes[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(*probes[1:])
    assert rounds == 1
    assert all(result == {"database": OK} for result in results)
    assert await readiness.results() == {"database": OK}
    assert rounds == 2


async def test_no_checks_is_ready() -> None:
    assert (await probe({}))[0] == 200
