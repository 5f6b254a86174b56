"""The roles people hold."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.keyset import Page, page
from persistence.lifecycle.courses import GRANT, GrantEvent, GrantState
from persistence.roles import Role
from persistence.tables.identity import RoleGrantRow, organizations, role_grants, users
from persistence.visibility import Viewer, sees_grants


def in_force() -> ColumnElement[bool]:
    """Grants that give something now."""
    return and_(
        role_grants.c.state == GrantState.ACTIVE,
        or_(role_grants.c.expires_at.is_(None), role_grants.c.expires_at > func.now()),
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


async def page_of_grants(
    connection: Connection,
    viewer: Viewer,
    *,
    user_id: UUID | None,
    course_id: UUID | None,
    first: int,
    after: str | None,
) -> Page[RoleGrantRow]:
    """The grants in force the viewer sees, newest first; of one person or course when given."""
    statement: Select[tuple[RoleGrantRow]] = select(role_grants).where(
        sees_grants(role_grants, viewer), in_force()
    )
    if user_id is not None:
        statement = statement.where(role_grants.c.user_id == user_id)
    if course_id is not None:
        statement = statement.where(role_grants.c.course_id == course_id)
    return await page(
        connection,
        statement,
        shape=RoleGrantRow,
        key=[role_grants.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def grants_of(connection: Connection, user_id: UUID) -> Sequence[RoleGrantRow]:
    """A person's grants in force."""
    return await fetch(
        connection,
        select(role_grants).where(role_grants.c.user_id == user_id, in_force()),
        RoleGrantRow,
    )


async def lock_grant(connection: Connection, viewer: Viewer, key: UUID) -> RoleGrantRow | None:
    """A grant the viewer sees, held until the transaction ends."""
    return await fetch_one(
        connection,
        select(role_grants)
        .where(role_grants.c.id == key, sees_grants(role_grants, viewer))
        .with_for_update(),
        RoleGrantRow,
    )


async def lock_lasting_admins(connection: Connection, organization_id: UUID) -> frozenset[UUID]:
    """Who administers the organization without an end; nobody else may ask until the commit.

    It is the organization that is locked and not the grants: who locks one grant first and then
    all would meet another who does the same the other way round.
    """
    await connection.execute(
        select(organizations.c.id)
        .where(organizations.c.id == organization_id)
        .with_for_update(key_share=True)
    )
    rows = await connection.execute(
        select(role_grants.c.user_id)
        .join(users, users.c.id == role_grants.c.user_id)
        .where(
            role_grants.c.organization_id == organization_id,
            role_grants.c.role == Role.ADMIN,
            role_grants.c.state == GrantState.ACTIVE,
            role_grants.c.expires_at.is_(None),
            users.c.suspended.is_(False),
        )
    )
    return frozenset(rows.scalars())


async def grant(connection: Connection, row: RoleGrantRow) -> UUID:
    """Gives the role, unless the person holds it; the id of the grant in force."""
    same = and_(
        role_grants.c.user_id == row.user_id,
        role_grants.c.role.is_not_distinct_from(row.role),
        role_grants.c.custom_role_id.is_not_distinct_from(row.custom_role_id),
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


async def move_grant(
    connection: Connection, key: UUID, source: GrantState, target: GrantState
) -> None:
    """Changes a grant's state. Raises `Conflict`."""
    await change(
        connection,
        update(role_grants)
        .where(role_grants.c.id == key, role_grants.c.state == source)
        .values(state=target),
    )


async def set_expiry(connection: Connection, key: UUID, expires_at: datetime | None) -> None:
    """Changes when an active grant ends by itself. Raises `Conflict`."""
    await change(
        connection,
        update(role_grants)
        .where(role_grants.c.id == key, role_grants.c.state == GrantState.ACTIVE)
        .values(expires_at=expires_at),
    )
