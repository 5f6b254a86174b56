"""Relay's nodes, connections and pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import strawberry
from strawberry.types import Info

from resolvers.global_ids import global_id
from resolvers.refusals import Refusal
from schema.fields import described

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A row reached by its id alone, with the name of its type."""

    type_name: str
    row: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


def _object_id(root: Any, info: Info) -> strawberry.ID:
    return strawberry.ID(global_id(info._raw_info.parent_type.name, root.id))  # noqa: SLF001 - strawberry wraps graphql-core's info and hides the parent type


def part_id() -> Any:
    """The id of a type that is read through its whole alone, and so is no `Node`."""
    return strawberry.field(_object_id, description="Its id, opaque, unique over all types.")


@strawberry.interface(description="An object that can be read again by its id.")
class Node:
    id = strawberry.field(_object_id, description="The object's id, opaque, unique over all types.")

    @classmethod
    def is_type_of(cls, obj: Any, _info: Any) -> bool:
        """Rows are plain; a field's declared type is its row's type."""
        return not isinstance(obj, Found) or obj.type_name == cls.__name__

    @classmethod
    def resolve_type(cls, obj: Any, *_: Any) -> str:
        """The type of a row reached through `node(id)`."""
        return str(obj.type_name)


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = described("Whether rows follow this page.")
    has_previous_page: bool = described("Whether the page began after a cursor.")
    start_cursor: str | None = described("The first row's cursor; null on an empty page.")
    end_cursor: str | None = described("The last row's cursor: pass it as `after`.")


@strawberry.type(description="A row of a page, with its cursor.")
class Edge(Generic[T]):
    cursor: str = described("The row's place in the list: pass it as `after`.")
    node: T = described("The row.")


@strawberry.type(description="A page of a list, in a stable order.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = described("The rows with their cursors.")
    nodes: list[T] = described("The rows alone.")
    page_info: PageInfo = described("Where the page stands.")


@dataclass(frozen=True)
class PageView:
    """A page of rows, in the shape the connection types read."""

    rows: Sequence[Any]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool

    @property
    def nodes(self) -> Sequence[Any]:
        """The rows alone."""
        return self.rows

    @property
    def edges(self) -> list[Any]:
        """The rows with their cursors."""
        return [Edge(cursor=c, node=row) for c, row in zip(self.cursors, self.rows, strict=True)]

    @property
    def page_info(self) -> PageInfo:
        """Where the page stands."""
        return PageInfo(
            has_next_page=self.has_next,
            has_previous_page=self.has_previous,
            start_cursor=self.cursors[0] if self.cursors else None,
            end_cursor=self.cursors[-1] if self.cursors else None,
        )


def connection(page: Any) -> Any:
    """The connection of a keyset page."""
    return PageView(page.rows, page.cursors, page.has_next, page.has_previous)


def connections(pages: Sequence[Any]) -> Sequence[Any]:
    """The connections of the pages of several parents; a refusal stays one."""
    return [page if isinstance(page, Refusal) else connection(page) for page in pages]


FIRST = "How many rows at the most, 1 to 100."
AFTER = "The cursor after which the page begins; leave out for the first page."
IDEMPOTENCY_KEY = (
    "Any string of up to 200 characters that you make up for this one request. Sent again with "
    "the same input it gives the first result instead of doing the work twice."
)
