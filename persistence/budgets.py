"""What may be spent on models in a month, and what is: of organizations and of courses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, fetch
from persistence.tables.identity import organizations
from persistence.tables.usage import (
    ModelBudgetRow,
    ModelSpendingRow,
    model_budgets,
    model_spendings,
)

Scope = UUID | None
"""A course, or None for its organization."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Micro-units that are spent, and that are set aside for requests under way."""

    micros: int = 0
    reserved_micros: int = 0


async def limits_of(
    connection: Connection, organization_id: UUID, course_ids: Sequence[UUID]
) -> Mapping[Scope, int]:
    """Micro-units a month, as they were set: the organization's, and those of these courses."""
    rows = await fetch(
        connection,
        select(model_budgets).where(
            model_budgets.c.organization_id == organization_id,
            or_(model_budgets.c.course_id.in_(course_ids), model_budgets.c.course_id.is_(None)),
        ),
        ModelBudgetRow,
    )
    return {row.course_id: row.micros for row in rows}


async def spent_in(
    connection: Connection,
    organization_id: UUID,
    course_ids: Sequence[UUID],
    month: date,
) -> Mapping[Scope, Spent]:
    """What the organization and these courses spent in a month; nothing for those not in it."""
    rows = await fetch(
        connection,
        select(model_spendings).where(
            model_spendings.c.organization_id == organization_id,
            or_(model_spendings.c.course_id.in_(course_ids), model_spendings.c.course_id.is_(None)),
            model_spendings.c.month == month,
        ),
        ModelSpendingRow,
    )
    return {row.course_id: Spent(row.spent_micros, row.reserved_micros) for row in rows}


async def set_limit(
    connection: Connection, organization_id: UUID, course_id: Scope, micros: int
) -> None:
    """Keeps what may be spent in a month."""
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


async def clear_limit(connection: Connection, organization_id: UUID, course_id: Scope) -> None:
    """Takes the budget away, if there is one."""
    await connection.execute(
        delete(model_budgets).where(
            model_budgets.c.organization_id == organization_id,
            model_budgets.c.course_id.is_not_distinct_from(course_id),
        )
    )


async def fullest(
    connection: Connection, month: date, monthly_micros: int | None, most: int
) -> Sequence[tuple[str, int, int, int]]:
    """The organizations whose budget is most used up: short name, limit, spent, set aside."""
    limit = func.coalesce(model_budgets.c.micros, monthly_micros)
    spent = func.coalesce(model_spendings.c.spent_micros, 0)
    reserved = func.coalesce(model_spendings.c.reserved_micros, 0)
    rows = await connection.execute(
        select(organizations.c.slug, limit, spent, reserved)
        .select_from(
            organizations.outerjoin(
                model_budgets,
                and_(
                    model_budgets.c.organization_id == organizations.c.id,
                    model_budgets.c.course_id.is_(None),
                ),
            ).outerjoin(
                model_spendings,
                and_(
                    model_spendings.c.organization_id == organizations.c.id,
                    model_spendings.c.course_id.is_(None),
                    model_spendings.c.month == month,
                ),
            )
        )
        .where(limit.is_not(None))
        .order_by(((spent + reserved) / func.greatest(limit, 1.0)).desc(), organizations.c.slug)
        .limit(most)
    )
    return [(row[0], int(row[1]), int(row[2]), int(row[3])) for row in rows]
