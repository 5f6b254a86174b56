"""The account book of model calls, for the gateway: budgets hold across all processes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from agents.models.ports import Attempt, BudgetExceeded
from agents.models.tokens import CountedUsage
from persistence import usage as book
from persistence.database import Database
from persistence.tables.usage import ModelUsageRow
from persistence.usage import OverBudget, Settled
from resolvers.context import utc_now

MOST_TOKENS: Final = 2**31 - 1


@dataclass(frozen=True)
class DatabaseUsage:
    """A `UsageBook`. `monthly_micros` is the budget of an organization without one of its own."""

    database: Database
    monthly_micros: int | None = None
    now: Callable[[], datetime] = utc_now

    async def reserve(self, attempt: Attempt, most_micros: int) -> UUID:
        """See `UsageBook.reserve`."""
        account = attempt.account
        row = ModelUsageRow(
            organization_id=account.organization_id,
            course_id=account.course_id,
            user_id=account.user_id,
            owner_id=account.owner_id,
            role=attempt.role,
            provider=attempt.provider,
            model=attempt.model,
            place=attempt.place,
            number=attempt.number,
            month=self.now().date().replace(day=1),
            reserved_micros=most_micros,
        )
        try:
            async with self.database.transaction() as connection:
                await book.reserve(
                    connection,
                    row,
                    monthly_micros=self.monthly_micros,
                    owner_micros=account.most_micros,
                )
        except OverBudget:
            raise BudgetExceeded from None
        return row.id

    async def settle(
        self,
        reserved: UUID,
        *,
        outcome: str,
        usage: CountedUsage,
        cost_micros: int,
        milliseconds: int,
    ) -> None:
        """See `UsageBook.settle`."""
        settled = Settled(
            outcome,
            min(usage.prompt_tokens, MOST_TOKENS),
            min(usage.completion_tokens, MOST_TOKENS),
            min(usage.cached_tokens, MOST_TOKENS),
            usage.estimated,
            cost_micros,
            min(milliseconds, MOST_TOKENS),
        )
        async with self.database.transaction() as connection:
            await book.settle(connection, reserved, settled)
