"""Rows in the order of the ids that asked for them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from resolvers.refusals import Refusal


class Identified(Protocol):
    """A row with an id."""

    id: UUID


Row = TypeVar("Row", bound=Identified)
Child = TypeVar("Child")
Answer = TypeVar("Answer")


def in_order(ids: Sequence[UUID], rows: Iterable[Row]) -> list[Row | None]:
    """A row or None for each id."""
    found = {row.id: row for row in rows}
    return [found.get(key) for key in ids]


def present(ids: Sequence[UUID], rows: Iterable[Row]) -> list[Row]:
    """A row for each id; all of them are there. Raises `LookupError`."""
    found = {row.id: row for row in rows}
    return [found[key] for key in ids]


def optional(ids: Sequence[UUID | None], rows: Iterable[Row]) -> list[Row | None]:
    """A row or None for each id or None."""
    found = {row.id: row for row in rows}
    return [None if key is None else found.get(key) for key in ids]


def unless_refused(
    refusals: Sequence[Refusal | None], answers: Sequence[Answer]
) -> list[Answer | Refusal]:
    """For each parent its refusal, where there is one, else its answer."""
    return [refused or answer for refused, answer in zip(refusals, answers, strict=True)]


def by_parent(
    parents: Sequence[UUID], rows: Iterable[Child], parent_of: Callable[[Child], UUID]
) -> list[list[Child]]:
    """The rows of each parent, in the order they came."""
    found: dict[UUID, list[Child]] = {}
    for row in rows:
        found.setdefault(parent_of(row), []).append(row)
    return [found.get(key, []) for key in parents]
