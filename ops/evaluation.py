"""How well search finds: a collection through the product's own ingest and search, measured."""

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from agents.models.embedding import MiniLM
from ops.embedded_postgres import embedded_postgres
from ops.settings import Settings
from ops.wiring import embedding_models
from persistence import retrieval, stored_objects
from persistence.backends import open_bus
from persistence.database import Connection, add, open_database
from persistence.documents import add_document
from persistence.embeddings import serving_model
from persistence.migrations import migrate
from persistence.objects import one_piece, open_storage
from persistence.scopes import PassageScope
from persistence.tables.courses import CourseRow
from persistence.tables.documents import DocumentRow
from persistence.tables.identity import OrganizationRow, UserRow
from persistence.text_ranking import matching
from resolvers.documents_work import ingest_document
from resolvers.originals import store
from resolvers.refusals import Refusal, RefusalCode
from resolvers.work import WorkResources

DEPTH = 200
"""Passages of a ranking that are looked at: at least 100 documents, unless they are long."""

AT_ONCE = 6

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Collection:
    """Documents by id, and queries with the ids of the documents that answer them."""

    documents: dict[str, str]
    queries: list[tuple[str, frozenset[str]]]


@dataclass
class Measured:
    """A ranking's figures over the queries so far; recall and nDCG of each, and milliseconds."""

    ndcg: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """What is printed."""
        times = sorted(self.milliseconds)
        return {
            "ndcg@10": round(sum(self.ndcg) / len(self.ndcg), 4),
            "recall@100": round(sum(self.recall) / len(self.recall), 4),
            "p50_ms": round(times[len(times) // 2], 2),
            "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        }


def read_collection(folder: Path) -> Collection:
    """`documents.jsonl` of `{id, text, title?}`, `queries.jsonl` of `{text, relevant: [id]}`.

    Queries without a relevant document are left out: nothing can be measured by them. Raises
    `Refusal`, which names file and line.
    """
    documents = {
        _key(entry.get("id"), where): _text(entry, where)
        for entry, where in _lines(folder / "documents.jsonl")
    }
    queries = []
    for entry, where in _lines(folder / "queries.jsonl"):
        relevant = entry.get("relevant")
        if not isinstance(relevant, list):
            raise _bad(f"{where}: `relevant` must be a list of document ids")
        ids = frozenset(_key(one, where) for one in relevant)
        if ids:
            queries.append((_text(entry, where), ids))
    if not documents or not queries:
        raise _bad(f"{folder}: needs a document and a query with a relevant document")
    return Collection(documents, queries)


def _bad(message: str) -> Refusal:
    return Refusal(RefusalCode.BAD_INPUT, message)


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path}, line {number}"
                if not line.strip():
                    continue
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise _bad(f"{where}: must be a JSON object")
                yield entry, where
    except OSError as error:
        raise _bad(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _bad(f"{path}: is not JSON a line, in UTF-8") from error


def _key(value: object, where: str) -> str:
    if not isinstance(value, str | int):
        raise _bad(f"{where}: a document's id must be a string or a whole number")
    return json.dumps(value)


def _text(entry: dict[str, Any], where: str) -> str:
    text, title = entry.get("text"), entry.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise _bad(f"{where}: `text` must be a string")
    return f"{title}\n\n{text}" if title else text


def ndcg(ranked: Sequence[str], relevant: frozenset[str], depth: int = 10) -> float:
    """Binary gain, log2 discount (Järvelin and Kekäläinen, 2002)."""
    discounts = [1 / math.log2(rank + 2) for rank in range(depth)]
    gained = sum(d for d, key in zip(discounts, ranked, strict=False) if key in relevant)
    return gained / sum(discounts[: len(relevant)])


@asynccontextmanager
async def open_evaluation(settings: Settings, threads: int = 2) -> AsyncIterator[WorkResources]:
    """What an ingest is given, in a database of its own, which is thrown away.

    `threads` is how many cores the embedded model may use.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = await stack.enter_async_context(
            embedded_postgres(directory / "postgres", durable=False)
        )
        dsn = server.dsn("postgres")
        await migrate(dsn)
        database = await stack.enter_async_context(open_database(dsn))
        bus = await stack.enter_async_context(open_bus(database))
        model = MiniLM(threads=threads)
        stack.callback(model.close)
        embedders = await stack.enter_async_context(embedding_models(settings, model, database))
        storage = open_storage((directory / "originals").as_uri())
        unused = cast(Any, None)  # nothing is graded, answered or fetched
        yield WorkResources(database, bus, model, embedders, unused, unused, storage, unused)


async def evaluate_retrieval(
    collection: Collection, settings: Settings, progress: Progress
) -> dict[str, dict[str, float]]:
    """`{vector|text|fused: {ndcg@10, recall@100, p50_ms, p99_ms}}`.

    Each document is a text file of one course in a database of its own, which is thrown away. A
    ranking of passages counts each document once, by its best passage. Times are of the search in
    the database, without embedding the query.
    """
    async with open_evaluation(settings) as work:
        scope, keys = await ingest(work, collection, progress)
        measured = {name: Measured() for name in ("vector", "text", "fused")}
        for query, relevant in collection.queries:
            (vector,) = await work.embedders.queries(scope.model).embed([query])
            async with work.database.transaction() as connection:
                await _measure(connection, scope, query, vector, keys, relevant, measured)
        return {name: one.figures() for name, one in measured.items()}


async def _measure(
    connection: Connection,
    scope: PassageScope,
    query: str,
    vector: Any,
    keys: dict[UUID, str],
    relevant: frozenset[str],
    measured: dict[str, Measured],
) -> None:
    async def vectors() -> list[UUID]:
        exact = await retrieval.prepare(connection, scope) <= retrieval.EXACT_ROWS
        found = await retrieval.nearest(connection, scope, vector, DEPTH, exact=exact)
        return await retrieval.documents_of(connection, [key for key, *_ in found])

    async def words() -> list[UUID]:
        size = await retrieval.prepare(connection, scope)
        large = size if size > retrieval.RANKED_ROWS else None
        found = await matching(connection, scope, query, vector, DEPTH, large=large)
        return await retrieval.documents_of(connection, [key for key, *_ in found])

    async def both() -> list[UUID]:
        return [
            row.document_id
            for row in await retrieval.search(connection, scope, query, vector, DEPTH)
        ]

    rankings: dict[str, Callable[[], Awaitable[list[UUID]]]] = {
        "vector": vectors,
        "text": words,
        "fused": both,
    }
    for name, ranking in rankings.items():
        started = time.perf_counter()
        found = await ranking()
        measured[name].milliseconds.append(1_000 * (time.perf_counter() - started))
        ranked = list(dict.fromkeys(keys[key] for key in found))[:100]
        measured[name].ndcg.append(ndcg(ranked, relevant))
        measured[name].recall.append(len(relevant.intersection(ranked)) / len(relevant))


async def ingest(
    work: WorkResources, collection: Collection, progress: Progress
) -> tuple[PassageScope, dict[UUID, str]]:
    """Every document as a text file of one course; the scope, and each one's key by its id."""
    organization, course, made = await _upload(work, collection)
    keys, done = list(made), 0
    for start in range(0, len(keys), AT_ONCE):
        batch = keys[start : start + AT_ONCE]
        await asyncio.gather(*(ingest_document(work, key) for key in batch))
        done += len(batch)
        progress(done, len(keys))
    async with work.database.read() as connection:
        model = await serving_model(connection)
    if model is None:
        raise _bad("None of the documents has any text.")
    connection_of_its_own = await work.database.direct()
    try:
        await connection_of_its_own.execute("VACUUM ANALYZE chunk, chunk_embedding, document")
    finally:
        await connection_of_its_own.close()
    return PassageScope(organization, [course], model), made


async def _upload(
    work: WorkResources, collection: Collection
) -> tuple[UUID, UUID, dict[UUID, str]]:
    organization = OrganizationRow(name="Evaluation", slug="evaluation")
    person = UserRow(organization_id=organization.id, email="nobody@example.org", name="Nobody")
    course = CourseRow(organization_id=organization.id, code="E", title="Evaluation")
    made: dict[UUID, str] = {}
    async with work.database.transaction() as connection:
        for row in (organization, person, course):
            await add(connection, row)
    for key, text in collection.documents.items():
        content = text.encode("utf-8", "replace")
        stored = await store(
            work.database,
            work.storage,
            organization.id,
            one_piece(content),
            most=len(content),
            too_large=AssertionError,
        )
        document = DocumentRow(
            organization_id=organization.id,
            course_id=course.id,
            uploaded_by=person.id,
            title=key,
            file_name="document.txt",
            media_type="text/plain",
            byte_size=len(content),
            sha256=sha256(key.encode()).hexdigest(),
        )
        async with work.database.transaction() as connection:
            await stored_objects.keep(connection, stored.object_id, len(content))
            await add_document(connection, document, stored.object_id)
        made[document.id] = key
    return organization.id, course.id, made


def figures_table(figures: dict[str, dict[str, float]]) -> str:
    """The figures for a person: a line a component."""
    lines = [f"{'':8}{'nDCG@10':>10}{'recall@100':>12}{'p50 ms':>10}{'p99 ms':>10}"]
    for name, one in figures.items():
        lines.append(
            f"{name:8}{one['ndcg@10']:>10.3f}{one['recall@100']:>12.3f}"
            f"{one['p50_ms']:>10.1f}{one['p99_ms']:>10.1f}"
        )
    return "\n".join(lines)
