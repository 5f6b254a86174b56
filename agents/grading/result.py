"""What the team hands back: a proposal, or what a person has to decide, with the evidence."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from agents.grading.brief import Role


class Outcome(StrEnum):
    """End states of the team; both leave the grade to a person."""

    PROPOSED = "PROPOSED"
    NEEDS_HUMAN = "NEEDS_HUMAN"


class ReviewCode(StrEnum):
    """Why a person must look."""

    EMPTY_SUBMISSION = "EMPTY_SUBMISSION"
    OFF_TOPIC = "OFF_TOPIC"
    SUSPECTED_INSTRUCTIONS = "SUSPECTED_INSTRUCTIONS"
    HIDDEN_TEXT = "HIDDEN_TEXT"
    UNVERIFIED_EVIDENCE = "UNVERIFIED_EVIDENCE"
    INVALID_VERDICT = "INVALID_VERDICT"
    GRADERS_DISAGREE = "GRADERS_DISAGREE"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    TOO_LONG = "TOO_LONG"
    SAMPLED_FOR_REVIEW = "SAMPLED_FOR_REVIEW"


@dataclass(frozen=True, slots=True)
class ReviewReason:
    """`detail` is a sentence for the reviewer; `criterion_id` is None where it is about all."""

    code: ReviewCode
    criterion_id: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class GuardFinding:
    """`start`/`end` are code points of the original text. `code`: HIDDEN_TEXT or
    SUSPECTED_INSTRUCTIONS.
    """

    code: ReviewCode
    start: int
    end: int
    detail: str


@dataclass(frozen=True, slots=True)
class EvidenceSpan:
    """A quote. Verified: `quote` is exactly `text[start:end]` of the attempt's original text.

    Not verified: `start` and `end` are 0 and `quote` is what the grader claimed.
    """

    start: int
    end: int
    quote: str
    verified: bool


@dataclass(frozen=True, slots=True)
class CriterionAssessment:
    """One seat's judgement of a criterion after verification; points are within its range."""

    criterion_id: str
    level_id: str | None
    points: Decimal
    confidence: float
    rationale: str
    evidence: tuple[EvidenceSpan, ...]


@dataclass(frozen=True, slots=True)
class Assessment:
    """One seat's judgement. An arbiter's covers only the criteria in dispute."""

    slot: Role
    provider: str
    model: str
    prompt_version: str
    criteria: tuple[CriterionAssessment, ...]
    off_topic: bool = False

    def of(self, criterion_id: str) -> CriterionAssessment | None:
        """This seat's judgement of a criterion, or None where it gave none."""
        return next((item for item in self.criteria if item.criterion_id == criterion_id), None)


class Decision(StrEnum):
    """How the points of a criterion came about."""

    MEAN = "MEAN"
    MEDIAN = "MEDIAN"
    SINGLE = "SINGLE"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class CriterionScore:
    """The team's points for a criterion. `level_id`: the level whose range is nearest."""

    criterion_id: str
    points: Decimal
    level_id: str | None
    confidence: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class GradingResult:
    """`score` is before, `final_score` after the late `penalty` (0 ≤ penalty)."""

    outcome: Outcome
    reasons: tuple[ReviewReason, ...]
    assessments: tuple[Assessment, ...]
    criteria: tuple[CriterionScore, ...]
    score: Decimal
    penalty: Decimal
    feedback: str
    findings: tuple[GuardFinding, ...]

    @property
    def final_score(self) -> Decimal:
        """Points after the late deduction."""
        return self.score - self.penalty
