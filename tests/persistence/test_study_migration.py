"""Conversations of before the tree go over into it, and back."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from persistence.database import engine_url
from persistence.migrations import configuration
from tests.postgres_server import PostgresServer

REVISION = "0012"
NAME = "study_migration"
OLD = """
SET session_replication_role = replica;
INSERT INTO study_session (id, organization_id, course_id, user_id, title)
SELECT md5('s' || s)::uuid, md5('o')::uuid, md5('c')::uuid, md5('u')::uuid, 'T'
FROM generate_series(0, 2) s;
INSERT INTO message (id, organization_id, course_id, session_id, ordinal, author, reply_to_id,
    text, state, generation, tries, fence)
SELECT md5(s || 'm' || n)::uuid, md5('o')::uuid, md5('c')::uuid, md5('s' || s)::uuid, n,
    CASE n % 2 WHEN 0 THEN 'STUDENT' ELSE 'TUTOR' END,
    CASE n % 2 WHEN 1 THEN md5(s || 'm' || n - 1)::uuid END, '', 'COMPLETE', 1, 0, 0
FROM generate_series(0, 1) s, generate_series(0, 5) n;
INSERT INTO agent_step (id, organization_id, message_id, ordinal, kind, detail)
SELECT gen_random_uuid(), md5('o')::uuid, md5('0m1')::uuid, n,
    (ARRAY['PLAN', 'DRAFT', 'CHECK', 'DRAFT', 'CHECK'])[n + 1], '{}'
FROM generate_series(0, 4) n;
"""


@pytest.fixture
async def old(postgres: PostgresServer) -> AsyncIterator[str]:
    """The address of a database as it was before."""
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {NAME}")
        yield postgres.dsn(NAME)
        await admin.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
    finally:
        await admin.close()


async def move(dsn: str, direction: Any, revision: str) -> None:
    def run(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        direction(config, revision)
        connection.commit()

    engine = create_async_engine(engine_url(dsn), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


async def test_a_conversation_becomes_one_branch(old: str) -> None:
    scripts = ScriptDirectory.from_config(configuration())
    before = str(scripts.get_revision(REVISION).down_revision)
    await move(old, command.upgrade, before)
    connection = await asyncpg.connect(old)
    try:
        await connection.execute(OLD)
        links = "SELECT id, reply_to_id FROM message ORDER BY id"
        replies = await connection.fetch(links)
        await move(old, command.upgrade, REVISION)
        parents = await connection.fetch(
            "SELECT m.ordinal, p.ordinal AS parent FROM message m "
            "LEFT JOIN message p ON p.id = m.parent_id AND p.session_id = m.session_id"
        )
        assert len(parents) == 12
        assert all(
            row["parent"] == (row["ordinal"] - 1 if row["ordinal"] else None) for row in parents
        )
        leaves = await connection.fetch(
            "SELECT m.ordinal FROM study_session s LEFT JOIN message m ON m.id = s.active_leaf_id"
        )
        assert sorted(row["ordinal"] or -1 for row in leaves) == [-1, 5, 5]
        keys = await connection.fetch("SELECT key FROM agent_step ORDER BY ordinal")
        assert [row["key"] for row in keys] == [
            "PLAN:0",
            "DRAFT:0",
            "CHECK:0",
            "DRAFT:1",
            "CHECK:1",
        ]
        await move(old, command.downgrade, before)
        assert await connection.fetch(links) == replies
    finally:
        await connection.close()
