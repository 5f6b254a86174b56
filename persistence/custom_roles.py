"""Roles that organizations made of known permissions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update

from persistence.database import Connection, change, fetch, fetch_one
from persistence.grants import in_force
from persistence.keyset import Page, page
from persistence.lifecycle.courses import GRANT, GrantEvent, GrantState
from persistence.tables.identity import CustomRoleRow, custom_roles, role_grants
from persistence.visibility import Viewer, sees_custom_roles


async def permissions_of(
    connection: Connection, grants: Sequence[Row[Any]]
) -> dict[UUID | None, set[str]]:
    """What the custom roles among these grants give, by course; None is the organization."""
    held = [(g.course_id, g.custom_role_id) for g in grants if g.custom_role_id is not None]
    if not held:
        return {}
    rows = await connection.execute(
        select(custom_roles.c.id, custom_roles.c.permissions).where(
            custom_roles.c.id.in_({role for _, role in held}), custom_roles.c.deleted_at.is_(None)
        )
    )
    permissions: dict[UUID, list[str]] = {row.id: row.permissions for row in rows}
    given: dict[UUID | None, set[str]] = {}
    for course, role in held:
        given.setdefault(course, set()).update(permissions.get(role, ()))
    return given


async def roles_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[CustomRoleRow]:
    """Those of `ids` the viewer sees, deleted ones too."""
    return await fetch(
        connection,
        select(custom_roles).where(
            custom_roles.c.id.in_(ids), sees_custom_roles(custom_roles, viewer)
        ),
        CustomRoleRow,
    )


async def roles_of_organization(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[CustomRoleRow]:
    """Roles already reached through grants the viewer sees."""
    return await fetch(
        connection,
        select(custom_roles).where(
            custom_roles.c.id.in_(ids), custom_roles.c.organization_id == organization_id
        ),
        CustomRoleRow,
    )


async def page_of_roles(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[CustomRoleRow]:
    """The roles the viewer sees, by name."""
    return await page(
        connection,
        select(custom_roles).where(
            sees_custom_roles(custom_roles, viewer), custom_roles.c.deleted_at.is_(None)
        ),
        shape=CustomRoleRow,
        key=[custom_roles.c.name, custom_roles.c.id],
        first=first,
        after=after,
    )


async def lock_role(
    connection: Connection, organization_id: UUID, key: UUID, *, shared: bool = False
) -> CustomRoleRow | None:
    """A role that was not deleted, held until the transaction ends: as it is when `shared`."""
    return await fetch_one(
        connection,
        select(custom_roles)
        .where(
            custom_roles.c.id == key,
            custom_roles.c.organization_id == organization_id,
            custom_roles.c.deleted_at.is_(None),
        )
        .with_for_update(read=shared),
        CustomRoleRow,
    )


async def update_role(
    connection: Connection,
    key: UUID,
    version: int,
    *,
    name: str,
    description: str,
    permissions: Sequence[str],
) -> None:
    """Changes a role. Raises `Conflict` for another version, `Duplicate` for a name taken."""
    await change(
        connection,
        update(custom_roles)
        .where(custom_roles.c.id == key, custom_roles.c.version == version)
        .values(
            name=name, description=description, permissions=list(permissions), version=version + 1
        ),
    )


async def holders(connection: Connection, key: UUID) -> Sequence[UUID]:
    """Who holds a role now."""
    rows = await connection.scalars(
        select(role_grants.c.user_id).where(role_grants.c.custom_role_id == key, in_force())
    )
    return rows.all()


async def delete_role(connection: Connection, key: UUID, moment: datetime) -> None:
    """Takes a role nobody holds out of use; grants of it that ran out end with it."""
    await connection.execute(
        update(role_grants)
        .where(
            role_grants.c.custom_role_id == key,
            role_grants.c.state == GrantState.ACTIVE,
            role_grants.c.expires_at <= func.now(),
        )
        .values(state=GRANT.advance(GrantState.ACTIVE, GrantEvent.EXPIRE))
    )
    await change(
        connection,
        update(custom_roles)
        .where(custom_roles.c.id == key, custom_roles.c.deleted_at.is_(None))
        .values(deleted_at=moment),
    )
