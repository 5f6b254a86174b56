"""The use of models: set aside before a request, settled after it, counted against budgets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
    update,
)
from sqlalchemy.dialects.postgresql import insert

from persistence.budgets import Spent, limits_of, spent_in
from persistence.database import Connection, add, fetch
from persistence.identifiers import uuid7, uuid7_floor
from persistence.keyset import Page, page
from persistence.tables.usage import (
    RUNNING,
    ModelUsageRow,
    model_spendings,
    model_usages,
)

ANSWERED: Final = "ANSWERED"
LOST: Final = "LOST"
"""The process that made the request died; what was set aside counts as spent."""

_PURSE: Final = (model_usages.c.organization_id, model_usages.c.course_id, model_usages.c.month)


class OverBudget(Exception):
    """A budget would be exceeded: of the owner, else of the course, or of its organization where
    that is None.

    `passing`: what requests under way have set aside is in the way, and not what is spent.
    """

    def __init__(
        self, course_id: UUID | None, *, passing: bool = False, of_owner: bool = False
    ) -> None:
        super().__init__(course_id)
        self.course_id = course_id
        self.passing = passing
        self.of_owner = of_owner


@dataclass(frozen=True, slots=True)
class Settled:
    """How a request ended."""

    outcome: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated: bool
    cost_micros: int
    milliseconds: int


async def reserve(
    connection: Connection,
    usage: ModelUsageRow,
    *,
    monthly_micros: int | None,
    owner_micros: int | None = None,
) -> None:
    """Sets `usage.reserved_micros` aside in its month; `monthly_micros` is the budget of an
    organization that has no row of its own, `owner_micros` that of the usage's owner in all.

    Raises `OverBudget`, after which the transaction must end without a commit. The organization's
    sum is locked before the course's, always.
    """
    courses = [] if usage.course_id is None else [usage.course_id]
    limits = await limits_of(connection, usage.organization_id, courses)
    for course_id in (None, *courses):
        usual = monthly_micros if course_id is None else None
        await _set_aside(connection, usage, course_id, limits.get(course_id, usual))
    if owner_micros is not None:  # under the lock of the organization's sum
        spent, reserved = await _held_by(connection, usage.owner_id)
        left = owner_micros - spent - usage.reserved_micros
        if reserved > left:
            raise OverBudget(usage.course_id, passing=left >= 0, of_owner=True)
    await add(connection, usage)


async def settle(connection: Connection, usage_id: UUID, settled: Settled) -> bool:
    """Replaces what was set aside by what it cost; False when that was done before.

    A process that was taken for dead, and only stood still, replaces the guess as well.
    """
    for before in (RUNNING, LOST):
        row = (
            await connection.execute(
                update(model_usages)
                .where(model_usages.c.id == usage_id, model_usages.c.outcome == before)
                .values(
                    outcome=settled.outcome,
                    input_tokens=settled.input_tokens,
                    output_tokens=settled.output_tokens,
                    cached_tokens=settled.cached_tokens,
                    estimated=settled.estimated,
                    cost_micros=settled.cost_micros,
                    milliseconds=settled.milliseconds,
                )
                .returning(*_PURSE, model_usages.c.reserved_micros)
            )
        ).first()
        if row is None:
            continue
        *purse, reserved = row
        if before == RUNNING:
            await _book(connection, *purse, spent=settled.cost_micros, freed=reserved)
        else:
            await _book(connection, *purse, spent=settled.cost_micros - reserved, freed=0)
        return True
    return False


async def settle_lost(connection: Connection, older_than: timedelta, limit: int) -> int:
    """Settles requests whose process died, at what was set aside for them; how many."""
    return await _give_up(connection, model_usages.c.created_at < func.now() - older_than, limit)


async def settle_taken_over(connection: Connection, owner_ids: Sequence[UUID]) -> None:
    """Settles, likewise, the requests for tasks, messages and documents whose worker is gone.

    The last thing a transaction does: it locks the sums of their organizations.
    """
    if owner_ids:
        await _give_up(connection, model_usages.c.owner_id.in_(owner_ids))


async def _give_up(
    connection: Connection, gone: ColumnElement[bool], limit: int | None = None
) -> int:
    held = (
        select(model_usages.c.id)
        .where(model_usages.c.outcome == RUNNING, gone)
        .limit(limit)
        .with_for_update(skip_locked=True)  # one that is being settled is not lost
    )
    rows = await connection.execute(
        update(model_usages)
        .where(model_usages.c.id.in_(held))
        .values(outcome=LOST, estimated=True, cost_micros=model_usages.c.reserved_micros)
        .returning(*_PURSE, model_usages.c.reserved_micros)
    )
    sums: Counter[tuple[UUID, UUID | None, date]] = Counter()
    for organization_id, course_id, month, reserved in (found := rows.all()):
        sums[organization_id, course_id, month] += reserved
    for purse in sorted(sums, key=str):
        await _book(connection, *purse, spent=sums[purse], freed=sums[purse])
    return len(found)


async def _book(
    connection: Connection,
    organization_id: UUID,
    course_id: UUID | None,
    month: date,
    *,
    spent: int,
    freed: int,
) -> None:
    """Moves a month's sums: the organization's first, always."""
    for scope in (None,) if course_id is None else (None, course_id):
        await connection.execute(
            update(model_spendings)
            .where(
                model_spendings.c.organization_id == organization_id,
                model_spendings.c.course_id.is_not_distinct_from(scope),
                model_spendings.c.month == month,
            )
            .values(
                spent_micros=model_spendings.c.spent_micros + spent,
                reserved_micros=model_spendings.c.reserved_micros - freed,
            )
        )


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


async def _held_by(connection: Connection, owner_id: UUID) -> tuple[int, int]:
    """What an owner's requests have cost, and what is set aside for those that run."""
    runs = model_usages.c.outcome == RUNNING
    cost, reserved = model_usages.c.cost_micros, model_usages.c.reserved_micros
    found = await connection.execute(
        select(
            func.coalesce(func.sum(cost).filter(~runs), 0),
            func.coalesce(func.sum(reserved).filter(runs), 0),
        ).where(model_usages.c.owner_id == owner_id)
    )
    spent, held = found.one()
    return int(spent), int(held)


async def _set_aside(
    connection: Connection, usage: ModelUsageRow, course_id: UUID | None, budget: int | None
) -> None:
    most = usage.reserved_micros
    if budget is not None and most > budget:
        raise OverBudget(course_id)
    statement = insert(model_spendings).values(
        id=uuid7(),
        organization_id=usage.organization_id,
        course_id=course_id,
        month=usage.month,
        spent_micros=0,
        reserved_micros=most,
    )
    held = model_spendings.c.spent_micros + model_spendings.c.reserved_micros
    result = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["organization_id", "course_id", "month"],
            set_={"reserved_micros": model_spendings.c.reserved_micros + most},
            where=None if budget is None else held + most <= budget,
        )
    )
    if result.rowcount == 0 and budget is not None:
        courses = [] if course_id is None else [course_id]
        spent = await spent_in(connection, usage.organization_id, courses, usage.month)
        so_far = spent.get(course_id, Spent()).micros
        raise OverBudget(course_id, passing=so_far + most <= budget)
