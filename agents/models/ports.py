"""What the gateway needs from outside."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from agents.models.tokens import CountedUsage
from agents.ports import Account


class Purse(StrEnum):
    """Whose budget: of a month, or of one document in all."""

    COURSE = "COURSE"
    ORGANIZATION = "ORGANIZATION"
    DOCUMENT = "DOCUMENT"


class BudgetExceeded(Exception):
    """A call could cost more than what is left.

    `passing`: what calls under way have set aside is in the way, and may be given back.
    """

    def __init__(self, purse: Purse = Purse.ORGANIZATION, *, passing: bool = False) -> None:
        super().__init__(purse)
        self.purse = purse
        self.passing = passing


class Outcome(StrEnum):
    """How an attempt ended, besides the kinds of failure."""

    ANSWERED = "ANSWERED"
    CANCELLED = "CANCELLED"
    DEFECT = "DEFECT"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a provider. `place` is the model's in the chain, from 0."""

    account: Account
    role: str
    provider: str
    model: str
    place: int
    number: int


class UsageBook(Protocol):
    """Who has used what, and what is left of each budget. Shared by all processes."""

    async def reserve(self, attempt: Attempt, most_micros: int) -> UUID:
        """Sets aside what the attempt may cost at most. Raises BudgetExceeded."""
        ...

    async def settle(
        self,
        reserved: UUID,
        *,
        outcome: str,
        usage: CountedUsage,
        cost_micros: int,
        milliseconds: int,
    ) -> None:
        """Replaces what was set aside by what it was."""
        ...


class RateLimits(Protocol):
    """Buckets shared by all processes."""

    async def take(self, key: str, per_minute: int) -> float:
        """0 when one was taken, else the seconds after which to ask again."""
        ...


class ProviderApproval(Protocol):
    """Which providers an organization lets its data go to."""

    async def provider_approved(
        self, organization_id: UUID, provider: str, region: str | None
    ) -> bool:
        """Whether anything may be sent to this server; in its region, where that is known."""
        ...
