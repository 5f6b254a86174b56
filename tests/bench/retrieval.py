"""Search at scale: recall against an exact scan, time and statements, by how much is in scope.

Run: python -m tests.bench.retrieval [--chunks 200000] [--queries 100] [--dimension 384]
                                     [--ingest 1000]
It builds a corpus of clustered vectors and Zipf-distributed words in a PostgreSQL of its own.
`vector` is the product's vector part, `search` all of it, without embedding the query: planning and
execution in the database, by EXPLAIN; and the CPU of its backend, parsing included, which a loaded
machine changes less. Baselines of the same run are an exact scan (`ratio`: its CPU over the
product's) and HNSW without iterative scans. How well it finds: `assay evaluate retrieval`.
`--ingest` measures, instead, how fast so many chunks come in (`tests.bench.ingest`).
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
from uuid import UUID

import asyncpg
import numpy as np
from sqlalchemy import event, text

from ops.embedded_postgres import embedded_postgres
from persistence import retrieval
from persistence.database import Connection, Database, open_database
from persistence.embeddings import build_hnsw, index_name
from persistence.migrations import migrate
from persistence.scopes import PassageScope
from tests.bench import ingest
from tests.bench.corpus import SHARES, Corpus, Floats, Shape, load

NEAREST = 10


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


@dataclass(frozen=True)
class Cost:
    """What a piece of work returned, and what it took the database."""

    result: Any
    milliseconds: float
    cpu: float
    statements: int

    def recall(self, wanted: "Cost") -> float:
        """The share of the wanted that was found."""
        return len(set(self.result) & set(wanted.result)) / len(wanted.result)


@dataclass
class Row:
    """What is measured of one scope, a query each."""

    vector: list[Cost] = field(default_factory=list)
    search: list[Cost] = field(default_factory=list)
    exact: list[Cost] = field(default_factory=list)
    plain: list[Cost] = field(default_factory=list)


def cpu_of(process: int) -> float:
    """Milliseconds a process was on a core; where the system does not tell, not a number."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return float("nan")


class Sent:
    """The statements a piece of work sends, and the time the database takes for them."""

    def __init__(self, database: Database) -> None:
        self._statements: list[tuple[str, Any]] = []
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        self._statements.append((sql, values))

    async def by(self, connection: Connection, work: Callable[[], Awaitable[Any]]) -> Cost:
        """Does the work, then again for its CPU, then each statement for its time."""
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await work()
        self._statements.clear()
        began = cpu_of(backend)
        result = await work()
        cpu = cpu_of(backend) - began
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
        return Cost(result, total, cpu, len(statements))


async def measure(database: Database, sent: Sent, asked: Sequence[Question]) -> Row:
    """Each query by the product, by an exact scan, and by HNSW without iterative scans."""
    row = Row()
    await _measure(database, sent, asked[0], Row())  # warms the caches up
    for question in asked:
        await _measure(database, sent, question, row)
    return row


async def _measure(database: Database, sent: Sent, question: Question, row: Row) -> None:
    async with database.transaction() as connection:

        async def product() -> list[UUID]:
            size = await retrieval.prepare(connection, question.scope)
            return await nearest(connection, question, exact=size <= retrieval.EXACT_ROWS)

        row.vector.append(await sent.by(connection, product))
        row.search.append(
            await sent.by(
                connection,
                lambda: retrieval.search(
                    connection, question.scope, question.words, question.vector, NEAREST
                ),
            )
        )
        row.exact.append(
            await sent.by(connection, lambda: nearest(connection, question, exact=True))
        )
        await connection.execute(text("SET LOCAL hnsw.iterative_scan = off"))
        # or the planner would not take the index where it knows a better way
        await connection.execute(text("SET LOCAL enable_sort = off"))
        row.plain.append(await sent.by(connection, lambda: filtered(connection, question)))


async def filtered(connection: Connection, question: Question) -> list[UUID]:
    """The ten best of those HNSW finds that are in scope."""
    scope = question.scope
    distance = f"t.embedding::halfvec({scope.dimension}) <#> :vector"
    statement = scope.statement(
        f"SELECT t.chunk_id AS id FROM {scope.vectors} ORDER BY {distance} LIMIT {NEAREST}",
        vector=question.vector,
    )
    return [row.id for row in await connection.execute(statement)]


async def nearest(connection: Connection, question: Question, *, exact: bool) -> list[UUID]:
    """The ten best of as many as a search takes."""
    found = await retrieval.nearest(
        connection, question.scope, question.vector, retrieval.CANDIDATES, exact=exact
    )
    return [key for key, _ in found[:NEAREST]]


HEAD = (
    f"{'scope':24}{'recall':>7}{'vector p50/p99':>17}{'cpu':>7}{'search p50/p99':>17}{'cpu':>7}"
    f"{'stm':>4}{'exact p50/p99':>17}{'cpu':>7}{'ratio':>7}{'plain':>7}{'p50/p99':>17}"
)


def line(name: str, row: Row) -> str:
    """A row of the table: milliseconds, and of CPU the median."""

    def times(costs: list[Cost]) -> str:
        values = sorted(cost.milliseconds for cost in costs)
        late = values[min(len(values) - 1, int(len(values) * 0.99))]
        return f"{values[len(values) // 2]:8.2f} /{late:7.2f}"

    def cpu(costs: list[Cost]) -> float:
        return float(np.median([cost.cpu for cost in costs]))

    def recall(costs: list[Cost]) -> float:
        return float(np.mean([c.recall(w) for c, w in zip(costs, row.exact, strict=True)]))

    return (
        f"{name:24}{recall(row.vector):7.3f}{times(row.vector)}{cpu(row.vector):7.2f}"
        f"{times(row.search)}{cpu(row.search):7.2f}{row.search[-1].statements:4}"
        f"{times(row.exact)}{cpu(row.exact):7.2f}{cpu(row.exact) / cpu(row.vector):6.1f}x"
        f"{recall(row.plain):7.3f}{times(row.plain)}"
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
        say(HEAD)
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
