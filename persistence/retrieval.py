"""Search in course material: vectors beside full text, within a scope the SQL holds.

Vectors have length 1, so that the inner product is the cosine.
The plan is chosen here, by the rows in scope: up to `EXACT_ROWS` every vector is compared; above,
pgvector's HNSW index is read with iterative scans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, bindparam, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from persistence.database import Connection, need_transaction
from persistence.fusion import FEEDBACK, Ranked, candidates, fused
from persistence.keyset import BadCursor, Page, decode_cursor, encode_cursor
from persistence.scopes import PassageScope
from persistence.tables.documents import chunks
from persistence.text_ranking import matching

EXACT_ROWS = 20_000
"""Up to so many chunks in scope every vector is compared; above, HNSW finds the near ones. A scope
of a few per cent, about something else than the query, defeats HNSW: measured recall .38."""

RANKED_ROWS = 4_000
"""Up to so many chunks in scope, full text looks at every one; above, at those GIN finds."""

CANDIDATES = 100
"""How many of each ranking are fused, unless more are asked for: a search ends after 200."""


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A chunk that was found. `score` is the fused one; a component that missed it has None."""

    id: UUID
    document_id: UUID
    document_version_id: UUID
    document_title: str
    language: str
    heading_path: list[str]
    page: int | None
    start: int
    end: int
    text: str
    score: float
    vector_rank: int | None
    text_rank: int | None
    vector_score: float
    text_score: float | None


async def prepare(connection: Connection, scope: PassageScope) -> int:
    """Sets the transaction up for a search; about how many chunks are in scope.

    Raises RuntimeError outside of one.

    The planner's estimate: to count the vectors of a large course takes longer than to find the
    nearest of them. Where it is wrong a search takes longer, and finds the same.
    """
    need_transaction(connection)
    await connection.execute(
        text("""
        SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
               set_config('hnsw.ef_search', '100', true),
               set_config('hnsw.max_scan_tuples', '4000', true),
               set_config('plan_cache_mode', 'force_custom_plan', true),
               set_config('enable_seqscan', 'off', true),
               set_config('jit', 'off', true)
    """)
    )
    chosen = "" if scope.document_ids is None else " AND t.document_id = ANY(:documents)"
    sql = f"""
        EXPLAIN (FORMAT JSON) SELECT 1 FROM chunk_embedding t
        WHERE t.course_id = ANY(:courses){chosen} AND {scope.of_model}
    """  # noqa: S608 - built of constants and a checked name
    (plan,) = (await connection.execute(scope.statement(sql))).scalar_one()
    return int(plan["Plan"]["Plan Rows"])


async def nearest(
    connection: Connection, scope: PassageScope, vector: Any, limit: int, *, exact: bool
) -> list[tuple[UUID, float]]:
    """The chunks whose vectors are nearest, with their cosine similarity, best first.

    Where HNSW ends before it has found so many, every vector in scope is compared.
    """
    if exact:  # without the cast of the index's expression, so that it is never chosen
        distance = "t.embedding <#> :vector"
    else:
        distance = f"t.embedding::halfvec({scope.dimension}) <#> :vector"
    sql = f"""
        SELECT t.chunk_id AS id, {distance} AS distance
        FROM {scope.vectors} ORDER BY {distance} LIMIT :limit
    """  # noqa: S608 - built of constants and a checked name
    statement = scope.statement(sql, vector=vector, limit=limit)
    rows = (await connection.execute(statement)).all()
    if not exact and len(rows) < limit:
        return await nearest(connection, scope, vector, limit, exact=True)
    # relaxed_order returns the nearest out of order
    return [(row.id, -row.distance) for row in sorted(rows, key=lambda r: (r.distance, r.id))]


async def documents_of(connection: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """The document of each chunk, in the order of `ids`."""
    rows = await connection.execute(
        select(chunks.c.id, chunks.c.document_id).where(chunks.c.id.in_(ids))
    )
    found = {row.id: row.document_id for row in rows}
    return [found[key] for key in ids if key in found]


async def _to_feedback(
    connection: Connection, scope: PassageScope, best: Sequence[UUID], ids: Sequence[UUID]
) -> dict[UUID, float]:
    """The dot product of each chunk's vector with the mean of the best ones'."""
    sql = f"""
        WITH mean AS MATERIALIZED (
            SELECT avg(t.embedding) AS vector FROM chunk_embedding t
            WHERE t.chunk_id = ANY(:best) AND {scope.of_model}
        )
        SELECT t.chunk_id, -(t.embedding <#> mean.vector) AS product
        FROM mean, chunk_embedding t WHERE t.chunk_id = ANY(:ids) AND {scope.of_model}
    """  # noqa: S608 - built of constants and a checked name
    statement = scope.statement(sql, best=best, ids=ids)
    return {row.chunk_id: row.product for row in await connection.execute(statement)}


async def rank(
    connection: Connection, scope: PassageScope, query: str, vector: Any, depth: int = CANDIDATES
) -> list[Ranked]:
    """The candidates, best first: the `depth` best by vector and by text.

    `query` is a natural-language question; `vector` is its unit vector by the scope's model.
    """
    size = await prepare(connection, scope)
    near = await nearest(connection, scope, vector, depth, exact=size <= EXACT_ROWS)
    large = size if size > RANKED_ROWS else None
    words = await matching(connection, scope, query, vector, depth, large=large)
    found = candidates(near, words)
    if len(found) <= FEEDBACK:
        return fused(found)
    best = [r.candidate.id for r in fused(found)[:FEEDBACK]]
    products = await _to_feedback(connection, scope, best, [c.id for c in found])
    return fused(found, products)


async def search(
    connection: Connection, scope: PassageScope, query: str, vector: Any, limit: int
) -> list[PassageRow]:
    """The passages that answer best, best first, at most `limit`. See `rank`."""
    ranked = await rank(connection, scope, query, vector, max(CANDIDATES, limit))
    return await passages(connection, scope, ranked[:limit])


def page_of(ranked: Sequence[Ranked], first: int, after: str | None) -> Page[Ranked]:
    """A page of a ranking; its cursors hold score and id. Raises `BadCursor`."""
    rest = list(ranked)
    if after is not None:
        score, key = _place(after)
        rest = [r for r in rest if (-r.score, r.candidate.id) > (-score, key)]
    kept = rest[:first]
    cursors = [encode_cursor([repr(r.score), r.candidate.id]) for r in kept]
    return Page(kept, cursors, len(rest) > first, after is not None)


def _place(cursor: str) -> tuple[float, UUID]:
    key: list[ColumnElement[Any]] = [
        literal_column("score", Text()),
        literal_column("id", PG_UUID()),
    ]
    score, chunk_id = decode_cursor(cursor, key)
    try:
        place = float(str(score))
    except ValueError as error:
        raise BadCursor(cursor) from error
    if isnan(place) or not isinstance(chunk_id, UUID):
        raise BadCursor(cursor)
    return place, chunk_id


async def words_that_match(
    connection: Connection, language: str, words: Sequence[str], query: str
) -> set[str]:
    """Those of the words which full text takes for one of the query's, in this language."""
    rows = await connection.execute(
        text("""
            WITH asked AS MATERIALIZED (
                SELECT tsvector_to_array(to_tsvector(configuration, :query)) AS lexemes,
                       configuration
                FROM text_configuration(:language) AS configuration
            )
            SELECT word FROM asked, unnest(:words) AS word
            WHERE tsvector_to_array(to_tsvector(configuration, word)) && lexemes
        """).bindparams(
            bindparam("words", list(words), type_=ARRAY(Text())), language=language, query=query
        )
    )
    return {row.word for row in rows}


async def passages(
    connection: Connection, scope: PassageScope, ranked: Sequence[Ranked]
) -> list[PassageRow]:
    """The rows of ranked candidates, in their order."""
    sql = f"""
        SELECT t.id, t.document_id, t.document_version_id, d.title AS document_title,
               t.language, t.heading_path, t.page, t.start, t."end", t.text
        FROM (SELECT t.* FROM {scope.chunks} AND t.id = ANY(:ids)) AS t
        JOIN document d ON d.id = t.document_id
    """  # noqa: S608 - built of constants
    statement = scope.statement(sql, ids=[one.candidate.id for one in ranked])
    rows = {row["id"]: row for row in (await connection.execute(statement)).mappings()}
    return [
        PassageRow(
            **rows[c.id],
            score=one.score,
            vector_rank=c.vector_rank,
            text_rank=c.text_rank,
            vector_score=c.similarity,
            text_score=c.text_score,
        )
        for one in ranked
        if (c := one.candidate).id in rows
    ]
