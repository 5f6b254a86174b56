"""What requests to models set aside of budgets, and the settlement of it.

All requests of an organization in a month lock one row, so to reserve and to settle are one
statement each that needs no transaction around it: the lock is held while the server runs it,
however busy the caller is. (What an owner may cost, and what the dead left, takes more than one.)
The organization's row is locked before its course's, always.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Select,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or

from persistence.database import Conflict, Connection, need_transaction, values_of
from persistence.identifiers import uuid7
from persistence.tables.usage import (
    RUNNING,
    ModelUsageRow,
    model_budgets,
    model_spendings,
    model_usages,
)

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
    organization that has no row of its own, `owner_micros` that of the usage's owner in all, which
    takes a transaction.

    Raises `OverBudget`, and `Conflict` when its course goes just now: nothing is set aside then.
    """
    given = {f"given_{name}": value for name, value in values_of(usage).items()}
    given["monthly_micros"] = monthly_micros
    if owner_micros is not None:
        need_transaction(connection)
        await _rows(connection, _LOCK, usage, given)
        spent, reserved = await _held_by(connection, usage.owner_id)
        left = owner_micros - spent - usage.reserved_micros
        if reserved > left:
            raise OverBudget(usage.course_id, passing=left >= 0, of_owner=True)
    most = usage.reserved_micros
    for row in await _rows(connection, _RESERVE, usage, given):
        if row.budget is not None and row.spent_micros + row.reserved_micros + most > row.budget:
            raise OverBudget(row.course_id, passing=row.spent_micros + most <= row.budget)


async def settle(connection: Connection, usage_id: UUID, settled: Settled) -> bool:
    """Replaces what was set aside by what it cost; False when that was done before.

    A process that was taken for dead, and only stood still, replaces the guess as well.
    """
    given = {"usage": usage_id, **{f"new_{k}": v for k, v in asdict(settled).items()}}
    return bool(await connection.scalar(_SETTLE, given))


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
    reserved = model_usages.c.reserved_micros
    rows = await connection.execute(
        update(model_usages)
        .where(model_usages.c.id.in_(held))
        .values(outcome=LOST, estimated=True, cost_micros=reserved)
        .returning(*_PURSE, reserved)
    )
    sums: Counter[tuple[UUID, UUID | None, date]] = Counter()
    for *purse, micros in (found := rows.all()):
        sums[*purse] += micros
    for organization_id, course_id, month in sorted(sums, key=_locked_first):
        for scope in (None,) if course_id is None else (None, course_id):
            micros = sums[organization_id, course_id, month]
            await connection.execute(
                update(model_spendings)
                .where(
                    model_spendings.c.organization_id == organization_id,
                    model_spendings.c.course_id.is_not_distinct_from(scope),
                    model_spendings.c.month == month,
                )
                .values(
                    spent_micros=model_spendings.c.spent_micros + micros,
                    reserved_micros=model_spendings.c.reserved_micros - micros,
                )
            )
    return len(found)


def _locked_first(purse: tuple[UUID, UUID | None, date]) -> tuple[str, date, str]:
    """Months in order within an organization, whose courses share the row of each."""
    organization_id, course_id, month = purse
    return str(organization_id), month, str(course_id)


async def _rows(
    connection: Connection, statement: Executable, usage: ModelUsageRow, given: Mapping[str, Any]
) -> Sequence[Any]:
    """What `statement` returns of the organization's sum and the course's, made if need be."""
    scopes = [None] if usage.course_id is None else [None, usage.course_id]
    rows = (await connection.execute(statement, given)).all()
    if len(rows) < len(scopes):
        first = [
            {
                "id": uuid7(),
                "organization_id": usage.organization_id,
                "course_id": course_id,
                "month": usage.month,
            }
            for course_id in scopes
        ]
        await connection.execute(_BEGIN_MONTH, first)
        rows = (await connection.execute(statement, given)).all()
        if len(rows) < len(scopes):  # the course is being deleted: nothing was set aside
            raise Conflict
    return rows


def _given(column: ColumnElement[Any]) -> BindParameter[Any]:
    """The usage's value for `column`; under the column's name it would be one to SET."""
    return bindparam(f"given_{column.key}", type_=column.type)


def _locked() -> Select[Any]:
    """The month's sums with their budgets, held."""
    sums = model_spendings.c
    budget = (
        select(model_budgets.c.micros)
        .where(
            model_budgets.c.organization_id == sums.organization_id,
            model_budgets.c.course_id.is_not_distinct_from(sums.course_id),
        )
        .scalar_subquery()
    )
    usual = case(
        (sums.course_id.is_(None), bindparam("monthly_micros", type_=sums.spent_micros.type))
    )
    return (
        select(
            sums.id,
            sums.course_id,
            sums.spent_micros,
            sums.reserved_micros,
            func.coalesce(budget, usual).label("budget"),
        )
        .where(
            sums.organization_id == _given(sums.organization_id),
            or_(sums.course_id.is_(None), sums.course_id == _given(sums.course_id)),
            sums.month == _given(sums.month),
        )
        .order_by(sums.course_id.nulls_first())
        .with_for_update(of=model_spendings)
    )


def _reserving() -> Select[Any]:
    """The sums as they were; usage is added, and set aside, where all budgets allow."""
    usage = model_usages.c
    locked = _locked().cte("locked")
    each = locked.alias("each_sum")
    most = _given(usage.reserved_micros)
    scopes = case((_given(usage.course_id).is_(None), 1), else_=2)
    count = select(func.count()).select_from(each).scalar_subquery()
    over = exists().where(each.c.spent_micros + each.c.reserved_micros + most > each.c.budget)
    admitted = (count == scopes) & ~over
    put = (
        update(model_spendings)
        .where(model_spendings.c.id == locked.c.id, admitted)
        .values(reserved_micros=model_spendings.c.reserved_micros + most)
        .cte("put")
    )
    columns = [c for c in usage if c.server_default is None]
    written = (
        insert(model_usages)
        .from_select(
            [c.name for c in columns],
            select(*map(_given, columns)).where(admitted),
            include_defaults=False,
        )
        .cte("written")
    )
    return select(locked).add_cte(put, written)


def _settling() -> Select[Any]:
    """How many requests it ended: one, or none that ended before."""
    columns, sums = model_usages.c, model_spendings.c
    new = {
        c.name: bindparam(f"new_{c.name}", type_=c.type)
        for c in columns
        if c.name in Settled.__dataclass_fields__
    }
    was = (
        select(columns.id, *_PURSE, columns.outcome, columns.reserved_micros)
        .where(
            columns.id == bindparam("usage", type_=columns.id.type),
            columns.outcome.in_((RUNNING, LOST)),
        )
        .with_for_update()
        .cte("was")
    )
    ended = update(model_usages).where(columns.id == was.c.id).values(new).cte("ended")
    locked = (
        select(sums.id, was.c.outcome, was.c.reserved_micros)
        .where(
            sums.organization_id == was.c.organization_id,
            or_(sums.course_id.is_(None), sums.course_id == was.c.course_id),
            sums.month == was.c.month,
        )
        .order_by(sums.course_id.nulls_first())
        .with_for_update(of=model_spendings)
        .cte("locked")
    )
    ran = locked.c.outcome == RUNNING  # or else the reservation was taken for its cost
    guessed = case((ran, 0), else_=locked.c.reserved_micros)
    put = (
        update(model_spendings)
        .where(sums.id == locked.c.id)
        .values(
            spent_micros=sums.spent_micros + new["cost_micros"] - guessed,
            reserved_micros=sums.reserved_micros - (locked.c.reserved_micros - guessed),
        )
        .cte("put")
    )
    return select(func.count()).select_from(was).add_cte(ended, put)


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


_LOCK: Final = _locked()
_RESERVE: Final = _reserving()
_SETTLE: Final = _settling()
_BEGIN_MONTH: Final = insert_or(model_spendings).on_conflict_do_nothing()
