"""People."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from persistence import sign_in, users
from persistence.followers import RIGHTS_TOPIC
from persistence.tables.identity import OrganizationRow, UserRow
from persistence.visibility import Viewer
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.grants import keep_an_admin
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, present
from resolvers.refusals import Refusal, RefusalCode


class NewUser(Protocol):
    """A person to be known to the organization."""

    email: str
    name: str


@dataclass(frozen=True)
class Impersonation:
    """Who is seen as, and the token to see with, which only the operation that made it has."""

    user_id: UUID
    access_token: str | None


async def get_viewer(context: RequestContext) -> Viewer:
    """Who asks."""
    return context.viewer


async def get_user_of_viewer(viewers: Sequence[Viewer], context: RequestContext) -> list[UserRow]:
    """The viewer's own row."""
    ids = [viewer.user_id for viewer in viewers]
    async with context.database.read() as connection:
        return present(ids, await users.users_by_id(connection, context.viewer, ids))


async def get_organization_of_viewer(
    viewers: Sequence[Viewer], context: RequestContext
) -> list[OrganizationRow | None]:
    """The viewer's organization."""
    async with context.database.read() as connection:
        row = await users.organization_by_id(connection, context.viewer.organization_id)
    return [row for _ in viewers]


async def load_users(context: RequestContext, ids: Sequence[UUID]) -> list[UserRow | None]:
    """People by id, as far as the viewer may look them up."""
    async with context.database.read() as connection:
        return in_order(ids, await users.users_by_id(connection, context.viewer, ids))


async def get_users(context: RequestContext, ids: Sequence[UUID | None]) -> list[UserRow | None]:
    """People named by rows the viewer sees."""
    wanted = [key for key in ids if key is not None]
    async with context.database.read() as connection:
        rows = await users.users_of_organization(connection, context.viewer.organization_id, wanted)
    found = {row.id: row for row in rows}
    return [found.get(key) if key is not None else None for key in ids]


async def load_organizations(
    context: RequestContext, ids: Sequence[UUID]
) -> list[OrganizationRow | None]:
    """Organizations by id; None for all but the viewer's own."""
    async with context.database.read() as connection:
        row = await users.organization_by_id(connection, context.viewer.organization_id)
    return in_order(ids, [] if row is None else [row])


async def create_users(
    context: RequestContext, transaction: Transaction, *, users: Sequence[NewUser]
) -> list[UUID]:
    """Makes people known to the organization; one who is known already stays as they are."""
    viewer = context.require(Permission.USER_CREATE)
    checks.at_most(users, "users")
    wanted: dict[str, str] = {}
    for user in users:
        wanted.setdefault(checks.email(user.email, "users"), checks.line(user.name, "users"))
    return await _upsert(transaction, viewer.organization_id, wanted)


async def _upsert(
    transaction: Transaction, organization_id: UUID, wanted: dict[str, str]
) -> list[UUID]:
    connection = transaction.connection
    await users.add_users(connection, organization_id, wanted)
    known = await users.users_by_email(connection, organization_id, list(wanted))
    ids = {row.email: row.id for row in known}
    return [ids[email] for email in wanted]


async def suspend_user(
    context: RequestContext, transaction: Transaction, *, user_id: str, reason: str
) -> UUID:
    """Shuts a person out: their requests and subscriptions are refused from now on."""
    checks.line(reason, "reason", most=500)
    key = await _other_person(context, transaction, user_id)
    await keep_an_admin(transaction.connection, context.viewer.organization_id, key)
    await users.set_suspended(transaction.connection, key, suspended=True)
    transaction.hint(RIGHTS_TOPIC)
    return key


async def reinstate_user(
    context: RequestContext, transaction: Transaction, *, user_id: str, reason: str
) -> UUID:
    """Lets a suspended person in again, with the roles they hold."""
    checks.line(reason, "reason", most=500)
    key = await _other_person(context, transaction, user_id)
    await users.set_suspended(transaction.connection, key, suspended=False)
    return key


async def sign_out_everywhere(
    context: RequestContext, transaction: Transaction, *, user_id: str | None
) -> UUID:
    """Ends every session and every access token: of oneself, or by an admin of another."""
    viewer = context.viewer
    key = viewer.user_id
    if user_id is None or key_of(user_id, "User", ("input", "userId")) == viewer.user_id:
        context.note_own(Permission.USER_SUSPEND)
    else:
        key = await _other_person(context, transaction, user_id)
    await sign_in.sign_out_everywhere(transaction.connection, [key], context.now(), "everywhere")
    transaction.hint(RIGHTS_TOPIC)
    return key


async def impersonate_user(
    context: RequestContext, transaction: Transaction, *, user_id: str, reason: str, minutes: int
) -> UUID:
    """A token with which an admin sees, for some minutes, what the person sees."""
    checks.line(reason, "reason", most=500)
    if not 1 <= minutes <= 15:
        raise checks.bad("minutes", "minutes lies between 1 and 15.")
    key = await _other_person(context, transaction, user_id, Permission.USER_IMPERSONATE)
    if context.issue_access is None:
        raise Refusal(RefusalCode.UNAVAILABLE, "This process signs no access tokens.")
    context.secrets[key] = context.issue_access(context.viewer, key, minutes * 60)
    return key


async def load_impersonations(context: RequestContext, ids: Sequence[UUID]) -> list[Impersonation]:
    """What this operation has just made, by the person's id."""
    return [Impersonation(key, context.secrets.get(key)) for key in ids]


async def _other_person(
    context: RequestContext,
    transaction: Transaction,
    user_id: str,
    permission: Permission = Permission.USER_SUSPEND,
) -> UUID:
    path = ("input", "userId")
    viewer = context.require(permission)
    key = key_of(user_id, "User", path)
    if not await users.users_of_organization(transaction.connection, viewer.organization_id, [key]):
        raise missing("user", path)
    if key == viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody does this to themselves.", path)
    return key
