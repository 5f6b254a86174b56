"""People and organizations."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.grants import grants_of
from persistence.identifiers import uuid7
from persistence.lifecycle.courses import EnrollmentState
from persistence.roles import Role
from persistence.tables.courses import enrollments
from persistence.tables.identity import (
    OrganizationRow,
    UserRow,
    organizations,
    users,
)
from persistence.visibility import Viewer, sees_users


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
    grants = await grants_of(connection, user_id)
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
        observes=frozenset(
            (g.course_id, g.observed_student_id)
            for g in grants
            if g.course_id is not None and g.observed_student_id is not None
        ),
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


async def set_suspended(connection: Connection, key: UUID, *, suspended: bool) -> None:
    """Shuts a person out, or lets them in again. Raises `Conflict` when that was done already."""
    await change(
        connection,
        update(users)
        .where(users.c.id == key, users.c.suspended.is_not(suspended))
        .values(suspended=suspended),
    )
