"""Answers under anonymous or blind marking, with whose they are: to be redacted for markers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, or_, select

from persistence.database import Connection, fetch
from persistence.marking_visibility import allocated, marks_blind
from persistence.roles import MARKERS
from persistence.tables.assignments import assignments
from persistence.tables.grades import grade_versions, grades
from persistence.tables.grading import assessments, criterion_assessments, grading_tasks
from persistence.tables.identity import users
from persistence.tables.submissions import attempts, question_responses, submissions
from persistence.visibility import Viewer


@dataclass(frozen=True)
class AnonymousAnswer:
    """An answer; `key` is what it was asked by."""

    key: UUID
    question_id: UUID
    course_id: UUID
    student_id: UUID
    name: str
    email: str
    text: str
    blind: bool
    """Whether the viewer marks it blind."""


@dataclass(frozen=True)
class HiddenStudent:
    """Whose a grade version is about, for who is not to know; `key` is the version's id."""

    key: UUID
    name: str
    email: str


def _answers(key: ColumnElement[UUID], viewer: Viewer) -> Select[Any]:
    blind = marks_blind(submissions.c.id, viewer)
    return (
        select(
            key.label("key"),
            question_responses.c.question_id,
            submissions.c.course_id,
            submissions.c.student_id,
            users.c.name,
            users.c.email,
            question_responses.c.text,
            blind.label("blind"),
        )
        .select_from(question_responses)
        .join(attempts, attempts.c.id == question_responses.c.attempt_id)
        .join(submissions, submissions.c.id == attempts.c.submission_id)
        .join(assignments, assignments.c.id == submissions.c.assignment_id)
        .join(users, users.c.id == submissions.c.student_id)
        .where(or_(assignments.c.anonymous, blind))
    )


async def answers_of_attempts(
    connection: Connection, viewer: Viewer, attempt_ids: Sequence[UUID]
) -> Sequence[AnonymousAnswer]:
    """Those handed in with these attempts, by the response's id."""
    statement = _answers(question_responses.c.id, viewer).where(
        question_responses.c.attempt_id.in_(attempt_ids)
    )
    return await fetch(connection, statement, AnonymousAnswer)


async def answers_of_judgements(
    connection: Connection, viewer: Viewer, criterion_assessment_ids: Sequence[UUID]
) -> Sequence[AnonymousAnswer]:
    """Those these criterion assessments judge, by their ids."""
    statement = (
        _answers(criterion_assessments.c.id, viewer)
        .join(grading_tasks, grading_tasks.c.attempt_id == attempts.c.id)
        .join(
            assessments,
            and_(
                assessments.c.task_id == grading_tasks.c.id,
                assessments.c.question_id == question_responses.c.question_id,
            ),
        )
        .join(criterion_assessments, criterion_assessments.c.assessment_id == assessments.c.id)
        .where(criterion_assessments.c.id.in_(criterion_assessment_ids))
    )
    return await fetch(connection, statement, AnonymousAnswer)


async def answers_of_versions(
    connection: Connection, viewer: Viewer, version_ids: Sequence[UUID]
) -> Sequence[AnonymousAnswer]:
    """Those these grade versions rest on, by their ids."""
    statement = (
        _answers(grade_versions.c.id, viewer)
        .join(grading_tasks, grading_tasks.c.attempt_id == attempts.c.id)
        .join(grade_versions, grade_versions.c.task_id == grading_tasks.c.id)
        .where(grade_versions.c.id.in_(version_ids))
    )
    return await fetch(connection, statement, AnonymousAnswer)


async def students_hidden(
    connection: Connection, viewer: Viewer, version_ids: Sequence[UUID]
) -> Sequence[HiddenStudent]:
    """Whom the people who decided these versions may have named, and the viewer marks unseen."""
    if not viewer.courses_as(*MARKERS):
        return ()
    unseen = or_(
        marks_blind(grades.c.submission_id, viewer),
        and_(assignments.c.anonymous, allocated(grades.c.submission_id, viewer, *MARKERS)),
    )
    return await fetch(
        connection,
        select(grade_versions.c.id.label("key"), users.c.name, users.c.email)
        .select_from(grade_versions)
        .join(grades, grades.c.id == grade_versions.c.grade_id)
        .join(assignments, assignments.c.id == grades.c.assignment_id)
        .join(users, users.c.id == grades.c.student_id)
        .where(grade_versions.c.id.in_(version_ids), unseen),
        HiddenStudent,
    )
