"""Assignments, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.lifecycle.assignments import AssignmentState
from persistence.tables.assignments import AiPolicy, AssignmentKind, Guarding
from resolvers import allocations, assignments, courses, grades, grading, rubrics, submissions
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.allocations import MarkingAllocation
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.grades import Grade
from schema.grading import GradingRun
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connections
from schema.rubrics import RubricVersion

if TYPE_CHECKING:
    from schema.courses import Course
    from schema.submissions import Submission

SubmissionRef = Annotated["Submission", strawberry.lazy("schema.submissions")]
CourseRef = Annotated["Course", strawberry.lazy("schema.courses")]

described_enum(
    AssignmentState,
    "Where an assignment stands.",
    DRAFT="Being written; students do not see it.",
    PUBLISHED="Open to the course's students.",
    CLOSED="Takes no more submissions.",
    ARCHIVED="Kept for the record.",
)
described_enum(
    AssignmentKind,
    "What is asked for.",
    ESSAY="A longer text.",
    SHORT_ANSWER="A few sentences.",
    CODE="Source code.",
    MCQ="A choice among given answers.",
)
described_enum(
    AiPolicy,
    "What the tutor may do about an assignment while it is open.",
    OPEN="Answer freely.",
    HINTS="Give hints and point at the material, never the answer.",
    CLOSED="Decline.",
)
described_enum(
    Guarding,
    "How the tutor kept a question from graded work.",
    HINTED="It gave hints.",
    REFUSED="It declined.",
    LANGUAGE="It gave hints since it could not tell, in that language, what the question is about.",
)


@strawberry.type(description="A de-identified answer with an instructor's marks.")
class AnchorPaper(Node):
    text: str = described("The answer.")


@strawberry.type(description="One prompt of an assignment, graded under one rubric version.")
class Question(Node):
    position: int = described("Its place in the assignment, from 0.")
    prompt: str = described("What is asked.")
    points: Decimal = described("What it is worth.")

    @batched("What a full answer says; for those who design the course, else null.")
    async def reference_answer(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[str | None]:
        return await assignments.get_reference_answers(parents, context)

    @batched("The rubric version it is graded by; null until one is chosen.")
    async def rubric_version(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[RubricVersion | None]:
        return await rubrics.get_versions(context, [q.rubric_version_id for q in parents])

    @batched("Its anchor papers; for those who design the course, else empty.")
    async def anchor_papers(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[AnchorPaper]]:
        return await assignments.list_anchor_papers(parents, context)


@strawberry.type(description="How often the tutor kept questions from graded work, one way.")
class GuardedQuestions:
    guarding: Guarding = described("The way.")
    questions: int = described("How many questions.")


@strawberry.type(description="Graded work of a course.")
class Assignment(Node):
    title: str = described("Its title.")
    kind: AssignmentKind = described("What is asked for.")
    instructions: str = described("What students read first.")
    points: Decimal = described("The sum of its questions' points.")
    unlock_at: datetime | None = described("When it opens; null when it is open.")
    due_at: datetime | None = described("When it is due; null when it never is.")
    lock_at: datetime | None = described("After this nothing is taken; null when never.")
    attempts_allowed: int = described("How often a student may hand in.")
    anonymous: bool = described("Whether markers see aliases instead of names.")
    ai_policy: AiPolicy = described("What the tutor may do about it while it is open.")
    state: AssignmentState = described("Where it stands.")

    @batched(
        "How often the tutor kept students' questions from it while it was open, in all; for those "
        "who design it, else null with an error."
    )
    async def guarded_questions(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[GuardedQuestions] | None]:
        return await assignments.list_guarded(parents, context)

    @batched("The course.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[CourseRef]:
        return await courses.get_courses(context, [a.course_id for a in parents])

    @batched("Its questions, in their order; none before it opens, but for its designers.")
    async def questions(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[Question]]:
        return await assignments.list_questions(parents, context)

    @batched("The submissions the viewer sees, by alias.", first=FIRST, after=AFTER)
    async def submissions(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[SubmissionRef]]:
        return connections(await submissions.list_submissions(parents, context, first, after))

    @batched("The viewer's own submission; null before the first attempt.")
    async def my_submission(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[SubmissionRef | None]:
        return await submissions.get_own_submissions(parents, context)

    @batched(
        "Its grading runs, newest first; for its instructors and markers, admins and auditors, "
        "else null with an error.",
        first=FIRST,
        after=AFTER,
    )
    async def grading_runs(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[GradingRun] | None]:
        return connections(await grading.list_runs(parents, context, first, after))

    @batched(
        "Its grades; for its instructors, auditors and those who mark with sight, else null with "
        "an error.",
        first=FIRST,
        after=AFTER,
    )
    async def grades(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Grade] | None]:
        return connections(await grades.list_grades(parents, context, first, after))

    @batched(
        "Who marks what, by alias; all for its instructors, else the viewer's own.",
        first=FIRST,
        after=AFTER,
    )
    async def allocations(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[MarkingAllocation]]:
        return connections(await allocations.list_allocations(parents, context, first, after))


@strawberry.input(description="A question to be written.")
class NewQuestionInput:
    prompt: str = strawberry.field(description="What is asked.")
    points: Decimal = strawberry.field(description="What it is worth: its rubric's total.")
    reference_answer: str | None = strawberry.field(
        default=None, description="What a full answer says; students never see it."
    )
    rubric_id: strawberry.ID | None = strawberry.field(
        default=None, description="A rubric with a published version, which is pinned."
    )


@strawberry.input(description="What lateness costs.")
class LatePolicyInput:
    percent_per_day: Decimal = strawberry.field(
        description="Percent of the points possible for each day begun, 0 to 100."
    )
    cap_percent: Decimal = strawberry.field(
        default=Decimal(100), description="The most it can cost, in percent of the points possible."
    )
    grace_minutes: int = strawberry.field(default=0, description="Lateness that costs nothing.")


@strawberry.input(description="An assignment to be drafted.")
class CreateAssignmentInput:
    course_id: strawberry.ID = strawberry.field(description="The course.")
    title: str = strawberry.field(description="Its title.")
    kind: AssignmentKind = strawberry.field(description="What is asked for.")
    instructions: str = strawberry.field(default="", description="What students read first.")
    questions: list[NewQuestionInput] = strawberry.field(description="Its questions, 1 to 50.")
    unlock_at: datetime | None = strawberry.field(default=None, description="When it opens.")
    due_at: datetime | None = strawberry.field(default=None, description="When it is due.")
    lock_at: datetime | None = strawberry.field(
        default=None, description="After this nothing is taken."
    )
    attempts_allowed: int = strawberry.field(
        default=1, description="How often a student may hand in."
    )
    late_policy: LatePolicyInput | None = strawberry.field(
        default=None, description="What lateness costs; nothing when left out."
    )
    anonymous: bool = strawberry.field(
        default=False, description="Whether markers see aliases instead of names."
    )
    ai_policy: AiPolicy = strawberry.field(
        default=AiPolicy.HINTS, description="What the tutor may do about it while it is open."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createAssignment did.")
class CreateAssignmentPayload:
    assignment: Assignment | None = described("The draft; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An assignment to be published.")
class PublishAssignmentInput:
    assignment_id: strawberry.ID = strawberry.field(description="The assignment.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What publishAssignment did.")
class PublishAssignmentPayload:
    assignment: Assignment | None = described("The assignment; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Points for one criterion.")
class MarkInput:
    criterion_id: strawberry.ID = strawberry.field(description="The criterion.")
    points: Decimal = strawberry.field(description="The points.")


@strawberry.input(description="An anchor paper to be written.")
class CreateAnchorPaperInput:
    question_id: strawberry.ID = strawberry.field(description="The question it answers.")
    text: str = strawberry.field(description="The answer, with nothing that names its author.")
    marks: list[MarkInput] = strawberry.field(description="A mark for each criterion.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createAnchorPaper did.")
class CreateAnchorPaperPayload:
    anchor_paper: AnchorPaper | None = described("The anchor paper; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class AssignmentMutations:
    create_assignment = mutation(
        assignments.create_assignment,
        permission=Permission.ASSIGNMENT_WRITE,
        input_type=CreateAssignmentInput,
        payload=CreateAssignmentPayload,
        noun="assignment",
        load=assignments.load_assignments,
        text="Drafts an assignment.",
    )
    publish_assignment = mutation(
        assignments.publish_assignment,
        permission=Permission.ASSIGNMENT_WRITE,
        input_type=PublishAssignmentInput,
        payload=PublishAssignmentPayload,
        noun="assignment",
        load=assignments.load_assignments,
        text="Opens an assignment to the course's students.",
    )
    create_anchor_paper = mutation(
        assignments.create_anchor_paper,
        permission=Permission.ASSIGNMENT_WRITE,
        input_type=CreateAnchorPaperInput,
        payload=CreateAnchorPaperPayload,
        noun="anchor_paper",
        load=assignments.load_anchor_papers,
        text="Gives graders a marked answer to measure themselves by.",
    )


LOADERS = {
    "AnchorPaper": assignments.load_anchor_papers,
    "Assignment": assignments.load_assignments,
    "Question": assignments.load_questions,
}
