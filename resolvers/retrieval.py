"""Passage search: for people over the API, and for the agent teams bound to one run's course."""

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from agents.ports import (
    AgentFailure,
    Embedders,
    EmbeddingUnavailable,
    Passage,
    ProviderNotApproved,
)
from observability.metrics import Metrics
from persistence import documents, embeddings, providers, retrieval
from persistence.database import Database
from persistence.keyset import Page
from persistence.retrieval import PassageRow
from persistence.scopes import PassageScope
from persistence.tables.documents import ChunkRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.documents import load_chunks, load_documents
from resolvers.global_ids import key_of
from resolvers.refusals import Refusal, RefusalCode

logger = logging.getLogger(__name__)

LONGEST_QUERY = 1_000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a query."""

    passage: PassageRow
    query: str


@dataclass(frozen=True, slots=True)
class Span:
    """Code points `start` to `end` of a passage's text."""

    start: int
    end: int


@contextmanager
def _counted(metrics: Metrics | None, part: str, caller: str) -> Iterator[None]:
    """Counts the time of a part of a search that came to its end."""
    started = time.perf_counter()
    yield
    if metrics is not None:
        metrics.search(part, caller, time.perf_counter() - started)


async def _embedded(
    database: Database, embedders: Embedders, organization_id: UUID, query: str
) -> tuple[str, NDArray[np.float32]] | None:
    """The model that serves and the query's vector by it; None where nothing was ever indexed.

    No connection is held while the query is embedded. Raises `EmbeddingUnavailable`, and
    `ProviderNotApproved` where the query may not leave for the model's provider.
    """
    async with database.read() as connection:
        model = await embeddings.serving_model(connection)
        if model is None:
            return None
        provider = embedders.provider(model)
        if not await providers.provider_approved(connection, organization_id, provider):
            raise ProviderNotApproved(provider)
    (vector,) = await embedders.queries(model).embed([query])
    return model, vector


async def search_documents(
    context: RequestContext,
    course_ids: Sequence[str] | None,
    document_ids: Sequence[str] | None,
    query: str,
    first: int,
    after: str | None,
) -> Page[Hit]:
    """A page of the passages that answer best, of courses or of documents the viewer reads."""
    size = checks.page_size(first)
    asked = _checked_query(query)
    courses, chosen = await _readable(context, course_ids, document_ids)
    try:
        with _counted(context.metrics, "embedding", "api"):
            embedded = await _embedded(
                context.database, context.embedders, context.viewer.organization_id, asked
            )
    except ProviderNotApproved as error:
        raise Refusal(RefusalCode.FORBIDDEN, str(error)) from error
    except EmbeddingUnavailable as error:
        logger.warning("search: %s", error)
        raise Refusal(
            RefusalCode.UNAVAILABLE, "Search has no embedding model just now; try again shortly."
        ) from error
    if embedded is None:
        return Page([], [], False, after is not None)
    model, vector = embedded
    scope = PassageScope(context.viewer.organization_id, courses, model, chosen)
    with _counted(context.metrics, "database", "api"):
        async with context.database.transaction() as connection:
            ranked = await retrieval.rank(connection, scope, asked, vector)
            page = retrieval.page_of(ranked, size, after)
            rows = await retrieval.passages(connection, scope, page.rows)
    cursors = dict(zip((r.candidate.id for r in page.rows), page.cursors, strict=True))
    return Page(
        [Hit(row, asked) for row in rows],
        [cursors[row.id] for row in rows],
        page.has_next,
        page.has_previous,
    )


def _checked_query(query: str) -> str:
    try:
        return checks.line(query, "query", most=LONGEST_QUERY)
    except Refusal as refusal:
        raise Refusal(refusal.code, refusal.message, ("query",)) from refusal


async def _readable(
    context: RequestContext,
    course_ids: Sequence[str] | None,
    document_ids: Sequence[str] | None,
) -> tuple[list[UUID], list[UUID] | None]:
    """The courses and the documents of a scope, all of which the viewer reads."""
    named = [("courseIds", course_ids), ("documentIds", document_ids)]
    given = [(field, ids) for field, ids in named if ids is not None]
    if len(given) != 1 or not 1 <= len(given[0][1]) <= checks.MAX_IDS:
        message = f"Name 1 to {checks.MAX_IDS} courses or documents, either courses or documents."
        raise Refusal(RefusalCode.BAD_INPUT, message, ("scope",))
    ((field, ids),) = given
    path = ("scope", field)
    if field == "courseIds":
        courses = [key_of(one, "Course", path) for one in ids]
        for course in courses:
            context.require(Permission.DOCUMENT_READ, course)
        return courses, None
    keys = [key_of(one, "Document", path) for one in ids]
    rows = await load_documents(context, keys)
    found = [row for row in rows if row is not None]
    if len(found) < len(keys):
        raise missing("document", path)
    for course in {row.course_id for row in found}:
        context.require(Permission.DOCUMENT_READ, course)
    return sorted({row.course_id for row in found}), keys


async def get_chunks(hits: Sequence[Hit], context: RequestContext) -> list[ChunkRow | None]:
    """The passage of each hit; None when it has just been taken away."""
    return await load_chunks(context, [hit.passage.id for hit in hits])


async def get_neighbours(
    hits: Sequence[Hit], context: RequestContext, step: int
) -> list[ChunkRow | None]:
    """The passage before (-1) or after (1) each hit in its document."""
    ids = [hit.passage.id for hit in hits]
    async with context.database.read() as connection:
        found = await documents.neighbours(connection, context.viewer, ids, step)
    return [found.get(key) for key in ids]


async def get_highlights(hits: Sequence[Hit], context: RequestContext) -> list[list[Span]]:
    """Where each passage has a word of the query, in any of its forms."""
    words: dict[tuple[str, str], set[str]] = {}
    for hit in hits:
        of_language = words.setdefault((hit.passage.language, hit.query), set())
        of_language.update(_WORD.findall(hit.passage.text))
    async with context.database.read() as connection:
        matched = {
            key: await retrieval.words_that_match(connection, key[0], sorted(found), key[1])
            for key, found in words.items()
        }
    return [
        [
            Span(*word.span())
            for word in _WORD.finditer(hit.passage.text)
            if word[0] in matched[hit.passage.language, hit.query]
        ]
        for hit in hits
    ]


@dataclass(frozen=True)
class CourseSearch:
    """A `PassageSearch` over the searchable documents of one course."""

    database: Database
    embedders: Embedders
    organization_id: UUID
    course_id: UUID
    metrics: Metrics | None = None
    caller: str = "study"
    """Under what name its time is counted: `study` or `grading`."""

    async def search(self, query: str, limit: int) -> Sequence[Passage]:
        """Best first. Raises `AgentFailure` where the query may not leave the server."""
        try:
            with _counted(self.metrics, "embedding", self.caller):
                embedded = await _embedded(
                    self.database, self.embedders, self.organization_id, query
                )
        except ProviderNotApproved as error:
            raise AgentFailure(str(error), retryable=False) from error
        if embedded is None:
            return []
        model, vector = embedded
        scope = PassageScope(self.organization_id, [self.course_id], model)
        with _counted(self.metrics, "database", self.caller):
            async with self.database.transaction() as connection:
                rows = await retrieval.search(connection, scope, query, vector, limit)
        return [
            Passage(
                chunk_id=str(row.id),
                document_id=str(row.document_id),
                document_title=row.document_title,
                heading=" > ".join(row.heading_path),
                page=row.page,
                start=row.start,
                end=row.end,
                text=row.text,
                score=row.score,
            )
            for row in rows
        ]
