"""Every expression of every dashboard finds what it asks for, in a live Prometheus; alerts fire."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from prometheus_client import make_asgi_app

from observability.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "observability" / "dashboards"
ALERTS = FOLDER.parent / "alerts"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


def expressions() -> Iterator[tuple[str, str]]:
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}", target["expr"]


def alerts() -> Iterator[tuple[str, str]]:
    for file in sorted(ALERTS.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule["alert"], rule["expr"]


def count_everything(metrics: Metrics) -> None:
    """Something in each series that dashboards show."""
    names = ("gemini", "gemini-3-flash")
    metrics.model_call(*names, 900, 80, 1_200)
    for outcome in ("ANSWERED", "CANCELLED", "RATE_LIMITED"):
        metrics.model_attempt(*names, outcome, 0.7, 1_200)
    metrics.model_retry(*names, "RATE_LIMITED")
    metrics.model_fallback(*names)
    metrics.model_budgets([("north", 5_000_000, 1_000_000, 20_000), ("south", 0, 0, 0)])


@pytest.fixture
def metrics() -> Metrics:
    counted = Metrics(with_process=False)
    counted.watch_model_server("gemini", lambda: True, lambda: 22)
    count_everything(counted)
    return counted


def test_dashboards_and_alerts_ask_for_series_and_labels_there_are(metrics: Metrics) -> None:
    known: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    assert list(alerts())
    asked = [*expressions(), *alerts()]
    for panel, expression in asked:
        for name in re.findall(r"assay_\w+", expression):
            assert name in known, panel
        labels = {
            label
            for group in re.findall(r"by \(([^)]*)\)", expression)
            for label in group.replace(" ", "").split(",")
        } | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        found = set().union(*(known[name] for name in re.findall(r"assay_\w+", expression)))
        assert labels <= found, panel


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")
def test_alerts_fire_when_they_should_and_not_before() -> None:
    assert PROMTOOL is not None
    tests = Path(__file__).with_name("alerts.test.yml")
    named = re.findall(r"alertname: (\w+)\n\s+exp_alerts", tests.read_text())
    assert sorted(named) == sorted(name for name, _ in alerts())
    done = subprocess.run([PROMTOOL, "test", "rules", tests], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@asynccontextmanager
async def scraped(metrics: Metrics) -> AsyncIterator[str]:
    """The address of these metrics."""
    app = make_asgi_app(registry=metrics.registry)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


@asynccontextmanager
async def prometheus(target: str, folder: Path, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus that scrapes it each second."""
    assert PROMETHEUS is not None
    job: dict[str, Any] = {"job_name": "assay", "static_configs": [{"targets": [target]}]}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    process = await asyncio.create_subprocess_exec(
        PROMETHEUS,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def result_of(client: httpx.AsyncClient, expression: str) -> list[Any]:
    """What it finds; nothing while Prometheus starts."""
    asked = expression.replace("$__rate_interval", "10s").replace("[1h]", "[10s]")
    try:
        answer = (await client.get("/api/v1/query", params={"query": asked})).json()
    except (httpx.TransportError, ValueError):
        return []
    assert answer["status"] != "error" or answer.get("errorType") == "unavailable", answer
    found: list[Any] = answer.get("data", {}).get("result", [])
    return found


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not on PATH")
async def test_every_expression_finds_something(
    metrics: Metrics, tmp_path: Path, unused_tcp_port: int
) -> None:
    waiting = set(expressions())
    async with (
        scraped(metrics) as target,
        prometheus(target, tmp_path, unused_tcp_port) as client,
        asyncio.timeout(90),
    ):
        while waiting:
            count_everything(metrics)
            for asked in list(waiting):
                found = await result_of(client, asked[1])
                if any(one["value"][1] != "NaN" for one in found):
                    waiting.remove(asked)
            await asyncio.sleep(0.5)
