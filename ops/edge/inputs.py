"""Limits on variables that only their declared types can tell."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLID,
    GraphQLInputType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
    get_nullable_type,
    is_input_object_type,
    is_list_type,
    type_from_ast,
)


def longest_id_list(
    schema: GraphQLSchema, operation: OperationDefinitionNode, variables: Mapping[str, Any]
) -> int:
    """The length of the longest list of `ID` in the variables, input objects included.

    Lists of other types are not looked at: what they may hold is for their use case to say.
    """
    longest = 0
    for definition in operation.variable_definitions or ():
        value = variables.get(definition.variable.name.value)
        declared = type_from_ast(schema, definition.type)
        stack: list[tuple[object, Any]] = [(value, declared)]
        while stack:
            item, type_ = stack.pop()
            if not isinstance(item, list | dict):
                continue
            if isinstance(item, list) and get_named_type(type_) is GraphQLID:
                longest = max(longest, len(item))
            stack.extend(_below(item, type_))
    return longest


def _below(item: list[Any] | dict[str, Any], type_: GraphQLInputType) -> list[tuple[object, Any]]:
    nullable = get_nullable_type(type_)
    if isinstance(item, list):
        inner = nullable.of_type if is_list_type(nullable) else nullable
        return [(each, inner) for each in item]
    if is_input_object_type(nullable):
        fields = nullable.fields
        return [(each, fields[name].type) for name, each in item.items() if name in fields]
    return []
