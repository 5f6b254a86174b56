"""Every field of the schema as one caller meets it: with a value, empty, refused or not at all."""

from collections.abc import Iterator, Sequence
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_required_argument,
)

VALUE, EMPTY, ABSENT = "value", "empty", "absent"
DEEPEST = 7
PLUMBING = ("Connection", "Edge", "Payload")
Path = tuple[str, ...]


class Walk:
    """The documents that ask for all fields of each type, and what they visit."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        node = schema.type_map["Node"]
        assert isinstance(node, GraphQLInterfaceType)
        self.nodes = {t.name: t for t in schema.get_possible_types(node)}
        self.visited: set[tuple[str, str]] = set()

    def fields(self, type_name: str) -> Iterator[tuple[str, str]]:
        """The fields of a type that can be asked without an argument, each with its selection."""
        for name, field in self.nodes[type_name].fields.items():
            if not any(is_required_argument(a) for a in field.args.values()):
                yield name, self.selection(type_name, name, field)

    def selection(self, parent: str, name: str, field: GraphQLField, depth: int = 0) -> str:
        """The field with all that is below it, up to the next object that has an id."""
        self.visited.add((parent, name))
        page = "(first: 1)" if "first" in field.args else ""
        return name + page + self._below(get_named_type(field.type), depth)

    def _below(self, of: GraphQLNamedType, depth: int) -> str:
        if isinstance(of, GraphQLUnionType):
            parts = (f"... on {t.name}{self._below(t, depth)}" for t in of.types)
            return " { __typename " + " ".join(parts) + " }"
        if of.name in self.nodes or isinstance(of, GraphQLInterfaceType) or depth > DEEPEST:
            return " { __typename }"
        if not isinstance(of, GraphQLObjectType):
            return ""
        if of.name.endswith("Connection"):
            return f" {{ nodes{self._below(get_named_type(of.fields['nodes'].type), depth)} }}"
        asked = (
            self.selection(of.name, name, field, depth + 1) for name, field in of.fields.items()
        )
        return " { " + " ".join(asked) + " }"

    def undecided(self) -> set[str]:
        """Fields of object types that no document reached."""
        roots = {"Query", "Mutation", "Subscription", "PageInfo", "UserError"}
        return {
            f"{t.name}.{name}"
            for t in self._schema.type_map.values()
            if isinstance(t, GraphQLObjectType)
            and not t.name.startswith("__")
            and t.name not in roots
            and not t.name.endswith(PLUMBING)
            for name in t.fields
            if (t.name, name) not in self.visited
        }


def outcomes(data: Any, errors: Sequence[dict[str, Any]], root: Path) -> dict[Path, str]:
    """What each path below `root` came to; lists count as their fullest member."""
    found: dict[Path, str] = {}
    _walk(data, root, found)
    for error in errors:
        path = tuple(str(step) for step in error.get("path") or () if not isinstance(step, int))
        found[root if len(path) < len(root) else path] = error["extensions"]["code"]
    return found


def _walk(value: Any, path: Path, found: dict[Path, str]) -> None:
    if isinstance(value, list):
        if not value:
            found.setdefault(path, EMPTY)
        for item in value:
            _walk(item, path, found)
    elif isinstance(value, dict):
        inner = {k: v for k, v in value.items() if k != "__typename"}
        found[path] = VALUE
        for name, item in inner.items():
            _walk(item, (*path, name), found)
    elif value is None:
        found.setdefault(path, EMPTY)
    else:
        found[path] = VALUE
