"""What a grade was given by: the criteria of its questions, their worth, and the lateness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from agents.grading.brief import Criterion, LatePolicy
from persistence import assignments, grades, rubrics
from persistence.database import Connection
from persistence.tables.grades import CriterionScoreRow, GradeRow, GradeVersionRow
from resolvers.grading_brief import criteria_of_rows, late_policy_of


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
    """What the version's scores rest on. The viewer has been found to instruct the course."""
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
