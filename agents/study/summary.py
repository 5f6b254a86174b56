"""What a long conversation came to: a summary that grows, made with or without a model.

A summary is renewed from the one before and the turns since, so each turn is read once.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final, Protocol

from autogen_core import CancellationToken
from pydantic import BaseModel, ConfigDict, field_validator

from agents.documents.sentences import sentence_spans
from agents.ports import Called
from agents.study.brief import Speaker, Turn
from agents.study.spotlight import unmarked
from agents.study.terms import terms

_BYTES_A_TOKEN: Final = 3
_LINE_CHARACTERS: Final = 160


def estimated_tokens(text: str) -> int:
    """More tokens than a model's tokenizer makes of ordinary prose: one for 3 bytes of UTF-8."""
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_A_TOKEN)


class SummaryRequest(BaseModel):
    """To the summariser. `previous` is the summary of what was said before `turns`, or empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    previous: str
    turns: tuple[Turn, ...]
    most_tokens: int
    language: str


class Summary(BaseModel):
    """From the summariser."""

    model_config = ConfigDict(frozen=True)
    text: str

    @field_validator("text")
    @classmethod
    def _plain(cls, text: str) -> str:
        return unmarked(text)


class Summariser(Protocol):
    """Makes one summary of an earlier one and of what was said since."""

    async def summarise(
        self, request: SummaryRequest, cancellation: CancellationToken
    ) -> Called[Summary]:
        """At most `most_tokens` by `estimated_tokens`; whoever asks cuts what is longer.

        Raises AgentFailure, and asyncio.CancelledError when cancelled.
        """
        ...


class ExtractiveSummariser:
    """Without a model: a line for each question and the beginning of its answer.

    When the lines are more than fit, those whose terms the conversation repeats most stay, as in
    SumBasic (Nenkova and Vanderwende, 2005), in their order. The same turns give the same lines.
    """

    async def summarise(
        self,
        request: SummaryRequest,
        cancellation: CancellationToken,  # noqa: ARG002 - done at once
    ) -> Called[Summary]:
        """See `Summariser`."""
        lines = [*filter(None, request.previous.split("\n")), *_lines(request.turns)]
        text = "\n".join(_most_central(lines, request.most_tokens))
        return Called(Summary(text=text), "offline", "extractive")


def _lines(turns: Iterable[Turn]) -> list[str]:
    lines: list[str] = []
    for turn in turns:
        said = _beginning(turn.text)
        if turn.speaker is Speaker.STUDENT or not lines:
            lines.append(f"Asked: {said}")
        else:
            lines[-1] += f" Answered: {said}"
    return lines


def _beginning(text: str) -> str:
    start, end = next(iter(sentence_spans(text)), (0, 0))
    said = " ".join(text[start:end].split())
    return said if len(said) <= _LINE_CHARACTERS else said[: _LINE_CHARACTERS - 1] + "\u2026"


def _most_central(lines: list[str], most_tokens: int) -> list[str]:
    held = [set(terms(line)) for line in lines]
    counts = Counter(term for found in held for term in found)
    scores = [sum(counts[t] for t in found) / (len(found) or 1) for found in held]
    kept: list[int] = []
    left = most_tokens
    for place in sorted(range(len(lines)), key=lambda i: (-scores[i], -i)):
        cost = estimated_tokens(lines[place] + "\n")
        if cost <= left:
            kept.append(place)
            left -= cost
    return [lines[place] for place in sorted(kept)]
