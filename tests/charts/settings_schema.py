"""The part of values.schema.json that follows from the settings.

`python -m tests.charts.settings_schema` writes it.
"""

import json
from pathlib import Path
from typing import Any

from ops.settings import PREFIX, Settings, variables

CHART = Path(__file__).parents[2] / "charts" / "assay"
SCHEMA = CHART / "values.schema.json"
# The chart decides these itself; ASSAY_DRAIN_SECONDS is `drainSeconds` of the api and the worker.
OWN = {
    "ASSAY_DATA_DIR",
    "ASSAY_DRAIN_SECONDS",
    "ASSAY_HOST",
    "ASSAY_PORT",
    "ASSAY_SIGNING_KEY_FILE",
    "ASSAY_WORKER_PORT",
}
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "minLength")


def known_variables() -> set[str]:
    """Every variable that the chart may set."""
    return set(variables())


def settings_and_secrets() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schemas of the values `settings` and `secretKeys`."""
    described = Settings.model_json_schema(mode="serialization")["properties"]
    settings: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    for variable, description in variables().items():
        field = described[variable.removeprefix(PREFIX).lower()]
        found = next((one for one in field.get("anyOf", []) if one["type"] != "null"), field)
        if found.get("format") == "password":
            secrets[variable] = _key_of(description)
        elif variable not in OWN:
            kind = found["type"] if found["type"] in {"integer", "number", "boolean"} else "string"
            bounds = {name: found[name] for name in BOUNDS if name in found}
            settings[variable] = {"description": description, "type": kind, **bounds}
    return (
        _closed("Settings that are no secrets, by the names of their variables.", settings),
        _closed("Which key of existingSecret holds which setting. Empty: not set.", secrets),
    )


def _key_of(description: str) -> dict[str, Any]:
    return {"description": description, "type": "string", "pattern": "^[-._a-zA-Z0-9]*$"}


def _closed(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": dict(sorted(properties.items())),
    }


def expected() -> dict[str, Any]:
    """The committed schema with these parts as they should be."""
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    schema["properties"]["settings"], schema["properties"]["secretKeys"] = settings_and_secrets()
    return schema


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(expected(), indent=2) + "\n")
