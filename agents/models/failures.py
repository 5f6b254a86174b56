"""How a model call fails: typed, and never with a provider's words, which may quote a prompt."""

from enum import StrEnum
from typing import Final

from autogen_core.models import RequestUsage

from agents.models.ports import Purse
from agents.ports import AgentFailure


class FailureKind(StrEnum):
    """Why a call gave no answer."""

    RATE_LIMITED = "RATE_LIMITED"
    UNAVAILABLE = "UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    BROKEN = "BROKEN"
    MALFORMED = "MALFORMED"
    EMPTY = "EMPTY"
    SUSPENDED = "SUSPENDED"
    TRUNCATED = "TRUNCATED"
    BLOCKED = "BLOCKED"
    UNAUTHORIZED = "UNAUTHORIZED"
    INVALID = "INVALID"
    BUDGET = "BUDGET"
    UNPRICED = "UNPRICED"
    NOT_APPROVED = "NOT_APPROVED"


RETRYABLE: Final = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.UNAVAILABLE,
        FailureKind.TIMEOUT,
        FailureKind.BROKEN,
        FailureKind.MALFORMED,
        FailureKind.EMPTY,
        FailureKind.SUSPENDED,
    }
)
"""The same call may succeed later, or with another model."""

_SAID: Final = {
    FailureKind.RATE_LIMITED: "takes no more calls for now",
    FailureKind.UNAVAILABLE: "cannot be reached or has a fault",
    FailureKind.TIMEOUT: "did not answer in time",
    FailureKind.BROKEN: "stopped in the middle of an answer",
    FailureKind.MALFORMED: "answered with something else than was asked for",
    FailureKind.EMPTY: "answered with nothing",
    FailureKind.SUSPENDED: "failed too often and is left alone for a while",
    FailureKind.TRUNCATED: "needs more tokens for its answer than it may write",
    FailureKind.BLOCKED: "declined to answer for reasons of safety",
    FailureKind.UNAUTHORIZED: "refused the key",
    FailureKind.INVALID: "refused the request",
    FailureKind.BUDGET: "would cost more than the budget has left",
    FailureKind.UNPRICED: "has no price: add it to ASSAY_MODELS",
    FailureKind.NOT_APPROVED: "belongs to a provider this organization has not approved",
}


class ModelFailure(AgentFailure):
    """A call of `model` failed. `retry_after` (seconds) is what the provider asked to wait.

    `usage` is what the provider counted all the same, None where it said nothing. `purse` is whose
    budget is used up, of a BUDGET failure.
    """

    def __init__(
        self,
        kind: FailureKind,
        model: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: RequestUsage | None = None,
        purse: Purse | None = None,
    ) -> None:
        code = f" (HTTP {status})" if status else ""
        super().__init__(f"{model} {_SAID[kind]}{code}", retryable=kind in RETRYABLE)
        self.kind = kind
        self.model = model
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        self.purse = purse


def of_status(status: int) -> FailureKind:
    """What an HTTP status of a provider means."""
    if status == 429:
        return FailureKind.RATE_LIMITED
    if status in {401, 403}:
        return FailureKind.UNAUTHORIZED
    if status == 408:
        return FailureKind.TIMEOUT
    return FailureKind.INVALID if 400 <= status < 500 else FailureKind.UNAVAILABLE
