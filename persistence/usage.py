"""The use of models: set aside before a request, settled after it, counted against budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, add, fetch
from persistence.identifiers import uuid7
from persistence.tables.usage import (
    RUNNING,
    ModelBudgetRow,
    ModelChoiceRow,
    ModelUsageRow,
    model_budgets,
    model_choices,
    model_spendings,
    model_usages,
)

LOST: Final = "LOST"
"""The process that made the request died; what was set aside counts as spent."""


class OverBudget(Exception):
    """The budget of the owner, the course or its organization would be exceeded."""


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
    budgets = await _budgets(connection, usage.organization_id, usage.course_id)
    await _set_aside(connection, usage, None, budgets.get(None, monthly_micros))
    if usage.course_id is not None:
        await _set_aside(connection, usage, usage.course_id, budgets.get(usage.course_id))
    if owner_micros is not None:  # under the lock of the organization's sum
        held = await _held_by(connection, usage.owner_id)
        if held + usage.reserved_micros > owner_micros:
            raise OverBudget
    await add(connection, usage)


async def settle(connection: Connection, usage_id: UUID, settled: Settled) -> bool:
    """Replaces what was set aside by what it cost; False when that was done before."""
    row = (
        await connection.execute(
            update(model_usages)
            .where(model_usages.c.id == usage_id, model_usages.c.outcome == RUNNING)
            .values(
                outcome=settled.outcome,
                input_tokens=settled.input_tokens,
                output_tokens=settled.output_tokens,
                cached_tokens=settled.cached_tokens,
                estimated=settled.estimated,
                cost_micros=settled.cost_micros,
                milliseconds=settled.milliseconds,
            )
            .returning(
                model_usages.c.organization_id,
                model_usages.c.course_id,
                model_usages.c.month,
                model_usages.c.reserved_micros,
            )
        )
    ).first()
    if row is None:
        return False
    for course_id in (None,) if row.course_id is None else (None, row.course_id):
        await connection.execute(
            update(model_spendings)
            .where(
                model_spendings.c.organization_id == row.organization_id,
                model_spendings.c.course_id.is_not_distinct_from(course_id),
                model_spendings.c.month == row.month,
            )
            .values(
                spent_micros=model_spendings.c.spent_micros + settled.cost_micros,
                reserved_micros=model_spendings.c.reserved_micros - row.reserved_micros,
            )
        )
    return True


async def settle_lost(connection: Connection, older_than: timedelta, limit: int) -> int:
    """Settles requests whose process died, at what was set aside for them; how many."""
    rows = await fetch(
        connection,
        select(model_usages)
        .where(
            model_usages.c.outcome == RUNNING,
            model_usages.c.created_at < func.now() - older_than,
        )
        .order_by(model_usages.c.organization_id, model_usages.c.course_id)
        .limit(limit),
        ModelUsageRow,
    )
    for row in rows:
        ended = Settled(LOST, 0, 0, 0, True, row.reserved_micros, 0)
        await settle(connection, row.id, ended)
    return len(rows)


async def spent_micros(
    connection: Connection, organization_id: UUID, month: date, course_id: UUID | None = None
) -> tuple[int, int]:
    """What is spent and what is set aside in a month, of an organization or one course."""
    row = (
        await connection.execute(
            select(model_spendings.c.spent_micros, model_spendings.c.reserved_micros).where(
                model_spendings.c.organization_id == organization_id,
                model_spendings.c.course_id.is_not_distinct_from(course_id),
                model_spendings.c.month == month,
            )
        )
    ).first()
    return (0, 0) if row is None else (row.spent_micros, row.reserved_micros)


async def usages_of(connection: Connection, owner_id: UUID) -> Sequence[ModelUsageRow]:
    """The requests made for a task, a message or a document, in order."""
    return await fetch(
        connection,
        select(model_usages)
        .where(model_usages.c.owner_id == owner_id)
        .order_by(model_usages.c.created_at, model_usages.c.id),
        ModelUsageRow,
    )


async def choices_of(
    connection: Connection, organization_id: UUID, course_id: UUID
) -> Mapping[str, str]:
    """The models chosen for each role: the course's choice, else its organization's."""
    rows = await fetch(
        connection,
        select(model_choices)
        .where(
            model_choices.c.organization_id == organization_id,
            or_(model_choices.c.course_id == course_id, model_choices.c.course_id.is_(None)),
        )
        .order_by(model_choices.c.course_id.nulls_first()),
        ModelChoiceRow,
    )
    return {row.role: row.models for row in rows}


async def all_choices(connection: Connection, organization_id: UUID) -> Sequence[ModelChoiceRow]:
    """Every choice of an organization and its courses."""
    return await fetch(
        connection,
        select(model_choices)
        .where(model_choices.c.organization_id == organization_id)
        .order_by(model_choices.c.role, model_choices.c.id),
        ModelChoiceRow,
    )


async def choose(
    connection: Connection, organization_id: UUID, course_id: UUID | None, role: str, models: str
) -> None:
    """Keeps the models of a role."""
    chosen = insert(model_choices).values(
        ModelChoiceRow(
            organization_id=organization_id, course_id=course_id, role=role, models=models
        ).model_dump(exclude={"created_at", "updated_at"})
    )
    await connection.execute(
        chosen.on_conflict_do_update(
            index_elements=["organization_id", "course_id", "role"], set_={"models": models}
        )
    )


async def set_budget(
    connection: Connection, organization_id: UUID, course_id: UUID | None, micros: int
) -> None:
    """Keeps what an organization or a course may spend in a month."""
    budget = insert(model_budgets).values(
        ModelBudgetRow(
            organization_id=organization_id, course_id=course_id, micros=micros
        ).model_dump(exclude={"created_at", "updated_at"})
    )
    await connection.execute(
        budget.on_conflict_do_update(
            index_elements=["organization_id", "course_id"], set_={"micros": micros}
        )
    )


async def _budgets(
    connection: Connection, organization_id: UUID, course_id: UUID | None
) -> Mapping[UUID | None, int]:
    rows = await fetch(
        connection,
        select(model_budgets).where(
            model_budgets.c.organization_id == organization_id,
            or_(model_budgets.c.course_id == course_id, model_budgets.c.course_id.is_(None)),
        ),
        ModelBudgetRow,
    )
    return {row.course_id: row.micros for row in rows}


async def _held_by(connection: Connection, owner_id: UUID) -> int:
    """What an owner's requests have cost, and what is set aside for those that run."""
    runs = model_usages.c.outcome == RUNNING
    micros = case((runs, model_usages.c.reserved_micros), else_=model_usages.c.cost_micros)
    found = await connection.execute(
        select(func.coalesce(func.sum(micros), 0)).where(model_usages.c.owner_id == owner_id)
    )
    return int(found.scalar_one())


async def _set_aside(
    connection: Connection, usage: ModelUsageRow, course_id: UUID | None, budget: int | None
) -> None:
    most = usage.reserved_micros
    if budget is not None and most > budget:
        raise OverBudget
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
    if result.rowcount == 0:
        raise OverBudget
