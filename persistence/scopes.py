"""What a search may find: the scope's SQL, the same in every ranking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from persistence.embeddings import dimension_of
from persistence.lifecycle.documents import SEARCHABLE

_STATES = ", ".join(f"'{state}'" for state in SEARCHABLE)
_IDS = ("courses", "documents", "ids", "best")


@dataclass(frozen=True, slots=True)
class PassageScope:
    """What may be found: chunks of searchable documents of these courses, of one model."""

    organization_id: UUID
    course_ids: Sequence[UUID]
    model: str
    document_ids: Sequence[UUID] | None = None
    """These documents alone, where they are of the courses; None for all of them."""

    @property
    def dimension(self) -> int:
        """Of the model's vectors. Raises ValueError for what is no name of a model."""
        return dimension_of(self.model)

    @property
    def of_model(self) -> str:
        """Vectors of the model alone; written out, for it must be the index's constant."""
        dimension_of(self.model)  # raises for a name that may not be written into SQL
        return f"t.model = '{self.model}'"

    @property
    def of_documents(self) -> str:
        """Of the courses' documents those that are searchable, and chosen.

        The few that are not searchable are looked up once a search: a join with those that are
        would cost as much as comparing the vectors.
        """
        chosen = "" if self.document_ids is None else " AND t.document_id = ANY(:documents)"
        return f"""t.course_id = ANY(:courses){chosen} AND t.document_id NOT IN (
            SELECT id FROM document WHERE course_id = ANY(:courses) AND state NOT IN ({_STATES})
        )"""  # noqa: S608 - built of constants

    @property
    def chunks(self) -> str:
        """FROM and WHERE of the chunks; the table is called t."""
        return f"chunk t WHERE t.organization_id = :organization AND {self.of_documents}"

    @property
    def vectors(self) -> str:
        """FROM and WHERE of the vectors; the table is called t."""
        return (
            f"chunk_embedding t WHERE t.organization_id = :organization AND {self.of_documents}"
            f" AND {self.of_model}"
        )

    def statement(self, sql: str, **values: Any) -> TextClause:
        """SQL that names `:courses` and the like, with their values and those given."""
        types: dict[str, Any] = {name: ARRAY(PG_UUID()) for name in _IDS}
        types["vector"] = HALFVEC(self.dimension)
        known: dict[str, Any] = {
            "organization": self.organization_id,
            "courses": list(self.course_ids),
            "documents": list(self.document_ids or ()),
            **values,
        }
        bound = [
            bindparam(name, value, type_=types.get(name))
            for name, value in known.items()
            if f":{name}" in sql
        ]
        return text(sql).bindparams(*bound)
