"""How the offline tutor answers, and abstains, over the demo course.

Run: python -m tests.bench.tutor [held_out|tune]

The questions (tutor_questions.json) of `tune` are what a change may look at and what the tutor's
gate is fitted to (tests/bench/tutor_gate.py); those of `held_out` it may not. Writers 1 and 2 had
not read the tutor; writer 3 had, and added long questions, which the others lack. An answer is
SUPPORTED when a quote it cites stands in a section that answers the question. A question with a
false premise is CORRECTED when the answer quotes the section that contradicts it. The material is
ingested and searched by the product itself.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from autogen_core import CancellationToken

from agents.models.embedding import MiniLM
from agents.ports import Passage
from agents.study.brief import StudyBrief
from agents.study.members import offline_members
from agents.study.outcome import Citation, StudyOutcome, StudyState
from agents.study.quotes import normalised
from agents.study.team import StudyTeam
from ops.embedded_postgres import embedded_postgres
from persistence.backends import open_bus
from persistence.database import Database, add, open_database
from persistence.documents import add_document
from persistence.migrations import migrate
from persistence.tables.courses import CourseRow
from persistence.tables.documents import DocumentRow, DocumentVersionRow
from persistence.tables.identity import OrganizationRow, UserRow
from resolvers.documents_work import ingest_document
from resolvers.retrieval import CourseSearch
from resolvers.work import WorkResources
from tests.agents.study.conftest import MemoryLedger, RecordingSink, RecordingStages
from tests.embedders import only

QUESTIONS = Path(__file__).with_name("tutor_questions.json")
MATERIAL = Path(__file__).parents[2] / "ops" / "demo" / "content"


@dataclass(frozen=True)
class Asked:
    """A question, the verdict on its answer, and what of the answer can be checked."""

    question: dict[str, Any]
    verdict: str
    outcome: StudyOutcome
    first_hit_relevant: bool
    first_citation_relevant: bool
    quotes: int
    verbatim: int


def halves(half: str) -> list[dict[str, Any]]:
    """The questions of a half."""
    return [it for it in json.loads(QUESTIONS.read_text()) if it["half"] == half]


@asynccontextmanager
async def demo_search(database: Database, model: MiniLM) -> AsyncIterator[CourseSearch]:
    """The product's search over the demo course, ingested by the product."""
    organization = OrganizationRow(name="Demo", slug="demo")
    person = UserRow(organization_id=organization.id, email="a@b.org", name="A")
    course = CourseRow(organization_id=organization.id, code="NET", title="Networks")
    documents = []
    async with database.transaction() as connection:
        for row in (organization, person, course):
            await add(connection, row)
        for entry in json.loads((MATERIAL / "course.json").read_text())["documents"]:
            content = (MATERIAL / "documents" / entry["file"]).read_bytes()
            document = DocumentRow(
                organization_id=organization.id,
                course_id=course.id,
                uploaded_by=person.id,
                title=entry["key"],
                file_name=entry["file"],
                media_type="text/markdown",
                byte_size=len(content),
                sha256=entry["key"],
            )
            await add_document(connection, document, None)
            await add(
                connection,
                DocumentVersionRow(
                    organization_id=organization.id, document_id=document.id, original=content
                ),
            )
            documents.append(document.id)
    unused = cast(Any, None)  # nobody is taught, and the originals lie in their rows
    embedders = only(model)
    async with open_bus(database) as bus:
        work = WorkResources(database, bus, model, embedders, *(unused,) * 4)
        for key in documents:
            await ingest_document(work, key)
    yield CourseSearch(database, embedders, organization.id, course.id)


async def ask(question: dict[str, Any], search: CourseSearch, model: MiniLM) -> Asked:
    """One question, answered by the team and judged."""
    outcome = await StudyTeam(offline_members(model), search, model).answer(
        StudyBrief(question["question"]),
        generation=1,
        ledger=MemoryLedger(),
        stages=RecordingStages(),
        sink=RecordingSink(),
        cancellation=CancellationToken(),
    )
    (first,) = await search.search(question["question"], 1)
    good = [relevant(question, _passage(it)) for it in outcome.citations]
    shown = [it for it in outcome.citations if it.verified]
    return Asked(
        question,
        _verdict(question, outcome, good),
        outcome,
        relevant(question, first),
        bool(good and good[0]),
        len(shown),
        sum(_verbatim(it.quote, _passage(it).text, outcome.text) for it in shown),
    )


def _passage(citation: Citation) -> Passage:
    assert isinstance(citation.source, Passage)
    return citation.source


def relevant(question: dict[str, Any], passage: Passage) -> bool:
    """Whether the passage is of a section that answers (or corrects) the question."""
    return any(
        passage.document_title == it["document"]
        and passage.heading.split(" > ")[-1] == it["heading"]
        for it in question.get("passages", ())
    )


def _verbatim(quote: str, passage: str, answer: str) -> bool:
    return quote in passage and normalised(quote) in normalised(answer)


def _verdict(question: dict[str, Any], outcome: StudyOutcome, good: Sequence[bool]) -> str:
    answered = outcome.state is StudyState.COMPLETE and bool(outcome.citations)
    if "unanswerable" not in question:
        if not answered:
            return "wrongly abstained"
        return "supported" if any(good) else "beside the point"
    if not answered:
        return "abstained"
    return "corrected" if any(good) else "wrongly answered"


def report(results: Sequence[Asked]) -> str:
    """Counts of verdicts, then of what was cited."""
    lines = []
    for title, mine in (
        ("answerable", [it for it in results if "unanswerable" not in it.question]),
        ("unanswerable", [it for it in results if "unanswerable" in it.question]),
    ):
        counts = Counter(it.verdict for it in mine)
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        lines.append(f"{title:13}{len(mine):4}: {told}")
    kinds = Counter(
        (it.question["unanswerable"], it.verdict) for it in results if "unanswerable" in it.question
    )
    lines += [f"  {kind}: {count} {name}" for (kind, name), count in sorted(kinds.items())]
    cited = [it for it in results if "unanswerable" not in it.question and it.quotes]
    hits = sum(it.first_hit_relevant for it in cited)
    first = sum(it.first_citation_relevant for it in cited)
    quotes, verbatim = (sum(getattr(it, name) for it in results) for name in ("quotes", "verbatim"))
    lines.append(f"of {len(cited)} answered: first citation relevant {first}, first hit {hits}")
    lines.append(f"quotes shown {quotes}, verbatim {verbatim}")
    return "\n".join(lines)


async def run(half: str) -> None:
    """Measures a half in a database of its own making; the mistakes of `tune` are listed."""
    asked = halves(half)
    if not asked:
        sys.stdout.write(f"no question is {half}\n")
        return
    model = MiniLM()
    with tempfile.TemporaryDirectory() as directory:
        async with embedded_postgres(Path(directory) / "postgres", durable=False) as server:
            dsn = server.dsn("postgres")
            await migrate(dsn)
            async with open_database(dsn) as database, demo_search(database, model) as search:
                results = [await ask(question, search, model) for question in asked]
    model.close()
    for writer in sorted({it.question.get("writer", 0) for it in results}):
        mine = [it for it in results if it.question.get("writer", 0) == writer]
        sys.stdout.write(f"{half}, writer {writer}\n{report(mine)}\n")
    for it in results if half == "tune" else ():
        if it.verdict not in {"supported", "abstained", "corrected"}:
            quotes = " | ".join(citation.quote[:90] for citation in it.outcome.citations)
            sys.stdout.write(f"{it.verdict}: {it.question['question']}  {quotes}\n")


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "held_out"))
