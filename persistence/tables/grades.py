"""Grades and their versions."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import random_id
from persistence.lifecycle.grades import GradeState
from persistence.tables.base import (
    Moment,
    Points,
    Stamped,
    one_of,
    table_of,
    tenant_key,
    within_tenant,
)


class DecidedBy(StrEnum):
    """Who decided a version of a grade."""

    AI = "AI"
    HUMAN = "HUMAN"


class GradeRow(Stamped, table=True):
    """The grade of one student for one assignment. Its score is that of its current version."""

    __tablename__ = "grade"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("assignment_id", "assignment"),
        within_tenant("submission_id", "submission"),
        within_tenant("student_id", "users"),
        UniqueConstraint("assignment_id", "student_id"),
        UniqueConstraint("submission_id"),
        one_of("state", GradeState),
        CheckConstraint(
            "state <> 'RELEASED' OR (released_by IS NOT NULL AND released_at IS NOT NULL)",
            name="released_by_a_person",
        ),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    submission_id: UUID
    student_id: UUID
    state: str = GradeState.NOT_MARKED
    released_by: UUID | None = None
    released_at: datetime | None = Field(default=None, sa_type=Moment)
    version: int = 1


class GradeVersionRow(Stamped, table=True):
    """One decision about a grade. `score` is before the late penalty; both in points."""

    __tablename__ = "grade_version"
    __table_args__ = (
        tenant_key(),
        within_tenant("grade_id", "grade", ondelete="CASCADE"),
        within_tenant("decided_by_user_id", "users"),
        within_tenant("task_id", "grading_task"),
        UniqueConstraint("grade_id", "number"),
        one_of("decided_by", DecidedBy),
        CheckConstraint("score >= 0 AND penalty >= 0 AND penalty <= score", name="score"),
        CheckConstraint(
            "(decided_by = 'HUMAN') = (decided_by_user_id IS NOT NULL)", name="human_is_named"
        ),
        Index("uq_grade_version_current", "grade_id", unique=True, postgresql_where="is_current"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    grade_id: UUID
    number: int
    is_current: bool = True
    score: Decimal = Field(sa_type=Points)
    penalty: Decimal = Field(default=Decimal(0), sa_type=Points)
    decided_by: str
    decided_by_user_id: UUID | None = None
    task_id: UUID | None = None
    reason: str
    feedback: str
    ledger_hash: str


class CriterionScoreRow(Stamped, table=True):
    """The points a grade version gives for one criterion of one question."""

    __tablename__ = "criterion_score"
    __table_args__ = (
        tenant_key(),
        within_tenant("grade_version_id", "grade_version", ondelete="CASCADE"),
        within_tenant("question_id", "question"),
        within_tenant("criterion_id", "criterion"),
        within_tenant("level_id", "level"),
        UniqueConstraint("grade_version_id", "question_id", "criterion_id"),
        CheckConstraint("points >= 0", name="points"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    grade_version_id: UUID
    question_id: UUID
    criterion_id: UUID
    level_id: UUID | None = None
    points: Decimal = Field(sa_type=Points)
    rationale: str


grades = table_of(GradeRow)
grade_versions = table_of(GradeVersionRow)
criterion_scores = table_of(CriterionScoreRow)
