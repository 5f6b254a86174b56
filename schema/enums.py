"""GraphQL enums: the enums the rules are written in, with a description for each value."""

from enum import StrEnum
from typing import TypeVar

import strawberry
from strawberry.types.enum import has_enum_definition

E = TypeVar("E", bound=StrEnum)


def described_enum(
    source: type[E], text: str, *, name: str | None = None, **values: str
) -> type[E]:
    """`source` as a GraphQL enum, by its own name or `name`.

    Raises `KeyError` when a value has no description.
    """
    made = strawberry.enum(source, name=name, description=text)
    if not has_enum_definition(made):
        raise TypeError(source)
    for value in made.__strawberry_definition__.values:
        value.description = values[value.name]
    return source
