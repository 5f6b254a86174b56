"""The process that owns an embedded PostgreSQL server for as long as any client lives.

`ops.embedded_postgres` starts it detached and without site-packages. Every client holds a shared
`flock` on `clients.lock`; a thread here waits for the exclusive one, which the kernel grants the
moment the last client is gone, however it went. The postmaster then gets a fast shutdown. A
postmaster that crashes under living clients is started again; one that an earlier watchdog left
behind is adopted.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ops import postgres_account
from ops.postgres_account import unprivileged_account
from ops.postgres_cluster import (
    PORT,
    PostmasterFile,
    ServerFiles,
    ServerPlan,
    ServerState,
    cluster_processes,
    wait_for_stranger,
)

SUPERUSER = "postgres"
SHORT_DIRECTORY_PREFIX = "assay-pg-"
# The shortest limit of a unix socket's path is macOS's 104 bytes; 107 on Linux.
SOCKET_PATH_BYTES = 103
# Characters that mean nothing to PostgreSQL's directory list nor to a multi-host URL.
PLAIN_PATH = re.compile(r"[\w./+~-]+", re.ASCII)
FAST_SHUTDOWN_SECONDS = 60.0
IMMEDIATE_SHUTDOWN_SECONDS = 10.0
# What PostgreSQL logs while processes of a dead postmaster still end, and how long to allow them.
PREDECESSOR_ENDING = "pre-existing shared memory block"
PREDECESSOR_SECONDS = 30.0


class SupervisionError(Exception):
    """The server cannot run; the message tells the operator what to do."""


class PredecessorError(SupervisionError):
    """The server cannot start yet: processes of the one before have not ended."""


class Watchdog:
    """Runs one postmaster in `plan.data_dir` until no client is left."""

    def __init__(self, plan: ServerPlan) -> None:
        self._plan = plan
        self._files = ServerFiles(Path(plan.data_dir))
        self._log_start = self._files.log.stat().st_size
        self._turn = threading.Lock()
        self._abandoned = False
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def run(self) -> None:
        """Serve, then leave no file that claims a server; publish why if it could not."""
        threading.Thread(target=self._await_last_client, daemon=True).start()
        try:
            self._serve()
        except (SupervisionError, OSError) as failure:
            self._signal(signal.SIGINT)
            self._wait()
            with contextlib.suppress(OSError):  # a full disk: the clients see that it ended
                self._files.publish(ServerState(status="failed", error=str(failure)))
        else:
            self._files.state.unlink(missing_ok=True)
        self._remove_short_directory()
        # Before the clients' lock goes: whoever gets that one finds this one free.
        os.close(self._plan.lock_fd)

    def _await_last_client(self) -> None:
        with self._files.clients_lock.open("rb") as clients:
            fcntl.flock(clients, fcntl.LOCK_EX)
            with self._turn:
                self._abandoned = True
                self._signal(signal.SIGINT)
            time.sleep(FAST_SHUTDOWN_SECONDS)
            self._signal(signal.SIGQUIT)
            time.sleep(IMMEDIATE_SHUTDOWN_SECONDS)
            self._signal(signal.SIGKILL)
            threading.Event().wait()  # keeps the lock until the process ends

    def _signal(self, number: signal.Signals) -> None:
        child, pid = self._child, self._pid
        if child:
            child.send_signal(number)  # knows whether the id is still the child's
        elif pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _serve(self) -> None:
        self._ensure_cluster()
        patience = 0.0
        while True:
            try:
                if not self._serve_once():
                    return
                patience = 0.0
            except PredecessorError:
                patience = patience or time.monotonic() + PREDECESSOR_SECONDS
                if time.monotonic() > patience:
                    raise
                time.sleep(0.2)

    def _serve_once(self) -> bool:
        """Run or adopt one postmaster to its end; whether another one has to follow."""
        self._files.publish(ServerState(status="starting"))
        orphan = self._orphan()
        if orphan is None:
            self._clear_remains()
        with self._turn:
            if self._abandoned:
                if orphan is None:
                    return False
                os.kill(orphan.pid, signal.SIGINT)
            self._child = self._launch() if orphan is None else None
            self._pid = self._child.pid if self._child else orphan.pid if orphan else 0
        self._announce_when_ready()
        began = time.monotonic()
        self._wait()
        # A clean shutdown removes this file: somebody stopped the server on purpose.
        if self._abandoned or not (self._files.cluster / "postmaster.pid").exists():
            return False
        if time.monotonic() - began < 10:
            time.sleep(1)  # a server that keeps crashing is not restarted in a tight loop
        return True

    def _wait(self) -> None:
        if self._child:
            self._child.wait()
        elif self._pid:
            wait_for_stranger(self._pid)
        with self._turn:
            self._child, self._pid = None, 0

    def _announce_when_ready(self) -> None:
        """Publish `ready` once the postmaster accepts connections, however long recovery takes."""
        while not self._abandoned:
            if self._child and self._child.poll() is not None:
                tail = self._files.log_tail(self._log_start)
                kind = PredecessorError if PREDECESSOR_ENDING in tail else SupervisionError
                raise kind(
                    f"PostgreSQL ended while starting (exit status {self._child.returncode}). "
                    f"Its log, {self._files.log}, ends with:\n{tail}"
                )
            known = PostmasterFile.read(self._files.cluster)
            if known and known.pid == self._pid and known.status == "ready":
                options = (self._files.cluster / "postmaster.opts").read_text()
                state = ServerState(
                    status="ready",
                    pid=known.pid,
                    port=known.port,
                    socket_dir=known.socket_dir,
                    durable="fsync=off" not in options,
                )
                with self._turn:
                    if not self._abandoned:
                        self._files.publish(state)
                return
            if self._child is None and self._pid not in cluster_processes(self._files.cluster):
                return
            time.sleep(0.02)

    def _orphan(self) -> PostmasterFile | None:
        """The postmaster an earlier watchdog left running, if it really is one of this cluster."""
        known = PostmasterFile.read(self._files.cluster)
        if known is None or known.pid not in cluster_processes(self._files.cluster):
            return None
        if known.status == "stopping":
            wait_for_stranger(known.pid)
            return None
        return known

    def _clear_remains(self) -> None:
        """Make way for a new postmaster: no process of a dead one, no pid file that blocks.

        PostgreSQL takes any living process of its user under the recorded id for a postmaster,
        so an id that was given to another program since would block every start.
        """
        deadline = time.monotonic() + 5
        while remains := cluster_processes(self._files.cluster):
            number = signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL
            for pid in remains:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.05)
        known = PostmasterFile.read(self._files.cluster)
        if known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(known.pid, 0)
                (self._files.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_directory()),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": str(self._plan.max_connections),
            "shared_buffers": "128MB",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_checkpoints": "off",
        }
        if not self._plan.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._log_start = self._files.log.stat().st_size
        command = self._command("postgres", "-D", str(self._files.cluster), *options)
        return subprocess.Popen(command, env=_environment(), umask=0o077)  # noqa: S603  (own words)

    def _ensure_cluster(self) -> None:
        cluster = self._files.cluster
        for interrupted in self._files.root.glob("postgres.initdb-*"):
            shutil.rmtree(interrupted, ignore_errors=True)
        if cluster.exists():
            self._check_cluster()
            return
        self._check_named()
        fresh = Path(tempfile.mkdtemp(prefix="postgres.initdb-", dir=self._files.root))
        self._hand_over(fresh)
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = self._command(
            "initdb",
            f"--pgdata={fresh}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            "--locale=C",
            *(provider if self._plan.version >= 17 else []),
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-instructions",
            *([] if self._plan.durable else ["--no-sync"]),
        )
        done = subprocess.run(command, env=_environment(), umask=0o077, check=False)  # noqa: S603  (own words)
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            tail = self._files.log_tail(self._log_start)
            raise SupervisionError(f"initdb failed. {self._files.log} ends with:\n{tail}")
        fresh.rename(cluster)
        directory = os.open(self._files.root, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _check_named(self) -> None:
        uid = os.geteuid() or self._account()[0]
        try:
            pwd.getpwuid(uid)
        except KeyError:
            raise SupervisionError(
                f"initdb needs a name for uid {uid}, and the user database has none: add a line "
                f"such as 'assay:x:{uid}:{uid}::/:/sbin/nologin' to /etc/passwd, or run as a user "
                "that is listed there. Data that exists already can be served without."
            ) from None

    def _check_cluster(self) -> None:
        cluster = self._files.cluster
        owner = cluster.stat().st_uid
        if owner == 0:
            raise SupervisionError(
                f"{cluster} belongs to root and PostgreSQL refuses to run as root: "
                f"give it to another user (chown -R {unprivileged_account()[0]} {cluster})."
            )
        if os.geteuid() not in {0, owner}:
            raise SupervisionError(
                f"{cluster} belongs to uid {owner}: run as that user, or choose another data "
                "directory."
            )
        unfit = self._files.unfit_for(self._plan.version)
        if unfit:
            raise SupervisionError(unfit)

    def _command(self, program: str, *arguments: str) -> list[str]:
        """The argument vector of a PostgreSQL program, through `run-as` when this is root."""
        path = str(Path(self._plan.install, "bin", program))
        if os.geteuid() != 0:
            return [path, *arguments]
        uid, gid = self._account()
        reach = json.dumps([self._plan.install, self._plan.data_dir])
        wrapper = [sys.executable, "-I", "-S", postgres_account.__file__, str(uid), str(gid), reach]
        return [*wrapper, path, *arguments]

    def _account(self) -> tuple[int, int]:
        """(uid, gid) to run as under root: the owner of the data once there is some."""
        with contextlib.suppress(FileNotFoundError):
            held = self._files.cluster.stat()
            return held.st_uid, held.st_gid
        return unprivileged_account()

    def _hand_over(self, path: Path) -> None:
        if os.geteuid() != 0:
            return
        uid, gid = self._account()
        try:
            os.chown(path, uid, gid, follow_symlinks=False)
        except OSError as refusal:
            raise SupervisionError(
                "PostgreSQL refuses to run as root, and this root may not give its files to "
                f"uid {uid} ({refusal}): run as a user other than root."
            ) from refusal

    def _socket_directory(self) -> Path:
        """A private directory whose socket path is short and plain enough, without old sockets.

        It stays the same when a postmaster is replaced, so that living clients find the new one.
        """
        home = self._files.socket_dir
        if _usable_for_socket(home):
            home.mkdir(mode=0o700, exist_ok=True)
        else:
            home = self._short_directory() or self._new_short_directory()
        for stale in home.glob(".s.PGSQL.*"):
            stale.unlink()
        self._hand_over(home)
        return home

    def _new_short_directory(self) -> Path:
        parent = Path(tempfile.gettempdir())
        if not _usable_for_socket(parent / f"{SHORT_DIRECTORY_PREFIX}12345678"):
            parent = Path("/tmp")  # noqa: S108  (mkdtemp below makes a private directory)
        made = Path(tempfile.mkdtemp(prefix=SHORT_DIRECTORY_PREFIX, dir=parent))
        self._files.socket_record.write_text(f"{made}\n{self._files.root}")
        return made

    def _short_directory(self) -> Path | None:
        """The recorded one, unless the record came here with a copy or the place is not ours."""
        with contextlib.suppress(OSError, ValueError):
            place, root = self._files.socket_record.read_text().split("\n", 1)
            found = Path(place).lstat()
            own = found.st_uid in {os.geteuid(), self._files.cluster.stat().st_uid}
            if root == str(self._files.root) and own and stat.S_ISDIR(found.st_mode):
                return Path(place)
        return None

    def _remove_short_directory(self) -> None:
        place = self._short_directory()
        with contextlib.suppress(OSError):
            if place:
                for stale in place.glob(".s.PGSQL.*"):
                    stale.unlink()
                place.rmdir()
        self._files.socket_record.unlink(missing_ok=True)


def _usable_for_socket(directory: Path) -> bool:
    # PostgreSQL also keeps `<socket>.lock` there, but only the socket's own path is limited.
    path = str(directory / f".s.PGSQL.{PORT}")
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES and bool(PLAIN_PATH.fullmatch(path))


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def main() -> None:
    """Detach from the client that started this process, then run the plan in the last argument."""
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It ends with its last client, not with a terminal or a service manager's first signal.
        # A handler, not SIG_IGN: that one would be inherited by PostgreSQL's programs.
        signal.signal(number, lambda *_: None)
    Watchdog(ServerPlan(**json.loads(sys.argv[-1]))).run()
