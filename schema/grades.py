"""Grades, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import strawberry

from persistence.lifecycle.grades import GradeState
from persistence.tables.grades import DecidedBy
from resolvers import assignments, grades, rubrics, submissions, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.assessments import EvidenceSpan, QuestionRef
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.grading import SubmissionRef
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connections, part_id
from schema.rubrics import Criterion, Level
from schema.users import User

described_enum(
    GradeState,
    "Where a grade stands. What an AI decides ends at MARKED; all else takes a person.",
    NOT_MARKED="Nothing was decided.",
    IN_MARKING="It is being marked.",
    MARKED="The grading team proposes it.",
    IN_REVIEW="A person has decided it and may still change it.",
    READY_FOR_RELEASE="It is final and waits to be released.",
    RELEASED="The student reads it.",
    HIDDEN="It was released and is hidden again.",
    REOPENED="It was released and is being decided anew.",
)
described_enum(
    DecidedBy,
    "Who decided a version of a grade.",
    AI="The grading team.",
    HUMAN="A person, named in `decidedByUser`.",
)


@strawberry.type(description="The points a grade gives for one criterion, and what they rest on.")
class CriterionScore:
    points: Decimal = described("The points.")
    rationale: str = described("Why these points.")

    @batched("The question.")
    async def question(parents: Sequence[Any], context: RequestContext) -> Sequence[QuestionRef]:
        return await assignments.get_questions(context, [s.question_id for s in parents])

    @batched("The criterion.")
    async def criterion(parents: Sequence[Any], context: RequestContext) -> Sequence[Criterion]:
        return await rubrics.get_criteria(context, [s.criterion_id for s in parents])

    @batched("The level the points reach; null where the criterion has none.")
    async def level(parents: Sequence[Any], context: RequestContext) -> Sequence[Level | None]:
        return await rubrics.get_levels(context, [s.level_id for s in parents])

    @batched("Passages of the answer it rests on, each verified word for word.")
    async def evidence(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[EvidenceSpan]]:
        return await grades.list_evidence(parents, context)


@strawberry.type(description="One decision about a grade.")
class GradeVersion:
    id = part_id()
    number: int = described("1 for the first.")
    is_current: bool = described("Whether it is in force.")
    score: Decimal = described("Points before the penalty for lateness.")
    penalty: Decimal = described("Points taken off for lateness.")
    decided_by: DecidedBy = described("Who decided it.")
    reason: str = described("Why it was decided so.")
    feedback: str = described("What the student is told.")
    ledger_hash: str = described(
        "SHA-256 over the model calls behind it: shows whether they were changed afterwards."
    )
    created_at: datetime = described("When it was decided.")

    @strawberry.field(description="Points after the penalty.")
    def total(root: Any) -> Decimal:
        return root.score - root.penalty

    @batched("The person who decided it; null when it was the AI.")
    async def decided_by_user(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[User | None]:
        return await users.get_users(context, [v.decided_by_user_id for v in parents])

    @batched("The points for each criterion.")
    async def criteria(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[CriterionScore]]:
        return await grades.list_scores([v.id for v in parents], context)


@strawberry.type(description="What a student gets for an assignment, as it stands now.")
class Grade(Node):
    state: GradeState = described("Where it stands.")
    version: int = described("Counts its decisions, from 1.")
    score: Decimal = described("Points before the penalty for lateness.")
    penalty: Decimal = described("Points taken off for lateness.")
    points_possible: Decimal = described("What the assignment is worth.")
    feedback: str = described("What the student is told.")
    decided_by: DecidedBy = described("Who decided it.")
    reason: str = described("Why it was decided so.")
    released_at: datetime | None = described("When it was released; null before.")

    @strawberry.field(description="Points after the penalty.")
    def total(root: Any) -> Decimal:
        return root.score - root.penalty

    @batched("The person who decided it; null when it was the AI.")
    async def decided_by_user(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[User | None]:
        return await users.get_users(context, [g.decided_by_user_id for g in parents])

    @batched("The points for each criterion.")
    async def criteria(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[CriterionScore]]:
        return await grades.list_scores([g.version_id for g in parents], context)

    @batched(
        "How it came about, newest decision first; students, observers and who marks blind read "
        "the one in force.",
        first=FIRST,
        after=AFTER,
    )
    async def versions(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[GradeVersion]]:
        return connections(await grades.list_versions(parents, context, first, after))

    @batched(
        "Whose it is; null for who marks blind, and under anonymous marking unless one's own or "
        "observed."
    )
    async def student(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await submissions.get_students_of_grades(parents, context)

    @batched("The submission; null for an observer and an auditor.")
    async def submission(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[SubmissionRef | None]:
        return await submissions.get_submissions(context, [g.submission_id for g in parents])

    @classmethod
    def is_type_of(cls, obj: Any, info: Any) -> bool:
        """As every node, and never what stands for the lack of a grade."""
        return not isinstance(obj, grades.NotReleased) and super().is_type_of(obj, info)


@strawberry.type(description="There is no grade for you to read yet.")
class GradeNotReleased:
    message: str = described("Why, for the reader.")
    state: GradeState | None = described(
        "Where the grade stands; for those who run the course or mark the submission, else null."
    )

    @classmethod
    def is_type_of(cls, obj: Any, _info: Any) -> bool:
        """Told from a grade by its class."""
        return isinstance(obj, grades.NotReleased)


GradeResult = Annotated[
    Grade | GradeNotReleased,
    strawberry.union("GradeResult", description="A grade, or that there is none to be read yet."),
]


@strawberry.input(description="Points for one criterion.")
class ScoreInput:
    question_id: strawberry.ID | None = strawberry.field(
        default=None, description="The question; needed where several have the same criterion."
    )
    criterion_id: strawberry.ID = strawberry.field(description="The criterion.")
    points: Decimal = strawberry.field(description="The points, 0 to what it is worth.")


@strawberry.input(description="A grade to be decided by a person.")
class AdjustGradeInput:
    grade_id: strawberry.ID = strawberry.field(description="The grade.")
    scores: list[ScoreInput] = strawberry.field(
        default_factory=list,
        description="New points; criteria left out keep theirs, and none at all confirms them.",
    )
    feedback: str | None = strawberry.field(
        default=None, description="What the student is told; as before when left out."
    )
    reason: str = strawberry.field(description="Why; the student reads it beside the grade.")
    expected_version: int | None = strawberry.field(
        default=None,
        description="The `version` you read: CONFLICT when the grade was decided anew since.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What adjustGrade did.")
class AdjustGradePayload:
    grade: Grade | None = described("The grade; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Grades to be declared ready for release.")
class FinaliseGradesInput:
    grade_ids: list[strawberry.ID] = strawberry.field(description="Up to 100 grades.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What finaliseGrades did: all of it, or nothing.")
class FinaliseGradesPayload:
    grades: list[Grade] | None = described("The grades; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Grades to be released to their students.")
class ReleaseGradesInput:
    grade_ids: list[strawberry.ID] = strawberry.field(description="Up to 100 grades.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What releaseGrades did: all of it, or nothing.")
class ReleaseGradesPayload:
    grades: list[Grade] | None = described("The grades; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class GradeMutations:
    adjust_grade = mutation(
        grades.adjust_grade,
        permission=Permission.GRADE_ASSESS,
        input_type=AdjustGradeInput,
        payload=AdjustGradePayload,
        noun="grade",
        load=grades.load_grades,
        text="Decides a grade as a person: a new version, in your name; markers those of work "
        "allocated to them. The penalty for lateness is computed anew.",
    )
    finalise_grades = mutation(
        grades.finalise_grades,
        permission=Permission.GRADE_DECIDE,
        input_type=FinaliseGradesInput,
        payload=FinaliseGradesPayload,
        noun="grades",
        load=grades.load_grades,
        many=True,
        text="Declares grades ready for release; a moderator those allocated to them. One the "
        "graders asked a person to look at is refused until it was decided with adjustGrade.",
    )
    release_grades = mutation(
        grades.release_grades,
        permission=Permission.GRADE_RELEASE,
        input_type=ReleaseGradesInput,
        payload=ReleaseGradesPayload,
        noun="grades",
        load=grades.load_grades,
        many=True,
        text="Releases grades that are ready: their students read them from now on.",
    )


LOADERS = {"Grade": grades.load_grades}
