"""The rendered pods as processes here: migrated, probed, tested and ended as a kubelet would.

A pod's address is one of 127.0.0.0/8, its mounts are folders, its Secret is a dictionary. That the
file system is read-only and the user another is not shown here.
"""

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import yaml

from ops.embedded_postgres import EmbeddedPostgres
from tests.charts.rendering import (
    CHART,
    Manifest,
    environment_of,
    needs_helm,
    of_kind,
    pods,
    rendered,
)

pytestmark = needs_helm

VALUES = {
    "existingSecret": "assay",
    "settings": {
        "ASSAY_GRAPHIQL": False,
        "ASSAY_STORAGE_URL": "s3://originals",
        "ASSAY_UPLOAD_BYTES": 25_000_000,
    },
    "api": {"drainSeconds": 5},
    "worker": {"drainSeconds": 5},
}


class LocalPod:
    """One pod of the chart, its only container as a process."""

    def __init__(
        self,
        pod: Manifest,
        manifests: list[Manifest],
        stored: dict[str, dict[str, str]],
        folder: Path,
    ) -> None:
        self.spec = pod["spec"]
        (self.container,) = self.spec["containers"]
        self.address = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
        self._log = folder / "log"
        mounts = self._mounts(stored, folder)
        self.environment = {
            name: self._here(value, mounts)
            for name, value in environment_of(pod, manifests, stored).items()
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self.environment["TMPDIR"] = str(mounts.get("/tmp", folder))  # noqa: S108 - the path inside
        self.process: asyncio.subprocess.Process | None = None

    def _mounts(self, stored: dict[str, dict[str, str]], folder: Path) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        mounts = {}
        for mount in self.container.get("volumeMounts", []):
            mounts[mount["mountPath"]] = place = folder / mount["name"]
            place.mkdir(parents=True)
            if secret := volumes[mount["name"]].get("secret"):
                for item in secret["items"]:
                    file = place / item["path"]
                    file.write_text(stored[secret["secretName"]][item["key"]])
                    file.chmod(secret["defaultMode"])
        return mounts

    def _here(self, value: str, mounts: dict[str, Path]) -> str:
        if value == "0.0.0.0":  # noqa: S104 - every address of the pod
            return self.address
        for path, place in mounts.items():
            if value == path or value.startswith(path + "/"):
                return str(place) + value.removeprefix(path)
        return value

    @property
    def log(self) -> str:
        """What the process has written."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Starts the container's command, or these instead."""
        command = arguments or (*self.container["command"], *self.container.get("args", []))
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=self.environment, stdout=log, stderr=log, cwd="/"
            )
        return self.process

    async def run(self, *arguments: str) -> int:
        """Runs it to its end; its exit code."""
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            return await process.wait()

    async def run_beside(self, *arguments: str) -> str:
        """What `kubectl exec` of this command prints; it must succeed."""
        process = await asyncio.create_subprocess_exec(
            *arguments, env=self.environment, stdout=asyncio.subprocess.PIPE, cwd="/"
        )
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode()

    def port(self, wanted: str | int) -> int:
        """The number of a port of the container."""
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        return ports[wanted] if isinstance(wanted, str) else wanted

    async def asked(self, name: str) -> tuple[bool, str]:
        """Asks once as this probe declares: whether it is content, and what was said."""
        assert self.process is not None
        assert self.process.returncode is None, self.log
        probe = self.container[name]
        port = self.port(probe["httpGet"]["port"])
        url = f"http://{self.address}:{port}{probe['httpGet']['path']}"
        async with httpx.AsyncClient(timeout=probe["timeoutSeconds"], trust_env=False) as http:
            try:
                answer = await http.get(url)
            except httpx.TransportError as error:
                return False, f"{url}: {error!r}"
        return 200 <= answer.status_code < 400, f"{url}: {answer.text}"

    async def probe(self, name: str) -> None:
        """Asks as this probe declares; fails after `failureThreshold` failures in a row."""
        probe = self.container[name]
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        for _ in range(probe["failureThreshold"]):
            content, said = await self.asked(name)
            if content:
                return
            await asyncio.sleep(probe["periodSeconds"])
        raise AssertionError(f"{name} {said}\n{self.log}")

    async def stop(self) -> None:
        """SIGTERM, then at most the grace period less what preStop slept."""
        assert self.process is not None
        slept = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(self.spec["terminationGracePeriodSeconds"] - slept["seconds"]):
            assert await self.process.wait() == 0, self.log


def resolved(url: str, manifests: list[Manifest], api: LocalPod) -> str:
    """The address behind the name of the api's Service."""
    (service,) = of_kind(manifests, "Service")
    (port,) = service["spec"]["ports"]
    assert url == f"http://{service['metadata']['name']}"
    assert port["port"] == 80
    return f"http://{api.address}:{api.port(port['targetPort'])}"


@pytest.fixture
async def empty_database(postgres: EmbeddedPostgres, worker_id: str) -> AsyncIterator[str]:
    """The address of a database nobody has migrated."""
    name = f"chart_{worker_id}"
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield postgres.dsn(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def signing_keys() -> str:
    """Made as the chart's README says."""
    script = re.search(
        r"python IMAGE -c '(.*?)' > signing.json", (CHART / "README.md").read_text(), re.DOTALL
    )
    assert script is not None
    return subprocess.run(
        [sys.executable, "-c", re.sub("^ +", "", script[1], flags=re.MULTILINE)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


class Release:
    """The pods of an installed release."""

    def __init__(self, stored: dict[str, dict[str, str]], folder: Path) -> None:
        values = folder / "values.yaml"
        values.write_text(yaml.safe_dump(VALUES))
        self.manifests = rendered(values)
        self.pods: dict[str, LocalPod] = {
            name: LocalPod(pod, self.manifests, stored, folder / name)
            for name, pod in pods(self.manifests).items()
        }

    def __getitem__(self, component: str) -> LocalPod:
        return self.pods[component]

    async def test(self) -> int:
        """What `helm test` would run; its exit code."""
        *command, url = self["test"].container["command"]
        return await self["test"].run(*command, resolved(url, self.manifests, self["api"]))


@asynccontextmanager
async def installed(stored: dict[str, dict[str, str]], folder: Path) -> AsyncIterator[Release]:
    release = Release(stored, folder)
    try:
        yield release
    finally:
        for pod in release.pods.values():
            if pod.process is not None and pod.process.returncode is None:
                pod.process.kill()
                await pod.process.wait()


@pytest.fixture
async def release(empty_database: str, signing_keys: str, tmp_path: Path) -> AsyncIterator[Release]:
    stored: dict[str, Any] = {
        "assay": {"database-url": empty_database, "signing.json": signing_keys}
    }
    async with installed(stored, tmp_path) as made:
        yield made


async def test_a_release_installs_answers_and_ends(release: Release) -> None:
    migration, api, worker = (release[name] for name in ("migration", "api", "worker"))
    await api.start()
    await api.probe("startupProbe")
    ready, said = await api.asked("readinessProbe")
    assert not ready
    assert "run assay migrate" in said
    assert await release.test() != 0

    assert await migration.run() == 0, migration.log
    assert await migration.run() == 0, migration.log  # as an upgrade does

    await worker.start()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        await asyncio.gather(api.probe(probe), worker.probe(probe))
    assert await release.test() == 0, release["test"].log
    assert '{"data":{"__typename":"Query"}}' in release["test"].log

    made = await api.run_beside(
        "assay", "admin", "create", "ada@example.edu", "--name", "Ada", "--organization", "demo"
    )
    assert "administers demo" in made
    assert "everyone on this machine may read" not in api.log

    await asyncio.gather(api.stop(), worker.stop())
    assert await release.test() != 0


async def test_a_setting_that_can_not_be_used_stops_the_migration(release: Release) -> None:
    migration = release["migration"]
    migration.environment["ASSAY_OPERATION_SECONDS"] = "1"
    assert await migration.run() == 1
    assert "ASSAY_STATEMENT_TIMEOUT_MS: must be below ASSAY_OPERATION_SECONDS" in migration.log
