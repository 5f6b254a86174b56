"""Totals, late deductions, divergence and decisions: rules that hold for any numbers."""

from datetime import timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.grading import policy
from agents.grading.brief import Criterion, GradingPolicy, LatePolicy, Level
from agents.grading.result import CriterionAssessment, Decision, Outcome, ReviewCode, ReviewReason

TEN = Decimal(10)
points = st.decimals(min_value=0, max_value=10, places=2)
STRICT = GradingPolicy(divergence_percent=Decimal(20), sample_rate=Decimal(0))


def criterion(most: Decimal = TEN) -> Criterion:
    return Criterion("c", "C", "", most)


def opinion(value: Decimal, confidence: float = 0.8) -> CriterionAssessment:
    return CriterionAssessment("c", None, value, confidence, "", ())


@given(st.lists(points, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_mean_does_not_depend_on_the_order_and_is_between_the_extremes(
    opinions: list[Decimal], random: object
) -> None:
    shuffled = sorted(opinions, key=lambda _: random.random())  # type: ignore[attr-defined]  # hypothesis's Random has no public type
    assert policy.mean(shuffled) == policy.mean(opinions)
    assert min(opinions) <= policy.mean(opinions) <= max(opinions)


@given(points, points, points)
def test_a_median_is_one_of_the_three_in_any_order_and_ignores_an_outlier(
    first: Decimal, second: Decimal, third: Decimal
) -> None:
    results = {policy.median_of_three(order) for order in permutations((first, second, third))}
    assert len(results) == 1
    assert results <= {first, second, third}
    assert policy.median_of_three((first, first, third)) == first


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_median_of_three_takes_three(count: int) -> None:
    with pytest.raises(ValueError, match="three"):
        policy.median_of_three([TEN] * count)


@given(st.lists(st.tuples(points, st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 40))
def test_a_total_stays_on_the_assignments_scale(
    parts: list[tuple[Decimal, int]], possible: int
) -> None:
    criteria = [Criterion(str(at), "", "", Decimal(most)) for at, (_, most) in enumerate(parts)]
    earned = {str(at): min(given, Decimal(most)) for at, (given, most) in enumerate(parts)}
    full = {str(at): Decimal(most) for at, (_, most) in enumerate(parts)}
    total = policy.total(earned, criteria, Decimal(possible))
    assert 0 <= total <= possible
    assert policy.total(full, criteria, Decimal(possible)) == possible
    assert policy.total(dict.fromkeys(earned, Decimal(0)), criteria, Decimal(possible)) == 0


def test_a_total_on_the_rubrics_own_scale_is_the_exact_sum() -> None:
    criteria = [Criterion("a", "", "", Decimal(1)), Criterion("b", "", "", Decimal(2))]
    third = Decimal(1) / 3
    assert policy.total({"a": third, "b": third}, criteria, Decimal(3)) == third + third


LATE = LatePolicy(Decimal(10), Decimal(35), timedelta(hours=1))


@pytest.mark.parametrize(
    ("late_by", "penalty"),
    [
        (None, "0"),
        (timedelta(0), "0"),
        (timedelta(hours=1), "0"),
        (timedelta(hours=1, seconds=1), "2"),
        (timedelta(days=1, hours=1), "2"),
        (timedelta(days=1, hours=1, microseconds=1), "4"),
        (timedelta(days=3), "6"),
        (timedelta(days=30), "7"),
    ],
)
def test_each_started_day_after_the_grace_costs_up_to_the_cap(
    late_by: timedelta | None, penalty: str
) -> None:
    assert policy.late_penalty(Decimal(15), Decimal(20), late_by, LATE) == Decimal(penalty)


delays = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=60))
rates = st.decimals(min_value=0, max_value=200, places=1)
caps = st.decimals(min_value=0, max_value=100, places=1)


@given(points, delays, delays, rates, caps)
def test_being_later_never_costs_less_and_never_more_than_the_score(
    score: Decimal, one: timedelta, other: timedelta, rate: Decimal, cap: Decimal
) -> None:
    rule = LatePolicy(rate, cap, timedelta(hours=2))
    sooner = policy.late_penalty(score, TEN, min(one, other), rule)
    later = policy.late_penalty(score, TEN, max(one, other), rule)
    assert 0 <= sooner <= later <= min(score, TEN * cap / 100)


def test_no_late_policy_no_deduction() -> None:
    assert policy.late_penalty(TEN, TEN, timedelta(days=9), None) == 0


@given(points, points)
def test_divergence_is_symmetric_and_means_more_than_the_share(
    first: Decimal, second: Decimal
) -> None:
    apart = policy.diverges(criterion(), first, second, STRICT)
    assert apart == policy.diverges(criterion(), second, first, STRICT)
    assert apart == (abs(first - second) > 2)


def test_two_levels_apart_diverges_even_where_the_points_are_close() -> None:
    levels = tuple(Level(str(at), "", Decimal(at), Decimal(at)) for at in range(11))
    fine = Criterion("c", "C", "", TEN, levels)
    assert policy.diverges(fine, Decimal(5), Decimal(7), STRICT)
    assert not policy.diverges(fine, Decimal(5), Decimal(6), STRICT)


def test_the_nearest_level_holds_the_points_or_is_next_to_them(levelled: Criterion) -> None:
    names = {
        value: level.id
        for value in ("0", "0.4", "0.5", "1", "2.2", "2.5", "2.6", "4")
        if (level := policy.nearest_level(levelled, Decimal(value)))
    }
    assert names == {
        "0": "none",
        "0.4": "none",
        "0.5": "none",
        "1": "some",
        "2.2": "some",
        "2.5": "some",
        "2.6": "high",
        "4": "high",
    }
    assert policy.nearest_level(criterion(), Decimal(1)) is None


@pytest.mark.parametrize(
    ("given_points", "score", "decision", "doubted"),
    [
        ([], "0", Decision.NONE, False),
        (["7"], "7", Decision.SINGLE, False),
        (["6", "7.5"], "6.75", Decision.MEAN, False),
        (["2", "9"], "5.5", Decision.MEAN, True),
        (["2", "9", "8"], "8", Decision.MEDIAN, False),
        (["1", "9", "5"], "5", Decision.MEDIAN, True),
    ],
)
def test_decisions(given_points: list[str], score: str, decision: Decision, doubted: bool) -> None:
    opinions = [opinion(Decimal(value)) for value in given_points]
    decided, reason = policy.decide(criterion(), opinions, STRICT)
    assert (decided.points, decided.decision) == (Decimal(score), decision)
    assert (reason is not None) == doubted
    if reason:
        assert reason.code is ReviewCode.GRADERS_DISAGREE


@given(st.lists(st.tuples(points, st.floats(0, 1)), min_size=1, max_size=3))
def test_a_decision_does_not_depend_on_who_spoke_first(given_: list[tuple[Decimal, float]]) -> None:
    opinions = [opinion(value, confidence) for value, confidence in given_]
    decisions = {policy.decide(criterion(), order, STRICT) for order in permutations(opinions)}
    assert len(decisions) == 1


def test_low_confidence_names_the_criterion() -> None:
    unsure, _ = policy.decide(criterion(), [opinion(TEN, 0.2)], STRICT)
    sure, _ = policy.decide(criterion(), [opinion(TEN, 0.9)], STRICT)
    (reason,) = policy.confidence_reasons([unsure, sure], STRICT)
    assert (reason.code, reason.criterion_id) == (ReviewCode.LOW_CONFIDENCE, "c")


def test_sampling_is_deterministic_and_near_its_rate() -> None:
    rule = GradingPolicy(sample_rate=Decimal("0.2"), sample_key="run 1")
    chosen = {f"a{n}" for n in range(2_000) if policy.is_sampled(f"a{n}", rule)}
    assert chosen == {f"a{n}" for n in range(2_000) if policy.is_sampled(f"a{n}", rule)}
    assert 320 < len(chosen) < 480
    other = GradingPolicy(sample_rate=Decimal("0.2"), sample_key="run 2")
    assert chosen != {f"a{n}" for n in range(2_000) if policy.is_sampled(f"a{n}", other)}


@given(st.text())
def test_a_rate_of_none_and_of_all(attempt: str) -> None:
    assert not policy.is_sampled(attempt, GradingPolicy(sample_rate=Decimal(0)))
    assert policy.is_sampled(attempt, GradingPolicy(sample_rate=Decimal(1)))


def test_an_agreed_attempt_is_proposed_unless_it_is_sampled() -> None:
    assert policy.outcome([], "a", STRICT) == (Outcome.PROPOSED, ())
    sampled = GradingPolicy(sample_rate=Decimal(1))
    outcome, reasons = policy.outcome([], "a", sampled)
    assert outcome is Outcome.NEEDS_HUMAN
    assert [reason.code for reason in reasons] == [ReviewCode.SAMPLED_FOR_REVIEW]


@given(st.sampled_from(ReviewCode))
def test_every_reason_needs_a_person_and_is_said_once(code: ReviewCode) -> None:
    reason = ReviewReason(code, None, "why")
    assert policy.outcome([reason, reason], "a", STRICT) == (Outcome.NEEDS_HUMAN, (reason,))
