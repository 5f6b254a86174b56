"""What the grading team is told, and what its points add up to, from the rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

from agents.grading import policy
from agents.grading.brief import (
    AttemptText,
    Criterion,
    Exemplar,
    GradingBrief,
    GradingPolicy,
    LatePolicy,
    Level,
)
from agents.grading.naming import Identity
from agents.grading.redaction import Redacted, redact
from persistence.grading_work import Material
from persistence.tables.assignments import CriterionRow, LevelRow, QuestionRow

_STORED = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class QuestionTask:
    """One question of an attempt, as the team gets it: without what names the student."""

    question: QuestionRow
    brief: GradingBrief
    attempt: AttemptText
    original: str
    redacted: Redacted


def stored(points: Decimal) -> Decimal:
    """Points as the database keeps them: three decimals."""
    return points.quantize(_STORED, ROUND_HALF_EVEN)


def late_policy_of(stored_policy: Mapping[str, Any]) -> LatePolicy | None:
    """The late policy of an assignment; None when lateness costs nothing."""
    if not stored_policy:
        return None
    return LatePolicy(
        percent_per_day=Decimal(stored_policy["percent_per_day"]),
        cap_percent=Decimal(stored_policy["cap_percent"]),
        grace=timedelta(minutes=stored_policy["grace_minutes"]),
    )


def criteria_of_rows(
    rows: Sequence[CriterionRow], levels: Sequence[LevelRow]
) -> dict[UUID, tuple[Criterion, ...]]:
    """The criteria of each rubric version. Raises ValueError where one cannot be graded by."""
    steps: dict[UUID, list[Level]] = defaultdict(list)
    for level in levels:
        steps[level.criterion_id].append(
            Level(
                id=str(level.id),
                title=level.title,
                min_points=level.min_points,
                max_points=level.max_points,
                description=level.description,
            )
        )
    found: dict[UUID, tuple[Criterion, ...]] = defaultdict(tuple)
    for row in rows:
        found[row.rubric_version_id] += (
            Criterion(
                id=str(row.id),
                title=row.title,
                guidelines=row.guidelines,
                points=row.points,
                levels=tuple(steps[row.id]),
            ),
        )
    return found


def tasks_of(material: Material) -> list[QuestionTask]:
    """A brief for each question, by the rubric versions the run has pinned.

    Raises ValueError when a question cannot be graded: a rubric without criteria, or one whose
    criterion is worth nothing above its lowest level.
    """
    pinned = material.run.config["rubric_versions"]
    criteria = criteria_of_rows(material.criteria, material.levels)
    texts = {r.question_id: r.text for r in material.responses}
    papers: dict[UUID, list[Exemplar]] = defaultdict(list)
    for paper in material.papers:
        papers[paper.question_id].append(
            Exemplar(paper.text, {c: Decimal(points) for c, points in paper.marks.items()})
        )
    asked = [q for q in material.questions if str(q.id) in pinned]
    identity = Identity(material.student.name, material.student.email)
    redacted = {q.id: redact(texts.get(q.id, ""), identity) for q in asked}
    return [
        QuestionTask(
            question,
            GradingBrief(
                assignment_prompt=_prompt(material, question),
                criteria=criteria[UUID(pinned[str(question.id)])],
                points_possible=question.points,
                reference_answer=question.reference_answer,
                exemplars=tuple(papers[question.id]),
                policy=GradingPolicy(
                    sample_key=str(material.run.id),
                    sample_rate=Decimal(material.run.config["sample_rate"]),
                ),
                late_by=material.attempt.late_by or None,
                late_policy=late_policy_of(material.assignment.late_policy),
                language=material.course.language,
            ),
            AttemptText(
                id=str(material.attempt.id),
                text=redacted[question.id].text,
                language=material.course.language,
            ),
            texts.get(question.id, ""),
            redacted[question.id],
        )
        for question in asked
    ]


def _prompt(material: Material, question: QuestionRow) -> str:
    instructions = material.assignment.instructions.strip()
    return f"{instructions}\n\n{question.prompt}" if instructions else question.prompt


def score_of_question(
    points: Mapping[str, Decimal], criteria: Sequence[Criterion], possible: Decimal
) -> Decimal:
    """A question's score from its criteria's points, as it is stored."""
    return stored(policy.total(points, criteria, possible))


def penalty_of(
    score: Decimal, possible: Decimal, late_by: timedelta | None, late_policy: LatePolicy | None
) -> Decimal:
    """What lateness takes off the whole grade: at most the score."""
    return min(stored(policy.late_penalty(score, possible, late_by or None, late_policy)), score)


def level_of(criterion: Criterion, points: Decimal) -> UUID | None:
    """The level these points reach."""
    level = policy.nearest_level(criterion, points)
    return UUID(level.id) if level else None
