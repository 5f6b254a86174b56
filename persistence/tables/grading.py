"""Grading runs, their tasks, and what the graders found."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import random_id, uuid7
from persistence.lifecycle.grading import RunState, TaskState
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


class Assessor(StrEnum):
    """Who assessed."""

    AI = "AI"
    HUMAN = "HUMAN"
    PEER = "PEER"
    SELF = "SELF"


class GradingRunRow(Stamped, table=True):
    """One grading of an assignment's submissions. At most one lives at a time."""

    __tablename__ = "grading_run"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("assignment_id", "assignment"),
        within_tenant("started_by", "users"),
        one_of("state", RunState),
        CheckConstraint("spent_micros >= 0", name="spent_micros"),
        Index(
            "uq_grading_run_live",
            "assignment_id",
            unique=True,
            postgresql_where="state IN ('DRAFT', 'ESTIMATED', 'QUEUED', 'RUNNING', 'PAUSED', "
            "'CANCELLING')",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    started_by: UUID
    config: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    budget_micros: int | None = Field(default=None, sa_type=BigInteger)
    spent_micros: int = Field(default=0, sa_type=BigInteger)
    currency: str = "USD"
    state: str = RunState.DRAFT
    paused_because: str | None = None
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)


class GradingTaskRow(Stamped, table=True):
    """The grading of one attempt in one run, under a fenced lease."""

    __tablename__ = "grading_task"
    __table_args__ = (
        tenant_key(),
        within_tenant("run_id", "grading_run"),
        within_tenant("attempt_id", "attempt"),
        within_tenant("submission_id", "submission"),
        UniqueConstraint("run_id", "attempt_id"),
        one_of("state", TaskState),
        Index("ix_grading_task_run_state", "run_id", "state"),
        Index("ix_grading_task_submission", "submission_id"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    run_id: UUID
    attempt_id: UUID
    submission_id: UUID
    alias: str
    state: str = TaskState.PENDING
    generation: int = 1
    tries: int = 0
    cost_micros: int = Field(default=0, sa_type=BigInteger)
    reasons: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    """Why a person must look: `{code, criterion_id?, detail}`."""
    failure: dict[str, Any] | None = Field(default=None, sa_type=Json)
    not_before: datetime | None = Field(default=None, sa_type=Moment)
    lease_owner: UUID | None = None
    lease_until: datetime | None = Field(default=None, sa_type=Moment)
    fence: int = Field(default=0, sa_type=BigInteger)


class AssessmentRow(Stamped, table=True):
    """What one assessor found about one question of an attempt."""

    __tablename__ = "assessment"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("task_id", "grading_task"),
        within_tenant("submission_id", "submission"),
        within_tenant("question_id", "question"),
        within_tenant("assessor_id", "users"),
        one_of("assessor", Assessor),
        Index(
            "uq_assessment_slot",
            "task_id",
            "generation",
            "question_id",
            "slot",
            unique=True,
            postgresql_where="assessor = 'AI'",
        ),
        Index("ix_assessment_submission", "submission_id"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    submission_id: UUID
    question_id: UUID
    task_id: UUID | None = None
    generation: int = 1
    assessor: str
    assessor_id: UUID | None = None
    slot: str
    model: str
    prompt_version: str
    provisional: bool = True


class CriterionAssessmentRow(Stamped, table=True):
    """The level, points and reason one assessor gave for one criterion."""

    __tablename__ = "criterion_assessment"
    __table_args__ = (
        tenant_key(),
        within_tenant("assessment_id", "assessment", ondelete="CASCADE"),
        within_tenant("criterion_id", "criterion"),
        within_tenant("level_id", "level"),
        UniqueConstraint("assessment_id", "criterion_id"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint("points >= 0", name="points"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    assessment_id: UUID
    criterion_id: UUID
    level_id: UUID | None = None
    points: Decimal = Field(sa_type=Points)
    confidence: float
    rationale: str


class EvidenceSpanRow(Stamped, table=True):
    """A quotation of the student's text: code points `start` to `end` of the response."""

    __tablename__ = "evidence_span"
    __table_args__ = (
        tenant_key(),
        within_tenant("criterion_assessment_id", "criterion_assessment", ondelete="CASCADE"),
        UniqueConstraint("criterion_assessment_id", "position"),
        CheckConstraint('NOT verified OR (0 <= "start" AND "start" < "end")', name="span"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    criterion_assessment_id: UUID
    position: int
    start: int
    end: int
    quote: str
    verified: bool


grading_runs = table_of(GradingRunRow)
grading_tasks = table_of(GradingTaskRow)
assessments = table_of(AssessmentRow)
criterion_assessments = table_of(CriterionAssessmentRow)
evidence_spans = table_of(EvidenceSpanRow)
