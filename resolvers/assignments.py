"""Assignments: drafted, then published for students to answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from persistence import assignments, courses, rubrics
from persistence.database import Connection, add
from persistence.keyset import Page
from persistence.lifecycle.assignments import (
    ASSIGNMENT,
    AssignmentEvent,
    AssignmentState,
    RubricVersionState,
)
from persistence.tables.assignments import (
    AiPolicy,
    AnchorPaperRow,
    AssignmentKind,
    AssignmentRow,
    GuardedQuestionRow,
    QuestionRow,
)
from persistence.tables.courses import CourseRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, optional, unless_refused
from resolvers.refusals import Refusal, RefusalCode


class NewQuestion(Protocol):
    """A question as it is written."""

    prompt: str
    points: Decimal
    reference_answer: str | None
    rubric_id: str | None


class LatePolicy(Protocol):
    """What lateness costs, in percent of the points possible."""

    percent_per_day: Decimal
    cap_percent: Decimal
    grace_minutes: int


class Mark(Protocol):
    """Points for one criterion."""

    criterion_id: str
    points: Decimal


async def load_assignments(
    context: RequestContext, ids: Sequence[UUID]
) -> list[AssignmentRow | None]:
    """Assignments by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        rows = await assignments.assignments_by_id(connection, context.viewer, ids)
    return in_order(ids, rows)


async def get_assignments(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[AssignmentRow | None]:
    """The assignments of rows the viewer sees."""
    rows = await load_assignments(context, [i for i in ids if i])
    return optional(ids, [row for row in rows if row is not None])


async def list_assignments(
    parents: Sequence[CourseRow], context: RequestContext, first: int, after: str | None
) -> list[Page[AssignmentRow]]:
    """The assignments of each course the viewer sees."""
    async with context.database.read() as connection:
        return await assignments.pages_of_assignments(
            connection, context.viewer, [c.id for c in parents], checks.page_size(first), after
        )


async def list_questions(
    parents: Sequence[AssignmentRow], context: RequestContext
) -> list[list[QuestionRow]]:
    """The questions of each assignment; none before it opens, except for its designers."""
    shown = [a.id for a in parents if _is_open_to(context, a)]
    async with context.database.read() as connection:
        rows = await assignments.questions_of(connection, shown)
    return by_parent([a.id for a in parents], rows, lambda row: row.assignment_id)


async def list_guarded(
    parents: Sequence[AssignmentRow], context: RequestContext
) -> list[list[GuardedQuestionRow] | Refusal]:
    """How often the tutor kept questions from each assignment; a refusal for who designs it not."""
    refusals = context.refusals(Permission.ASSIGNMENT_WRITE, [a.course_id for a in parents])
    keys = [a.id for a in parents]
    async with context.database.read() as connection:
        rows = await assignments.guarded_of(connection, keys)
    return unless_refused(refusals, by_parent(keys, rows, lambda row: row.assignment_id))


def _is_open_to(context: RequestContext, assignment: AssignmentRow) -> bool:
    return (
        assignment.course_id in _designed(context)
        or assignment.unlock_at is None
        or assignment.unlock_at <= context.now()
    )


def _designed(context: RequestContext) -> frozenset[UUID]:
    """The courses whose questions the viewer reads with their answers, before they open too."""
    return context.viewer.designs | context.viewer.reads("question")


async def load_questions(context: RequestContext, ids: Sequence[UUID]) -> list[QuestionRow | None]:
    """Questions by id; None for those the viewer does not see in their assignment."""
    rows = [row for row in await get_questions(context, ids) if row is not None]
    found = await load_assignments(context, [row.assignment_id for row in rows])
    pairs = zip(rows, found, strict=True)
    return in_order(ids, (row for row, of in pairs if of is not None and _is_open_to(context, of)))


async def get_questions(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[QuestionRow | None]:
    """Questions named by rows the viewer sees."""
    async with context.database.read() as connection:
        rows = await assignments.questions_by_id(
            connection, context.viewer.organization_id, [i for i in ids if i]
        )
    return optional(ids, rows)


async def get_reference_answers(
    parents: Sequence[QuestionRow], context: RequestContext
) -> list[str | None]:
    """The reference answers, for those who design the course; None for the rest."""
    designs = _designed(context)
    return [q.reference_answer if q.course_id in designs else None for q in parents]


async def list_anchor_papers(
    parents: Sequence[QuestionRow], context: RequestContext
) -> list[list[AnchorPaperRow]]:
    """The anchor papers of each question, for those who design the course."""
    designs = _designed(context)
    seen = [q.id for q in parents if q.course_id in designs]
    async with context.database.read() as connection:
        rows = await assignments.anchor_papers_of(connection, seen)
    return by_parent([q.id for q in parents], rows, lambda row: row.question_id)


async def load_anchor_papers(
    context: RequestContext, ids: Sequence[UUID]
) -> list[AnchorPaperRow | None]:
    """Anchor papers by id; None for those of courses the viewer does not design."""
    async with context.database.read() as connection:
        return in_order(ids, await assignments.anchor_papers_by_id(connection, context.viewer, ids))


async def create_assignment(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    title: str,
    kind: AssignmentKind,
    instructions: str,
    questions: Sequence[NewQuestion],
    unlock_at: datetime | None,
    due_at: datetime | None,
    lock_at: datetime | None,
    attempts_allowed: int,
    late_policy: LatePolicy | None,
    anonymous: bool,
    ai_policy: AiPolicy,
) -> UUID:
    """Drafts an assignment. Its points are the sum of its questions'."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.ASSIGNMENT_WRITE, course)
    if not await courses.courses_by_id(transaction.connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    checks.at_most(questions, "questions", most=50)
    if not 1 <= attempts_allowed <= 100:
        raise checks.bad("attemptsAllowed", "attemptsAllowed lies between 1 and 100.")
    assignment = AssignmentRow(
        organization_id=viewer.organization_id,
        course_id=course,
        title=checks.line(title, "title"),
        kind=kind,
        instructions=checks.prose(instructions, "instructions", most=20_000),
        points=sum((q.points for q in questions), Decimal(0)),
        **_dates(unlock_at, due_at, lock_at),
        attempts_allowed=attempts_allowed,
        late_policy=_late_policy(late_policy),
        anonymous=anonymous,
        ai_policy=ai_policy,
    )
    rows = [
        await _question(context, transaction.connection, assignment, i, q)
        for i, q in enumerate(questions)
    ]
    await add(transaction.connection, assignment)
    await add(transaction.connection, *rows)
    return assignment.id


async def publish_assignment(
    context: RequestContext, transaction: Transaction, *, assignment_id: str
) -> UUID:
    """Opens an assignment to the course's students."""
    key = key_of(assignment_id, "Assignment", ("input", "assignmentId"))
    found = await assignments.assignments_by_id(transaction.connection, context.viewer, [key])
    if not found:
        raise missing("assignment", ("input", "assignmentId"))
    context.require(Permission.ASSIGNMENT_WRITE, found[0].course_id)
    await assignments.move_assignment(
        transaction.connection,
        key,
        AssignmentState(found[0].state),
        ASSIGNMENT.advance(found[0].state, AssignmentEvent.PUBLISH),
    )
    return key


async def create_anchor_paper(
    context: RequestContext,
    transaction: Transaction,
    *,
    question_id: str,
    text: str,
    marks: Sequence[Mark],
) -> UUID:
    """Gives graders a de-identified answer with the instructor's marks to measure by."""
    key = key_of(question_id, "Question", ("input", "questionId"))
    connection = transaction.connection
    question = await assignments.question_of_designer(connection, context.viewer, key)
    if question is None:
        raise missing("question", ("input", "questionId"))
    viewer = context.require(Permission.ASSIGNMENT_WRITE, question.course_id)
    if question.rubric_version_id is None:
        raise Refusal(
            RefusalCode.INVALID_STATE, "The question has no rubric to mark by.", ("input",)
        )
    bounds = {
        row.id: row.points
        for row in await rubrics.criteria_of(connection, [question.rubric_version_id])
    }
    given = {key_of(m.criterion_id, "Criterion", ("input", "marks")): m.points for m in marks}
    if set(given) != set(bounds) or len(marks) != len(bounds):
        raise checks.bad("marks", f"Mark each of the rubric's {len(bounds)} criteria once.")
    paper = AnchorPaperRow(
        organization_id=viewer.organization_id,
        course_id=question.course_id,
        question_id=question.id,
        text=checks.prose(text, "text", most=200_000, least=1),
        marks={str(c): str(checks.points(p, "marks", most=bounds[c])) for c, p in given.items()},
    )
    await add(connection, paper)
    return paper.id


def _dates(
    unlock_at: datetime | None, due_at: datetime | None, lock_at: datetime | None
) -> dict[str, Any]:
    dates = {
        "unlock_at": checks.moment(unlock_at, "unlockAt"),
        "due_at": checks.moment(due_at, "dueAt"),
        "lock_at": checks.moment(lock_at, "lockAt"),
    }
    if due_at and lock_at and lock_at < due_at:
        raise checks.bad("lockAt", "lockAt lies before dueAt.")
    return dates


def _late_policy(policy: LatePolicy | None) -> dict[str, Any]:
    if policy is None:
        return {}
    percent, cap = policy.percent_per_day, policy.cap_percent
    if not (0 <= percent <= 100 and 0 <= cap <= 100 and 0 <= policy.grace_minutes <= 100_000):
        raise checks.bad("latePolicy", "Percentages lie between 0 and 100; minutes are positive.")
    return {
        "percent_per_day": str(percent),
        "cap_percent": str(cap),
        "grace_minutes": policy.grace_minutes,
    }


async def _question(
    context: RequestContext,
    connection: Connection,
    assignment: AssignmentRow,
    position: int,
    draft: NewQuestion,
) -> QuestionRow:
    points = checks.points(draft.points, "questions")
    if points == 0:
        raise checks.bad("questions", "A question is worth more than no points.")
    version_id = None
    if draft.rubric_id is not None:
        version_id = await _published_version(context, connection, assignment, draft, points)
    reference = draft.reference_answer
    return QuestionRow(
        organization_id=assignment.organization_id,
        course_id=assignment.course_id,
        assignment_id=assignment.id,
        position=position,
        prompt=checks.prose(draft.prompt, "questions", most=20_000, least=1),
        points=points,
        reference_answer=None
        if reference is None
        else checks.prose(reference, "questions", most=50_000),
        rubric_version_id=version_id,
    )


async def _published_version(
    context: RequestContext,
    connection: Connection,
    assignment: AssignmentRow,
    draft: NewQuestion,
    points: Decimal,
) -> UUID:
    key = key_of(draft.rubric_id or "", "Rubric", ("input", "questions"))
    found = await rubrics.rubrics_by_id(connection, context.viewer, [key])
    if not found or found[0].course_id != assignment.course_id:
        raise missing("rubric", ("input", "questions"))
    published = [
        v
        for v in await rubrics.versions_of(connection, [key])
        if v.state == RubricVersionState.PUBLISHED
    ]
    if not published:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"Publish the rubric {found[0].title!r} first.",
            ("input", "questions"),
        )
    rows = await rubrics.criteria_of(connection, [published[0].id])
    total = sum((row.points for row in rows), Decimal(0))
    if total != points:
        raise checks.bad(
            "questions", f"The rubric adds up to {total} points, the question to {points}."
        )
    return published[0].id
