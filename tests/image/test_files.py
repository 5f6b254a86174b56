"""What the files of the image, of compose and of the workflows promise, by their own checkers."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "bin"
COMPOSE = ("compose.yaml", "compose.override.yaml")
WORKFLOWS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / ".github/workflows").iterdir())
LOCK, RUNTIME_LOCK, BUILD_LOCK = "requirements.lock", "requirements.runtime.lock", ".ci/build.lock"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENV_FILE = "POSTGRES_PASSWORD=letters\n"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

VERDICTS = {
    "hadolint": ["hadolint", "Dockerfile"],
    "compose": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE],
    "workflow schema": [
        "check-jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        *WORKFLOWS,
    ],
    "dependabot schema": [
        "check-jsonschema",
        "--builtin-schema",
        "vendor.dependabot",
        ".github/dependabot.yml",
    ],
    "zizmor": ["zizmor", "--offline", "--no-progress", "."],
    "jactionlint": ["jactionlint", "--shellcheck="],
    "yamllint": [
        "yamllint",
        "--strict",
        "--config-data={extends: relaxed, rules: {line-length: {max: 200}}}",
        ".github",
        *COMPOSE,
    ],
}


@pytest.mark.parametrize("words", VERDICTS.values(), ids=VERDICTS)
def test_the_checker_finds_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if not (TOOLS / words[0]).exists():
        pytest.skip(f"{words[0]} is not installed: make .tools/installed")
    done = subprocess.run(
        [TOOLS / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        verdict = (done.stdout.strip() or "nothing found").splitlines()[-1]
        print(f"\n{words[0]}: {verdict}")  # noqa: T201 - the lane shows what each tool said


def compose_client() -> list[str] | None:
    """`docker compose` where the plugin is there, else the older `docker-compose`, else none."""
    if shutil.which("docker"):
        plugin = subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False, timeout=30
        )
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def compose_config(
    folder: Path, *files: str, env_file: str = ENV_FILE
) -> subprocess.CompletedProcess[str]:
    """What the client makes of copies of these files beside this `.env`."""
    client = compose_client()
    if client is None:
        pytest.skip("there is neither docker compose nor docker-compose on this machine")
    for name in COMPOSE:
        shutil.copy(ROOT / name, folder)
    (folder / ".env").write_text(env_file)
    chosen = [word for name in files for word in ("--file", name)]
    environment = {k: v for k, v in os.environ.items() if k != "POSTGRES_PASSWORD"}
    return subprocess.run(
        [*client, *chosen, "config"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("files", [("compose.yaml",), ()], ids=["as it ships", "for development"])
def test_the_client_understands_the_compose_files(files: tuple[str, ...], tmp_path: Path) -> None:
    done = compose_config(tmp_path, *files)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"api", "worker", "migrate", "postgres", "redis"}
    for name in ("api", "worker", "migrate"):
        address = services[name]["environment"]["ASSAY_DATABASE_URL"]
        assert address == "postgresql://assay:letters@postgres:5432/assay"
        assert ("/src" in str(services[name]["volumes" if not files else "command"])) == (not files)


def test_a_missing_password_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = compose_config(tmp_path, "compose.yaml", env_file="")
    assert done.returncode != 0
    assert "add it to .env" in done.stderr


def test_every_service_is_confined_and_outlives_its_drain() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp" in service["tmpfs"]  # noqa: S108 - a mount inside the container
    for name in ("api", "worker"):
        drain = services[name]["environment"]["ASSAY_DRAIN_SECONDS"]
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > drain


def pins(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each distribution of a lock."""
    text = (ROOT / path).read_text()
    entries = re.findall(
        r"^([A-Za-z0-9._-]+)==([^ \\]+)(.*?)(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return {
        name: (version, frozenset(re.findall(r"sha256:[0-9a-f]{64}", rest)))
        for name, version, rest in entries
    }


@pytest.mark.parametrize("part", [RUNTIME_LOCK, BUILD_LOCK])
def test_the_image_installs_what_the_tests_ran_with(part: str) -> None:
    whole, some = pins(LOCK), pins(part)
    assert some
    assert {name: pin for name, pin in some.items() if whole.get(name) != pin} == {}, "make lock"
    assert "://" not in (ROOT / part).read_text()


def test_the_image_holds_every_runtime_dependency_and_no_tool() -> None:
    names = set(pins(RUNTIME_LOCK))
    declared = {re.split(r"[\[<>=~]", each)[0] for each in PROJECT["dependencies"]}
    assert declared <= names, "make lock"
    assert not names & {"pytest", "mypy", "ruff", "uv", "pip", "hatchling", "import-linter"}


def test_the_labels_say_the_version_of_the_project() -> None:
    assert f"ARG VERSION={PROJECT['version']}\n" in DOCKERFILE
    assert PROJECT["description"] in DOCKERFILE


def test_the_context_is_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = {word for line in copied for word in line.split()}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == wanted


def test_no_builder_of_its_own_is_needed() -> None:
    assert not re.search(r"--mount|--link|<<|^# syntax", DOCKERFILE, re.MULTILINE)
