"""Custom roles: made of known permissions by an admin, changed and taken out of use."""

from collections.abc import Sequence
from uuid import UUID

from persistence import custom_roles
from persistence.database import Connection, Duplicate, add
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.tables.identity import CustomRoleRow, RoleGrantRow
from resolvers import checks
from resolvers.access import CUSTOM_WIDE, NEEDS, NEVER_CUSTOM, ROLES, Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, optional
from resolvers.refusals import Refusal, RefusalCode

_PATH = ("input", "customRoleId")


async def load_roles(context: RequestContext, ids: Sequence[UUID]) -> list[CustomRoleRow | None]:
    """Roles by id: those one holds; for who gives roles all."""
    async with context.database.read() as connection:
        return in_order(ids, await custom_roles.roles_by_id(connection, context.viewer, ids))


async def list_roles(context: RequestContext, first: int, after: str | None) -> Page[CustomRoleRow]:
    """The roles the viewer sees, by name."""
    async with context.database.read() as connection:
        return await custom_roles.page_of_roles(
            connection, context.viewer, checks.page_size(first), after
        )


async def get_roles_of_grants(
    parents: Sequence[RoleGrantRow], context: RequestContext
) -> list[CustomRoleRow | None]:
    """The custom role of each grant the viewer sees; None for a built-in one."""
    ids = [grant.custom_role_id for grant in parents]
    async with context.database.read() as connection:
        rows = await custom_roles.roles_of_organization(
            connection, context.viewer.organization_id, [key for key in ids if key is not None]
        )
    return optional(ids, rows)


async def create_custom_role(
    context: RequestContext,
    transaction: Transaction,
    *,
    name: str,
    description: str,
    permissions: Sequence[Permission],
    organization_wide: bool,
) -> UUID:
    """Makes a role; what a permission needs comes with it."""
    viewer = context.require(Permission.ROLE_GRANT)
    row = CustomRoleRow(
        organization_id=viewer.organization_id,
        name=checks.line(name, "name", most=80),
        description=checks.line(description, "description", most=500),
        permissions=_chosen(permissions, wide=organization_wide),
        organization_wide=organization_wide,
    )
    try:
        await add(transaction.connection, row)
    except Duplicate as e:
        raise _taken(row.name) from e
    return row.id


async def update_custom_role(
    context: RequestContext,
    transaction: Transaction,
    *,
    custom_role_id: str,
    name: str,
    description: str,
    permissions: Sequence[Permission],
    version: int,
) -> UUID:
    """Changes a role for everybody who holds it, at once. Nobody adds to one of their own."""
    connection = transaction.connection
    role = await _managed(context, connection, custom_role_id)
    wanted = _chosen(permissions, wide=role.organization_wide)
    if set(wanted) - set(role.permissions) and role.id in context.viewer.custom_roles:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            "You hold this role yourself: ask another admin to add permissions to it.",
            _PATH,
        )
    name = checks.line(name, "name", most=80)
    try:
        await custom_roles.update_role(
            connection,
            role.id,
            version,
            name=name,
            description=checks.line(description, "description", most=500),
            permissions=wanted,
        )
    except Duplicate as e:
        raise _taken(name) from e
    transaction.hint(RIGHTS_TOPIC)
    return role.id


async def delete_custom_role(
    context: RequestContext, transaction: Transaction, *, custom_role_id: str
) -> UUID:
    """Takes a role out of use that nobody holds."""
    connection = transaction.connection
    role = await _managed(context, connection, custom_role_id)
    if held := await custom_roles.holders(connection, role.id):
        raise Refusal(
            RefusalCode.INVALID_STATE,
            f"{len(set(held))} people hold this role. Revoke it from them first; roleGrants lists "
            "them.",
            _PATH,
        )
    await custom_roles.delete_role(connection, role.id, context.now())
    return role.id


async def _managed(
    context: RequestContext, connection: Connection, custom_role_id: str
) -> CustomRoleRow:
    viewer = context.require(Permission.ROLE_GRANT)
    key = key_of(custom_role_id, "CustomRole", _PATH)
    role = await custom_roles.lock_role(connection, viewer.organization_id, key)
    if role is None:
        raise missing("custom role", _PATH)
    return role


def _chosen(permissions: Sequence[Permission], *, wide: bool) -> list[str]:
    """The permissions with those they need. Raises `Refusal` for one no such role may give."""
    checks.at_most(permissions, "permissions")
    wanted = {Permission(permission.value) for permission in permissions}
    for permission in sorted(wanted):
        if permission in NEVER_CUSTOM:
            raise checks.bad("permissions", f"No custom role gives {permission.value}.")
        if wide and permission not in CUSTOM_WIDE:
            allowed = ", ".join(sorted(CUSTOM_WIDE))
            raise checks.bad(
                "permissions",
                f"{permission.value} is given in a course alone; over the organization: {allowed}.",
            )
        if not wide and not any(role.of_course for role in ROLES[permission]):
            raise checks.bad(
                "permissions", f"{permission.value} is given over the organization alone."
            )
    needed = {each for permission in wanted for each in NEEDS.get(permission, ())}
    return sorted(permission.value for permission in wanted | needed)


def _taken(name: str) -> Refusal:
    return checks.bad("name", f"There is a custom role {name} already.")
