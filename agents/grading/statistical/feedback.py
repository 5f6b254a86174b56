"""Feedback without a language model: the decided assessment, criterion by criterion."""

from decimal import Decimal
from typing import Final

from agents.grading.verdict import CriterionOutcome, FeedbackRequest

_QUOTE: Final = 160


def written_feedback(request: FeedbackRequest) -> str:
    """Paragraphs: the score, then for each criterion its points, what carries them, what misses.

    English only; scores appear exactly as they were decided.
    """
    total = f"{_plain(request.score)} of {_plain(request.points_possible)} points."
    if request.penalty:
        total += f" A late deduction of {_plain(request.penalty)} points applies."
    return "\n\n".join([total, *(_paragraph(criterion) for criterion in request.criteria)])


def _paragraph(criterion: CriterionOutcome) -> str:
    head = f"{criterion.title}: {_plain(criterion.points)} of {_plain(criterion.highest)} points"
    sentences = [f"{head} ({criterion.level_title})." if criterion.level_title else f"{head}."]
    if criterion.quotes:
        sentences.append(f"What carries it: \u201c{_short(criterion.quotes[0])}\u201d")
    elif criterion.rationales:
        sentences.append("No part of the answer was found to carry points here.")
    sentences.extend(criterion.rationales[:1])
    return " ".join(sentences)


def _short(quote: str) -> str:
    line = " ".join(quote.split())
    return line if len(line) <= _QUOTE else line[: _QUOTE - 1].rsplit(" ", 1)[0] + "\u2026"


def _plain(points: Decimal) -> str:
    """Without trailing zeros or an exponent, to at most two places as a reader expects."""
    text = f"{points.quantize(Decimal('0.01')):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
