"""People, organizations and the roles they hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, fetch, fetch_one
from persistence.identifiers import uuid7
from persistence.lifecycle.courses import GRANT, EnrollmentState, GrantEvent, GrantState
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


async def add_users(
    connection: Connection, organization_id: UUID, names: Mapping[str, str]
) -> None:
    """Adds people by address and name; one who is there stays as they are."""
    rows = [
        {"id": uuid7(), "organization_id": organization_id, "email": email, "name": names[email]}
        for email in sorted(names)  # two requests wait for each other in the same order
    ]
    added = insert(users).values(rows)
    await connection.execute(
        added.on_conflict_do_nothing(index_elements=["organization_id", "email"])
    )


async def grant(connection: Connection, row: RoleGrantRow) -> UUID:
    """Gives the role, unless the person holds it; the id of the grant in force."""
    same = and_(
        role_grants.c.user_id == row.user_id,
        role_grants.c.role == row.role,
        role_grants.c.course_id.is_not_distinct_from(row.course_id),
        role_grants.c.observed_student_id.is_not_distinct_from(row.observed_student_id),
        role_grants.c.state == GrantState.ACTIVE,
    )
    await connection.execute(
        update(role_grants)
        .where(same, role_grants.c.expires_at <= func.now())
        .values(state=GRANT.advance(GrantState.ACTIVE, GrantEvent.EXPIRE))
    )
    values = {
        c.name: getattr(row, c.name)
        for c in role_grants.c
        if c.name not in {"created_at", "updated_at"}
    }
    await connection.execute(insert(role_grants).values(values).on_conflict_do_nothing())
    held = await connection.execute(select(role_grants.c.id).where(same))
    return UUID(str(held.scalar_one()))
