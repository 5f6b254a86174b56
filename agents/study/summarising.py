"""A summary of a long conversation by a language model, within its account's budget."""

from dataclasses import dataclass, field
from typing import Final

from autogen_core import CancellationToken

from agents.models.failures import FailureKind, ModelFailure
from agents.ports import AgentFailure, Called
from agents.study.members import Seat, consult
from agents.study.messages import SummaryTask
from agents.study.summary import ExtractiveSummariser, Summariser, Summary, SummaryRequest

SECONDS: Final = 60.0


@dataclass(frozen=True)
class ModelSummariser:
    """A `Summariser` that asks a model; what it will never summarise, `otherwise` does: a
    conversation that a provider declines to read must not end there."""

    seat: Seat
    otherwise: Summariser = field(default_factory=ExtractiveSummariser)

    async def summarise(
        self, request: SummaryRequest, cancellation: CancellationToken
    ) -> Called[Summary]:
        """See `Summariser`. Raises ModelFailure BUDGET, and AgentFailure for what may pass."""
        try:
            return await consult(
                self.seat,
                SummaryTask(content=request, source="team"),
                Summary,
                step_key="summary",
                cancellation=cancellation,
                seconds=SECONDS,
            )
        except AgentFailure as failure:
            spent = isinstance(failure, ModelFailure) and failure.kind is FailureKind.BUDGET
            if failure.retryable or spent:
                raise
            return await self.otherwise.summarise(request, cancellation)
