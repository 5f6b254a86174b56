"""JSON schemas of answers, in the subset that providers of structured output take.

Gemini: https://ai.google.dev/gemini-api/docs/structured-output; OpenAI strict mode:
https://platform.openai.com/docs/guides/structured-outputs. Both take fewer keywords than pydantic
writes, and neither takes a default: each property is required.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

_KEPT: Final = frozenset(
    {
        "$defs", "$ref", "additionalProperties", "anyOf", "description", "enum", "items",
        "properties", "required", "type",
    }
)  # fmt: skip
_NAMED: Final = frozenset({"$defs", "properties"})
"""Keywords whose values are schemas by name."""


def answer_schema(model: type[BaseModel], *, ordered: bool = False) -> dict[str, Any]:
    """The schema of the model's JSON. `ordered` adds the order of properties, as Gemini wants."""
    return _reduced(model.model_json_schema(), ordered=ordered)


def _reduced(schema: Mapping[str, Any], *, ordered: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "const":
            kept["enum"] = [value]
        if keyword not in _KEPT:
            continue
        if keyword in _NAMED:
            kept[keyword] = {n: _reduced(one, ordered=ordered) for n, one in value.items()}
        elif keyword == "anyOf":
            kept[keyword] = [_reduced(one, ordered=ordered) for one in value]
        elif isinstance(value, dict):
            kept[keyword] = _reduced(value, ordered=ordered)
        else:
            kept[keyword] = value
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
        if ordered:
            kept["propertyOrdering"] = list(kept["properties"])
    return {"$ref": kept["$ref"]} if "$ref" in kept else kept
