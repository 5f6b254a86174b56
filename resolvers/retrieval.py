"""Passage search as the agent teams ask for it, bound to what one run may read."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from agents.ports import Embedder, Passage
from persistence import retrieval
from persistence.database import Database
from persistence.retrieval import PassageScope


@dataclass(frozen=True)
class CourseSearch:
    """A `PassageSearch` over the searchable documents of one course."""

    database: Database
    embedder: Embedder
    embedding_model: str
    organization_id: UUID
    course_id: UUID

    async def search(self, query: str, limit: int) -> Sequence[Passage]:
        """Best first. No connection is held while the query is embedded."""
        (vector,) = await self.embedder.embed([query])
        scope = PassageScope(self.organization_id, (self.course_id,), self.embedding_model)
        async with self.database.read() as connection:
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
