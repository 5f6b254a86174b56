from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from persistence.bus import Bus, open_postgres_bus
from persistence.database import Database, add
from persistence.tables.identity import OrganizationRow


@pytest.fixture
async def organization_id(database: Database) -> UUID:
    """A tenant."""
    row = OrganizationRow(name="Org", slug="org")
    async with database.transaction() as connection:
        await add(connection, row)
    return row.id


@pytest.fixture
async def bus(database: Database) -> AsyncIterator[Bus]:
    """The bus of this process."""
    async with open_postgres_bus(database, heartbeat_seconds=0.5) as opened:
        yield opened
