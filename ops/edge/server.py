"""A uvicorn server that lets streams end before it waits for them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn


class DrainingServer(uvicorn.Server):
    """Calls `drain` at the start of the shutdown, on SIGTERM as well.

    Stock uvicorn waits for open connections first and runs the application's lifespan after:
    with an open event stream that is never. Connections that are still open when
    `config.timeout_graceful_shutdown` (seconds; must be set) has passed are cut.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        if config.timeout_graceful_shutdown is None:
            raise ValueError("timeout_graceful_shutdown must be set")
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, drain, then shut down as uvicorn does."""
        for server in self.servers:
            server.close()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._drain()
        except TimeoutError:
            pass
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
