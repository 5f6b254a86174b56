"""What a grading run asks for: the assignment, its rubric and the policy, and the text to grade."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum


class Role(StrEnum):
    """Seats of the team. A, B and ARBITER are also the slots of an assessment."""

    GRADER_A = "A"
    GRADER_B = "B"
    ARBITER = "ARBITER"
    FEEDBACK = "FEEDBACK"


@dataclass(frozen=True, slots=True)
class Level:
    """A rating of a criterion; `min_points == max_points` where it has one value."""

    id: str
    title: str
    min_points: Decimal
    max_points: Decimal
    description: str = ""

    def __post_init__(self) -> None:
        if self.min_points > self.max_points:
            raise ValueError(f"level {self.id}: min_points is above max_points")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One row of the rubric. `points` is the most it can earn; levels are in any order."""

    id: str
    title: str
    guidelines: str
    points: Decimal
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        if self.points <= self.lowest:
            raise ValueError(f"criterion {self.id}: points must be above its lowest level")

    @property
    def lowest(self) -> Decimal:
        """The fewest points it can earn: 0, or less where a level says so."""
        return min((level.min_points for level in self.levels), default=Decimal(0))

    @property
    def span(self) -> Decimal:
        """Points between the lowest and the highest score; positive."""
        return self.points - self.lowest

    @property
    def ordered_levels(self) -> tuple[Level, ...]:
        """Levels from the fewest points to the most."""
        return tuple(sorted(self.levels, key=lambda level: (level.max_points, level.min_points)))


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An approved, de-identified answer with a human's points for each criterion id."""

    text: str
    points: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """`percent_per_day` of the points possible for each started day after `grace`, up to `cap`.

    `cap_percent` bounds the deduction, in percent of the points possible.
    """

    percent_per_day: Decimal
    cap_percent: Decimal = Decimal(100)
    grace: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.percent_per_day < 0 or not 0 <= self.cap_percent <= 100:
            raise ValueError("percent_per_day must be at least 0 and cap_percent from 0 to 100")


@dataclass(frozen=True, slots=True)
class GradingPolicy:
    """When two opinions are too far apart and what a person must see.

    `divergence_percent`: of a criterion's range. `level_gap`: levels apart that are still close.
    `min_confidence`: 0..1. `sample_rate`: 0..1 of the agreed attempts, chosen by a hash of
    `sample_key` and the attempt's id. `max_characters`: code points the graders read.
    """

    divergence_percent: Decimal = Decimal(25)
    level_gap: int = 1
    min_confidence: float = 0.4
    sample_rate: Decimal = Decimal("0.05")
    sample_key: str = ""
    max_characters: int = 60_000

    def __post_init__(self) -> None:
        if self.divergence_percent < 0 or self.level_gap < 0 or self.max_characters < 1:
            raise ValueError("a limit of the grading policy is out of range")
        if not 0 <= self.sample_rate <= 1 or not 0 <= self.min_confidence <= 1:
            raise ValueError("sample_rate and min_confidence are from 0 to 1")


@dataclass(frozen=True, slots=True)
class GradingBrief:
    """Everything the team knows besides the attempt's text. `language` is that of the feedback."""

    assignment_prompt: str
    criteria: tuple[Criterion, ...]
    points_possible: Decimal
    reference_answer: str | None = None
    exemplars: tuple[Exemplar, ...] = ()
    policy: GradingPolicy = field(default_factory=GradingPolicy)
    late_by: timedelta | None = None
    late_policy: LatePolicy | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        if not self.criteria:
            raise ValueError("a rubric has at least one criterion")
        if len({criterion.id for criterion in self.criteria}) != len(self.criteria):
            raise ValueError("criterion ids must be unique")
        if self.points_possible <= 0:
            raise ValueError("points_possible must be positive")


@dataclass(frozen=True, slots=True)
class AttemptText:
    """The canonical (NFC) text of an attempt; evidence offsets are its code points."""

    id: str
    text: str
    language: str | None = None

    def __post_init__(self) -> None:
        if not unicodedata.is_normalized("NFC", self.text):
            raise ValueError("the attempt's text is not NFC-normalised")
