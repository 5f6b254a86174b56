"""What organizations and courses may spend on models in a month (UTC), and what is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from agents.models.offering import Offering
from persistence import budgets
from persistence.budgets import Scope, Spent
from persistence.database import Connection
from persistence.tables.courses import CourseRow
from persistence.tables.identity import OrganizationRow
from resolvers import checks
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.model_choices import scope_of
from resolvers.mutations import Transaction
from resolvers.ordering import unless_refused
from resolvers.refusals import Refusal

MOST_MICROS = 2**53 - 1
"""What a JavaScript number holds exactly."""


@dataclass(frozen=True)
class Budget:
    """A month of an organization, or of a course. `limit_micros` is None where there is none."""

    course_id: UUID | None
    month: date
    limit_micros: int | None
    is_default: bool
    spent: Spent
    currency: str

    @property
    def spent_micros(self) -> int:
        """What requests that have ended cost."""
        return self.spent.micros

    @property
    def reserved_micros(self) -> int:
        """What is set aside for requests under way."""
        return self.spent.reserved_micros

    @property
    def left_micros(self) -> int | None:
        """What may still be spent, apart from what is set aside."""
        if self.limit_micros is None:
            return None
        return max(0, self.limit_micros - self.spent.micros - self.spent.reserved_micros)

    @property
    def exhausted(self) -> bool:
        """Whether nothing more can be asked this month."""
        return self.limit_micros is not None and self.spent.micros >= self.limit_micros

    @property
    def renews_at(self) -> datetime:
        """When the next month begins."""
        year, month = divmod(self.month.year * 12 + self.month.month, 12)
        return datetime(year, month + 1, 1, tzinfo=UTC)


def month_of(now: datetime) -> date:
    """The first day of the month, in UTC."""
    return now.astimezone(UTC).date().replace(day=1)


async def budgets_of(
    connection: Connection,
    offering: Offering,
    organization_id: UUID,
    scopes: Sequence[Scope],
    now: datetime,
) -> list[Budget]:
    """The budgets of these courses, None for that of their organization."""
    month, courses = month_of(now), [key for key in scopes if key is not None]
    limits = await budgets.limits_of(connection, organization_id, courses)
    spent = await budgets.spent_in(connection, organization_id, courses, month)
    usual: Mapping[Scope, int | None] = {None: offering.monthly_micros}
    return [
        Budget(
            key,
            month,
            limits.get(key, usual.get(key)),
            key not in limits,
            spent.get(key, Spent()),
            offering.catalogue.currency,
        )
        for key in scopes
    ]


async def list_budgets_of_courses(
    parents: Sequence[CourseRow], context: RequestContext
) -> list[Budget | Refusal]:
    """The budget of each course; a refusal for who does not answer for it."""
    keys = [course.id for course in parents]
    refusals = context.refusals(Permission.USAGE_READ, keys)
    return unless_refused(refusals, await _budgets(context, keys))


async def list_budgets_of_organizations(
    parents: Sequence[OrganizationRow], context: RequestContext
) -> list[Budget | Refusal]:
    """The organization's budget; a refusal for who does not answer for it."""
    refused = context.refusal(Permission.USAGE_READ)
    (budget,) = await _budgets(context, [None])
    return [refused or budget for _ in parents]


async def load_budgets(context: RequestContext, ids: Sequence[UUID]) -> list[Budget]:
    """The budgets of the organization or courses whose ids a mutation returned."""
    own = context.viewer.organization_id
    return await _budgets(context, [None if key == own else key for key in ids])


async def set_budget(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str | None,
    limit_micros: int | None,
    currency: str,
) -> UUID:
    """Decides what may be spent in a month; None for no budget of one's own."""
    course = await scope_of(context, transaction, Permission.BUDGET_WRITE, course_id)
    ours = context.offering.catalogue.currency
    if currency != ours:
        raise checks.bad("currency", f"Money here is counted in {ours}; write the budget in it.")
    organization_id = context.viewer.organization_id
    await set_limit(transaction.connection, organization_id, course, limit_micros)
    return course or organization_id


async def set_limit(
    connection: Connection, organization_id: UUID, course_id: Scope, micros: int | None
) -> None:
    """Keeps a budget, or takes it away. The next request of a model meets it, in every process.

    Raises `Refusal`."""
    if micros is None:
        await budgets.clear_limit(connection, organization_id, course_id)
        return
    if not 0 <= micros <= MOST_MICROS:
        raise checks.bad("limitMicros", f"A budget lies between 0 and {MOST_MICROS} micro-units.")
    await budgets.set_limit(connection, organization_id, course_id, micros)


async def _budgets(context: RequestContext, scopes: Sequence[Scope]) -> list[Budget]:
    async with context.database.read() as connection:
        return await budgets_of(
            connection, context.offering, context.viewer.organization_id, scopes, context.now()
        )
