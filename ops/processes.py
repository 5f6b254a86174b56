"""The api and the worker as parts of a process: started, and ended without losing anything."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import uvicorn
from starlette.applications import Starlette

from ops.app import build_app, build_edge
from ops.edge.server import DrainingServer
from ops.probes import worker_app
from ops.settings import Settings
from ops.wiring import Resources
from ops.worker import run_worker


class CannotListen(OSError):
    """The port is taken, or the address is not this machine's."""


@contextlib.asynccontextmanager
async def serving(resources: Resources) -> AsyncIterator[str]:
    """The api on its port; yields its address. Raises `CannotListen`."""
    edge = build_edge(resources)
    settings = resources.settings
    app = build_app(resources, edge)
    async with _listening(settings, app, settings.port, edge.shutdown, "--port") as address:
        yield address


@contextlib.asynccontextmanager
async def probing(resources: Resources, work: asyncio.Task[None]) -> AsyncIterator[str | None]:
    """The probes and metrics of the worker that runs as `work`, where it has a port for them.

    Yields their address. Raises `CannotListen`.
    """
    settings = resources.settings
    if settings.worker_port == 0:
        yield None
        return
    app = worker_app(resources, work)
    variable = "ASSAY_WORKER_PORT"
    async with _listening(settings, app, settings.worker_port, _nothing, variable) as address:
        yield address


async def _nothing() -> None:
    """Probes are short: none is open for long."""


@contextlib.asynccontextmanager
async def _listening(
    settings: Settings,
    app: Starlette,
    port: int,
    drain: Callable[[], Awaitable[None]],
    option: str,
) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=settings.ws_message_bytes,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    server = DrainingServer(config, drain)
    listening = asyncio.create_task(_serve(server))
    try:
        while not server.started:
            if listening.done():
                await listening
                raise CannotListen(
                    f"Cannot listen on {settings.host}:{port}. Is the address this machine's, "
                    f"and the port free? Choose another with {option}."
                )
            await asyncio.sleep(0.02)
        (address, *_) = server.servers[0].sockets
        yield f"http://{settings.host}:{address.getsockname()[1]}"
    finally:
        server.should_exit = True
        await listening


async def _serve(server: DrainingServer) -> None:
    with contextlib.suppress(SystemExit):  # uvicorn's answer to a port that is taken
        await server._serve()  # noqa: SLF001 - `serve` would take the signals from this process


@contextlib.asynccontextmanager
async def working(resources: Resources) -> AsyncIterator[asyncio.Task[None]]:
    """A worker; at the end its running jobs are let finish. Raises what ended it before."""
    await resources.prepare()
    stop = asyncio.Event()
    work = asyncio.create_task(run_worker(resources, stop))
    try:
        yield work
    finally:
        stop.set()
        await work


def quiet_collector() -> None:
    """Has the garbage collector pass over what is loaded by now, and take little at a time.

    A full collection of it holds the event loop for a quarter of a second, one of 100,000 young
    objects for 60 ms (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 250)


async def until_signalled(*parts: asyncio.Task[None]) -> None:
    """Returns at SIGINT or SIGTERM, and when one of the parts has ended by itself."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    waiting = asyncio.ensure_future(asked.wait())
    await asyncio.wait({waiting, *parts}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
