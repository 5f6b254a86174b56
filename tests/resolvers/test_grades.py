from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from agents.grading.brief import Role as Seat
from agents.grading.verdict import GradeRequest
from persistence.tables.grades import CriterionScoreRow, GradeRow, GradeVersionRow
from persistence.tables.submissions import SubmissionRow
from resolvers import grades
from resolvers.access import Permission
from resolvers.global_ids import global_id
from resolvers.grades import NotReleased
from resolvers.refusals import Refusal, RefusalCode
from tests.grading_world import QUOTE, GradingWorld, Members, grading_world

__all__ = ["grading_world"]


def unsure(_seat: Seat, _request: GradeRequest) -> tuple[Decimal, float]:
    return Decimal(4), 0.1


def points(world: GradingWorld, place: int, value: str, **extra: Any) -> Any:
    """New points for one criterion, as the API hands them over."""
    key = global_id("Criterion", world.criteria[place].id)
    return SimpleNamespace(criterion_id=key, question_id=None, points=Decimal(value), **extra)


async def finalise(world: GradingWorld, *rows: GradeRow) -> None:
    await world.change(
        grades.finalise_grades,
        Permission.GRADE_DECIDE,
        grade_ids=[global_id("Grade", row.id) for row in rows],
    )


async def release(world: GradingWorld, *rows: GradeRow) -> None:
    await world.change(
        grades.release_grades,
        Permission.GRADE_RELEASE,
        grade_ids=[global_id("Grade", row.id) for row in rows],
    )


async def released(world: GradingWorld, submission: SubmissionRow) -> GradeRow:
    grade = await world.grade(submission)
    await finalise(world, grade)
    await release(world, grade)
    return await world.grade(submission)


async def refusal_of(work: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await work
    return refused.value


async def test_a_person_adjusts_one_criterion(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded(late_by=timedelta(hours=1))
    grade = await grading_world.grade(submission)
    await grading_world.adjust(
        grade, scores=[points(grading_world, 1, "1.5")], reason="The lifetime is missing."
    )
    version = await grading_world.version(grade)
    assert (version.score, version.penalty) == (Decimal("5.5"), Decimal(1))
    assert (version.decided_by, version.decided_by_user_id) == ("HUMAN", grading_world.instructor)
    assert (version.number, version.feedback) == (2, "Well read.")
    assert (await grading_world.grade(submission)).state == "IN_REVIEW"
    rows = await grading_world.rows(CriterionScoreRow)
    new = {r.criterion_id: r for r in rows if r.grade_version_id == version.id}
    old = {r.criterion_id: r for r in rows if r.grade_version_id != version.id}
    kept, changed = (new[c.id] for c in grading_world.criteria)
    assert (kept.points, kept.rationale) == (Decimal(4), old[kept.criterion_id].rationale)
    assert (changed.points, changed.rationale) == (Decimal("1.5"), "The lifetime is missing.")
    assert changed.level_id != old[changed.criterion_id].level_id


async def test_the_penalty_never_exceeds_the_score(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded(late_by=timedelta(days=30))
    grade = await grading_world.grade(submission)
    scores = [points(grading_world, 0, "1"), points(grading_world, 1, "1")]
    await grading_world.adjust(grade, scores=scores)
    version = await grading_world.version(grade)
    assert (version.score, version.penalty) == (Decimal(2), Decimal(2))


@pytest.mark.parametrize(
    ("value", "field"), [("5.001", "points"), ("-1", "points"), ("1.0001", "points")]
)
async def test_points_out_of_bounds_are_named(
    grading_world: GradingWorld, value: str, field: str
) -> None:
    grade = await grading_world.grade(await grading_world.graded())
    scores = [points(grading_world, 0, "2"), points(grading_world, 1, value)]
    refusal = await refusal_of(grading_world.adjust(grade, scores=scores))
    assert refusal.code is RefusalCode.BAD_INPUT
    assert refusal.path == ("input", "scores", "1", field)
    assert await grading_world.count(GradeVersionRow) == 1


async def test_a_criterion_of_another_rubric_is_refused(grading_world: GradingWorld) -> None:
    grade = await grading_world.grade(await grading_world.graded())
    stray = points(grading_world, 0, "1")
    stray.criterion_id = global_id("Criterion", grading_world.course_id)
    refusal = await refusal_of(grading_world.adjust(grade, scores=[stray]))
    assert refusal.path == ("input", "scores", "0", "criterionId")
    twice = [points(grading_world, 0, "1"), points(grading_world, 0, "2")]
    refusal = await refusal_of(grading_world.adjust(grade, scores=twice))
    assert refusal.path == ("input", "scores", "1", "criterionId")


async def test_what_needs_a_person_is_not_finalised_without_one(
    grading_world: GradingWorld,
) -> None:
    submission = await grading_world.graded(Members(unsure))
    grade = await grading_world.grade(submission)
    refusal = await refusal_of(finalise(grading_world, grade))
    assert (refusal.code, refusal.path) == (RefusalCode.INVALID_STATE, ("input", "gradeIds", "0"))
    await grading_world.adjust(grade)
    await finalise(grading_world, grade)
    assert (await grading_world.grade(submission)).state == "READY_FOR_RELEASE"


async def test_only_what_is_ready_is_released_and_all_or_nothing(
    grading_world: GradingWorld,
) -> None:
    first, second = await grading_world.submit(), await grading_world.submit()
    await grading_world.grade_all(await grading_world.start())
    ready, marked = await grading_world.grade(first), await grading_world.grade(second)
    await finalise(grading_world, ready)
    refusal = await refusal_of(release(grading_world, ready, marked))
    assert (refusal.code, refusal.path) == (RefusalCode.INVALID_STATE, ("input", "gradeIds", "1"))
    assert (await grading_world.grade(first)).state == "READY_FOR_RELEASE"
    await release(grading_world, ready)
    grade = await grading_world.grade(first)
    assert (grade.state, grade.released_by) == ("RELEASED", grading_world.instructor)
    assert grade.released_at is not None


async def test_a_student_reads_a_grade_once_it_is_released(grading_world: GradingWorld) -> None:
    mine, other = await grading_world.submit(), await grading_world.submit()
    await grading_world.grade_all(await grading_world.start())
    student = await grading_world.context(mine.student_id)
    (before,) = await grades.get_grade_results([mine], student)
    assert isinstance(before, NotReleased)
    assert before.state is None
    grade = await released(grading_world, mine)
    (after,) = await grades.get_grade_results([mine], student)
    assert not isinstance(after, NotReleased)
    assert (after.id, after.score) == (grade.id, Decimal(8))
    strange = await released(grading_world, other)
    assert await grades.load_grades(student, [grade.id, strange.id]) == [after, None]
    (stolen,) = await grades.get_grade_results([other], student)
    assert isinstance(stolen, NotReleased)


async def test_an_instructor_is_told_where_an_undecided_grade_stands(
    grading_world: GradingWorld,
) -> None:
    submission = await grading_world.submit()
    (result,) = await grades.get_grade_results([submission], await grading_world.context())
    assert isinstance(result, NotReleased)
    assert result.state == "NOT_MARKED"


async def test_scores_come_with_their_evidence(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded()
    await released(grading_world, submission)
    student = await grading_world.context(submission.student_id)
    (grade,) = await grades.get_grade_results([submission], student)
    assert not isinstance(grade, NotReleased)
    (scores,) = await grades.list_scores([grade.version_id], student)
    assert [s.criterion_id for s in scores] == [c.id for c in grading_world.criteria]
    evidence = await grades.list_evidence(scores, student)
    assert [[e.quote for e in found] for found in evidence] == [[QUOTE], [QUOTE]]


async def test_a_decision_keeps_the_evidence_it_was_made_by(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded()
    await grading_world.adjust(await grading_world.grade(submission))
    (grade,) = await grades.get_grade_results([submission], await grading_world.context())
    assert not isinstance(grade, NotReleased)
    (scores,) = await grades.list_scores([grade.version_id], await grading_world.context())
    assert all(await grades.list_evidence(scores, await grading_world.context()))
    (versions,) = await grades.list_versions([grade], await grading_world.context(), 10, None)
    assert [v.decided_by for v in versions.rows] == ["HUMAN", "AI"]


async def test_a_student_decides_nothing(grading_world: GradingWorld) -> None:
    submission = await grading_world.graded()
    grade = await grading_world.grade(submission)
    for work, permission, values in (
        (grades.adjust_grade, Permission.GRADE_ASSESS, {"scores": [], "feedback": None}),
        (grades.finalise_grades, Permission.GRADE_DECIDE, {}),
        (grades.release_grades, Permission.GRADE_RELEASE, {}),
    ):
        key = global_id("Grade", grade.id)
        ids: dict[str, Any] = {"grade_ids": [key]}
        if work is grades.adjust_grade:
            ids = {"grade_id": key, "reason": "mine"}
        refusal = await refusal_of(
            grading_world.change(work, permission, submission.student_id, **ids, **values)
        )
        assert refusal.code is RefusalCode.NOT_FOUND
    assert (await grading_world.grade(submission)).state == "MARKED"


async def test_too_many_or_no_grades_at_once_are_refused(grading_world: GradingWorld) -> None:
    key = global_id("Grade", grading_world.course_id)
    for ids in ([], [key] * 101):
        refusal = await refusal_of(
            grading_world.change(grades.finalise_grades, Permission.GRADE_DECIDE, grade_ids=ids)
        )
        assert refusal.code is RefusalCode.BAD_INPUT
