"""One call of a member: within the budget, through the ledger, stopped when the time is up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from autogen_agentchat.messages import StructuredMessage
from autogen_core import CancellationToken
from pydantic import BaseModel

from agents.ports import AgentFailure, Called, Ledger, Usage, through_ledger
from agents.study.budget import Bound, Budget, BudgetReached
from agents.study.members import Seat, consult

ReplyT = TypeVar("ReplyT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Consulting:
    """Asks members on behalf of one answer."""

    ledger: Ledger
    cancellation: CancellationToken
    budget: Budget

    async def ask(
        self,
        seat: Seat,
        task: StructuredMessage[BaseModel],
        reply: type[ReplyT],
        step_key: str,
        on_chunk: Callable[[str], None] | None = None,
    ) -> ReplyT:
        """The member's reply to `task`, now or from a try before.

        Raises BudgetReached before a call that the answer can't afford, and when the answer's time
        is up during one; AgentFailure and what the ledger raises.
        """
        characters = len(task.content.model_dump_json())
        expected = self.budget.expected(characters)
        made: Called[ReplyT] | None = None

        async def call() -> Called[ReplyT]:
            nonlocal made
            seconds = self.budget.admit(characters, seat.price)
            try:
                made = await consult(
                    seat,
                    task,
                    reply,
                    step_key=step_key,
                    cancellation=self.cancellation,
                    seconds=seconds,
                    on_chunk=on_chunk,
                )
            except AgentFailure as failure:
                if seconds < self.budget.limits.member_seconds and isinstance(
                    failure.__cause__, TimeoutError
                ):
                    raise BudgetReached(Bound.SECONDS) from failure
                raise
            return made

        response = await through_ledger(self.ledger, step_key, task.content, call, reply)
        usage = made.usage if made and made.usage != Usage() else expected
        self.budget.spend(usage, made.cost_micros if made else seat.price(usage))
        return response
