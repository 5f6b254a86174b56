"""One embedded PostgreSQL data directory: its files, its published state, its processes.

Standard library only: the watchdog runs without site-packages.
"""

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PORT = 5432
LOG_TAIL_BYTES = 3000


@dataclass(frozen=True)
class ServerPlan:
    """What a client asks a watchdog to run. `lock_fd` is the watchdog lock, already held."""

    data_dir: str
    install: str
    version: Literal[16, 18]
    max_connections: int
    durable: bool
    lock_fd: int


@dataclass(frozen=True)
class ServerState:
    """What the watchdog publishes in `server.json`; `error` is set when status is `failed`."""

    status: Literal["starting", "ready", "failed"]
    pid: int = 0
    port: int = PORT
    socket_dir: str = ""
    durable: bool = True
    error: str = ""


@dataclass(frozen=True)
class ServerFiles:
    """The names below one data directory."""

    root: Path

    @property
    def cluster(self) -> Path:
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def state(self) -> Path:
        return self.root / "server.json"

    @property
    def socket_dir(self) -> Path:
        return self.root / "run"

    @property
    def socket_record(self) -> Path:
        return self.root / "socket_dir"

    @property
    def clients_lock(self) -> Path:
        return self.root / "clients.lock"

    @property
    def start_lock(self) -> Path:
        return self.root / "start.lock"

    @property
    def watchdog_lock(self) -> Path:
        return self.root / "watchdog.lock"

    def publish(self, state: ServerState) -> None:
        """Replace `server.json` in one step: a reader meets the old state or the new one."""
        scratch = self.state.with_suffix(".tmp")
        scratch.write_text(json.dumps(dataclasses.asdict(state)))
        scratch.replace(self.state)

    def published(self) -> ServerState | None:
        """The state a watchdog last published, None when there is none."""
        try:
            return ServerState(**json.loads(self.state.read_text()))
        except FileNotFoundError:
            return None

    def unfit_for(self, version: int) -> str:
        """Why `version` cannot run on the data that is there; empty when it can."""
        try:
            found = (self.cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return f"{self.cluster} is not a PostgreSQL data directory: move it away."
        if found == str(version):
            return ""
        return (
            f"{self.cluster} holds data of PostgreSQL {found}, asked for was {version}: "
            f"start with version={found}, or dump, move the directory away and restore."
        )

    def log_tail(self, since: int = 0) -> str:
        """The end of the server's log, from byte `since` at the earliest."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(since, size), size - LOG_TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""


@dataclass(frozen=True)
class PostmasterFile:
    """The lines of `postmaster.pid` used here (src/include/utils/pidfile.h)."""

    pid: int
    port: int
    socket_dir: str
    status: str

    @classmethod
    def read(cls, cluster: Path) -> "PostmasterFile | None":
        try:
            lines = (cluster / "postmaster.pid").read_text(errors="replace").splitlines()
            return cls(int(lines[0]), int(lines[3]), lines[4].strip(), lines[7].strip())
        except (FileNotFoundError, IndexError, ValueError):
            return None  # absent, or the postmaster has not written all of it yet


def cluster_processes(cluster: Path) -> set[int]:
    """Ids of the living PostgreSQL processes that work in `cluster`, the postmaster among them.

    Only a postmaster is seen, by its command line, where there is no /proc (macOS) or where it
    hides the working directory: from root without CAP_SYS_PTRACE, as in most containers.
    """
    if not Path("/proc/self/cwd").exists():
        listing = subprocess.run(
            ["/bin/ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=False
        ).stdout
        rows = (row.split(None, 1) for row in listing.splitlines())
        return {int(pid) for pid, command in rows if f"/postgres -D {cluster} " in command}
    home = cluster.stat()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # gone meanwhile, a zombie, or another user's
                named = (entry / "comm").read_text().startswith("postgres")
                if named and _works_in(entry, cluster, home):
                    found.add(int(entry.name))
    return found


def _works_in(process: Path, cluster: Path, home: os.stat_result) -> bool:
    try:
        return os.path.samestat((process / "cwd").stat(), home)
    except PermissionError:
        return os.fsencode(cluster) in (process / "cmdline").read_bytes().split(b"\0")


def wait_for_stranger(pid: int) -> None:
    """Block until `pid`, which is no child of this process, has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll()
            os.close(descriptor)
        return
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(0.2)
