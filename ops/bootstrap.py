"""The first admin of an organization: made on the server's command line, never over the API."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from persistence import audit, grants, sign_in, users
from persistence.database import Database, add
from persistence.roles import Role
from persistence.tables.audit import AuditEventRow, Outcome
from persistence.tables.identity import OrganizationRow, RoleGrantRow, UserRow
from resolvers import checks
from resolvers.access import missing
from resolvers.refusals import Refusal, RefusalCode
from resolvers.sign_in import PasswordHasher

SHORTEST_PASSWORD = 12


async def create_admin(
    database: Database, *, organization: str, slug: str, email: str, name: str
) -> UserRow:
    """Makes the organization, the person and the ADMIN grant, as far as they are missing.

    Raises `Refusal` when a value is not acceptable.
    """
    email, name = checks.email(email), checks.line(name, "name")
    slug = checks.slug(slug, "organization")
    async with database.transaction() as connection:
        tenant = await users.organization_by_slug(connection, slug)
        if tenant is None:
            tenant = OrganizationRow(name=checks.line(organization, "organization"), slug=slug)
            await add(connection, tenant)
        await users.add_users(connection, tenant.id, {email: name})
        (person,) = await users.users_by_email(connection, tenant.id, [email])
        await grants.grant(
            connection,
            RoleGrantRow(
                organization_id=tenant.id,
                user_id=person.id,
                role=Role.ADMIN,
                reason="Made on the command line of the server",
            ),
        )
        event = command_event(tenant.id, "createAdmin", "User", [person.id])
        await audit.append(connection, event, {}, {"email": email, "name": name})
        return person


async def set_admin_password(
    database: Database, hasher: PasswordHasher, *, slug: str, email: str, password: str
) -> None:
    """Gives an admin a password, and ends their other sessions. Raises `Refusal`."""
    if not SHORTEST_PASSWORD <= len(password) <= 1_000 or "\0" in password:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"A password has {SHORTEST_PASSWORD} to 1,000 characters."
        )
    found = await find_user(database, slug=slug, email=email)
    if found is None:
        raise missing("person")
    user_id, organization_id = found
    hashed = await hasher.hash(password)
    async with database.transaction() as connection:
        if Role.ADMIN not in {g.role for g in await grants.grants_of(connection, user_id)}:
            raise Refusal(RefusalCode.FORBIDDEN, "Only admins sign in with a password.")
        await sign_in.set_password(connection, organization_id, user_id, hashed)
        await sign_in.sign_out_everywhere(
            connection, [user_id], datetime.now(UTC), "the password was changed"
        )
        event = command_event(organization_id, "setPassword", "User", [user_id])
        await audit.append(connection, event, {}, {})


def command_event(
    organization_id: UUID, action: str, object_type: str | None = None, ids: Sequence[UUID] = ()
) -> AuditEventRow:
    """What the audit log keeps of something done on the command line: nobody's name is known."""
    return AuditEventRow(
        organization_id=organization_id,
        action=action,
        outcome=Outcome.DONE,
        object_type=object_type,
        object_ids=list(ids),
        at=datetime.now(UTC),
    )


async def find_user(database: Database, *, slug: str, email: str) -> tuple[UUID, UUID] | None:
    """The ids of a person and their organization."""
    async with database.read() as connection:
        tenant = await users.organization_by_slug(connection, slug)
        if tenant is None:
            return None
        known = await users.users_by_email(connection, tenant.id, [email.strip().lower()])
    return (known[0].id, tenant.id) if known else None
