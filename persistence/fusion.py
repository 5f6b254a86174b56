"""One ranking of two: standard scores of similarity and text score over the candidates, averaged.

Linear combination of normalised scores ranks better than reciprocal ranks and needs no tuning to
the scale of a model's similarities (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for
Hybrid Retrieval", 2023). Feedback is Rocchio's (1971, in Salton's SMART; beta = 0.75) from the best
three: similarity to their mean is added to similarity to the query.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from uuid import UUID

BETA = 0.75
FEEDBACK = 3
"""How many of the best are taken for relevant."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk one of the rankings found. `similarity` is the cosine; ranks begin at 1."""

    id: UUID
    similarity: float
    vector_rank: int | None = None
    text_rank: int | None = None
    text_score: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate and its fused score, in standard deviations: 0 for an average candidate."""

    candidate: Candidate
    score: float


def candidates(
    near: Sequence[tuple[UUID, float]], matching: Sequence[tuple[UUID, float, float]]
) -> list[Candidate]:
    """The two rankings as one set: `(id, similarity)` and `(id, text score, similarity)`."""
    found = {
        key: Candidate(key, similarity, vector_rank=rank)
        for rank, (key, similarity) in enumerate(near, start=1)
    }
    for rank, (key, score, similarity) in enumerate(matching, start=1):
        ranked = found[key].vector_rank if key in found else None
        found[key] = Candidate(key, similarity, ranked, rank, score)
    return list(found.values())


def fused(
    found: Sequence[Candidate], to_feedback: Mapping[UUID, float] | None = None
) -> list[Ranked]:
    """Best first, ties by id; `to_feedback` are the dot products with the feedback's mean."""
    extra = to_feedback or {}
    near = _standardised([c.similarity + BETA * extra.get(c.id, 0.0) for c in found])
    matching = _standardised([c.text_score or 0.0 for c in found])
    ranked = [
        Ranked(candidate, (a + b) / 2)
        for candidate, a, b in zip(found, near, matching, strict=True)
    ]
    return sorted(ranked, key=lambda r: (-r.score, r.candidate.id))


def _standardised(values: Sequence[float]) -> list[float]:
    """Each value's distance from the mean in standard deviations; 0 where all are equal."""
    if not values:
        return []
    mean, deviation = fmean(values), pstdev(values)
    return [(value - mean) / deviation if deviation > 1e-12 else 0.0 for value in values]
