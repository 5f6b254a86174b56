"""Organizations, people and the roles they hold."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.courses import GrantState
from persistence.roles import Role
from persistence.tables.base import Moment, Stamped, one_of, table_of, tenant_key, within_tenant


class OrganizationRow(Stamped, table=True):
    """A tenant."""

    __tablename__ = "organization"
    __table_args__ = (UniqueConstraint("slug"),)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    name: str
    slug: str


class UserRow(Stamped, table=True):
    """A person, of one organization."""

    __tablename__ = "users"
    __table_args__ = (tenant_key(), UniqueConstraint("organization_id", "email"))
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    email: str
    name: str
    suspended: bool = False
    signed_out_at: datetime | None = Field(default=None, sa_type=Moment)
    """Access tokens issued before are no longer taken."""


class CustomRoleRow(Stamped, table=True):
    """A role an organization made of known permissions.

    `permissions` are `resource:action`; one the code does not know gives nothing.
    """

    __tablename__ = "custom_role"
    __table_args__ = (
        tenant_key(),
        CheckConstraint(
            "cardinality(permissions) BETWEEN 1 AND 100 AND "
            "array_to_string(permissions, ' ', '?') ~ '^[a-z]+:[a-z]+( [a-z]+:[a-z]+)*$'",
            name="permissions",
        ),
        Index(
            "uq_custom_role_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where="deleted_at IS NULL",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    name: str
    description: str
    permissions: list[str] = Field(sa_type=ARRAY(String))
    organization_wide: bool
    version: int = 1
    deleted_at: datetime | None = Field(default=None, sa_type=Moment)
    """Grants that ended still name it."""


class RoleGrantRow(Stamped, table=True):
    """A role someone holds, built in or custom: over one course, or over the organization."""

    __tablename__ = "role_grant"
    __table_args__ = (
        within_tenant("user_id", "users"),
        within_tenant("course_id", "course"),
        within_tenant("observed_student_id", "users"),
        within_tenant("custom_role_id", "custom_role"),
        ForeignKeyConstraint(["granted_by"], ["users.id"]),
        one_of("role", Role),
        one_of("state", GrantState),
        CheckConstraint(
            "(course_id IS NULL) = (role IN ('ADMIN', 'AUDITOR'))", name="course_scope"
        ),
        CheckConstraint("num_nonnulls(role, custom_role_id) = 1", name="one_role"),
        CheckConstraint("granted_by <> user_id", name="nobody_grants_themselves"),
        Index(
            "uq_role_grant_active",
            "user_id",
            "role",
            "custom_role_id",
            "course_id",
            "observed_student_id",
            unique=True,
            postgresql_where="state = 'ACTIVE'",
            postgresql_nulls_not_distinct=True,
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    user_id: UUID
    role: str | None = None
    custom_role_id: UUID | None = None
    course_id: UUID | None = None
    observed_student_id: UUID | None = None
    granted_by: UUID | None = None
    """Empty for a grant made on the command line of the server."""
    reason: str
    expires_at: datetime | None = Field(default=None, sa_type=Moment)
    state: str = GrantState.ACTIVE


class BreakGlassRow(Stamped, table=True):
    """A course laid open to an admin or auditor for a while, for a reason."""

    __tablename__ = "break_glass"
    __table_args__ = (
        within_tenant("user_id", "users"),
        within_tenant("course_id", "course"),
        within_tenant("ended_by", "users"),
        one_of("role", (Role.ADMIN, Role.AUDITOR)),
        CheckConstraint("expires_at <= created_at + interval '1 hour'", name="time_boxed"),
        Index("ix_break_glass_user", "user_id", postgresql_where="ended_at IS NULL"),
        Index("ix_break_glass_course", "course_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    user_id: UUID
    role: str
    course_id: UUID
    reason: str
    expires_at: datetime = Field(sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    """When it was ended before its time."""
    ended_by: UUID | None = None


organizations = table_of(OrganizationRow)
users = table_of(UserRow)
custom_roles = table_of(CustomRoleRow)
role_grants = table_of(RoleGrantRow)
break_glasses = table_of(BreakGlassRow)
