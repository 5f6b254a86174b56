"""Keyset pages: a cursor is the sort key of the row it points at, so it survives inserts."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_

from persistence.database import Connection

T = TypeVar("T")
Key = Sequence[ColumnElement[Any]]

_LONGEST_CURSOR = 1_000
_INTEGER = 2**31  # PostgreSQL's


class BadCursor(ValueError):
    """The cursor was not made by this server for this list."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Up to `first` rows, with their cursors, and whether more follow."""

    rows: Sequence[T]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool


def encode_cursor(values: Sequence[object]) -> str:
    """An opaque cursor of a row's sort key."""
    raw = json.dumps([str(v) for v in values])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, key: Key) -> list[object]:
    """The sort key in a cursor. Raises `BadCursor`."""
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise BadCursor(cursor[:80])
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(key):
            raise BadCursor(cursor)
        if not all(isinstance(value, str) and "\0" not in value for value in values):
            raise BadCursor(cursor)
        return [
            _revive(column.type.python_type, value)
            for column, value in zip(key, values, strict=True)
        ]
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError) as e:
        raise BadCursor(cursor) from e


def _revive(kind: type, value: str) -> object:
    if kind is UUID:
        return UUID(value)
    if kind is int:
        if not 0 <= int(value) < _INTEGER:
            raise ValueError(value)
        return int(value)
    value.encode()  # a lone surrogate is no text
    return value


def _page(rows: Sequence[Any], width: int, first: int, after: str | None) -> Page[Any]:
    kept = rows[:first]
    return Page(
        rows=kept,
        cursors=[encode_cursor(row[-width:]) for row in kept],
        has_next=len(rows) > first,
        has_previous=after is not None,
    )


async def page(
    connection: Connection,
    statement: Select[Any],
    *,
    shape: type[T],  # noqa: ARG001 - names the type the rows read like
    key: Key,
    first: int,
    after: str | None,
    descending: bool = False,
) -> Page[T]:
    """One page of `statement`, ordered by `key` (unique). Raises `BadCursor`."""
    keyed = statement.add_columns(*(c.label(f"_key{i}") for i, c in enumerate(key)))
    keyed = _after(keyed, key, after, descending).limit(first + 1)
    keyed = keyed.order_by(*(c.desc() if descending else c.asc() for c in key))
    rows = (await connection.execute(keyed)).all()
    return cast(Page[T], _page(rows, len(key), first, after))


def _after(statement: Select[Any], key: Key, after: str | None, descending: bool) -> Select[Any]:
    if after is None:
        return statement
    bound = tuple_(*decode_cursor(after, key), types=[c.type for c in key])
    return statement.where(tuple_(*key) < bound if descending else tuple_(*key) > bound)


async def pages_by_parent(
    connection: Connection,
    statement: Select[Any],
    *,
    shape: type[T],  # noqa: ARG001 - names the type the rows read like
    parent: ColumnElement[Any],
    parents: Sequence[UUID],
    key: Key,
    first: int,
    after: str | None,
    descending: bool = False,
) -> list[Page[T]]:
    """The same page of each parent's rows, in the order of `parents`, in one statement."""
    order = [c.desc() if descending else c.asc() for c in key]
    numbered = _after(
        statement.add_columns(
            *(c.label(f"_key{i}") for i, c in enumerate(key)),
            parent.label("_parent"),
            func.row_number().over(partition_by=parent, order_by=order).label("_number"),
        ).where(parent.in_(set(parents))),
        key,
        after,
        descending,
    ).subquery()
    width = len(key)
    visible = [c for c in numbered.c if c.name not in ("_parent", "_number")]
    rows = (
        await connection.execute(
            select(*(numbered.c["_parent"], *visible))
            .where(numbered.c["_number"] <= first + 1)
            .order_by(numbered.c["_parent"], numbered.c["_number"])
        )
    ).all()
    found: dict[UUID, list[Any]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return cast(list[Page[T]], [_page(found.get(p, []), width, first, after) for p in parents])
