"""What the members of the grading team are sent and what they answer."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from agents.grading.brief import Criterion, Exemplar, Role
from agents.ports import Passage

Points = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""Points as a JSON number; a Decimal here."""

Confidence = Annotated[
    float,
    Field(allow_inf_nan=False),
    AfterValidator(lambda value: min(1.0, max(0.0, value))),
]
"""0..1; a member's value outside is brought to the nearer bound."""


class CriterionVerdict(BaseModel):
    """One grader's judgement of one criterion."""

    model_config = ConfigDict(frozen=True)

    criterion_id: str
    level_id: str | None = Field(description="Id of the chosen level; null when there are none.")
    points: Points
    confidence: Confidence = Field(description="From 0 to 1.")
    rationale: str = Field(description="Why these points, in at most three sentences.")
    quotes: list[str] = Field(description="Passages of the answer, word for word.")


class GradeVerdict(BaseModel):
    """One grader's judgement of one attempt."""

    model_config = ConfigDict(frozen=True)

    criteria: list[CriterionVerdict]
    off_topic: bool = Field(description="The text does not address the assignment at all.")


class Repair(BaseModel):
    """What code found wrong in an earlier verdict of the same seat."""

    model_config = ConfigDict(frozen=True)

    verdict: GradeVerdict
    problems: tuple[str, ...]


class CriterionPassages(BaseModel):
    """Course material found for one criterion."""

    model_config = ConfigDict(frozen=True)

    criterion_id: str
    passages: tuple[Passage, ...]


class GradeRequest(BaseModel):
    """One attempt and its rubric. `text` went through the guard; nothing names the student."""

    model_config = ConfigDict(frozen=True)

    role: Role
    model: str
    prompt_version: str
    assignment_prompt: str
    reference_answer: str | None
    criteria: tuple[Criterion, ...]
    exemplars: tuple[Exemplar, ...]
    passages: tuple[CriterionPassages, ...]
    text: str
    language: str | None
    datamarked: bool
    repair: Repair | None = None


class CriterionOutcome(BaseModel):
    """A decided criterion, as the feedback writer sees it."""

    model_config = ConfigDict(frozen=True)

    criterion_id: str
    title: str
    points: Decimal
    highest: Decimal
    level_title: str | None
    rationales: tuple[str, ...]
    quotes: tuple[str, ...]


class FeedbackRequest(BaseModel):
    """The decided scores. There is nothing in the answer that could change them."""

    model_config = ConfigDict(frozen=True)

    model: str
    prompt_version: str
    assignment_prompt: str
    language: str
    criteria: tuple[CriterionOutcome, ...]
    score: Decimal
    penalty: Decimal
    points_possible: Decimal


class FeedbackText(BaseModel):
    """What the student reads beside the scores."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(min_length=1, description="Feedback addressed to the student.")
