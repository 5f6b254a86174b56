"""The end of the process, told to the streams that would outlast it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Lifetime:
    """Open streams and sockets, and the wish that they end."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def stream(self) -> AsyncGenerator[asyncio.Task[bool]]:
        """Count the caller as open; yields a task that ends when the process wants to."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._open.add(task)
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            yield stopped
        finally:
            stopped.cancel()
            self._open.discard(task)

    async def end(self, seconds: float) -> None:
        """Ask all streams to end and wait for them, `seconds` at most."""
        self.stopping.set()
        others = self._open - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=seconds)
