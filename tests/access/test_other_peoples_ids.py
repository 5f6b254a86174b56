"""An id that is not yours answers as one that does not exist: in every mutation, for strangers."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    get_nullable_type,
)

from resolvers.global_ids import global_id
from schema.root import build_schema
from tests.access.people import make_people
from tests.world import World

SCHEMA = build_schema()._schema  # noqa: SLF001 - strawberry shows it under no other name
STRANGERS = ("foreign_admin", "other_instructor", "other_student", "nobody")
SCALARS = {
    "String": "x@example.org",
    "Int": 1,
    "Float": 1.0,
    "Boolean": False,
    "Decimal": "1",
    "DateTime": "2030-01-01T00:00:00+00:00",
    "Upload": "no file",
}
TYPES = {
    "student": "User", "observedStudent": "User", "run": "GradingRun", "task": "GradingTask",
    "session": "StudySession", "allocation": "MarkingAllocation", "parent": "Message",
}  # fmt: skip


def type_of(field: str) -> str:
    """The type whose id a field takes, by its name."""
    stem = field.removesuffix("s").removesuffix("Id")
    return TYPES.get(stem, stem[0].upper() + stem[1:])


def value_of(type_: GraphQLInputType, name: str, ids: Mapping[str, str]) -> Any:
    """Something the type takes; an id of `ids` where the field takes one of that type."""
    nullable = get_nullable_type(type_)
    if isinstance(nullable, GraphQLList):
        return [value_of(nullable.of_type, name, ids)]
    if isinstance(nullable, GraphQLInputObjectType):
        return {
            key: value_of(field.type, key, ids)
            for key, field in nullable.fields.items()
            if isinstance(field.type, GraphQLNonNull) or get_named_type(field.type).name == "ID"
        }
    if isinstance(nullable, GraphQLEnumType):
        return list(nullable.values)[-1]  # of the roles OBSERVER, which takes every id
    named = get_named_type(nullable).name
    if named == "ID":
        return ids.get(type_of(name), global_id(type_of(name), uuid4()))
    return SCALARS[named]


def mutations() -> Iterator[tuple[str, GraphQLInputType, str, set[str]]]:
    """Each mutation that takes an id: name, input, document, the types its ids are of."""
    root = SCHEMA.mutation_type
    assert root is not None
    for name, field in root.fields.items():
        asked: set[str] = set()
        _types_in(field.args["input"].type, "", asked)
        if asked:
            input_type = get_named_type(field.args["input"].type).name
            document = f"mutation($input: {input_type}!) {{ {name}(input: $input) "
            document += "{ userErrors { code message path } } }"
            yield name, field.args["input"].type, document, asked


def _types_in(type_: GraphQLInputType, name: str, found: set[str]) -> None:
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        for key, field in named.fields.items():
            _types_in(field.type, key, found)
    elif named.name == "ID":
        found.add(type_of(name))


async def test_a_stranger_cannot_tell_an_id_from_a_missing_one(world: World) -> None:
    people = await make_people(world)
    known = {name.partition(" ")[0]: key for name, key in people.objects.items()}
    asked = 0
    for caller in STRANGERS:
        client = people.clients[caller]
        for name, input_type, document, types in mutations():
            missing = {t: global_id(t, uuid4()) for t in types}
            for type_name in types & known.keys():
                real = missing | {type_name: known[type_name]}
                answers = [
                    await client.raw(document, {"input": value_of(input_type, "", ids)})
                    for ids in (real, missing)
                ]
                assert answers[0] == answers[1], (caller, name, type_name)
                assert answers[0]["data"][name]["userErrors"], (caller, name, type_name)
                asked += 1
    assert asked > 100


async def test_strangers_all_together_cannot_either_and_the_instructor_can(world: World) -> None:
    """With every id of the mutation a real one of the other course or organization."""
    people = await make_people(world)
    known = {name.partition(" ")[0]: key for name, key in people.objects.items()}
    told: dict[str, set[str]] = {}
    for caller in (*STRANGERS, "instructor"):
        for name, input_type, document, types in mutations():
            missing = {t: global_id(t, uuid4()) for t in types}
            answers = [
                await people.clients[caller].raw(document, {"input": value_of(input_type, "", ids)})
                for ids in (missing | known, missing)
            ]
            if answers[0] != answers[1]:
                told.setdefault(caller, set()).add(name)
    assert told.keys() == {"instructor"}
    assert len(told["instructor"]) > 15
