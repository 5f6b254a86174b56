"""The schema's history, and the two questions asked of it: bring it to head; is it there?"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from persistence.database import Connection, engine_url

# Two migrators wait for each other on this advisory lock ("assay" in ASCII).
_MIGRATION_LOCK = 0x6173736179


def configuration() -> Config:
    """Alembic's settings, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _upgrade(connection: SyncConnection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
    connection.commit()
    try:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
        connection.commit()


async def migrate(dsn: str) -> None:
    """Brings the database at the direct address `dsn` to the newest schema."""
    engine = create_async_engine(engine_url(dsn), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def head() -> str | None:
    """The newest revision in this tree."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


def revisions() -> frozenset[str]:
    """Every revision in this tree."""
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions()
    return frozenset(script.revision for script in scripts)


async def current(connection: Connection) -> str | None:
    """The revision the database is at; None when it was never migrated."""
    return await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision())
