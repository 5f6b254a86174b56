"""What the repository promises about itself."""

import ast
import importlib.util
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROOMS = ["schema", "resolvers", "agents", "persistence", "observability", "ops"]
FOLDERS = {*ROOMS, "tests", "charts", ".github", ".ci"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "misc"}
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def test_the_root_holds_the_declared_folders_only() -> None:
    ignored = {"node_modules", "dist"}
    found = {
        p.name
        for p in ROOT.iterdir()
        if p.is_dir() and (not p.name.startswith(".") or p.name in {".ci", ".github"})
    }
    assert found - ignored <= FOLDERS
    assert set(ROOMS) <= found


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_resolves_to_this_tree(room: str) -> None:
    spec = importlib.util.find_spec(room)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == ROOT / room


def test_no_foreign_package_carries_the_name_of_a_room() -> None:
    owners = metadata.packages_distributions()
    assert {room: set(owners.get(room, [])) - {"assay"} for room in ROOMS} == {
        room: set() for room in ROOMS
    }


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [p for p in SOURCES if p.stem in FORBIDDEN_NAMES] == []


def test_modules_are_under_400_lines_and_functions_under_50() -> None:
    too_long = []
    for path in SOURCES:
        if "migrations/versions" in str(path):
            continue
        text = path.read_text()
        if text.count("\n") > 400:
            too_long.append(str(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 50:
                    too_long.append(f"{path}:{node.name}")
    assert too_long == []


def locked() -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ \\]+)", LOCK, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def declared() -> list[Requirement]:
    groups = PROJECT["dependency-groups"]["dev"]
    return [Requirement(r) for r in [*PROJECT["project"]["dependencies"], *groups]]


def test_the_lock_pins_what_the_project_declares() -> None:
    pins = locked()
    for requirement in declared():
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_lock_has_nothing_the_project_does_not_need() -> None:
    entries = dict(
        re.findall(r"^([A-Za-z0-9._-]+)==(.*?)(?=^[A-Za-z0-9]|\Z)", LOCK, re.MULTILINE | re.DOTALL)
    )
    assert [name for name, body in entries.items() if "--hash=sha256:" not in body] == []
    unexplained = {canonicalize_name(n) for n, body in entries.items() if "# via" not in body}
    assert unexplained <= {canonicalize_name(r.name) for r in declared()}


def test_no_committed_lock_names_a_registry() -> None:
    assert "http://" not in LOCK
    assert "https://" not in LOCK


def test_every_runtime_dependency_has_its_reason() -> None:
    decisions = (ROOT / "DECISIONS.md").read_text()
    missing = [r.name for r in declared() if f"`{r.name}`" not in decisions]
    assert missing == []
