"""Rubrics, assignments and the questions they ask."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.assignments import AssignmentState, RubricVersionState
from persistence.tables.base import (
    Json,
    Moment,
    Points,
    Stamped,
    one_of,
    table_of,
    tenant_key,
    within_tenant,
)


class AssignmentKind(StrEnum):
    """What is asked for."""

    ESSAY = "ESSAY"
    SHORT_ANSWER = "SHORT_ANSWER"
    CODE = "CODE"
    MCQ = "MCQ"


class AiPolicy(StrEnum):
    """What the tutor may do about an assignment that is still open."""

    OPEN = "OPEN"
    HINTS = "HINTS"
    CLOSED = "CLOSED"


class RubricRow(Stamped, table=True):
    """A rubric, by its title; what it says is in its versions."""

    __tablename__ = "rubric"
    __table_args__ = (tenant_key(), within_tenant("course_id", "course"))
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    title: str


class RubricVersionRow(Stamped, table=True):
    """One state of a rubric; unchangeable once it is published (a trigger holds it)."""

    __tablename__ = "rubric_version"
    __table_args__ = (
        tenant_key(),
        within_tenant("rubric_id", "rubric"),
        within_tenant("course_id", "course"),
        UniqueConstraint("rubric_id", "number"),
        one_of("state", RubricVersionState),
        Index(
            "uq_rubric_version_published",
            "rubric_id",
            unique=True,
            postgresql_where="state = 'PUBLISHED'",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    rubric_id: UUID
    number: int
    content_hash: str
    state: str = RubricVersionState.DRAFT


class CriterionRow(Stamped, table=True):
    """One thing a rubric judges, worth `points` at the most."""

    __tablename__ = "criterion"
    __table_args__ = (
        tenant_key(),
        within_tenant("rubric_version_id", "rubric_version", ondelete="CASCADE"),
        UniqueConstraint("rubric_version_id", "position"),
        CheckConstraint("points > 0", name="points"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    rubric_version_id: UUID
    position: int
    title: str
    guidelines: str
    points: Decimal = Field(sa_type=Points)


class LevelRow(Stamped, table=True):
    """One step of a criterion, worth from `min_points` to `max_points`."""

    __tablename__ = "level"
    __table_args__ = (
        tenant_key(),
        within_tenant("criterion_id", "criterion", ondelete="CASCADE"),
        UniqueConstraint("criterion_id", "position"),
        CheckConstraint("0 <= min_points AND min_points <= max_points", name="range"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    criterion_id: UUID
    position: int
    title: str
    description: str
    min_points: Decimal = Field(sa_type=Points)
    max_points: Decimal = Field(sa_type=Points)


class Guarding(StrEnum):
    """How the tutor kept a question from open graded work."""

    HINTED = "HINTED"
    REFUSED = "REFUSED"
    LANGUAGE = "LANGUAGE"


class AssignmentRow(Stamped, table=True):
    """Graded work of a course. Its questions are what is graded."""

    __tablename__ = "assignment"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        one_of("kind", AssignmentKind),
        one_of("state", AssignmentState),
        one_of("ai_policy", AiPolicy),
        CheckConstraint("points > 0", name="points"),
        CheckConstraint("attempts_allowed > 0", name="attempts_allowed"),
        CheckConstraint("due_at <= lock_at", name="due_before_lock"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    title: str
    kind: str
    instructions: str
    points: Decimal = Field(sa_type=Points)
    unlock_at: datetime | None = Field(default=None, sa_type=Moment)
    due_at: datetime | None = Field(default=None, sa_type=Moment)
    lock_at: datetime | None = Field(default=None, sa_type=Moment)
    attempts_allowed: int = 1
    late_policy: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    anonymous: bool = False
    ai_policy: str = AiPolicy.HINTS
    state: str = AssignmentState.DRAFT
    version: int = 1


class QuestionRow(Stamped, table=True):
    """The graded unit: one prompt under one rubric version. An essay assignment has one."""

    __tablename__ = "question"
    __table_args__ = (
        tenant_key(),
        within_tenant("assignment_id", "assignment", ondelete="CASCADE"),
        within_tenant("rubric_version_id", "rubric_version"),
        UniqueConstraint("assignment_id", "position"),
        CheckConstraint("points > 0", name="points"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    position: int
    prompt: str
    points: Decimal = Field(sa_type=Points)
    reference_answer: str | None = None
    rubric_version_id: UUID | None = None


class AnchorPaperRow(Stamped, table=True):
    """A de-identified answer an instructor marked, for graders to measure themselves by."""

    __tablename__ = "anchor_paper"
    __table_args__ = (tenant_key(), within_tenant("question_id", "question", ondelete="CASCADE"))
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    question_id: UUID
    text: str
    marks: dict[str, str] = Field(sa_type=Json)
    """Points (a decimal in a string) by criterion id."""


class GuardedQuestionRow(Stamped, table=True):
    """How often the tutor kept questions from an assignment: a count, with nobody in it."""

    __tablename__ = "guarded_question"
    __table_args__ = (
        within_tenant("assignment_id", "assignment", ondelete="CASCADE"),
        one_of("guarding", Guarding),
        CheckConstraint("questions > 0", name="questions"),
    )
    assignment_id: UUID = Field(primary_key=True)
    guarding: str = Field(primary_key=True)
    organization_id: UUID
    questions: int


rubrics = table_of(RubricRow)
rubric_versions = table_of(RubricVersionRow)
criteria = table_of(CriterionRow)
levels = table_of(LevelRow)
assignments = table_of(AssignmentRow)
questions = table_of(QuestionRow)
anchor_papers = table_of(AnchorPaperRow)
guarded_questions = table_of(GuardedQuestionRow)
