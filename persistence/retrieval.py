"""Search in course material: vectors beside full text, within a scope the SQL holds.

Vectors have length 1, so that the inner product is the cosine, at a third of the work.
The plan is chosen here, by the rows in scope: up to `EXACT_ROWS` every vector is compared; above,
pgvector's HNSW index is read with iterative scans. Text score: BM25 (Robertson and Zaragoza 2009,
k1 = 1.2, b = 0.75) within the scope. A lexeme's count tf comes from `ts_rank` of that lexeme alone,
which is the sum of 1/i² for i = 1..tf, times 6/π²; so tf ≈ (6/π²)/(1 - rank) - 1/2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ColumnElement, Text, TextClause, bindparam, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from persistence.database import Connection
from persistence.embeddings import dimension_of
from persistence.fusion import FEEDBACK, Ranked, candidates, fused
from persistence.keyset import BadCursor, Page, decode_cursor, encode_cursor
from persistence.lifecycle.documents import SEARCHABLE
from persistence.tables.documents import chunks

EXACT_ROWS = 20_000
"""Up to so many chunks in scope every vector is compared; above, HNSW finds the near ones. A scope
of a few per cent, about something else than the query, defeats HNSW: measured recall .38."""

RANKED_ROWS = 4_000
"""Up to so many chunks in scope, full text looks at every one; above, at those GIN finds."""

CANDIDATES = 100
"""How many of each ranking are fused, unless more are asked for: a search ends after 200."""

LEXEMES = 64
MATCHES = 1_000
"""In a large scope, how many chunks full text ranks: those with the rarest of the lexemes."""

COUNTED = 200
"""Up to so many chunks with a lexeme are counted, where statistics do not know how many it has."""


@dataclass(frozen=True, slots=True)
class PassageScope:
    """What may be found: chunks of searchable documents of these courses, of one model."""

    organization_id: UUID
    course_ids: Sequence[UUID]
    model: str
    document_ids: Sequence[UUID] | None = None
    """These documents alone, where they are of the courses; None for all of them."""

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the scope's SQL."""
        values = {"organization": self.organization_id, "courses": list(self.course_ids)}
        if self.document_ids is not None:
            values["documents"] = list(self.document_ids)
        return values


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


def _scope(scope: PassageScope, table: str) -> str:
    """FROM and WHERE of the searchable chunks in scope; `table` is called t."""
    states = ", ".join(f"'{state}'" for state in SEARCHABLE)
    model = f" AND t.model = '{_name(scope.model)}'" if table == "chunk_embedding" else ""
    documents = "" if scope.document_ids is None else " AND t.document_id = ANY(:documents)"
    return f"""
        {table} t JOIN document d ON d.id = t.document_id AND d.organization_id = t.organization_id
        WHERE t.organization_id = :organization AND t.course_id = ANY(:courses){documents}{model}
          AND d.state IN ({states})
    """


def _name(model: str) -> str:
    """The model's name, which may be written into SQL: it must be the index's constant."""
    dimension_of(model)
    return model


def _statement(scope: PassageScope, sql: str, **values: Any) -> TextClause:
    types: dict[str, Any] = {
        name: ARRAY(PG_UUID()) for name in ("courses", "documents", "ids", "best")
    }
    types["vector"] = HALFVEC(dimension_of(scope.model))
    given = {k: v for k, v in (scope.values | values).items() if f":{k}" in sql}
    known = [bindparam(name, value, type_=types.get(name)) for name, value in given.items()]
    return text(sql).bindparams(*known)


async def prepare(connection: Connection, scope: PassageScope) -> int:
    """Sets the transaction up for a search; the chunks in scope, counted to `EXACT_ROWS` + 1."""
    documents = "" if scope.document_ids is None else " AND document_id = ANY(:documents)"
    statement = _statement(
        scope,
        f"""
        SELECT count(*), set_config('hnsw.iterative_scan', 'relaxed_order', true),
               set_config('hnsw.ef_search', '100', true),
               set_config('plan_cache_mode', 'force_custom_plan', true),
               set_config('jit', 'off', true)
        FROM (SELECT 1 FROM chunk_embedding
              WHERE course_id = ANY(:courses){documents}
                AND model = '{_name(scope.model)}' LIMIT {EXACT_ROWS + 1}) AS counted
        """,  # noqa: S608 - built of constants and a checked name
    )
    return int((await connection.execute(statement)).scalar_one())


async def nearest(
    connection: Connection, scope: PassageScope, vector: Any, limit: int, *, exact: bool
) -> list[tuple[UUID, float]]:
    """The chunks whose vectors are nearest, with their cosine similarity, best first."""
    if exact:  # without the cast of the index's expression, so that it is never chosen
        distance = "t.embedding <#> :vector"
    else:
        distance = f"t.embedding::halfvec({dimension_of(scope.model)}) <#> :vector"
    statement = _statement(
        scope,
        f"""
        SELECT t.chunk_id AS id, {distance} AS distance
        FROM {_scope(scope, "chunk_embedding")} ORDER BY {distance} LIMIT :limit
        """,  # noqa: S608 - built of constants and a checked name
        vector=vector,
        limit=limit,
    )
    rows = (await connection.execute(statement)).all()
    # relaxed_order returns the nearest out of order
    return [(row.id, -row.distance) for row in sorted(rows, key=lambda r: (r.distance, r.id))]


_LEXEMES = rf"""
    lexemes AS MATERIALIZED (
        SELECT word, ('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''')::tsquery
               AS lexeme
        FROM (SELECT DISTINCT word
              FROM (SELECT DISTINCT text_configuration(language) AS configuration
                    FROM document WHERE course_id = ANY(:courses)) AS spoken,
                   unnest(tsvector_to_array(to_tsvector(spoken.configuration, :query))) AS word
             ) AS words
        LIMIT {LEXEMES}
    )
"""  # noqa: S608 - an outer reference keeps each lexeme one operand: it is quoted, not parsed again

_BM25 = """
    weighed AS (
        SELECT id, lexeme, size, n,
               (0.6079271 / greatest(1 - weight, 0.0001) - 0.5)::float8 AS tf
        FROM hits
    ), measured AS MATERIALIZED (
        SELECT greatest(avg(size), 1)::float8 AS usual FROM candidates
    )
    SELECT id, sum(ln(1 + ((SELECT total FROM total) - n + 0.5) / (n + 0.5))
                   * 2.2 * tf
                   / (tf + 1.2 * (0.25 + 0.75 * size / (SELECT usual FROM measured)))) AS score
    FROM weighed GROUP BY id ORDER BY score DESC, id LIMIT :limit
"""


def _small(scope: PassageScope) -> str:
    """BM25 over every chunk in scope that has a lexeme of the query."""
    return f"""
        WITH {_LEXEMES}, scope AS MATERIALIZED (
            SELECT t.id, t.tsv FROM {_scope(scope, "chunk")}
        ), candidates AS MATERIALIZED (
            SELECT id, length(tsv)::float8 AS size, tsv || '' AS tsv FROM scope
            WHERE tsv @@ (SELECT string_agg(lexeme::text, ' | ')::tsquery FROM lexemes)
        ), total AS MATERIALIZED (
            SELECT count(*)::float8 AS total FROM scope
        ), hits AS MATERIALIZED (
            SELECT id, lexeme, size, ts_rank('{{1,1,1,1}}', tsv, lexeme) AS weight,
                   count(*) OVER (PARTITION BY lexeme)::float8 AS n
            FROM candidates, lexemes WHERE tsv @@ lexeme
        ), {_BM25}
    """  # noqa: S608 - built of constants and a checked name


def _large(scope: PassageScope) -> str:
    """BM25 over the chunks with the rarest lexemes, about `MATCHES` of them.

    How many chunks have a common lexeme is estimated from PostgreSQL's statistics of the whole
    table; rare ones, which those leave out, are counted in scope.
    """
    return f"""
        WITH {_LEXEMES}, total AS MATERIALIZED (
            SELECT greatest({MATCHES}, chunks.reltuples * (
                       SELECT count(*) FROM document WHERE course_id = ANY(:courses)
                   ) / greatest(documents.reltuples, 1))::float8 AS total
            FROM pg_class AS chunks, pg_class AS documents
            WHERE chunks.oid = 'chunk'::regclass AND documents.oid = 'document'::regclass
        ), common AS MATERIALIZED (
            SELECT known.word, known.share
            FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
                           AS known (word, share)
            WHERE schemaname = current_schema() AND tablename = 'chunk' AND attname = 'tsv'
              AND known.word IN (SELECT word FROM lexemes)
        ), counted AS MATERIALIZED (
            SELECT lexeme, n, sum(n) OVER (ORDER BY n, word) AS reached
            FROM (SELECT word, lexeme, coalesce(
                      (SELECT share * (SELECT total FROM total) FROM common
                       WHERE common.word = lexemes.word),
                      (SELECT count(*)::float8
                       FROM (SELECT 1 FROM chunk t WHERE t.course_id = ANY(:courses)
                               AND t.tsv @@ lexeme LIMIT {COUNTED}) AS matched)) AS n
                  FROM lexemes) AS found
        ), candidates AS MATERIALIZED (
            SELECT t.id, length(t.tsv)::float8 AS size, t.tsv || '' AS tsv
            FROM {_scope(scope, "chunk")} AND t.tsv @@ (
                SELECT string_agg(lexeme::text, ' | ')::tsquery FROM counted
                WHERE reached <= {MATCHES} OR reached = n
            ) LIMIT {MATCHES}
        ), hits AS MATERIALIZED (
            SELECT id, lexeme, size, n, ts_rank('{{1,1,1,1}}', tsv, lexeme) AS weight
            FROM candidates, counted WHERE tsv @@ lexeme
        ), {_BM25}
    """  # noqa: S608 - built of constants and a checked name


async def matching(
    connection: Connection,
    scope: PassageScope,
    query: str,
    vector: Any,
    limit: int,
    *,
    exact: bool,
) -> list[tuple[UUID, float, float]]:
    """The chunks that match the words best: BM25 score and cosine similarity, best first."""
    sql = f"""
        SELECT best.id, best.score, -(e.embedding <#> :vector) AS similarity
        FROM ({_small(scope) if exact else _large(scope)}) AS best
        JOIN chunk_embedding e ON e.chunk_id = best.id AND e.model = '{_name(scope.model)}'
        ORDER BY best.score DESC, best.id
    """  # noqa: S608 - built of constants and a checked name
    statement = _statement(scope, sql, query=query, vector=vector, limit=limit)
    rows = (await connection.execute(statement)).all()
    return [(row.id, row.score, row.similarity) for row in rows]


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
    model = _name(scope.model)
    statement = _statement(
        scope,
        f"""
        SELECT e.chunk_id, -(e.embedding <#> mean.vector) AS product
        FROM chunk_embedding e, (SELECT avg(embedding) AS vector FROM chunk_embedding
                                 WHERE chunk_id = ANY(:best) AND model = '{model}') AS mean
        WHERE e.chunk_id = ANY(:ids) AND e.model = '{model}'
        """,  # noqa: S608 - built of constants and a checked name
        best=best,
        ids=ids,
    )
    return {row.chunk_id: row.product for row in await connection.execute(statement)}


async def rank(
    connection: Connection, scope: PassageScope, query: str, vector: Any, depth: int = CANDIDATES
) -> list[Ranked]:
    """The candidates, best first: the `depth` best by vector and by text.

    `query` is a natural-language question; `vector` is its unit vector by the scope's model.
    """
    size = await prepare(connection, scope)
    near = await nearest(connection, scope, vector, depth, exact=size <= EXACT_ROWS)
    words = await matching(connection, scope, query, vector, depth, exact=size <= RANKED_ROWS)
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
    statement = _statement(
        scope,
        f"""
        SELECT t.id, t.document_id, t.document_version_id, d.title AS document_title,
               t.language, t.heading_path, t.page, t.start, t."end", t.text
        FROM {_scope(scope, "chunk")} AND t.id = ANY(:ids)
        """,  # noqa: S608 - built of constants
        ids=[one.candidate.id for one in ranked],
    )
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
