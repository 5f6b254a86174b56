"""What a finished team leaves behind, written in one transaction."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from agents.grading.result import (
    Assessment,
    CriterionAssessment,
    CriterionScore,
    GradingResult,
    Outcome,
)
from persistence import grades, ledger
from persistence.database import Connection, add
from persistence.grading_work import Material
from persistence.lifecycle.grades import GRADE, GRADE_EVENTS_OF_AN_AI, GradeEvent, GradeState
from persistence.lifecycle.grading import TaskEvent
from persistence.tables.grades import (
    CriterionScoreRow,
    DecidedBy,
    GradeRow,
    GradeVersionRow,
)
from persistence.tables.grading import (
    AssessmentRow,
    Assessor,
    CriterionAssessmentRow,
    EvidenceSpanRow,
    GradingTaskRow,
)
from persistence.tables.records import ModelCallRow
from resolvers.grading_brief import (
    QuestionTask,
    late_policy_of,
    penalty_of,
    score_of_question,
    stored,
)
from resolvers.grading_lease import HeldTask

Graded = Sequence[tuple[QuestionTask, GradingResult]]

# A grade in any other state is a person's: the assessments are kept, the grade stays.
_OPEN_TO_AN_AI = frozenset({GradeState.NOT_MARKED, GradeState.IN_MARKING, GradeState.MARKED})


async def save(held: HeldTask, material: Material, graded: Graded) -> None:
    """Writes assessments, the grade and the task's end: all, or nothing.

    Raises `LeaseLost` and `Conflict` before anything else is written.
    """
    needs_human = any(result.outcome is Outcome.NEEDS_HUMAN for _, result in graded)
    event = TaskEvent.NEED_HUMAN if needs_human else TaskEvent.PROPOSE
    async with held.resources.database.transaction() as connection:
        target = await held.end(
            connection, event, {"reasons": _reasons(graded), "failure": None, "not_before": None}
        )
        await _save_assessments(connection, held.row, graded)
        await _mark(connection, held.row, material, graded)
    held.state = target


def _reasons(graded: Graded) -> list[dict[str, Any]]:
    return [
        {
            "code": reason.code.value,
            "question_id": str(task.question.id),
            "criterion_id": reason.criterion_id,
            "detail": reason.detail,
        }
        for task, result in graded
        for reason in result.reasons
    ]


async def _save_assessments(connection: Connection, task: GradingTaskRow, graded: Graded) -> None:
    assessments, judgements, spans = [], [], []
    for question_task, result in graded:
        for given in result.assessments:
            assessment = _assessment(task, question_task.question.id, given)
            assessments.append(assessment)
            for item in given.criteria:
                judgement = _judgement(task, assessment.id, item)
                judgements.append(judgement)
                spans += _spans(task, judgement.id, item, question_task)
    await add(connection, *assessments)
    await add(connection, *judgements)
    await add(connection, *spans)


def _assessment(task: GradingTaskRow, question_id: UUID, given: Assessment) -> AssessmentRow:
    return AssessmentRow(
        organization_id=task.organization_id,
        course_id=task.course_id,
        submission_id=task.submission_id,
        question_id=question_id,
        task_id=task.id,
        generation=task.generation,
        assessor=Assessor.AI,
        slot=given.slot.value,
        model=f"{given.provider}:{given.model}",
        prompt_version=given.prompt_version,
    )


def _judgement(
    task: GradingTaskRow, assessment_id: UUID, item: CriterionAssessment
) -> CriterionAssessmentRow:
    return CriterionAssessmentRow(
        organization_id=task.organization_id,
        assessment_id=assessment_id,
        criterion_id=UUID(item.criterion_id),
        level_id=UUID(item.level_id) if item.level_id else None,
        points=stored(item.points),
        confidence=item.confidence,
        rationale=item.rationale,
    )


def _spans(
    task: GradingTaskRow,
    judgement_id: UUID,
    item: CriterionAssessment,
    question_task: QuestionTask,
) -> list[EvidenceSpanRow]:
    """The quotations, in the text as it was handed in."""
    rows = []
    for position, span in enumerate(item.evidence):
        start, end, quote = span.start, span.end, span.quote
        if span.verified:
            start, end = question_task.redacted.to_original(start, end)
            quote = question_task.original[start:end]
        rows.append(
            EvidenceSpanRow(
                organization_id=task.organization_id,
                criterion_assessment_id=judgement_id,
                position=position,
                start=start,
                end=end,
                quote=quote,
                verified=span.verified,
            )
        )
    return rows


async def _mark(
    connection: Connection, task: GradingTaskRow, material: Material, graded: Graded
) -> None:
    grade = await grades.open_grade(connection, material.submission)
    if grade.state not in _OPEN_TO_AN_AI:
        return
    state = GradeState(grade.state)
    for event in _marking(state):
        target = GRADE.advance(state, event)
        await grades.move_grade(connection, grade.id, state, target)
        state = target
    calls = await ledger.calls_of(connection, task.id, task.generation)
    version, scores = _version(task, grade, material, graded)
    version.ledger_hash = ledger_hash(calls)
    await grades.add_version(connection, version, scores)


def _marking(state: GradeState) -> list[GradeEvent]:
    again = state == GradeState.MARKED
    events = [GradeEvent.START_MARKING, GradeEvent.MARK] if again else [GradeEvent.MARK]
    if not GRADE_EVENTS_OF_AN_AI.issuperset(events):
        raise RuntimeError("an AI marks, and no more")
    return events


def _version(
    task: GradingTaskRow, grade: GradeRow, material: Material, graded: Graded
) -> tuple[GradeVersionRow, list[CriterionScoreRow]]:
    score = sum(
        (
            score_of_question(
                {c.criterion_id: stored(c.points) for c in result.criteria},
                question_task.brief.criteria,
                question_task.question.points,
            )
            for question_task, result in graded
        ),
        Decimal(0),
    )
    assignment = material.assignment
    version = GradeVersionRow(
        organization_id=task.organization_id,
        grade_id=grade.id,
        number=0,
        score=score,
        penalty=penalty_of(
            score,
            assignment.points,
            material.attempt.late_by,
            late_policy_of(assignment.late_policy),
        ),
        decided_by=DecidedBy.AI,
        task_id=task.id,
        reason="Marked by the grading team.",
        feedback=_feedback(graded),
        ledger_hash="",
    )
    scores = [
        CriterionScoreRow(
            organization_id=task.organization_id,
            grade_version_id=version.id,
            question_id=question_task.question.id,
            criterion_id=UUID(item.criterion_id),
            level_id=UUID(item.level_id) if item.level_id else None,
            points=stored(item.points),
            rationale=_rationale(result, item),
        )
        for question_task, result in graded
        for item in result.criteria
    ]
    return version, scores


def _feedback(graded: Graded) -> str:
    if len(graded) == 1:
        return graded[0][1].feedback
    return "\n\n".join(
        f"{task.question.position + 1}. {result.feedback}" for task, result in graded
    )


def _rationale(result: GradingResult, score: CriterionScore) -> str:
    """The reason of the seat whose points are nearest to those decided."""
    given = [item for a in result.assessments if (item := a.of(score.criterion_id)) is not None]
    nearest = min(given, key=lambda item: abs(item.points - score.points), default=None)
    return nearest.rationale if nearest else "There was no answer to judge."


def ledger_hash(calls: Sequence[ModelCallRow]) -> str:
    """SHA-256 over the steps of the ledger in the order of their keys; responses by their hash."""
    rows = sorted(
        [
            c.step_key,
            c.request_hash,
            c.response_sha256,
            c.provider,
            c.model,
            c.input_tokens,
            c.output_tokens,
            c.cost_micros,
        ]
        for c in calls
    )
    return hashlib.sha256(orjson.dumps(rows)).hexdigest()
