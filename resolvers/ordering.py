"""Rows in the order of the ids that asked for them."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID


class Identified(Protocol):
    """A row with an id."""

    id: UUID


Row = TypeVar("Row", bound=Identified)


def in_order(ids: Sequence[UUID], rows: Iterable[Row]) -> list[Row | None]:
    """A row or None for each id."""
    found = {row.id: row for row in rows}
    return [found.get(key) for key in ids]


def present(ids: Sequence[UUID], rows: Iterable[Row]) -> list[Row]:
    """A row for each id; all of them are there. Raises `LookupError`."""
    found = {row.id: row for row in rows}
    return [found[key] for key in ids]
