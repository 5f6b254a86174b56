"""The arbiter: a third method. Each point of the reference is aligned with the sentence that
covers it best, by meaning and terms together; graded exemplars vote by nearness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.grading.statistical.lexical import LexicalModel, term_coverage
from agents.grading.statistical.opinion import (
    Alignment,
    Curve,
    Estimate,
    estimate,
    prior_deviation,
    shrunk,
)
from agents.grading.statistical.process import MIN_EXEMPLARS, Posterior
from agents.grading.statistical.segments import Segment
from agents.grading.statistical.semantic import SemanticModel
from agents.grading.statistical.target import GradedText, Source

Matrix = NDArray[np.float64]

CURVE: Final = Curve(steepness=6, middle=0.025, top=1.907, slope=0.0, base=-0.933)
"""Least squares on the training part of the Short Answer Feedback data (MIT)."""
COVERED: Final = 0.42
NEIGHBOURS: Final = 5
_VOTE: Final = 0.65
_MEASURED: Final = "sentence by sentence alignment"


@dataclass(frozen=True, slots=True)
class NearestModel:
    """Uses the other graders' view of the brief, not their scores."""

    semantic: SemanticModel
    lexical: LexicalModel
    graded: Sequence[GradedText]

    def estimate(
        self, answer: Matrix, text: str, sentences: Matrix, segments: Sequence[Segment]
    ) -> Estimate:
        """`answer` (d,), `sentences` (s, d); CPU-bound, milliseconds."""
        target = self.semantic.target
        likeness = self._aligned(sentences, segments)
        whole = 0.6 * (self.semantic.points @ answer) + 0.4 * term_coverage(
            target.points, [Segment(0, len(text), text)]
        ).max(axis=1)
        best = np.maximum(likeness.max(axis=1), whole) if likeness.size else whole
        weights = np.sqrt([len(point) for point in target.points])
        base = shrunk(CURVE(float(best @ weights / weights.sum())), target.source)
        posterior = self._vote(base, answer, text)
        return estimate(
            base, posterior, target, len(self.graded), Alignment(likeness, COVERED), _MEASURED
        )

    def _aligned(self, sentences: Matrix, segments: Sequence[Segment]) -> Matrix:
        meaning = self.semantic.points @ sentences.T
        if not segments:
            return np.zeros((len(meaning), 0))
        terms = term_coverage(self.semantic.target.points, segments)
        return np.asarray(0.6 * meaning + 0.4 * terms, np.float64)

    def _vote(self, base: float, answer: Matrix, text: str) -> Posterior | None:
        if len(self.graded) < MIN_EXEMPLARS:
            return None
        nearness = 0.5 * (self.semantic.exemplars @ answer) + 0.5 * self.lexical.likeness(text)
        ratios = np.array([item.ratio for item in self.graded])
        nearest = np.argsort(-nearness, kind="stable")[:NEIGHBOURS]
        weights = np.maximum(nearness[nearest], 1e-3) ** 4
        weights /= weights.sum()
        voted = float(ratios[nearest] @ weights)
        spread = float(np.sqrt(((ratios[nearest] - voted) ** 2) @ weights))
        share = _VOTE if self.semantic.target.source is Source.REFERENCE else 1.0
        prior = prior_deviation(base, self.semantic.target.source)
        return Posterior(share * (voted - base), 0.5 * prior + 0.5 * spread)
