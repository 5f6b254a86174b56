"""Grader B: which of the reference's terms the answer uses, how many, and in what order.

Prior to exemplars a curve over 0.4 · 4-gram cosine + 0.3 · term recall + 0.3 · saturation of
distinct terms; with exemplars a Gaussian process over TF-IDF likeness and these overlaps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
from agents.grading.statistical.segments import Segment
from agents.grading.statistical.target import GradedText, Source, Target
from agents.grading.statistical.terms import (
    TermSpace,
    content_terms,
    gram_cosine,
    recall,
    with_bigrams,
)

Matrix = NDArray[np.float64]

CURVE: Final = Curve(steepness=6, middle=0.125, top=1.338, slope=0.149, base=-0.465)
"""Least squares on the training part of the Short Answer Feedback data (MIT)."""
COVERED: Final = 0.34
"""Share of a point's terms from which a sentence counts as covering it."""

OFF_TOPIC: Final = 0.06
"""Below this share of the expected terms the shared ones are chance: time, keep, number."""

_SCALES: Final = np.array([0.15, 0.2, 0.15, 0.2, 0.1, 0.8, 0.3])
_MEASURED: Final = "shared terms, phrases and extent"


@dataclass(frozen=True, slots=True)
class LexicalModel:
    """Fitted to one criterion of one brief. `base_share` stands in for the curve, if given."""

    target: Target
    prompt: str
    space: TermSpace
    exemplars: Matrix
    process: ResidualProcess | None
    base_share: float | None

    @classmethod
    def fit(cls, target: Target, prompt: str, graded: Sequence[GradedText]) -> "LexicalModel":
        """CPU-bound: seconds for hundreds of long exemplars."""
        known = len(graded) >= MIN_EXEMPLARS
        documents = [with_bigrams(content_terms(item.text)) for item in graded] if known else []
        space = TermSpace([*documents, with_bigrams(content_terms(target.text))])
        exemplars = space.vectors(documents)
        share = None
        if known and target.source is not Source.REFERENCE:
            share = float(np.mean([item.ratio for item in graded]))
        bare = cls(target, prompt, space, exemplars, None, share)
        if not known:
            return bare
        rows = [bare.measures(item.text) for item in graded]
        ratios = np.array([item.ratio for item in graded])
        process = ResidualProcess.fit(
            likeness=exemplars @ exemplars.T,
            features=np.array(rows),
            scales=_SCALES,
            residuals=ratios - np.array([bare.base(row) for row in rows]),
            lengths=(None,),
        )
        return cls(target, prompt, space, exemplars, process, share)

    def measures(self, text: str) -> Matrix:
        """Recall; 4-gram cosine; recall and precision of terms that are not the prompt's; bigram
        recall; ln(1 + content terms); saturation. Shape (7,).
        """
        used, wanted = content_terms(text), content_terms(self.target.text)
        asked = set(content_terms(self.prompt))
        found, needed = set(used), set(wanted)
        new = found - asked
        pairs = set(with_bigrams(wanted)) - needed
        return np.array(
            [
                recall(found, needed),
                gram_cosine(text, self.target.text),
                recall(new, needed - asked),
                recall(needed - asked, new),
                recall(set(with_bigrams(used)) - found, pairs),
                math.log1p(len(used)),
                1 - math.exp(-len(found) / max(3.0, 0.35 * len(needed))),
            ]
        )

    def base(self, measures: Matrix) -> float:
        """The expected share before exemplars speak."""
        if self.base_share is not None:
            return self.base_share
        measure = 0.4 * measures[1] + 0.3 * measures[0] + 0.3 * measures[6]
        return shrunk(CURVE(float(measure)), self.target.source)

    def likeness(self, text: str) -> Matrix:
        """TF-IDF cosine to each exemplar, shape (n,)."""
        vector = self.space.vectors([with_bigrams(content_terms(text))])[0]
        return np.asarray(self.exemplars @ vector, np.float64)

    def estimate(self, text: str, answer: Sequence[Segment]) -> Estimate:
        """CPU-bound, milliseconds."""
        measures = self.measures(text)
        base = self.base(measures)
        posterior = None
        if self.process:
            doubt = prior_deviation(base, self.target.source)
            posterior = self.process.predict(self.likeness(text), measures, doubt)
        alignment = Alignment(term_coverage(self.target.points, answer), COVERED)
        return estimate(base, posterior, self.target, len(self.exemplars), alignment, _MEASURED)

    def is_off_topic(self, text: str) -> bool:
        """Hardly a content term in common with the assignment or what is asked for."""
        expected = set(content_terms(f"{self.prompt} {self.target.text}"))
        return len(expected & set(content_terms(text))) < OFF_TOPIC * len(expected)


def term_coverage(points: Sequence[str], answer: Sequence[Segment]) -> Matrix:
    """The share of each point's terms in each segment, shape (points, segments)."""
    words = [set(content_terms(segment.text)) for segment in answer]
    coverage = np.zeros((len(points), len(words)))
    for row, point in enumerate(points):
        wanted = set(content_terms(point))
        coverage[row] = [recall(found, wanted) for found in words]
    return coverage
