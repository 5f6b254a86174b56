"""Search at scale: recall against an exact scan, time and statements, by how much is in scope.

Run: python -m tests.bench.retrieval [--chunks 200000] [--queries 100] [--dimension 384]
                                     [--ingest 1000]
It builds a corpus of clustered vectors and Zipf-distributed words in a PostgreSQL of its own.
`vector` is the product's vector part, `search` all of it, without embedding the query: planning and
execution in the database, by EXPLAIN. Baselines of the same run are an exact scan and HNSW without
iterative scans. How well it finds: `assay evaluate retrieval`. `--ingest` measures, instead, how
fast so many chunks come in and what memory that takes (`tests.bench.ingest`).
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.asyncpg import register_vector
from sqlalchemy import event, text

from ops.embedded_postgres import embedded_postgres
from persistence import retrieval
from persistence.database import Connection, Database, add, open_database
from persistence.embeddings import build_hnsw, ensure_serving, index_name
from persistence.migrations import migrate
from persistence.scopes import PassageScope
from persistence.tables.courses import CourseRow
from persistence.tables.identity import OrganizationRow, UserRow
from tests.bench import ingest

SHARES = (0.001, 0.005, 0.05, 1.0)
CHUNKS_A_DOCUMENT = 40
WORDS, VOCABULARY = 90, 30_000
NEAREST = 10
BATCH = 5_000
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """How much is built."""

    chunks: int
    queries: int
    dimension: int

    @property
    def model(self) -> str:
        """A name for vectors nobody's model made."""
        return f"openai:synthetic@{self.dimension}"


@dataclass
class Corpus:
    """Topics, and the courses that hold a share of the chunks each."""

    shape: Shape
    random: np.random.Generator
    topics: Floats
    organization: UUID
    person: UUID
    courses: dict[str, CourseRow] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, shape: Shape) -> "Corpus":
        random = np.random.default_rng(7)
        topics = random.normal(size=(max(8, shape.chunks // 500), shape.dimension))
        organization = OrganizationRow(name="Bench", slug="bench")
        person = UserRow(organization_id=organization.id, email="a@example.org", name="A")
        corpus = cls(shape, random, topics.astype(np.float32), organization.id, person.id)
        corpus.rows += [organization, person]
        names = [f"{kind} {share}" for share in SHARES[:-1] for kind in ("spread", "topical")]
        for name in (*names, "rest"):
            row = CourseRow(organization_id=organization.id, code=name, title=name)
            corpus.courses[name] = row
            corpus.rows.append(row)
        return corpus

    def near(self, topics: NDArray[np.int64]) -> Floats:
        """Unit vectors scattered about topics: similarity to their own topic about .7."""
        noise = self.random.normal(size=(len(topics), self.shape.dimension))
        vectors = self.topics[topics] + noise.astype(np.float32)
        unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def words(self, topic: int, count: int) -> str:
        """Half Zipf-distributed without the 100 commonest, half of the 60 words of the topic."""
        common = (100 * (VOCABULARY / 100) ** self.random.random(count)).astype(int)
        own = VOCABULARY + topic * 60 + self.random.zipf(1.5, count) % 60
        chosen = np.where(self.random.random(count) < 0.5, common, own)
        return " ".join(f"w{word}x" for word in chosen)

    def placed(self) -> tuple[list[CourseRow], NDArray[np.int64]]:
        """The course and the topic of each chunk."""
        topics = self.random.integers(0, len(self.topics), self.shape.chunks)
        courses = [self.courses["rest"]] * self.shape.chunks
        at = 0
        for share in SHARES[:-1]:
            size = max(NEAREST, int(self.shape.chunks * share))
            own = self.own_topics(share)
            for kind in ("spread", "topical"):
                if kind == "topical":
                    topics[at : at + size] = self.random.choice(own, size)
                courses[at : at + size] = [self.courses[f"{kind} {share}"]] * size
                at += size
        return courses, topics

    def own_topics(self, share: float) -> NDArray[np.int64]:
        """The few topics a topical course is about."""
        first = SHARES.index(share) * 3
        return np.arange(first, first + 3)


async def load(database: Database, corpus: Corpus) -> None:
    """Fills the tables by COPY; documents of 40 chunks."""
    for row in corpus.rows:
        async with database.transaction() as connection:
            await add(connection, row)
    async with database.transaction() as connection:
        await ensure_serving(connection, corpus.shape.model)
    driver = await database.direct()
    await register_vector(driver)
    courses, topics = corpus.placed()
    document: tuple[UUID, UUID] = (uuid4(), uuid4())
    for start in range(0, corpus.shape.chunks, BATCH):
        stop = min(start + BATCH, corpus.shape.chunks)
        vectors = corpus.near(topics[start:stop])
        documents: list[Any] = []
        versions: list[Any] = []
        chunks: list[Any] = []
        embeddings: list[Any] = []
        for at in range(start, stop):
            course = courses[at]
            if at % CHUNKS_A_DOCUMENT == 0 or at == 0 or course is not courses[at - 1]:
                document = (uuid4(), uuid4())
                documents.append(_document(corpus, course.id, document[0]))
                versions.append((document[1], corpus.organization, document[0], 1, b"", ""))
            key, passage = uuid4(), corpus.words(int(topics[at]), WORDS)
            place = (corpus.organization, course.id, document[0])
            chunks.append((key, *place, document[1], at, 0, len(passage), [], passage, "en"))
            vector = HalfVector(vectors[at - start])
            model = (corpus.shape.model, corpus.shape.dimension)
            embeddings.append((key, *model, *place, vector))
        await _copy(driver, "document", DOCUMENT, documents)
        await _copy(driver, "document_version", VERSION, versions)
        await _copy(driver, "chunk", CHUNK, chunks)
        await _copy(driver, "chunk_embedding", EMBEDDING, embeddings)
    await driver.execute("VACUUM ANALYZE")
    await driver.close()


DOCUMENT = (
    "id organization_id course_id uploaded_by title file_name media_type byte_size sha256 language"
    " state fence notes version"
)
VERSION = "id organization_id document_id number original text"
CHUNK = (
    "id organization_id course_id document_id document_version_id ordinal start end heading_path"
    " text language"
)
EMBEDDING = "chunk_id model dimension organization_id course_id document_id embedding"


def _document(corpus: Corpus, course: UUID, key: UUID) -> tuple[Any, ...]:
    about = (key, corpus.organization, course, corpus.person, "t", "t.txt", "text/plain", 1)
    return (*about, str(key), "en", "READY", 1, "[]", 1)


async def _copy(driver: Any, table: str, columns: str, records: list[Any]) -> None:
    await driver.copy_records_to_table(table, records=records, columns=columns.split())


@dataclass(frozen=True)
class Question:
    """A query, and where it is asked."""

    scope: PassageScope
    vector: Floats
    words: str


def questions(corpus: Corpus, share: float, kind: str) -> list[Question]:
    """`spread`: a scope of every topic; `topical, inside`/`outside`: of three, asked of or not."""
    course = "spread" if kind == "spread" else "topical"
    chosen = list(corpus.courses.values()) if share == 1 else [corpus.courses[f"{course} {share}"]]
    scope = PassageScope(corpus.organization, [row.id for row in chosen], corpus.shape.model)
    if kind == "topical, inside":
        topics = corpus.random.choice(corpus.own_topics(share), corpus.shape.queries)
    else:
        outside = 3 * len(SHARES)
        topics = corpus.random.integers(outside, len(corpus.topics), corpus.shape.queries)
    return [
        Question(scope, vector, corpus.words(int(topic), 10))
        for topic, vector in zip(topics, corpus.near(topics), strict=True)
    ]


@dataclass
class Row:
    """What is measured of one scope."""

    recall: list[float] = field(default_factory=list)
    vector: list[float] = field(default_factory=list)
    search: list[float] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    plain_recall: list[float] = field(default_factory=list)
    statements: int = 0

    def add(
        self,
        found: list[UUID],
        wanted: list[UUID],
        poor: list[UUID],
        times: list[float],
        statements: int,
    ) -> None:
        """One query's."""
        self.recall.append(len(set(found) & set(wanted)) / len(wanted))
        self.plain_recall.append(len(set(poor) & set(wanted)) / len(wanted))
        for values, time_ in zip(
            (self.vector, self.search, self.exact, self.plain), times, strict=True
        ):
            values.append(time_)
        self.statements = statements


class Sent:
    """The statements a piece of work sends, and the time the database takes for them."""

    def __init__(self, database: Database) -> None:
        self._statements: list[tuple[str, Any]] = []
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        self._statements.append((sql, values))

    async def by(
        self, connection: Connection, work: Callable[[], Awaitable[Any]]
    ) -> tuple[Any, float, int]:
        """What the work returns, the database's milliseconds, the number of statements."""
        self._statements.clear()
        result = await work()
        statements, total = list(self._statements), 0.0
        for sql, values in statements:
            if sql.lstrip().startswith("EXPLAIN"):
                planned = sql.replace("FORMAT JSON", "FORMAT JSON, SUMMARY")
                (plan,) = (await connection.exec_driver_sql(planned, values)).scalar_one()
                total += plan["Planning Time"]
                continue
            explain = "EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, FORMAT JSON) " + sql
            (plan,) = (await connection.exec_driver_sql(explain, values)).scalar_one()
            total += plan["Planning Time"] + plan["Execution Time"]
        return result, total, len(statements)


async def measure(database: Database, sent: Sent, asked: Sequence[Question]) -> Row:
    """Each query by the product, by an exact scan, and by HNSW without iterative scans."""
    row = Row()
    for number, question in enumerate((*asked[:3], *asked)):
        one = await _measured(database, sent, question)
        if number >= 3:  # the first warm the caches up
            row.add(*one)
    return row


async def _measured(
    database: Database, sent: Sent, question: Question
) -> tuple[list[UUID], list[UUID], list[UUID], list[float], int]:
    async with database.read() as connection:

        async def product() -> list[UUID]:
            size = await retrieval.prepare(connection, question.scope)
            return await nearest(connection, question, exact=size <= retrieval.EXACT_ROWS)

        found, vector, _ = await sent.by(connection, product)
        _, search, statements = await sent.by(
            connection,
            lambda: retrieval.search(
                connection, question.scope, question.words, question.vector, NEAREST
            ),
        )
        wanted, exact, _ = await sent.by(
            connection, lambda: nearest(connection, question, exact=True)
        )
        await connection.execute(text("SET LOCAL hnsw.iterative_scan = off"))
        # or the planner would not take the index where it knows a better way
        await connection.execute(text("SET LOCAL enable_sort = off"))
        poor, plain, _ = await sent.by(
            connection, lambda: nearest(connection, question, exact=False)
        )
    return found, wanted, poor, [vector, search, exact, plain], statements


async def nearest(connection: Connection, question: Question, *, exact: bool) -> list[UUID]:
    """The ten best of as many as a search takes."""
    found = await retrieval.nearest(
        connection, question.scope, question.vector, retrieval.CANDIDATES, exact=exact
    )
    return [key for key, _ in found[:NEAREST]]


def line(name: str, row: Row) -> str:
    """A row of the table; times are p50 / p99 in milliseconds."""

    def at(values: list[float], share: float) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * share))]

    def times(values: list[float]) -> str:
        return f"{at(values, 0.5):7.2f} /{at(values, 0.99):8.2f}"

    recall, plain = np.mean(row.recall), np.mean(row.plain_recall)
    ratio = at(row.exact, 0.5) / at(row.vector, 0.5)
    return (
        f"{name:24}{recall:8.3f}{times(row.vector):>19}{times(row.search):>19}{row.statements:>5}"
        f"{times(row.exact):>19}{ratio:>7.1f}x{plain:>8.3f}{times(row.plain):>19}"
    )


def say(line: str) -> None:
    """Prints at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def build(database: Database, corpus: Corpus) -> None:
    """Loads, indexes, and says what that took."""
    started = time.perf_counter()
    await load(database, corpus)
    loaded = time.perf_counter()
    say(f"loaded {corpus.shape.chunks:,} chunks in {loaded - started:.0f} s (text indexed as well)")
    await build_hnsw(database, corpus.shape.model)
    say(f"HNSW index built in {time.perf_counter() - loaded:.0f} s")
    async with database.read() as connection:
        for name in (index_name(corpus.shape.model), "ix_chunk_tsv", "chunk_embedding", "chunk"):
            size = await connection.scalar(text(f"SELECT pg_table_size('{name}')"))
            say(f"  {name}: {size / 2**20:,.0f} MB")


@asynccontextmanager
async def server(directory: Path) -> AsyncIterator[Database]:
    """A PostgreSQL of its own, with memory for the index."""
    async with embedded_postgres(directory / "postgres", durable=False) as started:
        dsn = started.dsn("postgres")
        admin = await asyncpg.connect(dsn)
        await admin.execute("ALTER SYSTEM SET maintenance_work_mem = '1GB'")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
        await migrate(dsn)
        async with open_database(dsn, statement_timeout_ms=0) as database:
            yield database


async def run(shape: Shape, directory: Path) -> None:
    """Builds and measures."""
    async with server(directory) as database:
        corpus = Corpus.of(shape)
        say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        await build(database, corpus)
        sent = Sent(database)
        say(
            f"{'scope':24}{'recall':>8}{'vector p50/p99':>19}{'search p50/p99':>19}{'stm':>5}"
            f"{'exact p50/p99':>19}{'ratio':>8}{'plain':>8}{'plain p50/p99':>19}"
        )
        for share in SHARES:
            kinds = ("spread",) if share == 1 else ("spread", "topical, inside", "topical, outside")
            for kind in kinds:
                row = await measure(database, sent, questions(corpus, share, kind))
                say(line(f"{share:.1%} {kind}", row))
        say(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--ingest", type=int)
    given = parser.parse_args()
    if given.ingest is not None:
        say(asyncio.run(ingest.run(given.ingest)))
        sys.exit()
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(run(Shape(given.chunks, given.queries, given.dimension), Path(made)))
