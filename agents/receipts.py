"""What a member's calls came to: which model answered in the end, and what it took.

AutoGen hands on an answer and two sums of tokens. Whoever asks a member collects the receipts of
the calls beneath, in the same task or in tasks it starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from agents.ports import Usage


@dataclass(frozen=True, slots=True)
class Receipt:
    """One answered call."""

    provider: str
    model: str
    usage: Usage
    cost_micros: int


_COLLECTED: ContextVar[list[Receipt] | None] = ContextVar("receipts", default=None)


@contextmanager
def collected() -> Iterator[list[Receipt]]:
    """The receipts of the calls made inside, in the order they were answered."""
    receipts: list[Receipt] = []
    token = _COLLECTED.set(receipts)
    try:
        yield receipts
    finally:
        _COLLECTED.reset(token)


def hand_out(receipt: Receipt) -> None:
    """Give a receipt to whoever collects."""
    receipts = _COLLECTED.get()
    if receipts is not None:
        receipts.append(receipt)


def total(receipts: list[Receipt]) -> Receipt | None:
    """The last model, with the tokens and the cost of all; None where none was called."""
    if not receipts:
        return None
    usage = Usage(
        sum(one.usage.input_tokens for one in receipts),
        sum(one.usage.output_tokens for one in receipts),
    )
    last = receipts[-1]
    return Receipt(last.provider, last.model, usage, sum(one.cost_micros for one in receipts))
