"""Grading policy: totals, late deductions, divergence, and what a person must see.

Pure and in Decimal. Nothing here marks or releases a grade: the outcome is a proposal or a
request for a person.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Final

from agents.grading.brief import Criterion, GradingPolicy, LatePolicy, Level
from agents.grading.result import (
    Assessment,
    CriterionAssessment,
    CriterionScore,
    Decision,
    Outcome,
    ReviewCode,
    ReviewReason,
)

_STEP: Final = Decimal("0.0001")
_DAY: Final = timedelta(days=1)
_HASH_RANGE: Final = 2**64


def nearest_level(criterion: Criterion, points: Decimal) -> Level | None:
    """The level whose range holds the points, else the nearest; of two, the lower one."""

    def distance(level: Level) -> Decimal:
        return max(level.min_points - points, points - level.max_points, Decimal(0))

    return min(criterion.ordered_levels, key=distance, default=None)


def diverges(criterion: Criterion, first: Decimal, second: Decimal, policy: GradingPolicy) -> bool:
    """Whether two opinions differ by more than the policy's share of the range or its levels."""
    allowed = criterion.span * policy.divergence_percent / 100
    if abs(first - second) > allowed:
        return True
    levels = criterion.ordered_levels
    places = [
        levels.index(level)
        for level in (nearest_level(criterion, first), nearest_level(criterion, second))
        if level is not None
    ]
    return len(places) == 2 and abs(places[0] - places[1]) > policy.level_gap


def mean(opinions: Sequence[Decimal]) -> Decimal:
    """The unrounded mean. Raises ValueError for no opinion."""
    if not opinions:
        raise ValueError("no opinion to average")
    return sum(sorted(opinions), Decimal(0)) / len(opinions)


def median_of_three(opinions: Sequence[Decimal]) -> Decimal:
    """The middle one. Raises ValueError unless there are three."""
    if len(opinions) != 3:
        raise ValueError("a median of three needs three opinions")
    return sorted(opinions)[1]


def disputed(
    criteria: Sequence[Criterion], first: Assessment, second: Assessment, policy: GradingPolicy
) -> tuple[Criterion, ...]:
    """The criteria which need an arbiter: both seats judged them, too far apart."""
    contested = []
    for criterion in criteria:
        one, other = first.of(criterion.id), second.of(criterion.id)
        if one and other and diverges(criterion, one.points, other.points, policy):
            contested.append(criterion)
    return tuple(contested)


def decide(
    criterion: Criterion, opinions: Sequence[CriterionAssessment], policy: GradingPolicy
) -> tuple[CriterionScore, ReviewReason | None]:
    """The criterion's score from one to three opinions, and the reason to doubt it, if any.

    Three: the median, doubted when no two of them are within tolerance. Two: the unrounded mean,
    doubted when they are not. One: as given. None: the lowest points. A confidence is the mean.
    """
    points = sorted(opinion.points for opinion in opinions)
    if len(points) == 3:
        decision, score = Decision.MEDIAN, median_of_three(points)
    elif len(points) == 2:
        decision, score = Decision.MEAN, mean(points)
    elif points:
        decision, score = Decision.SINGLE, points[0]
    else:
        decision, score = Decision.NONE, criterion.lowest
    level = nearest_level(criterion, score)
    confidence = sum(sorted(opinion.confidence for opinion in opinions)) / max(1, len(opinions))
    reason = None
    if len(points) > 1 and all(
        diverges(criterion, lower, upper, policy) for lower, upper in pairwise(points)
    ):
        given = ", ".join(f"{value:f}" for value in points)
        reason = ReviewReason(
            ReviewCode.GRADERS_DISAGREE, criterion.id, f"No two opinions agree: {given} points."
        )
    return (
        CriterionScore(criterion.id, score, level.id if level else None, confidence, decision),
        reason,
    )


def total(
    scores: Mapping[str, Decimal], criteria: Sequence[Criterion], points_possible: Decimal
) -> Decimal:
    """The sum of the criteria's points on the assignment's scale, from 0 to `points_possible`.

    Where the rubric's total is not `points_possible` the sum is scaled, to four decimal places.
    """
    most = sum((criterion.points for criterion in criteria), Decimal(0))
    if most <= 0:
        raise ValueError("the rubric's total must be positive")
    earned = sum((scores[criterion.id] for criterion in criteria), Decimal(0))
    if most != points_possible:
        earned = (earned * points_possible / most).quantize(_STEP, ROUND_HALF_EVEN)
    return min(max(earned, Decimal(0)), points_possible)


def late_penalty(
    score: Decimal,
    points_possible: Decimal,
    late_by: timedelta | None,
    late_policy: LatePolicy | None,
) -> Decimal:
    """Points to deduct: never more than the score, never less than 0.

    A percentage of the points possible for each started day after the grace period, as in
    Canvas's late policy.
    """
    if late_by is None or late_policy is None or late_by <= late_policy.grace:
        return Decimal(0)
    days = -((late_policy.grace - late_by) // _DAY)
    percent = min(late_policy.percent_per_day * days, late_policy.cap_percent)
    return min(points_possible * percent / 100, max(score, Decimal(0)))


def confidence_reasons(
    scores: Sequence[CriterionScore], policy: GradingPolicy
) -> tuple[ReviewReason, ...]:
    """LOW_CONFIDENCE for each criterion below the policy's minimum."""
    return tuple(
        ReviewReason(
            ReviewCode.LOW_CONFIDENCE,
            score.criterion_id,
            f"Confidence {score.confidence:.2f} is below {policy.min_confidence:.2f}.",
        )
        for score in scores
        if score.confidence < policy.min_confidence
    )


def is_sampled(attempt_id: str, policy: GradingPolicy) -> bool:
    """Whether an agreed attempt is shown to a person anyway: the same answer each time."""
    key = f"{policy.sample_key}:{attempt_id}".encode()
    place = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
    return place < policy.sample_rate * _HASH_RANGE


def outcome(
    reasons: Sequence[ReviewReason], attempt_id: str, policy: GradingPolicy
) -> tuple[Outcome, tuple[ReviewReason, ...]]:
    """Every reason needs a person; an attempt without one is proposed unless it is sampled."""
    distinct = tuple(dict.fromkeys(reasons))
    if not distinct and is_sampled(attempt_id, policy):
        detail = "Agreed; chosen for a routine check."
        distinct = (ReviewReason(ReviewCode.SAMPLED_FOR_REVIEW, None, detail),)
    return (Outcome.NEEDS_HUMAN if distinct else Outcome.PROPOSED), distinct
