"""The use of models: each request, and what they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    text,
)

from persistence.database import Connection, fetch
from persistence.identifiers import uuid7_floor
from persistence.keyset import Page, page
from persistence.tables.usage import (
    RUNNING,
    ModelUsageRow,
    model_usages,
)

ANSWERED: Final = "ANSWERED"


async def usages_of(connection: Connection, owner_id: UUID) -> Sequence[ModelUsageRow]:
    """The requests made for a task, a message or a document, in order."""
    return await fetch(
        connection,
        select(model_usages)
        .where(model_usages.c.owner_id == owner_id)
        .order_by(model_usages.c.created_at, model_usages.c.id),
        ModelUsageRow,
    )


class Dimension(StrEnum):
    """What use is added up by."""

    DAY = "DAY"
    MODEL = "MODEL"
    PURPOSE = "PURPOSE"
    COURSE = "COURSE"


@dataclass(frozen=True)
class UsageFilter:
    """Which requests of an organization; None for any. Those in `private_seats` are left out, but
    for those of the person `private_to`."""

    organization_id: UUID
    course_id: UUID | None = None
    user_id: UUID | None = None
    private_seats: Sequence[str] = ()
    private_to: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    seats: Sequence[str] | None = None
    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """What requests came to. A dimension that was not asked for is empty; `course` is the text of
    an id, empty also for requests without a course."""

    day: str
    provider: str
    model: str
    role: str
    course: str
    currency: str
    requests: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_micros: int
    milliseconds: int


async def page_of_usages(
    connection: Connection, wanted: UsageFilter, first: int, after: str | None
) -> Page[ModelUsageRow]:
    """Requests, newest first. Raises `BadCursor`."""
    return await page(
        connection,
        select(model_usages).where(_wanted(wanted)),
        shape=ModelUsageRow,
        key=(model_usages.c.id,),
        first=first,
        after=after,
        descending=True,
    )


async def page_of_totals(
    connection: Connection,
    wanted: UsageFilter,
    by: Sequence[Dimension],
    first: int,
    after: str | None,
) -> Page[UsageTotal]:
    """Sums, in the order of their dimensions. Raises `BadCursor`."""
    table = model_usages.c

    def shown(dimension: Dimension, column: ColumnElement[Any]) -> ColumnElement[str]:
        return func.coalesce(cast(column, Text), "") if dimension in by else literal("", Text)

    day = func.to_char(func.timezone("UTC", table.created_at), "YYYY-MM-DD")
    named = (
        shown(Dimension.DAY, day).label("day"),
        shown(Dimension.MODEL, table.provider).label("provider"),
        shown(Dimension.MODEL, table.model).label("model"),
        shown(Dimension.PURPOSE, table.role).label("role"),
        shown(Dimension.COURSE, table.course_id).label("course"),
        cast(table.currency, Text).label("currency"),
    )
    ended = table.outcome != RUNNING
    sums = (
        select(
            *named,
            func.count().label("requests"),
            func.count().filter(ended, table.outcome != ANSWERED).label("failed"),
            *(
                cast(func.sum(column), BigInteger).label(column.name)
                for column in (
                    table.input_tokens,
                    table.output_tokens,
                    table.cached_tokens,
                    table.cost_micros,
                    table.milliseconds,
                )
            ),
        )
        .where(_wanted(wanted))
        .group_by(*(text(str(place)) for place in range(1, len(named) + 1)))
        .subquery()
    )
    key = [sums.c[column.name] for column in named]
    return await page(connection, select(sums), shape=UsageTotal, key=key, first=first, after=after)


def _wanted(wanted: UsageFilter) -> ColumnElement[bool]:
    table = model_usages.c
    conditions: list[ColumnElement[bool]] = [table.organization_id == wanted.organization_id]
    for column, value in (
        (table.course_id, wanted.course_id),
        (table.user_id, wanted.user_id),
        (table.provider, wanted.provider),
        (table.model, wanted.model),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.seats is not None:
        conditions.append(table.role.in_(wanted.seats))
    if wanted.private_seats:
        own = table.user_id == wanted.private_to
        conditions.append(or_(table.role.not_in(wanted.private_seats), own))
    if wanted.since is not None:  # ids tell time, and the indexes are by id
        conditions.append(table.id >= uuid7_floor(wanted.since))
    if wanted.until is not None:
        conditions.append(table.id < uuid7_floor(wanted.until))
    return and_(*conditions)
