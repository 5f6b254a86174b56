"""Scalars whose stock form lets through what no rule can compare."""

import re
from decimal import Decimal
from typing import NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


def _decimal(value: object) -> Decimal:
    text = str(value)
    if not _DECIMAL.fullmatch(text):
        raise GraphQLError('A Decimal is written in digits, such as "12.5".')
    return Decimal(text)


BigInt = NewType("BigInt", int)
"""A whole number beyond 32 bits, as a JSON number."""

_MOST_EXACT = 2**53 - 1


def _big_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MOST_EXACT:
        raise GraphQLError(f"A BigInt is a whole number between -{_MOST_EXACT} and {_MOST_EXACT}.")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number in plain digits, such as "12.5".',
        serialize=str,
        parse_value=_decimal,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number of up to 53 bits, which a JavaScript number holds exactly.",
        serialize=lambda value: min(int(value), _MOST_EXACT),
        parse_value=_big_int,
    ),
}
