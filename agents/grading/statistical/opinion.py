"""From a measured share of a criterion to a verdict: points, level, confidence, quotes, reasons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.grading.brief import Criterion
from agents.grading.policy import nearest_level
from agents.grading.statistical.process import Posterior
from agents.grading.statistical.segments import Segment
from agents.grading.statistical.target import Source, Target
from agents.grading.verdict import CriterionVerdict

CLOSE: Final = 0.15
"""A confidence is the probability that a human's score is within this share of the range."""
_MAX_QUOTES: Final = 4
_UNKNOWN: Final = 0.42
_MAX_MISSING: Final = 3
_SNIPPET: Final = 90

_ERROR_AT: Final = (0.0, 0.3, 0.55, 0.68, 0.77, 0.83, 0.88)
_ERROR: Final = (0.10, 0.30, 0.40, 0.40, 0.33, 0.27, 0.19)
_ERROR_WITHOUT_REFERENCE: Final = {Source.MATERIAL: 0.36, Source.CRITERION: 0.4}


def prior_deviation(ratio: float, source: Source) -> float:
    """Standard deviation of the error without exemplars.

    With a reference: by the estimated share, as measured on the training part of the Short Answer
    Feedback data. Likeness tells right from unrelated well and half right from wrong badly.
    Without one: close to that of scores which are anything from nothing to all.
    """
    if source is Source.REFERENCE:
        return float(np.interp(ratio, _ERROR_AT, _ERROR))
    return _ERROR_WITHOUT_REFERENCE[source]


@dataclass(frozen=True, slots=True)
class Curve:
    """`top / (1 + exp(-steepness · (x - middle))) + slope · x + base`, cut to 0..1."""

    steepness: float
    middle: float
    top: float
    slope: float
    base: float

    def __call__(self, measure: float) -> float:
        """The expected share of the points for a similarity."""
        rise = self.top / (1 + math.exp(-self.steepness * (measure - self.middle)))
        return min(1.0, max(0.0, rise + self.slope * measure + self.base))


@dataclass(frozen=True, slots=True)
class Alignment:
    """`likeness[i, j]` of target point i and answer segment j, and the value that counts."""

    likeness: NDArray[np.float64]
    threshold: float

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Shape (points,)."""
        if not self.likeness.size:
            return np.zeros(self.likeness.shape[0], np.bool_)
        return np.asarray(self.likeness.max(axis=1) >= self.threshold, np.bool_)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of the range with the standard deviation of its error, and how it was found."""

    ratio: float
    deviation: float
    exemplars: int
    alignment: Alignment
    measured: str


def shrunk(ratio: float, source: Source) -> float:
    """Likeness to something that is not a reference says less: half way to the middle."""
    return ratio if source is Source.REFERENCE else 0.5 + 0.5 * (ratio - 0.5)


def estimate(
    base: float,
    posterior: Posterior | None,
    target: Target,
    exemplars: int,
    alignment: Alignment,
    measured: str,
) -> Estimate:
    """The fixed estimate, moved by what exemplars taught where there are enough."""
    if posterior is None:
        return Estimate(base, prior_deviation(base, target.source), 0, alignment, measured)
    ratio = min(1.0, max(0.0, base + posterior.mean))
    return Estimate(ratio, posterior.deviation, exemplars, alignment, measured)


def criterion_verdict(
    estimated: Estimate, target: Target, answer: Sequence[Segment], *, caveat: str
) -> CriterionVerdict:
    """Points and level by the estimate, quotes by the alignment, a rationale in plain words.

    `caveat` is a sentence on why the measures say little here; the error is doubled then, and at
    least that of not knowing.
    """
    criterion = target.criterion
    points = _points(criterion, estimated.ratio)
    level = nearest_level(criterion, points)
    deviation = max(_UNKNOWN, 2 * estimated.deviation) if caveat else estimated.deviation
    confidence = math.erf(CLOSE / (deviation * math.sqrt(2)))
    quotes = _quotes(estimated.alignment, answer)
    return CriterionVerdict(
        criterion_id=criterion.id,
        level_id=level.id if level else None,
        points=points,
        confidence=round(confidence, 3),
        rationale=_rationale(estimated, target, caveat),
        quotes=quotes if points > criterion.lowest else [],
    )


def _points(criterion: Criterion, ratio: float) -> Decimal:
    """To 0.01 points, inside a level's range where there are levels."""
    points = criterion.lowest + criterion.span * Decimal(str(round(ratio, 4)))
    points = min(max(points.quantize(Decimal("0.01")), criterion.lowest), criterion.points)
    level = nearest_level(criterion, points)
    if level is None:
        return points
    return min(max(points, level.min_points), level.max_points, criterion.points)


def _quotes(alignment: Alignment, answer: Sequence[Segment]) -> list[str]:
    """The segments nearest to the points they cover; where none covers any, the nearest one."""
    if not answer or not alignment.likeness.size:
        return [answer[0].text] if answer else []
    best = alignment.likeness.argmax(axis=1)
    strength = alignment.likeness.max(axis=1)
    chosen: dict[int, float] = {}
    for row in np.argsort(-strength, kind="stable"):
        if alignment.covered[row] or not chosen:
            chosen.setdefault(int(best[row]), float(strength[row]))
        if len(chosen) == _MAX_QUOTES:
            break
    return [answer[place].text for place in sorted(chosen)]


def _rationale(estimated: Estimate, target: Target, caveat: str) -> str:
    covered = estimated.alignment.covered
    count = int(covered.sum())
    noun = "point" if len(covered) == 1 else "points"
    sentences = [f"Covers {count} of {len(covered)} {noun} of {target.source}"]
    missing = [point for point, found in zip(target.points, covered, strict=True) if not found]
    if missing and target.source is Source.REFERENCE:
        snippets = "; ".join(f"\u201c{_snippet(point)}\u201d" for point in missing[:_MAX_MISSING])
        more = f" and {len(missing) - _MAX_MISSING} more" if len(missing) > _MAX_MISSING else ""
        sentences[0] += f"; not found: {snippets}{more}"
    if estimated.exemplars:
        basis = f"{estimated.measured}, adjusted by {estimated.exemplars} graded exemplars"
    else:
        basis = f"{estimated.measured}; there are no graded exemplars to compare with"
    sentences.append(f"Measured by {basis}")
    if caveat:
        sentences.append(caveat)
    return ". ".join(sentence.rstrip(".") for sentence in sentences) + "."


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SNIPPET else line[: _SNIPPET - 1].rsplit(" ", 1)[0] + "\u2026"
