"""What students hand in. Ids here are random: they tell a marker neither time nor order."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import CheckConstraint, Interval, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import alias, random_id
from persistence.lifecycle.submissions import AttemptState, SubmissionState
from persistence.tables.base import Moment, Stamped, one_of, table_of, tenant_key, within_tenant


class SubmissionRow(Stamped, table=True):
    """One student's work for one assignment, under an alias."""

    __tablename__ = "submission"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("assignment_id", "assignment"),
        within_tenant("student_id", "users"),
        UniqueConstraint("assignment_id", "student_id"),
        UniqueConstraint("assignment_id", "alias"),
        one_of("state", SubmissionState),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    student_id: UUID
    alias: str = Field(default_factory=alias)
    state: str = SubmissionState.UNSUBMITTED


class AttemptRow(Stamped, table=True):
    """One handing-in. `late_by` is zero when it was in time."""

    __tablename__ = "attempt"
    __table_args__ = (
        tenant_key(),
        within_tenant("submission_id", "submission"),
        within_tenant("submitted_by", "users"),
        UniqueConstraint("submission_id", "number"),
        one_of("state", AttemptState),
        CheckConstraint("number > 0", name="number"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    submission_id: UUID
    submitted_by: UUID
    number: int
    sha256: str
    submitted_at: datetime = Field(sa_type=Moment)
    late_by: timedelta = Field(default=timedelta(0), sa_type=Interval)
    state: str = AttemptState.RECEIVED


class QuestionResponseRow(Stamped, table=True):
    """The canonical text (NFC) of one answer. Evidence offsets are code points of it."""

    __tablename__ = "question_response"
    __table_args__ = (
        tenant_key(),
        within_tenant("attempt_id", "attempt", ondelete="CASCADE"),
        within_tenant("question_id", "question"),
        UniqueConstraint("attempt_id", "question_id"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    attempt_id: UUID
    question_id: UUID
    text: str


submissions = table_of(SubmissionRow)
attempts = table_of(AttemptRow)
question_responses = table_of(QuestionResponseRow)
