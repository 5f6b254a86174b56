"""A database of an older version, with people's work in it, comes along whole."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from agents.models.embedding import MiniLM
from persistence.database import engine_url, open_database
from persistence.migrations import configuration
from persistence.retrieval import PassageScope, search
from tests.postgres_server import PostgresServer
from tests.study_world import embedder  # noqa: F401 - fixture

BUILT_IN = "embedded:minilm-l6-v2-int8@384"
TEXT = "A router forwards each packet towards its destination by the longest matching prefix."
ORGANIZATION, COURSE, ANN, SESSION = (uuid4() for _ in range(4))
DOCUMENTS = {s: uuid4() for s in ("UPLOADED", "EXTRACTING", "READY", "FAILED", "DELETED")}
VERSION, CHUNK = uuid4(), uuid4()
MESSAGES = [uuid4() for _ in range(4)]
OLD = f"""
INSERT INTO organization (id, name, slug) VALUES ('{ORGANIZATION}', 'Org', 'org');
INSERT INTO users (id, organization_id, email, name, suspended)
    VALUES ('{ANN}', '{ORGANIZATION}', 'ann@example.edu', 'Ann', false);
INSERT INTO course (id, organization_id, code, title, time_zone, language, version)
    VALUES ('{COURSE}', '{ORGANIZATION}', 'NET', 'Networks', 'UTC', 'en', 1);
INSERT INTO document (id, organization_id, course_id, uploaded_by, title, file_name, media_type,
                      byte_size, sha256, language, state, failure, fence) VALUES
    {{documents}};
INSERT INTO document_version (id, organization_id, document_id, number, original, text)
    VALUES ('{VERSION}', '{ORGANIZATION}', '{DOCUMENTS["READY"]}', 1, '{TEXT}'::bytea, '{TEXT}');
INSERT INTO chunk (id, organization_id, course_id, document_id, document_version_id, ordinal, page,
                   start, "end", heading_path, text, embedding, embedding_model)
    VALUES ('{CHUNK}', '{ORGANIZATION}', '{COURSE}', '{DOCUMENTS["READY"]}', '{VERSION}', 0, 3, 0,
            {len(TEXT)}, '{{{{Routing}}}}', '{TEXT}', '{{vector}}', 'minilm-l6-v2-int8');
INSERT INTO study_session (id, organization_id, course_id, user_id, title)
    VALUES ('{SESSION}', '{ORGANIZATION}', '{COURSE}', '{ANN}', 'Routing');
INSERT INTO message (id, organization_id, course_id, session_id, ordinal, author, reply_to_id, text,
                     state, generation, tries, fence) VALUES
    {{messages}};
INSERT INTO agent_step (id, organization_id, message_id, ordinal, kind, detail) VALUES
    ('{uuid4()}', '{ORGANIZATION}', '{MESSAGES[1]}', 0, 'PLAN', '{{{{}}}}'),
    ('{uuid4()}', '{ORGANIZATION}', '{MESSAGES[1]}', 1, 'DRAFT', '{{{{}}}}'),
    ('{uuid4()}', '{ORGANIZATION}', '{MESSAGES[1]}', 2, 'DRAFT', '{{{{}}}}');
INSERT INTO citation (id, organization_id, message_id, ordinal, chunk_id, claim_start, claim_end,
                      quote, quote_start, quote_end, verified)
    VALUES ('{uuid4()}', '{ORGANIZATION}', '{MESSAGES[1]}', 0, '{CHUNK}', 0, 8, 'A router', 0, 8,
            true);
"""
COUNTS = """
SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM document_version),
       (SELECT count(*) FROM chunk), (SELECT count(*) FROM message),
       (SELECT count(*) FROM agent_step), (SELECT count(*) FROM citation)
"""
REVISIONS = ("0013", "0010", "0012", "0009", "0008", "0011", "0007", "0006", "0005")


def _old_rows(vector: str) -> str:
    documents = ",".join(
        f"('{key}', '{ORGANIZATION}', '{COURSE}', '{ANN}', 'T', 't.md', 'text/markdown', 9,"
        f" '{key.hex * 2}', 'en', '{state}', {_failure(state)}, 1)"
        for state, key in DOCUMENTS.items()
    )
    messages = ",".join(
        f"('{key}', '{ORGANIZATION}', '{COURSE}', '{SESSION}', {at}, "
        f"{_author(at)}, 'A router', 'COMPLETE', 1, 0, 0)"
        for at, key in enumerate(MESSAGES)
    )
    return OLD.format(documents=documents, messages=messages, vector=vector)


def _author(at: int) -> str:
    return f"'TUTOR', '{MESSAGES[at - 1]}'" if at % 2 else "'STUDENT', NULL"


def _failure(state: str) -> str:
    reason = '{"code": "NOT_TEXT", "message": "m", "advice": "a"}'
    return f"'{reason}'" if state == "FAILED" else "NULL"


async def to(dsn: str, revision: str) -> None:
    """Brings the database there, up or down."""

    def run(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        current = connection.execute(text("SELECT to_regclass('alembic_version')")).scalar()
        down = current and revision in REVISIONS[REVISIONS.index("0013") + 1 :]
        (command.downgrade if down else command.upgrade)(config, revision)
        connection.commit()

    engine = create_async_engine(engine_url(dsn), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


@pytest.fixture
async def old(postgres: PostgresServer, embedder: MiniLM) -> AsyncIterator[str]:  # noqa: F811
    """A database at revision 0005 with documents and a study session."""
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    await admin.execute("CREATE DATABASE older_data")
    dsn = postgres.dsn("older_data")
    try:
        await to(dsn, "0005")
        (vector,) = await embedder.embed([TEXT])
        connection = await asyncpg.connect(dsn)
        await connection.execute(_old_rows("[" + ",".join(map(str, vector)) + "]"))
        await connection.close()
        yield dsn
    finally:
        await admin.execute("DROP DATABASE older_data WITH (FORCE)")
        await admin.close()


async def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def found(dsn: str, embedder: MiniLM) -> list[UUID]:  # noqa: F811
    query = "How does a router forward packets?"
    (vector,) = await embedder.embed([query])
    scope = PassageScope(ORGANIZATION, [COURSE], BUILT_IN)
    async with open_database(dsn) as database, database.transaction() as connection:
        return [row.id for row in await search(connection, scope, query, vector, 5)]


async def test_it_comes_along_and_goes_back(old: str, embedder: MiniLM) -> None:  # noqa: F811
    before = await rows(old, COUNTS)
    for _ in range(2):
        await to(old, "head")
        assert await rows(old, COUNTS) == before
        assert await found(old, embedder) == [CHUNK]
        place = "SELECT location_kind, location_label, language FROM chunk"
        assert await rows(old, place) == [("PAGE", "page 3", "en")]
        code = "SELECT failure ->> 'code', notes::text FROM document WHERE state = 'FAILED'"
        assert await rows(old, code) == [("WRONG_TYPE", "[]")]
        tree = "SELECT parent_id FROM message ORDER BY ordinal"
        assert [one for (one,) in await rows(old, tree)] == [None, *MESSAGES[:3]]
        assert await rows(old, "SELECT active_leaf_id FROM study_session") == [(MESSAGES[3],)]
        keys = "SELECT key FROM agent_step ORDER BY ordinal"
        assert await rows(old, keys) == [("PLAN:0",), ("DRAFT:0",), ("DRAFT:1",)]
        for revision in REVISIONS[1:]:
            await to(old, revision)
            assert await rows(old, COUNTS) == before
