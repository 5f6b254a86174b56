"""nDCG@10 and latency of the product's search, over material its own ingest made searchable.

Run: python -m tests.bench.retrieval [folder with documents.jsonl and queries.jsonl]...
Without a folder it measures those of ../shared/data that are there. One document is one file;
a query's ranking of passages counts each document once, by its best passage.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from agents.models.embedding import MiniLM
from ops.embedded_postgres import embedded_postgres
from persistence import retrieval
from persistence.backends import open_bus
from persistence.database import Database, add, open_database
from persistence.documents import add_document
from persistence.migrations import migrate
from persistence.retrieval import PassageScope
from persistence.tables.courses import CourseRow
from persistence.tables.documents import DocumentRow
from persistence.tables.identity import OrganizationRow, UserRow
from resolvers.documents_work import ingest_document
from resolvers.work import WorkResources
from tests.bench.embedding import ndcg, rows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDERS = [DATA / "cranfield", DATA / "medline1033"]
DEPTH = 30
AT_ONCE = 6


async def load(database: Database, folder: Path) -> tuple[PassageScope, list[UUID]]:
    """Uploads each document as a file of one course."""
    organization = OrganizationRow(name=folder.name, slug=folder.name)
    person = UserRow(organization_id=organization.id, email="a@b.org", name="A")
    course = CourseRow(organization_id=organization.id, code="X", title=folder.name)
    made: list[UUID] = []
    async with database.transaction() as connection:
        for row in (organization, person, course):
            await add(connection, row)
        for entry in rows(folder / "documents.jsonl"):
            content = str(entry["text"]).encode()
            document = DocumentRow(
                organization_id=organization.id,
                course_id=course.id,
                uploaded_by=person.id,
                title=str(entry["id"]),
                file_name="x.txt",
                media_type="text/plain",
                byte_size=len(content),
                sha256=str(entry["id"]),
            )
            await add_document(connection, document, content)
            made.append(document.id)
    return PassageScope(organization.id, [course.id], MiniLM.name), made


async def measure(work: WorkResources, folder: Path) -> str:
    """One line of results."""
    scope, documents = await load(work.database, folder)
    started = time.perf_counter()
    for start in range(0, len(documents), AT_ONCE):
        await asyncio.gather(
            *(ingest_document(work, key) for key in documents[start : start + AT_ONCE])
        )
    ingest_seconds = time.perf_counter() - started
    scores, seconds = [], []
    for entry in rows(folder / "queries.jsonl"):
        query = str(entry["text"])
        (vector,) = await work.embedder.embed([query])
        started = time.perf_counter()
        async with work.database.read() as connection:
            found = await retrieval.search(connection, scope, query, vector, DEPTH)
        seconds.append(time.perf_counter() - started)
        ranked: list[object] = list(dict.fromkeys(json.loads(r.document_title) for r in found))
        scores.append(ndcg(ranked, set(cast(list[object], entry["relevant"]))))
    return (
        f"{folder.name}: nDCG@10 {sum(scores) / len(scores):.3f} over {len(scores)} queries, "
        f"search p50 {1000 * sorted(seconds)[len(seconds) // 2]:.0f} ms; "
        f"{len(documents)} documents ingested in {ingest_seconds:.0f} s"
    )


async def run(folders: list[Path]) -> None:
    """Measures each folder in a database of its own making."""
    with tempfile.TemporaryDirectory() as directory:
        async with embedded_postgres(Path(directory) / "postgres", durable=False) as server:
            dsn = server.dsn("postgres")
            await migrate(dsn)
            async with open_database(dsn) as database, open_bus(database) as bus:
                no_team = cast(Any, None)
                model = MiniLM()
                work = WorkResources(database, bus, model, model, model.name, no_team, no_team)
                for folder in folders:
                    sys.stdout.write(await measure(work, folder) + "\n")
                    sys.stdout.flush()
                model.close()


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]] or [f for f in FOLDERS if f.is_dir()]
    if not chosen:
        sys.exit(f"No collection: name a folder, or put one into {DATA}.")
    asyncio.run(run(chosen))
