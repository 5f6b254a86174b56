"""A worker's own probes, on a port of their own."""

import asyncio
import dataclasses
import signal
import socket
from typing import Any, cast

import httpx
import pytest

from ops.processes import CannotListen, probing, until_signalled, working
from ops.wiring import Resources


@pytest.fixture
def watched(resources: Resources) -> Resources:
    """Resources of a worker with a free port for its probes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = resources.settings.model_copy(update={"worker_port": port})
    return dataclasses.replace(resources, settings=settings)


def without_files(resources: Resources) -> Resources:
    """Resources no worker can run on: it ends as soon as it starts."""
    return dataclasses.replace(resources, files=cast("Any", None))


async def test_a_worker_answers_its_probes_until_it_stops(watched: Resources) -> None:
    async with httpx.AsyncClient() as http:
        async with working(watched) as work, probing(watched, work) as address:
            assert (await http.get(f"{address}/live")).json() == {"status": "OK"}
            ready = await http.get(f"{address}/ready")
            assert ready.status_code == 200, ready.text
            assert set(ready.json()["checks"]) == {"bus", "database", "migrations", "worker"}
            metrics = await http.get(f"{address}/metrics")
            assert "assay_jobs" in metrics.text
        assert work.done()
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{address}/live")


async def test_a_dead_worker_is_neither_alive_nor_ready(watched: Resources) -> None:
    with pytest.raises(AttributeError):  # noqa: PT012 - what ended the worker, on leaving it
        async with (
            httpx.AsyncClient() as http,
            working(without_files(watched)) as work,
            probing(watched, work) as address,
        ):
            await asyncio.wait({work}, timeout=5)
            live = await http.get(f"{address}/live")
            assert live.status_code == 503
            assert live.json() == {"status": "FAILED", "reason": "the worker has ended"}
            assert (await http.get(f"{address}/ready")).status_code == 503


async def test_a_process_does_not_outlive_its_worker(resources: Resources) -> None:
    try:
        with pytest.raises(AttributeError):
            async with working(without_files(resources)) as work:
                await asyncio.wait_for(until_signalled(work), 5)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_without_a_port_there_are_no_probes(resources: Resources) -> None:
    async with working(resources) as work, probing(resources, work) as address:
        assert address is None


async def test_a_port_that_is_taken_says_which_variable_to_change(watched: Resources) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", watched.settings.worker_port))
        taken.listen()
        async with working(watched) as work:
            with pytest.raises(CannotListen, match="ASSAY_WORKER_PORT"):
                async with probing(watched, work):
                    pass
