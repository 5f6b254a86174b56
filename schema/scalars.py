"""Scalars whose stock form lets through what no rule can compare."""

import re
from decimal import Decimal

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


def _decimal(value: object) -> Decimal:
    text = str(value)
    if not _DECIMAL.fullmatch(text):
        raise GraphQLError('A Decimal is written in digits, such as "12.5".')
    return Decimal(text)


SCALARS: dict[object, ScalarDefinition] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number in plain digits, such as "12.5".',
        serialize=str,
        parse_value=_decimal,
    )
}
