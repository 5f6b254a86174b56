"""What the values may be, without Helm."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.charts.rendering import CHART
from tests.charts.settings_schema import SCHEMA, expected

COMMITTED: dict[str, Any] = json.loads(SCHEMA.read_text())
# Kubernetes checks what stands in these.
PASSED_ON = {"nodeAffinity", "podAffinity", "podAntiAffinity", "global"}


def schemas(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield name, schema
        for key, part in schema.items():
            yield from schemas(part, key)
    elif isinstance(schema, list):
        for part in schema:
            yield from schemas(part, name)


def test_the_settings_are_those_of_the_program() -> None:
    assert expected() == COMMITTED, "run python -m tests.charts.settings_schema and commit it"


def test_every_object_is_closed_or_a_map_of_strings() -> None:
    for name, schema in schemas(COMMITTED):
        if schema.get("type") == "object" and name not in PASSED_ON:
            assert schema.get("additionalProperties") in (False, {"type": "string"}), name
            assert ("properties" in schema) == (schema["additionalProperties"] is False), name


def test_every_value_is_described() -> None:
    for name, schema in schemas(COMMITTED["properties"]):
        if "properties" in schema and name not in {"", "properties"}:
            for key, value in schema["properties"].items():
                known = value.keys() & {"description", "$ref"} or key in PASSED_ON
                assert known, f"{name}.{key}"


def unequal(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> set[str]:
    found = {f"{path}{name}" for name in schema["properties"].keys() ^ values.keys()}
    for name, value in values.items():
        below = schema["properties"].get(name, {})
        if "properties" in below and name not in {"affinity", "settings"}:
            found |= unequal(below, value, f"{path}{name}.")
    return found


def test_values_yaml_shows_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert unequal(COMMITTED, values) == {"global"}
