"""People, organizations and the roles they hold."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select

from persistence.database import Connection, fetch, fetch_one
from persistence.lifecycle.courses import EnrollmentState, GrantState
from persistence.roles import Role
from persistence.tables.courses import enrollments
from persistence.tables.identity import (
    OrganizationRow,
    RoleGrantRow,
    UserRow,
    organizations,
    role_grants,
    users,
)
from persistence.visibility import Viewer, sees_grants, sees_users


def _in_force() -> ColumnElement[bool]:
    return and_(
        role_grants.c.state == GrantState.ACTIVE,
        or_(role_grants.c.expires_at.is_(None), role_grants.c.expires_at > func.now()),
    )


async def find_viewer(
    connection: Connection, user_id: UUID, organization_id: UUID, expires_at: datetime
) -> Viewer | None:
    """The person with the roles in force now; None when unknown or suspended."""
    user = await fetch_one(
        connection,
        select(users).where(
            users.c.id == user_id,
            users.c.organization_id == organization_id,
            users.c.suspended.is_(False),
        ),
        UserRow,
    )
    if user is None:
        return None
    grants = await fetch(
        connection,
        select(role_grants).where(role_grants.c.user_id == user_id, _in_force()),
        RoleGrantRow,
    )
    enrolled = await connection.scalars(
        select(enrollments.c.course_id).where(
            enrollments.c.user_id == user_id,
            enrollments.c.role == Role.STUDENT,
            enrollments.c.state == EnrollmentState.ACTIVE,
        )
    )
    courses: dict[Role, set[UUID]] = {Role.STUDENT: set(enrolled)}
    for grant in grants:
        if grant.course_id is not None:
            courses.setdefault(Role(grant.role), set()).add(grant.course_id)
    return Viewer(
        user_id=user.id,
        organization_id=user.organization_id,
        email=user.email,
        name=user.name,
        expires_at=expires_at,
        organization_roles=frozenset(Role(g.role) for g in grants if g.course_id is None),
        courses={role: frozenset(ids) for role, ids in courses.items()},
    )


async def users_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[UserRow]:
    """Those of `ids` the viewer may look up by id alone."""
    return await fetch(
        connection, select(users).where(users.c.id.in_(ids), sees_users(users, viewer)), UserRow
    )


async def users_of_organization(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[UserRow]:
    """Rows already reached through something the viewer sees."""
    return await fetch(
        connection,
        select(users).where(users.c.id.in_(ids), users.c.organization_id == organization_id),
        UserRow,
    )


async def users_by_email(
    connection: Connection, organization_id: UUID, emails: Sequence[str]
) -> Sequence[UserRow]:
    """People of the organization by their addresses."""
    return await fetch(
        connection,
        select(users).where(users.c.organization_id == organization_id, users.c.email.in_(emails)),
        UserRow,
    )


async def organization_by_slug(connection: Connection, slug: str) -> OrganizationRow | None:
    """An organization by its short name."""
    return await fetch_one(
        connection, select(organizations).where(organizations.c.slug == slug), OrganizationRow
    )


async def organization_by_id(connection: Connection, key: UUID) -> OrganizationRow | None:
    """An organization."""
    return await fetch_one(
        connection, select(organizations).where(organizations.c.id == key), OrganizationRow
    )


async def grants_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[RoleGrantRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(role_grants).where(role_grants.c.id.in_(ids), sees_grants(role_grants, viewer)),
        RoleGrantRow,
    )


async def active_grant(
    connection: Connection, user_id: UUID, role: Role, course_id: UUID | None
) -> RoleGrantRow | None:
    """The grant in force, if there is one."""
    course = (
        role_grants.c.course_id.is_(None)
        if course_id is None
        else role_grants.c.course_id == course_id
    )
    return await fetch_one(
        connection,
        select(role_grants).where(
            role_grants.c.user_id == user_id, role_grants.c.role == role, course, _in_force()
        ),
        RoleGrantRow,
    )
