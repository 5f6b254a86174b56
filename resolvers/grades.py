"""Grades: read by their owner once released, decided and released by people."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from agents.grading.brief import Criterion
from persistence import answers, grades
from persistence.database import Conflict, Connection
from persistence.grades import DecidedGrade, ScoreEvidence
from persistence.keyset import Page
from persistence.lifecycle.grades import GRADE, GradeEvent, GradeState
from persistence.lifecycle.grading import TaskState
from persistence.tables.assignments import AssignmentRow
from persistence.tables.grades import (
    CriterionScoreRow,
    DecidedBy,
    GradeRow,
    GradeVersionRow,
)
from persistence.tables.submissions import SubmissionRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.grade_scores import GradedBy, graded_by
from resolvers.grading_brief import level_of, penalty_of, score_of_question
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, unless_refused
from resolvers.redaction import SeenQuotation, as_seen, redactions
from resolvers.refusals import Refusal, RefusalCode

_IDS_PATH = ("input", "gradeIds")


class NewScore(Protocol):
    """Points for a criterion; `question_id` where two questions share the criterion."""

    question_id: str | None
    criterion_id: str
    points: Decimal


@dataclass(frozen=True, slots=True)
class NotReleased:
    """There is no grade the viewer may read. `state` is for those who instruct the course."""

    message: str
    state: GradeState | None = None


async def load_grades(context: RequestContext, ids: Sequence[UUID]) -> list[DecidedGrade | None]:
    """Grades by id; None for what the viewer may not read."""
    async with context.database.read() as connection:
        return in_order(ids, await grades.grades_by_id(connection, context.viewer, ids))


async def list_grades(
    parents: Sequence[AssignmentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[DecidedGrade] | Refusal]:
    """The grades of each assignment by alias, for its instructors; a refusal for others."""
    refusals = context.refusals(Permission.GRADE_READ, [a.course_id for a in parents])
    async with context.database.read() as connection:
        pages = await grades.pages_of_grades(
            connection, context.viewer, [a.id for a in parents], checks.page_size(first), after
        )
    return unless_refused(refusals, pages)


async def list_released(
    context: RequestContext, first: int, after: str | None
) -> Page[DecidedGrade]:
    """The released grades of the viewer and of the students they observe."""
    async with context.database.read() as connection:
        return await grades.page_of_released(
            connection, context.viewer, checks.page_size(first), after
        )


async def get_grade_results(
    parents: Sequence[SubmissionRow], context: RequestContext
) -> list[DecidedGrade | NotReleased]:
    """The grade of each submission the viewer sees, or that there is none for them to read."""
    viewer, keys = context.viewer, [s.id for s in parents]
    async with context.database.read() as connection:
        rows = await grades.grades_of_submissions(connection, viewer, keys)
        states = await grades.states_of_submissions(connection, viewer, keys)
    found = {row.submission_id: row for row in rows}
    marks = viewer.instructs | viewer.reads("grade")
    return [found.get(s.id) or _not_released(s, marks, states) for s in parents]


def _not_released(
    submission: SubmissionRow, marks: frozenset[UUID], states: dict[UUID, GradeState]
) -> NotReleased:
    if submission.course_id in marks:
        state = states.get(submission.id, GradeState.NOT_MARKED)
        return NotReleased("Nothing has been decided about this submission.", state)
    return NotReleased("Your grade has not been released. Your instructor decides when it is.")


async def list_scores(
    parents: Sequence[UUID], context: RequestContext
) -> list[list[CriterionScoreRow]]:
    """The points of each of these versions, which the viewer has been shown."""
    async with context.database.read() as connection:
        rows = await grades.scores_of(connection, parents)
    return by_parent(parents, rows, lambda row: row.grade_version_id)


async def list_versions(
    parents: Sequence[DecidedGrade], context: RequestContext, first: int, after: str | None
) -> list[Page[GradeVersionRow]]:
    """The versions of each grade, newest first: all for instructors, else the current one."""
    async with context.database.read() as connection:
        return await grades.pages_of_versions(
            connection, context.viewer, [g.id for g in parents], checks.page_size(first), after
        )


async def list_evidence(
    parents: Sequence[CriterionScoreRow], context: RequestContext
) -> list[list[ScoreEvidence | SeenQuotation]]:
    """The verified quotations each score rests on; redacted where marking is anonymous."""
    versions = list({s.grade_version_id for s in parents})
    async with context.database.read() as connection:
        rows = await grades.evidence_of_versions(connection, versions)
        anonymous = await answers.answers_of_versions(connection, versions)
    hidden = await redactions(context.viewer, anonymous)
    found: dict[tuple[UUID, UUID, UUID], list[ScoreEvidence | SeenQuotation]] = {}
    for row in rows:
        key = (row.grade_version_id, row.question_id, row.criterion_id)
        seen = as_seen(row, hidden.get((row.grade_version_id, row.question_id)))
        found.setdefault(key, []).append(seen)
    return [found.get((s.grade_version_id, s.question_id, s.criterion_id), []) for s in parents]


async def adjust_grade(
    context: RequestContext,
    transaction: Transaction,
    *,
    grade_id: str,
    scores: Sequence[NewScore],
    feedback: str | None,
    reason: str,
    expected_version: int | None = None,
) -> UUID:
    """Decides a grade as a person: a new version, under review until it is finalised.

    Criteria that are not named keep their points; with none named the version confirms them.
    """
    path = ("input", "gradeId")
    key = key_of(grade_id, "Grade", path)
    connection = transaction.connection
    locked = await grades.lock_grades(connection, context.viewer, [key])
    if not locked:
        raise missing("grade", path)
    grade = locked[0]
    viewer = context.require(Permission.GRADE_DECIDE, grade.course_id)
    target = GRADE.advance(grade.state, GradeEvent.REVIEW)
    before = await _to_adjust(connection, key, expected_version)
    why = checks.prose(reason, "reason", most=4_000, least=1)
    kept = await grades.scores_of(connection, [before.id])
    basis = await graded_by(connection, grade, before, kept)
    rows = _adjusted(grade, basis, kept, scores, why)
    score = _total(basis, rows)
    version = GradeVersionRow(
        organization_id=grade.organization_id,
        grade_id=key,
        number=0,
        score=score,
        penalty=penalty_of(score, basis.points_possible, basis.late_by, basis.late_policy),
        decided_by=DecidedBy.HUMAN,
        decided_by_user_id=viewer.user_id,
        task_id=before.task_id,
        reason=why,
        feedback=before.feedback
        if feedback is None
        else checks.prose(feedback, "feedback", most=20_000),
        ledger_hash=before.ledger_hash,
    )
    for row in rows:
        row.grade_version_id = version.id
    await grades.add_version(connection, version, rows)
    await grades.move_grade(connection, key, GradeState(grade.state), target)
    return key


async def _to_adjust(
    connection: Connection, key: UUID, expected_version: int | None
) -> GradeVersionRow:
    found = await grades.current_version(connection, key)
    if found is None:
        message = "Nothing was marked yet to adjust."
        raise Refusal(RefusalCode.INVALID_STATE, message, ("input", "gradeId"))
    if expected_version not in {None, found.number}:
        raise Conflict
    return found


def _adjusted(
    grade: GradeRow,
    basis: GradedBy,
    kept: Sequence[CriterionScoreRow],
    scores: Sequence[NewScore],
    reason: str,
) -> list[CriterionScoreRow]:
    checks.at_most(scores, "scores", most=1_000, least=0)
    new: dict[tuple[UUID, UUID], Decimal] = {}
    for i, score in enumerate(scores):
        place, criterion = _criterion(basis, score, i)
        if place in new:
            raise _bad_score(i, "criterionId", "This criterion is given points twice.")
        if not score.points.is_finite() or not 0 <= score.points <= criterion.points:
            message = f"{criterion.title} is worth 0 to {criterion.points} points."
            raise _bad_score(i, "points", message)
        if score.points != round(score.points, 3):
            raise _bad_score(i, "points", "Points have three decimals at the most.")
        new[place] = score.points
    return [
        CriterionScoreRow(
            organization_id=grade.organization_id,
            grade_version_id=row.grade_version_id,
            question_id=row.question_id,
            criterion_id=row.criterion_id,
            level_id=level_of(basis.criteria[place], points)
            if points is not None
            else row.level_id,
            points=row.points if points is None else points,
            rationale=row.rationale if points is None else reason,
        )
        for row in kept
        for place in [(row.question_id, row.criterion_id)]
        for points in [new.get(place)]
    ]


def _bad_score(place: int, field: str, message: str) -> Refusal:
    return Refusal(RefusalCode.BAD_INPUT, message, ("input", "scores", str(place), field))


def _criterion(basis: GradedBy, score: NewScore, place: int) -> tuple[tuple[UUID, UUID], Criterion]:
    path = ("input", "scores", str(place))
    criterion_id = key_of(score.criterion_id, "Criterion", (*path, "criterionId"))
    named = None
    if score.question_id is not None:
        named = key_of(score.question_id, "Question", (*path, "questionId"))
    found = [
        (key, criterion)
        for key, criterion in basis.criteria.items()
        if key[1] == criterion_id and named in {None, key[0]}
    ]
    if not found:
        raise _bad_score(place, "criterionId", "This grade has no such criterion.")
    if len(found) > 1:
        raise _bad_score(place, "questionId", "Several questions have this criterion: say which.")
    return found[0]


def _total(basis: GradedBy, rows: Sequence[CriterionScoreRow]) -> Decimal:
    return sum(
        (
            score_of_question(
                {str(r.criterion_id): r.points for r in rows if r.question_id == question_id},
                [c for (q, _), c in basis.criteria.items() if q == question_id],
                possible,
            )
            for question_id, possible in basis.questions.items()
        ),
        Decimal(0),
    )


async def finalise_grades(
    context: RequestContext, transaction: Transaction, *, grade_ids: Sequence[str]
) -> list[UUID]:
    """Declares grades ready for release: all of them, or none."""
    rows = await _locked(context, transaction, grade_ids, Permission.GRADE_DECIDE)
    connection = transaction.connection
    behind = {
        row.grade_id: row for row in await grades.tasks_behind(connection, [row.id for row in rows])
    }
    for place, row in enumerate(rows):
        target = _advanced(row, GradeEvent.FINALISE, place)
        task = behind.get(row.id)
        if task and task.decided_by == DecidedBy.AI and task.task_state != TaskState.PROPOSED:
            raise Refusal(
                RefusalCode.INVALID_STATE,
                f"A person must decide this one first: its grading ended {task.task_state}. "
                "Adjust or confirm it with adjustGrade.",
                (*_IDS_PATH, str(place)),
            )
        await grades.move_grade(connection, row.id, GradeState(row.state), target)
    return [row.id for row in rows]


async def release_grades(
    context: RequestContext, transaction: Transaction, *, grade_ids: Sequence[str]
) -> list[UUID]:
    """Gives grades to their students: all of them, or none."""
    rows = await _locked(context, transaction, grade_ids, Permission.GRADE_RELEASE)
    for place, row in enumerate(rows):
        await grades.move_grade(
            transaction.connection,
            row.id,
            GradeState(row.state),
            _advanced(row, GradeEvent.RELEASE, place),
            released_by=context.viewer.user_id,
            released_at=context.now(),
        )
    return [row.id for row in rows]


def _advanced(row: GradeRow, event: GradeEvent, place: int) -> GradeState:
    if (GradeState(row.state), event) not in GRADE.table:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"This grade is {row.state}; {event} is not possible now.",
            (*_IDS_PATH, str(place)),
        )
    return GRADE.advance(row.state, event)


async def _locked(
    context: RequestContext,
    transaction: Transaction,
    grade_ids: Sequence[str],
    permission: Permission,
) -> list[GradeRow]:
    """The grades in the order asked for, each once, locked in the order of their ids."""
    checks.at_most(grade_ids, "gradeIds")
    keys = list(
        dict.fromkeys(
            key_of(value, "Grade", (*_IDS_PATH, str(i))) for i, value in enumerate(grade_ids)
        )
    )
    found = await grades.lock_grades(transaction.connection, context.viewer, keys)
    for course_id in {row.course_id for row in found}:
        context.require(permission, course_id)
    rows = in_order(keys, found)
    for i, row in enumerate(rows):
        if row is None:
            raise missing("grade", (*_IDS_PATH, str(i)))
    return [row for row in rows if row is not None]
