"""Grader A: how near the answer's meaning is to the reference, by embeddings.

Prior to exemplars a curve over 0.7 · cosine(answer, reference) + 0.3 · mean cosine to its points;
with exemplars a Gaussian process over embedding likeness and these similarities.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.grading.statistical.opinion import (
    Alignment,
    Curve,
    Estimate,
    estimate,
    prior_deviation,
    shrunk,
)
from agents.grading.statistical.process import MIN_EXEMPLARS, ResidualProcess
from agents.grading.statistical.segments import segments
from agents.grading.statistical.target import GradedText, Source, Target
from agents.grading.statistical.terms import content_terms
from agents.grading.statistical.vectors import TextVectors

Matrix = NDArray[np.float64]

CURVE: Final = Curve(steepness=14, middle=0.225, top=0.782, slope=0.142, base=-0.029)
"""Least squares on the training part of the Short Answer Feedback data (MIT)."""
COVERED: Final = 0.5
"""Cosine from which a sentence counts as covering a point."""
OFF_TOPIC: Final = 0.15
"""Cosine to assignment and reference below which an English answer may be on something else: all
but a handful of the training answers are above, and the lexical grader must agree."""

_SCALES: Final = np.array([0.15, 0.15, 0.25, 0.15, 0.15, 0.8])
_LENGTHS: Final = (0.15, 0.6)
_MEASURED: Final = "closeness in meaning"


@dataclass(frozen=True, slots=True)
class SemanticModel:
    """Fitted to one criterion of one brief. `base_share` stands in for the curve, if given."""

    target: Target
    prompt: Matrix
    whole: Matrix
    points: Matrix
    exemplars: Matrix
    process: ResidualProcess | None
    base_share: float | None

    @classmethod
    async def fit(
        cls, target: Target, prompt: str, graded: Sequence[GradedText], vectors: TextVectors
    ) -> "SemanticModel":
        """Embeds the brief's side and fits the process."""
        fixed = await vectors.documents([prompt or target.text, target.text])
        points = await vectors.of(target.points)
        known = len(graded) >= MIN_EXEMPLARS
        texts = [item.text for item in graded]
        exemplars = await vectors.documents(texts) if known else np.zeros((0, points.shape[1]))
        share = _fallback(target, graded)
        bare = cls(target, fixed[0], fixed[1], points, exemplars, None, share)
        return await asyncio.to_thread(bare.fitted, graded) if known else bare

    def fitted(self, graded: Sequence[GradedText]) -> "SemanticModel":
        """This model with a process over the exemplars; CPU-bound."""
        rows = [
            self.measures(vector, item.text)
            for vector, item in zip(self.exemplars, graded, strict=True)
        ]
        ratios = np.array([item.ratio for item in graded])
        process = ResidualProcess.fit(
            likeness=self.exemplars @ self.exemplars.T,
            features=np.array(rows),
            scales=_SCALES,
            residuals=ratios - np.array([self.base(row) for row in rows]),
            lengths=_LENGTHS,
        )
        return replace(self, process=process)

    def measures(self, answer: Matrix, text: str) -> Matrix:
        """Cosine to the target; its points' weighted mean, soft coverage and best; prompt; length.

        Shape (6,); the length is ln(1 + content terms).
        """
        near = self.points @ answer
        weights = np.array([len(point) for point in self.target.points], np.float64)
        weights /= weights.sum()
        soft = 1 / (1 + np.exp(-12 * (near - 0.45)))
        return np.array(
            [
                float(self.whole @ answer),
                float(near @ weights),
                float(soft @ weights),
                float(self.prompt @ answer),
                float(near.max()),
                math.log1p(len(content_terms(text))),
            ]
        )

    def base(self, measures: Matrix) -> float:
        """The expected share before exemplars speak."""
        if self.base_share is not None:
            return self.base_share
        return shrunk(CURVE(0.7 * measures[0] + 0.3 * measures[1]), self.target.source)

    def estimate(self, answer: Matrix, text: str, sentences: Matrix) -> Estimate:
        """`answer` (d,) the whole text's vector, `sentences` (s, d) those of its segments."""
        measures = self.measures(answer, text)
        base = self.base(measures)
        posterior = None
        if self.process:
            doubt = prior_deviation(base, self.target.source)
            posterior = self.process.predict(self.exemplars @ answer, measures, doubt)
        alignment = Alignment(self.points @ sentences.T, COVERED)
        return estimate(base, posterior, self.target, len(self.exemplars), alignment, _MEASURED)

    def is_off_topic(self, answer: Matrix) -> bool:
        """Nearly unrelated to both the assignment and what is asked for."""
        return max(float(self.whole @ answer), float(self.prompt @ answer)) < OFF_TOPIC


async def sentence_vectors(text: str, vectors: TextVectors) -> Matrix:
    """Shape (segments, d); one row of the whole text where there is no segment."""
    return await vectors.of([segment.text for segment in segments(text)] or [text])


def _fallback(target: Target, graded: Sequence[GradedText]) -> float | None:
    """Without a reference, exemplars' mean says more than likeness to the rubric's wording."""
    if target.source is Source.REFERENCE or len(graded) < MIN_EXEMPLARS:
        return None
    return float(np.mean([item.ratio for item in graded]))
