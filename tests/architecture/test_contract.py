"""What the schema promises: permissions, descriptions, payloads, and no drift."""

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    is_introspection_type,
    is_specified_scalar_type,
)

from resolvers.access import ROLES, Permission
from schema.fields import PERMISSIONS
from schema.root import LOADERS, build_schema

BUILT = build_schema()
SCHEMA: GraphQLSchema = BUILT._schema  # noqa: SLF001 - strawberry shows it under no other name
TYPES: list[GraphQLNamedType] = [
    t
    for t in SCHEMA.type_map.values()
    if not is_introspection_type(t) and not is_specified_scalar_type(t)
]


def test_the_committed_schema_is_the_one_that_is_served() -> None:
    committed = Path(__file__).parents[2] / "schema" / "schema.graphql"
    assert committed.read_text() == BUILT.as_str() + "\n", "run `make schema` and commit it"


def undescribed(named: GraphQLNamedType) -> list[str]:
    found = [] if named.description else [named.name]
    if isinstance(named, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
        for name, field in named.fields.items():
            found += [] if field.description else [f"{named.name}.{name}"]
            for argument, value in getattr(field, "args", {}).items():
                found += [] if value.description else [f"{named.name}.{name}({argument})"]
    if isinstance(named, GraphQLEnumType):
        found += [f"{named.name}.{n}" for n, v in named.values.items() if not v.description]
    return found


@pytest.mark.parametrize("named", TYPES, ids=lambda t: t.name)
def test_everything_is_described(named: GraphQLNamedType) -> None:
    assert undescribed(named) == []


def test_every_mutation_and_subscription_declares_a_permission_that_some_role_gives() -> None:
    assert SCHEMA.mutation_type is not None
    assert SCHEMA.subscription_type is not None
    fields = {("mutation", name) for name in SCHEMA.mutation_type.fields}
    fields |= {("subscription", name) for name in SCHEMA.subscription_type.fields}
    assert set(PERMISSIONS) == fields
    assert all(ROLES[permission] for permission in PERMISSIONS.values())


def test_node_reads_each_type_that_says_so() -> None:
    node = SCHEMA.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    assert {t.name for t in SCHEMA.get_possible_types(node)} == set(LOADERS)


def test_every_permission_has_its_roles() -> None:
    assert set(ROLES) == set(Permission)


def test_mutations_have_one_input_and_a_payload_with_user_errors() -> None:
    assert SCHEMA.mutation_type is not None
    for name, field in SCHEMA.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        argument = field.args["input"].type
        assert isinstance(argument, GraphQLNonNull)
        assert "idempotencyKey" in argument.of_type.fields, name
        assert isinstance(field.type, GraphQLNonNull)
        payload = field.type.of_type
        assert str(payload.fields["userErrors"].type) == "[UserError!]!", name
        (noun,) = set(payload.fields) - {"userErrors"}
        assert not isinstance(payload.fields[noun].type, GraphQLNonNull), name


def test_pages_are_asked_for_with_first_and_after() -> None:
    for named in TYPES:
        if isinstance(named, GraphQLObjectType):
            for name, field in named.fields.items():
                if str(field.type).rstrip("!").endswith("Connection"):
                    assert {"first", "after"} <= set(field.args), f"{named.name}.{name}"
