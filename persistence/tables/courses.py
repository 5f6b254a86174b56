"""Courses and who is enrolled in them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.courses import EnrollmentState, InvitationState
from persistence.roles import Role
from persistence.tables.base import Moment, Stamped, one_of, table_of, tenant_key, within_tenant


class CourseRow(Stamped, table=True):
    """A course. Its time zone is the one its deadlines are read in."""

    __tablename__ = "course"
    __table_args__ = (tenant_key(), UniqueConstraint("organization_id", "code"))
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    code: str
    title: str
    language: str = "en"
    time_zone: str = "UTC"
    version: int = 1


class EnrollmentRow(Stamped, table=True):
    """A person's place in a course. It gives the STUDENT role; staff hold a grant as well."""

    __tablename__ = "enrollment"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        UniqueConstraint("course_id", "user_id"),
        one_of("role", Role),
        one_of("state", EnrollmentState),
        Index("ix_enrollment_user", "user_id", postgresql_where="state = 'ACTIVE'"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    user_id: UUID
    role: str
    state: str = EnrollmentState.ACTIVE


class InvitationRow(Stamped, table=True):
    """An enrolment that waits for its person. The token is here as its SHA-256 alone."""

    __tablename__ = "invitation"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        within_tenant("enrollment_id", "enrollment"),
        ForeignKeyConstraint(["invited_by"], ["users.id"]),
        ForeignKeyConstraint(["accepted_by"], ["users.id"]),
        one_of("state", InvitationState),
        UniqueConstraint("hash"),
        Index(
            "uq_invitation_pending",
            "enrollment_id",
            unique=True,
            postgresql_where="state = 'PENDING'",
        ),
        Index("ix_invitation_course", "course_id", "id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    user_id: UUID
    enrollment_id: UUID
    invited_by: UUID
    accepted_by: UUID | None = None
    hash: bytes = Field(sa_type=LargeBinary)
    expires_at: datetime = Field(sa_type=Moment)
    state: str = InvitationState.PENDING


courses = table_of(CourseRow)
enrollments = table_of(EnrollmentRow)
invitations = table_of(InvitationRow)
