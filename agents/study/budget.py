"""What one answer may cost, held before each call of a member."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from agents.ports import Usage
from agents.study.brief import StudyLimits

CHARACTERS_A_TOKEN: Final = 3
"""A cautious guess for a prompt nobody has counted; English has about four."""


class Bound(StrEnum):
    """What of a budget was reached."""

    CALLS = "CALLS"
    TOKENS = "TOKENS"
    SECONDS = "SECONDS"
    MONEY = "MONEY"


class BudgetReached(Exception):
    """The next call is not made: with it the answer would cost more than it may."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(bound)
        self.bound = bound


@dataclass(slots=True)
class Budget:
    """What an answer has spent. A call out of the ledger counts too: an earlier try paid it."""

    limits: StudyLimits
    calls: int = 0
    tokens: int = 0
    cost_micros: int = 0
    started: float = field(default_factory=time.monotonic)

    def expected(self, characters: int) -> Usage:
        """What a call with a prompt of so many code points is expected to use."""
        return Usage(characters // CHARACTERS_A_TOKEN, self.limits.reply_tokens)

    def admit(self, characters: int, price: Callable[[Usage], int]) -> float:
        """The seconds that the next call may take. Raises BudgetReached."""
        limits, usage = self.limits, self.expected(characters)
        left = limits.seconds - (time.monotonic() - self.started)
        if self.calls >= limits.calls:
            raise BudgetReached(Bound.CALLS)
        if self.tokens + usage.input_tokens + usage.output_tokens > limits.tokens:
            raise BudgetReached(Bound.TOKENS)
        if self.cost_micros + price(usage) > limits.cost_micros:
            raise BudgetReached(Bound.MONEY)
        if left <= 0:
            raise BudgetReached(Bound.SECONDS)
        return min(left, limits.member_seconds)

    def spend(self, usage: Usage, cost_micros: int) -> None:
        """Count a call."""
        self.calls += 1
        self.tokens += usage.input_tokens + usage.output_tokens
        self.cost_micros += cost_micros

    def counted(self) -> dict[str, int]:
        """For the student who wants to see it."""
        return {"calls": self.calls, "tokens": self.tokens, "cost_micros": self.cost_micros}
