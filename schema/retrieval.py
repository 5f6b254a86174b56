"""Search in course material, as the API shows it."""

from collections.abc import Sequence
from typing import Any

import strawberry

from resolvers import retrieval
from resolvers.context import RequestContext
from schema.documents import Chunk
from schema.fields import batched, described, root_field
from schema.node import AFTER, FIRST, Connection, connection


@strawberry.type(description="A part of a passage's text, in code points.")
class TextSpan:
    start: int = described("Where it begins.")
    end: int = described("Where it ends, exclusive.")


@strawberry.type(description="A passage that was found, and why.")
class SearchHit:
    @batched("The passage; null when it has just been taken away.")
    async def chunk(parents: Sequence[Any], context: RequestContext) -> Sequence[Chunk | None]:
        return await retrieval.get_chunks(parents, context)

    @strawberry.field(
        description="What it is ordered by, in standard deviations above an average candidate of "
        "this search; not comparable with another search's."
    )
    def score(root: Any) -> float:
        return root.passage.score

    @strawberry.field(
        description="Its place by meaning, from 1; null when it was found by its words alone."
    )
    def vector_rank(root: Any) -> int | None:
        return root.passage.vector_rank

    @strawberry.field(
        description="Its place by words, from 1; null when it was found by its meaning alone."
    )
    def text_rank(root: Any) -> int | None:
        return root.passage.text_rank

    @strawberry.field(description="Cosine similarity of its meaning and the query's, -1 to 1.")
    def vector_score(root: Any) -> float:
        return root.passage.vector_score

    @strawberry.field(description="BM25 score of its words; null when it was not found by them.")
    def text_score(root: Any) -> float | None:
        return root.passage.text_score

    @batched("Where its text has words of the query, in any of their forms, in order.")
    async def highlights(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[TextSpan]]:
        return await retrieval.get_highlights(parents, context)

    @batched("The passage before it in its document; null at the beginning.")
    async def before(parents: Sequence[Any], context: RequestContext) -> Sequence[Chunk | None]:
        return await retrieval.get_neighbours(parents, context, -1)

    @batched("The passage after it in its document; null at the end.")
    async def after(parents: Sequence[Any], context: RequestContext) -> Sequence[Chunk | None]:
        return await retrieval.get_neighbours(parents, context, 1)


@strawberry.input(description="Where to search: in courses or in documents, not both.")
class SearchScope:
    course_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="All documents of these courses, 1 to 100."
    )
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="These documents, 1 to 100."
    )


@strawberry.type
class RetrievalQueries:
    @root_field(
        "The passages of course material that answer best, best first, by meaning and by words; at "
        "most 200.",
        scope="Where to search.",
        query="A question or words, 1 to 1,000 characters.",
        first=FIRST,
        after=AFTER,
    )
    async def search(
        context: RequestContext,
        scope: SearchScope,
        query: str,
        first: int = 10,
        after: str | None = None,
    ) -> Connection[SearchHit]:
        return connection(
            await retrieval.search_documents(
                context, scope.course_ids, scope.document_ids, query, first, after
            )
        )


LOADERS: dict[str, Any] = {}
