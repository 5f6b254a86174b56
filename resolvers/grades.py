"""Grades: read by their owner once released, decided and released by people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from persistence import answers, grades
from persistence.database import Conflict, Connection
from persistence.grades import DecidedGrade, ScoreEvidence
from persistence.keyset import Page
from persistence.lifecycle.grades import GRADE, GradeEvent, GradeState
from persistence.lifecycle.grading import TaskState
from persistence.marking_visibility import IN_HAND
from persistence.roles import MARKERS
from persistence.tables.assignments import AssignmentRow
from persistence.tables.grades import (
    CriterionScoreRow,
    DecidedBy,
    GradeRow,
    GradeVersionRow,
)
from persistence.tables.submissions import SubmissionRow
from persistence.visibility import Viewer
from resolvers import checks
from resolvers.access import ROLES, Permission, may, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.grade_scores import NewScore, adjusted, graded_by, total_of
from resolvers.grading_brief import penalty_of
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, unless_refused
from resolvers.redaction import SeenQuotation, as_seen, redactions, without_names
from resolvers.refusals import Refusal, RefusalCode

_IDS_PATH = ("input", "gradeIds")


@dataclass(frozen=True, slots=True)
class NotReleased:
    """There is no grade the viewer may read. `state` is for those who oversee or mark it."""

    message: str
    state: GradeState | None = None


async def load_grades(context: RequestContext, ids: Sequence[UUID]) -> list[DecidedGrade | None]:
    """Grades by id; None for what the viewer may not read."""
    async with context.database.read() as connection:
        rows = await grades.grades_by_id(connection, context.viewer, ids)
        return in_order(ids, await _shown(connection, context, rows))


async def _shown(
    connection: Connection, context: RequestContext, rows: Sequence[DecidedGrade]
) -> list[DecidedGrade]:
    students = await answers.students_hidden(
        connection, context.viewer, [r.version_id for r in rows]
    )
    return without_names(rows, "version_id", ("feedback", "reason"), students)


async def list_grades(
    parents: Sequence[AssignmentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[DecidedGrade] | Refusal]:
    """The grades of each assignment by alias, for its instructors, its markers and auditors."""
    refusals = context.refusals(Permission.GRADE_READ, [a.course_id for a in parents])
    async with context.database.read() as connection:
        pages = await grades.pages_of_grades(
            connection, context.viewer, [a.id for a in parents], checks.page_size(first), after
        )
        shown = [replace(p, rows=await _shown(connection, context, p.rows)) for p in pages]
    return unless_refused(refusals, shown)


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
        shown = await _shown(connection, context, rows)
    found = {row.submission_id: row for row in shown}
    return [found.get(s.id) or _not_released(s, viewer, states.get(s.id)) for s in parents]


def _not_released(
    submission: SubmissionRow, viewer: Viewer, state: GradeState | None
) -> NotReleased:
    if submission.course_id not in viewer.oversees | viewer.reads("grade"):
        if submission.student_id == viewer.user_id:
            message = "Your grade has not been released. Your instructor decides when it is."
            return NotReleased(message)
        if submission.course_id in viewer.reads("submission") and state is None:
            return NotReleased("None of your roles lets you read this grade.")
    if state is None or state in IN_HAND:
        message = "Nothing has been decided about this submission."
        return NotReleased(message, state or GradeState.NOT_MARKED)
    return NotReleased("This grade is final, and who marks blind does not read it then.", state)


async def list_scores(
    parents: Sequence[UUID], context: RequestContext
) -> list[list[CriterionScoreRow]]:
    """The points of each of these versions, which the viewer has been shown."""
    async with context.database.read() as connection:
        rows = await grades.scores_of(connection, parents)
        students = await answers.students_hidden(connection, context.viewer, parents)
    shown = without_names(rows, "grade_version_id", ("rationale",), students)
    return by_parent(parents, shown, lambda row: row.grade_version_id)


async def list_versions(
    parents: Sequence[DecidedGrade], context: RequestContext, first: int, after: str | None
) -> list[Page[GradeVersionRow]]:
    """The versions of each grade, newest first; the current one for who reads released ones."""
    async with context.database.read() as connection:
        pages = await grades.pages_of_versions(
            connection, context.viewer, [g.id for g in parents], checks.page_size(first), after
        )
        students = await answers.students_hidden(
            connection, context.viewer, [row.id for page in pages for row in page.rows]
        )
    return [
        replace(page, rows=without_names(page.rows, "id", ("feedback", "reason"), students))
        for page in pages
    ]


async def list_evidence(
    parents: Sequence[CriterionScoreRow], context: RequestContext
) -> list[list[ScoreEvidence | SeenQuotation]]:
    """The verified quotations each score rests on; redacted where marking is anonymous or blind."""
    versions = list({s.grade_version_id for s in parents})
    async with context.database.read() as connection:
        rows = await grades.evidence_of_versions(connection, versions)
        anonymous = await answers.answers_of_versions(connection, context.viewer, versions)
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
    viewer = context.viewer
    locked = await _lock(context, connection, [key], Permission.GRADE_ASSESS)
    if not locked:
        raise missing("grade", path)
    grade = locked[0]
    _check_in_hand(viewer, grade)
    target = GRADE.advance(grade.state, GradeEvent.REVIEW)
    before = await _to_adjust(connection, key, expected_version)
    why = checks.prose(reason, "reason", most=4_000, least=1)
    kept = await grades.scores_of(connection, [before.id])
    basis = await graded_by(connection, grade, before, kept)
    rows = adjusted(grade, basis, kept, scores, why)
    score = total_of(basis, rows)
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


def _check_in_hand(viewer: Viewer, grade: GradeRow) -> None:
    if grade.state == GradeState.READY_FOR_RELEASE and not may(
        viewer, Permission.GRADE_DECIDE, grade.course_id
    ):
        message = "This grade is final. Ask the instructor to decide it anew."
        raise Refusal(RefusalCode.INVALID_STATE, message, ("input", "gradeId"))


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
    rows = in_order(keys, await _lock(context, transaction.connection, keys, permission))
    for i, row in enumerate(rows):
        if row is None:
            raise missing("grade", (*_IDS_PATH, str(i)))
    return [row for row in rows if row is not None]


async def _lock(
    context: RequestContext, connection: Connection, keys: Sequence[UUID], permission: Permission
) -> Sequence[GradeRow]:
    """Those of the grades the viewer may change so, locked; a refusal for those they only read."""
    viewer = context.viewer
    roles = [role for role in MARKERS if role in ROLES[permission]]
    found = await grades.lock_grades(connection, viewer, keys, roles)
    for course_id in {row.course_id for row in found}:
        context.require(permission, course_id)
    left = set(keys) - {row.id for row in found}
    for row in await grades.grades_by_id(connection, viewer, list(left)):
        if row.student_id == viewer.user_id and may(viewer, permission, row.course_id):
            raise Refusal(RefusalCode.FORBIDDEN, "Nobody decides about their own grade.")
        if row.student_id != viewer.user_id:
            context.require(permission, row.course_id)
            raise Refusal(
                RefusalCode.FORBIDDEN, f"This needs work allocated to you as {' or '.join(roles)}."
            )
    return found
