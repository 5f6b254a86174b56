"""A person's data: handed over, and erased."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from agents.models.flows import DataFlow
from persistence import privacy, usage, users
from persistence.database import Connection
from persistence.followers import RIGHTS_TOPIC
from persistence.tables.identity import UserRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import global_id, key_of
from resolvers.grants import keep_an_admin
from resolvers.mutations import Transaction
from resolvers.refusals import Refusal, RefusalCode

_PATH = ("input", "userId")


@dataclass(frozen=True)
class PersonalData:
    """All that is stored of a person, as JSON, which only the operation that read it has."""

    user_id: UUID
    json: str | None


async def export_personal_data(
    context: RequestContext, transaction: Transaction, *, user_id: str | None, reason: str | None
) -> UUID:
    """All that is stored of oneself; by an admin, with a reason, of another."""
    viewer = context.viewer
    key = viewer.user_id if user_id is None else key_of(user_id, "User", _PATH)
    if key == viewer.user_id:
        context.note_own(Permission.USER_EXPORT)
    else:
        context.require(Permission.USER_EXPORT)
        checks.line(reason or "", "reason", most=500)
        await _person(transaction.connection, viewer.organization_id, key)
    context.secrets[key] = await exported(transaction.connection, key)
    return key


async def exported(connection: Connection, key: UUID) -> str:
    """The person's data as JSON, by table."""
    found = await privacy.export(connection, key)
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


async def load_exports(context: RequestContext, ids: Sequence[UUID]) -> list[PersonalData]:
    """What this operation has just read."""
    return [PersonalData(key, context.secrets.get(key)) for key in ids]


async def erase_personal_data(
    context: RequestContext, transaction: Transaction, *, user_id: str, reason: str
) -> UUID:
    """Erases a person's data for good. Grades stay, under an id that names nobody."""
    viewer = context.require(Permission.USER_ERASE)
    checks.line(reason, "reason", most=500)
    key = key_of(user_id, "User", _PATH)
    if key == viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody erases themselves; ask another admin.", _PATH)
    await erased(transaction.connection, viewer.organization_id, key)
    transaction.hint(RIGHTS_TOPIC)
    return key


async def erased(connection: Connection, organization_id: UUID, key: UUID) -> None:
    """Erases a person who is not the last admin and whose work is not being graded."""
    person = await _person(connection, organization_id, key)
    await keep_an_admin(connection, organization_id, key)
    if await privacy.is_being_graded(connection, key):
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "A grading run works on this person's submission. Wait for it, or cancel it.",
            _PATH,
        )
    names = {"email": person.email, "name": person.name}
    shown = global_id("User", key)
    await privacy.erase(connection, organization_id, key, shown_id=shown, names=names)


async def _person(connection: Connection, organization_id: UUID, key: UUID) -> UserRow:
    found = await users.users_of_organization(connection, organization_id, [key])
    if not found:
        raise missing("user", _PATH)
    return found[0]


async def list_data_flows(context: RequestContext) -> Sequence[DataFlow]:
    """What leaves this server, for whom. For everybody who has signed in."""
    organization_id = context.viewer.organization_id
    async with context.database.read() as connection:
        chosen = await usage.all_choices(connection, organization_id)
    return context.flows([(one.role, one.models) for one in chosen])
