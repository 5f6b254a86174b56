"""A person's data on the command line: handed over and erased, as the API does."""

from uuid import UUID

from ops.bootstrap import command_event, find_user
from persistence import audit
from persistence.database import Database
from resolvers import privacy
from resolvers.access import missing


async def export_person(database: Database, slug: str, email: str) -> str:
    """All that is stored of a person, as JSON. Raises `Refusal`."""
    user_id, organization_id = await _found(database, slug, email)
    async with database.transaction() as connection:
        event = command_event(organization_id, "exportPersonalData", "User", [user_id])
        await audit.append(connection, event, {}, {})
        return await privacy.exported(connection, user_id)


async def erase_person(database: Database, slug: str, email: str) -> None:
    """Erases a person's data. Raises `Refusal`."""
    user_id, organization_id = await _found(database, slug, email)
    async with database.transaction() as connection:
        await privacy.erased(connection, organization_id, user_id)
        event = command_event(organization_id, "erasePersonalData", "User", [user_id])
        await audit.append(connection, event, {}, {})


async def _found(database: Database, slug: str, email: str) -> tuple[UUID, UUID]:
    found = await find_user(database, slug=slug, email=email)
    if found is None:
        raise missing("person")
    return found
