"""What graders found, as the API shows it: assessments, their evidence, reasons to look."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from agents.grading.result import ReviewCode
from persistence.tables.grading import Assessor
from resolvers import assignments, grading, rubrics
from resolvers.context import RequestContext
from schema.enums import described_enum
from schema.fields import batched, described
from schema.rubrics import Criterion, Level

if TYPE_CHECKING:
    from schema.assignments import Question

QuestionRef = Annotated["Question", strawberry.lazy("schema.assignments")]

described_enum(
    ReviewCode,
    "Why a person must look.",
    EMPTY_SUBMISSION="There is no answer.",
    OFF_TOPIC="The text does not seem to address the assignment.",
    SUSPECTED_INSTRUCTIONS="The text seems to speak to the graders.",
    HIDDEN_TEXT="The text has parts a reader cannot see.",
    UNVERIFIED_EVIDENCE="A quotation is not in the text.",
    INVALID_VERDICT="A grader's answer does not fit the rubric.",
    GRADERS_DISAGREE="No two graders agree.",
    LOW_CONFIDENCE="The graders are not sure.",
    TOO_LONG="Only the beginning was read.",
    SAMPLED_FOR_REVIEW="The graders agree; chosen for a routine check.",
)
described_enum(
    Assessor,
    "Who assessed.",
    AI="A model.",
    HUMAN="A person of the course's staff.",
    PEER="A fellow student.",
    SELF="The author.",
)


class AssessmentSlot(StrEnum):
    """A seat of the grading team that assesses."""

    A = "A"
    B = "B"
    ARBITER = "ARBITER"


described_enum(
    AssessmentSlot,
    "A seat of the grading team.",
    A="The first grader.",
    B="The second grader, who does not see the first.",
    ARBITER="The third reader, of what the two disagree about.",
)


@strawberry.type(description="A quotation of the student's text.")
class EvidenceSpan:
    start: int = described("Where it begins, in code points of the answer; 0 if not verified.")
    end: int = described("Where it ends, exclusive; 0 if not verified.")
    quote: str = described("The quotation.")
    verified: bool = described("Whether it stands in the answer, word for word.")


@strawberry.type(description="What an assessor says of one criterion.")
class CriterionAssessment:
    points: Decimal = described("The points.")
    confidence: float = described("How sure the assessor is, 0 to 1.")
    rationale: str = described("Why these points.")

    @batched("The criterion.")
    async def criterion(parents: Sequence[Any], context: RequestContext) -> Sequence[Criterion]:
        return await rubrics.get_criteria(context, [c.criterion_id for c in parents])

    @batched("The level; null where the criterion has none.")
    async def level(parents: Sequence[Any], context: RequestContext) -> Sequence[Level | None]:
        return await rubrics.get_levels(context, [c.level_id for c in parents])

    @batched("The quotations it rests on.")
    async def evidence(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[EvidenceSpan]]:
        return await grading.list_evidence(parents, context)


@strawberry.type(description="What one assessor found about the answer to one question.")
class Assessment:
    assessor: Assessor = described("Who assessed.")
    slot: AssessmentSlot = described("The assessor's seat in the team.")
    generation: int = described("Of which grading of the task: 1 for the first.")
    model: str = described("The model, as provider:model.")
    prompt_version: str = described("The version of its instructions.")

    @batched("The question.")
    async def question(parents: Sequence[Any], context: RequestContext) -> Sequence[QuestionRef]:
        return await assignments.get_questions(context, [a.question_id for a in parents])

    @batched("What it says of each criterion; of an arbiter, those in dispute.")
    async def criteria(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[CriterionAssessment]]:
        return await grading.list_criterion_assessments(parents, context)


@strawberry.type(description="Why a person must look.")
class ReviewReason:
    code: ReviewCode = described("The kind of reason.")
    detail: str = described("The reason, for the reviewer.")

    @batched("The criterion it is about; null when it is about the whole answer.")
    async def criterion(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Criterion | None]:
        return await rubrics.get_criteria(context, [r.criterion_id for r in parents])

    @batched("The question it is about.")
    async def question(parents: Sequence[Any], context: RequestContext) -> Sequence[QuestionRef]:
        return await assignments.get_questions(context, [r.question_id for r in parents])
