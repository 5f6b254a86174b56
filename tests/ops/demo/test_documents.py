from importlib.resources import files

import pytest
from graphql import parse, validate

from ops.demo import documents
from schema.root import build_schema

SCHEMA = build_schema()._schema  # noqa: SLF001 - strawberry shows it under no other name
SENT = {name: text for name, text in vars(documents).items() if name.isupper()}
SHOWN = {
    name: files("ops.demo").joinpath(f"operations/{name}.graphql").read_text("utf-8")
    for name in ("grades", "adjust", "follow")
}


@pytest.mark.parametrize("name", [*SENT, *SHOWN])
def test_the_schema_takes_what_the_demo_sends(name: str) -> None:
    assert validate(SCHEMA, parse((SENT | SHOWN)[name])) == []
