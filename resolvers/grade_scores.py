"""What a grade is given by: criteria and their worth, lateness, and points decided anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from agents.grading.brief import Criterion, LatePolicy
from persistence import assignments, grades, rubrics
from persistence.database import Connection
from persistence.tables.grades import CriterionScoreRow, GradeRow, GradeVersionRow
from resolvers import checks
from resolvers.global_ids import key_of
from resolvers.grading_brief import criteria_of_rows, late_policy_of, level_of, score_of_question
from resolvers.refusals import Refusal, RefusalCode


class NewScore(Protocol):
    """Points for a criterion; `question_id` where two questions share the criterion."""

    question_id: str | None
    criterion_id: str
    points: Decimal


@dataclass(frozen=True, slots=True)
class GradedBy:
    """`criteria` by (question, criterion); `questions` have the points each is worth."""

    criteria: Mapping[tuple[UUID, UUID], Criterion]
    questions: Mapping[UUID, Decimal]
    points_possible: Decimal
    late_by: timedelta | None
    late_policy: LatePolicy | None


async def graded_by(
    connection: Connection,
    grade: GradeRow,
    version: GradeVersionRow,
    scores: Sequence[CriterionScoreRow],
) -> GradedBy:
    """What the version's scores rest on. The viewer has been found to mark it."""
    organization_id = grade.organization_id
    wanted = list({row.criterion_id for row in scores})
    rows = await rubrics.criteria_by_id(connection, organization_id, wanted)
    levels = await rubrics.levels_of(connection, wanted)
    criteria = {
        UUID(criterion.id): criterion
        for version_criteria in criteria_of_rows(rows, levels).values()
        for criterion in version_criteria
    }
    questions = await assignments.questions_by_id(
        connection, organization_id, list({row.question_id for row in scores})
    )
    assignment = await grades.assignment_of(connection, grade.id)
    late_by = None
    if version.task_id is not None:
        late_by = await grades.late_by_of_task(connection, version.task_id)
    return GradedBy(
        criteria={
            (row.question_id, row.criterion_id): criteria[row.criterion_id] for row in scores
        },
        questions={q.id: q.points for q in questions},
        points_possible=assignment.points,
        late_by=late_by,
        late_policy=late_policy_of(assignment.late_policy),
    )


def adjusted(
    grade: GradeRow,
    basis: GradedBy,
    kept: Sequence[CriterionScoreRow],
    scores: Sequence[NewScore],
    reason: str,
) -> list[CriterionScoreRow]:
    """The points of a new version: those kept, with `scores` in their place. Raises `Refusal`."""
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


def total_of(basis: GradedBy, rows: Sequence[CriterionScoreRow]) -> Decimal:
    """What the points add up to, in points of the assignment."""
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
