"""Submissions, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.lifecycle.submissions import AttemptState, SubmissionState
from resolvers import assignments, grades, submissions
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.assignments import Assignment, Question
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.grades import GradeResult
from schema.node import IDEMPOTENCY_KEY, Node, part_id
from schema.users import User

described_enum(
    SubmissionState,
    "Where a submission stands.",
    UNSUBMITTED="Nothing was handed in.",
    DRAFTING="Begun, not handed in.",
    SUBMITTED="Handed in.",
    RETURNED_FOR_REVISION="Given back to be revised.",
)
described_enum(
    AttemptState,
    "Where an attempt stands.",
    RECEIVED="Accepted.",
    EXTRACTING="Its files are being read.",
    READY="Can be graded.",
    EXTRACT_FAILED="Its files could not be read.",
    QUARANTINED="Held back for a person to look at.",
)


@strawberry.type(description="The answer to one question. Evidence offsets are its code points.")
class QuestionResponse:
    id = part_id()
    text: str = described("The text, in Unicode normal form C.")

    @batched("The question.")
    async def question(parents: Sequence[Any], context: RequestContext) -> Sequence[Question]:
        return await assignments.get_questions(context, [r.question_id for r in parents])


@strawberry.type(description="One handing-in.")
class Attempt(Node):
    number: int = described("1 for the first.")
    state: AttemptState = described("Where it stands.")

    @batched("SHA-256 of what was handed in; null where it is hidden when it came.")
    async def sha256(parents: Sequence[Any], context: RequestContext) -> Sequence[str | None]:
        return [a and a.sha256 for a in await submissions.get_receipts(parents, context)]

    @batched("How late it was, in seconds, 0 when in time; null where it is hidden when it came.")
    async def late_by_seconds(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[int | None]:
        receipts = await submissions.get_receipts(parents, context)
        return [a and int(a.late_by.total_seconds()) for a in receipts]

    @batched("When it came; null for who marks blind, and under anonymous marking but for oneself.")
    async def submitted_at(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[datetime | None]:
        return [a and a.submitted_at for a in await submissions.get_receipts(parents, context)]

    @batched("Its answers.")
    async def responses(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[QuestionResponse]]:
        return await submissions.list_responses(parents, context)


@strawberry.type(description="One student's work for one assignment.")
class Submission(Node):
    alias: str = described("What markers call it; says nothing of its author.")
    state: SubmissionState = described("Where it stands.")

    @batched("The assignment.")
    async def assignment(parents: Sequence[Any], context: RequestContext) -> Sequence[Assignment]:
        return await assignments.get_assignments(context, [s.assignment_id for s in parents])

    @batched("Whose it is; null for who marks blind, and under anonymous marking but for oneself.")
    async def student(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await submissions.get_students_of_submissions(parents, context)

    @batched("Its attempts, newest first.")
    async def attempts(parents: Sequence[Any], context: RequestContext) -> Sequence[list[Attempt]]:
        return await submissions.list_attempts(parents, context)

    @batched("Its grade, or that there is none to be read yet.")
    async def grade(parents: Sequence[Any], context: RequestContext) -> Sequence[GradeResult]:
        return await grades.get_grade_results(parents, context)


@strawberry.input(description="An answer to one question.")
class NewResponseInput:
    question_id: strawberry.ID = strawberry.field(description="The question.")
    text: str = strawberry.field(description="The answer, up to 200,000 characters; may be empty.")


@strawberry.input(description="An attempt to be handed in.")
class SubmitAttemptInput:
    assignment_id: strawberry.ID = strawberry.field(description="The assignment.")
    responses: list[NewResponseInput] = strawberry.field(
        description="An answer to each of its questions."
    )
    student_id: strawberry.ID | None = strawberry.field(
        default=None, description="For whom, when an instructor hands in for a student."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What submitAttempt did.")
class SubmitAttemptPayload:
    submission: Submission | None = described("The submission; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class SubmissionMutations:
    submit_attempt = mutation(
        submissions.submit_attempt,
        permission=Permission.SUBMISSION_WRITE,
        input_type=SubmitAttemptInput,
        payload=SubmitAttemptPayload,
        noun="submission",
        load=submissions.load_submissions,
        text="Hands in an attempt. Refused after the lock date and past the attempts allowed.",
    )


LOADERS = {"Attempt": submissions.get_attempts, "Submission": submissions.load_submissions}
