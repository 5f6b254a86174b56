"""Search in course material: vectors and full text, fused by rank, within a scope the SQL holds.

Fusion: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, k = 60). Text rank: the sum over
the query's lexemes of their inverse document frequency within the scope (Robertson and Spärck
Jones, as in BM25) times `ts_rank` of the lexeme alone, which grows with its count tf as
sum(1/i², i = 1..tf)·6/π²: .61, .76, .83 … 1, close to BM25's tf/(tf + .64). A chunk holds at most
256 tokens, so length is not normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from persistence.database import Connection, fetch
from persistence.lifecycle.documents import SEARCHABLE
from persistence.tables.documents import EMBEDDING_DIMENSION

EXACT_ROWS = 2_000
"""Up to so many chunks in scope are compared one by one; above, HNSW finds the near ones."""

CANDIDATES = 60
"""How many of each ranking are fused."""

LEXEMES = 64
MATCHES = 4_000
"""In a large scope, how many chunks full text ranks: those with the rarest of the lexemes."""


@dataclass(frozen=True, slots=True)
class PassageScope:
    """What may be found: chunks of searchable documents of these courses, of one model."""

    organization_id: UUID
    course_ids: Sequence[UUID]
    embedding_model: str


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A chunk that was found; `score` is the fused one, at most 2/61."""

    id: UUID
    document_id: UUID
    document_title: str
    heading_path: list[str]
    page: int | None
    start: int
    end: int
    text: str
    score: float


_SCOPE = f"""
    chunk c JOIN document d ON d.id = c.document_id AND d.organization_id = c.organization_id
    WHERE c.organization_id = :organization AND c.course_id = ANY(:courses)
      AND c.embedding_model = :model
      AND d.state IN ({", ".join(f"'{state}'" for state in SEARCHABLE)})
"""

# An outer reference keeps each lexeme one operand: it is quoted, not parsed again.
_LEXEMES = rf"""
    SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS lexeme
    FROM unnest(to_tsvector('english', :query)) LIMIT {LEXEMES}
"""  # noqa: S608 - built of constants

_FUSED = """
    by_vector AS (
        SELECT id, row_number() OVER (ORDER BY distance, id) AS rank FROM near
    ), by_text AS (
        SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank FROM matching
    ), fused AS (
        SELECT id, sum(1.0 / (60 + rank))::float8 AS score
        FROM (SELECT * FROM by_vector UNION ALL SELECT * FROM by_text) AS ranked
        GROUP BY id ORDER BY score DESC, id LIMIT :limit
    )
    SELECT c.id, c.document_id, d.title AS document_title, c.heading_path, c.page, c.start,
           c."end", c.text, fused.score
    FROM fused JOIN chunk c USING (id) JOIN document d ON d.id = c.document_id
    ORDER BY fused.score DESC, c.id
"""

_MATCHING = f"""
    matching AS (
        SELECT id, sum(weight * ln(1 + (total - n + 0.5) / (n + 0.5))) AS score
        FROM hits, size GROUP BY id ORDER BY score DESC, id LIMIT {CANDIDATES}
    )
"""  # noqa: S608 - built of constants


def _statement(sql: str, *vector: str) -> TextClause:
    return text(sql).bindparams(
        bindparam("courses", type_=ARRAY(PG_UUID())),
        *(bindparam(name, type_=HALFVEC(EMBEDDING_DIMENSION)) for name in vector),
    )


_SIZE = _statement(
    f"""
    SELECT count(*), set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config('hnsw.ef_search', '100', true),
           set_config('plan_cache_mode', 'force_custom_plan', true)
    FROM (SELECT 1 FROM {_SCOPE} LIMIT {EXACT_ROWS + 1}) AS counted
    """  # noqa: S608 - built of constants
)

_EXACT = _statement(
    f"""
    WITH scope AS MATERIALIZED (
        SELECT c.id, c.embedding, c.tsv FROM {_SCOPE}
    ), near AS (
        SELECT id, embedding <=> :vector AS distance FROM scope
        ORDER BY distance, id LIMIT {CANDIDATES}
    ), lexemes AS MATERIALIZED ({_LEXEMES}
    ), candidates AS MATERIALIZED (
        SELECT id, tsv || '' AS tsv FROM scope
        WHERE tsv @@ (SELECT string_agg(lexeme::text, ' | ')::tsquery FROM lexemes)
    ), hits AS MATERIALIZED (
        SELECT id, ts_rank('{{1,1,1,1}}', tsv, lexeme) AS weight,
               count(*) OVER (PARTITION BY lexeme)::float8 AS n
        FROM candidates, lexemes WHERE tsv @@ lexeme
    ), size AS MATERIALIZED (
        SELECT count(*)::float8 AS total FROM scope
    ), {_MATCHING}, {_FUSED}
    """,  # noqa: S608 - built of constants
    "vector",
)

_LARGE = _statement(
    f"""
    WITH near AS MATERIALIZED (
        SELECT c.id, c.embedding <=> :vector AS distance FROM {_SCOPE}
        ORDER BY c.embedding <=> :vector LIMIT {CANDIDATES}
    ), lexemes AS MATERIALIZED ({_LEXEMES}
    ), counted AS MATERIALIZED (
        SELECT lexeme, n, sum(n) OVER (ORDER BY n, lexeme::text) AS reached
        FROM lexemes CROSS JOIN LATERAL (
            SELECT count(*)::float8 AS n
            FROM (SELECT 1 FROM {_SCOPE} AND c.tsv @@ lexeme LIMIT {MATCHES}) AS matched
        ) AS found
    ), candidates AS MATERIALIZED (
        SELECT c.id, c.tsv || '' AS tsv FROM {_SCOPE} AND c.tsv @@ (
            SELECT string_agg(lexeme::text, ' | ')::tsquery FROM counted
            WHERE reached <= {MATCHES} OR reached = n
        ) LIMIT {MATCHES}
    ), hits AS MATERIALIZED (
        SELECT id, n, ts_rank('{{1,1,1,1}}', tsv, lexeme) AS weight
        FROM candidates, counted WHERE tsv @@ lexeme
    ), size AS MATERIALIZED (
        SELECT count(*)::float8 AS total FROM chunk WHERE course_id = ANY(:courses)
    ), {_MATCHING}, {_FUSED}
    """,  # noqa: S608 - built of constants
    "vector",
)


async def search(
    connection: Connection,
    scope: PassageScope,
    query: str,
    query_vector: Any,
    limit: int,
) -> Sequence[PassageRow]:
    """The passages that answer best, best first, at most `limit`.

    `query` is a natural-language question; `query_vector` is its unit vector by the scope's model.
    """
    values = {
        "organization": scope.organization_id,
        "courses": list(scope.course_ids),
        "model": scope.embedding_model,
    }
    size = (await connection.execute(_SIZE, values)).scalar_one()
    statement = _EXACT if size <= EXACT_ROWS else _LARGE
    values |= {"query": query, "vector": query_vector, "limit": limit}
    return await fetch(connection, statement.bindparams(**values), PassageRow)
