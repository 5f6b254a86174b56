"""Full text: BM25 (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75) within a scope.

A lexeme's count tf comes from `ts_rank` of that lexeme alone, which is the sum of 1/i² for
i = 1..tf, times 6/π²; so tf ≈ (6/π²)/(1 - rank) - 1/2. Each lexeme is a constant of the statement
and a column of its own: a chunk is read once, and the planner knows which lexemes are common.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Double, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.database import Connection
from persistence.scopes import PassageScope

WIDTHS = (4, 8, 12, 16, 24, 32, 64)
"""How many lexemes a statement has columns for: few statements, so that each is parsed once."""

MATCHES = 500
"""In a large scope, about how many chunks the lexemes are chosen to find, the rarest first."""

MOST = 3_000
"""In a large scope, how many chunks are ranked at most."""

COUNTED = 300
"""Up to so many chunks with a lexeme are counted, where statistics do not know how many it has."""

# Languages by skipping through the index: a course may have thousands of documents in one.
_LEXEMES = f"""
    WITH RECURSIVE spoken (course, language) AS (
        SELECT course, (SELECT min(language) FROM chunk WHERE course_id = course)
        FROM unnest(:courses) AS course
        UNION ALL
        SELECT course, (SELECT min(chunk.language) FROM chunk
                        WHERE course_id = course AND chunk.language > spoken.language)
        FROM spoken WHERE language IS NOT NULL
    )
    SELECT DISTINCT word
    FROM (SELECT DISTINCT text_configuration(language) AS configuration
          FROM (SELECT DISTINCT language FROM spoken WHERE language IS NOT NULL) AS languages
         ) AS configurations,
         unnest(tsvector_to_array(to_tsvector(configuration, :query))) AS word
    ORDER BY word LIMIT {WIDTHS[-1]}
"""  # noqa: S608 - built of a constant

_SHARES = f"""
    WITH common AS MATERIALIZED (
        SELECT known.word, known.share
        FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
                       AS known (word, share)
        WHERE schemaname = current_schema() AND tablename = 'chunk' AND attname = 'tsv'
          AND known.word = ANY(:words)
    )
    SELECT asked.word, coalesce(
        (SELECT share FROM common WHERE common.word = asked.word),
        (SELECT count(*) FROM (SELECT 1 FROM chunk WHERE tsv @@ asked.lexeme::tsquery
                               LIMIT {COUNTED}) AS matched)
        / (SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = 'chunk'::regclass)
    )::float8 AS share
    FROM unnest(:words, :quoted) AS asked (word, lexeme)
"""  # noqa: S608 - built of a constant

_PLAN_ONCE = text("SELECT set_config('plan_cache_mode', 'force_generic_plan', true)")


def _quoted(word: str) -> str:
    """The lexeme as a `tsquery` of one operand."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


async def matching(
    connection: Connection,
    scope: PassageScope,
    query: str,
    vector: Any,
    limit: int,
    *,
    large: int | None = None,
) -> list[tuple[UUID, float, float]]:
    """The chunks that match the words best: BM25 score and cosine similarity, best first.

    Every chunk in scope is looked at, unless it is `large` and has about so many: then those with
    the rarest of the lexemes, and how many have the others is estimated by the whole table.
    """
    found = await connection.execute(scope.statement(_LEXEMES, query=query))
    words = [row.word for row in found]
    if not words:
        return []
    common: Mapping[str, float] = {}
    if large is not None:
        common = _common(await _shares(connection, words), large)
    else:  # one plan serves every query, and to make it takes longer than to rank a small scope
        await connection.execute(_PLAN_ONCE)
    width = next(width for width in WIDTHS if width >= len(words))
    sql = f"""
        SELECT best.id, best.score, -(t.embedding <#> :vector) AS similarity
        FROM ({_bm25(scope, width, large=large is not None)}) AS best
        JOIN chunk_embedding t ON t.chunk_id = best.id AND {scope.of_model}
        ORDER BY best.score DESC, best.id
    """  # noqa: S608 - built of constants and a checked name
    wanted = " | ".join(_quoted(word) for word in words if word not in common)
    statement = scope.statement(sql, vector=vector, limit=limit, wanted=wanted, total=large)
    statement = statement.bindparams(*_columns(words, common, width))
    rows = await connection.execute(statement)
    return [(row.id, row.score, row.similarity) for row in rows]


def _columns(
    words: Sequence[str], common: Mapping[str, float], width: int
) -> Iterator[BindParameter[Any]]:
    """The lexeme of each column, none in those left over; how many chunks have it, where known."""
    for i in range(width):
        word = words[i] if i < len(words) else None
        lexeme = None if word is None else _quoted(word)
        yield bindparam(f"lexeme{i}", lexeme, type_=Text())
        yield bindparam(f"known{i}", common.get(word or "", 0.0), type_=Double())


async def _shares(connection: Connection, words: Sequence[str]) -> dict[str, float]:
    """The share of all chunks that have each lexeme."""
    statement = text(_SHARES).bindparams(
        bindparam("words", list(words), type_=ARRAY(Text())),
        bindparam("quoted", [_quoted(word) for word in words], type_=ARRAY(Text())),
    )
    # A table that was never analysed has no rows, by its statistics.
    return {row.word: min(1.0, row.share) for row in await connection.execute(statement)}


def _common(shares: Mapping[str, float], rows: int) -> dict[str, float]:
    """The lexemes too common to find chunks by, with how many of `rows` have them."""
    reached, common = 0.0, {}
    by_share = sorted(shares.items(), key=lambda item: (item[1], item[0]))
    for place, (word, share) in enumerate(by_share):
        reached += share * rows
        if place and reached > MATCHES:
            common[word] = share * rows
    return common


def _bm25(scope: PassageScope, width: int, *, large: bool) -> str:
    """The best `:limit` of the chunks with one of `:wanted`: id and score."""
    numbers = range(width)
    lexemes = ", ".join(f"CAST(:lexeme{i} AS tsquery) AS lexeme{i}" for i in numbers)
    rank = "ts_rank('{{1,1,1,1}}', t.tsv, (SELECT lexeme{i} FROM asked)) AS rank{i}"
    ranks = ", ".join(rank.format(i=i) for i in numbers)
    counts = ", ".join(
        f"greatest(count(*) FILTER (WHERE rank{i} > 0), :known{i}) AS n{i}" for i in numbers
    )
    weights = ", ".join(f"ln(1 + (total - n{i} + 0.5) / (n{i} + 0.5)) AS idf{i}" for i in numbers)
    score = " + ".join(
        f"CASE WHEN rank{i} > 0 THEN idf{i} * 2.2 / (1 + norm"
        f" / (0.6079271 / greatest(1 - rank{i}, 0.0001) - 0.5)) ELSE 0 END"
        for i in numbers
    )
    of_scope = f"{scope.of_documents} AND {scope.of_model}"
    counted = f"(SELECT count(*) FROM chunk_embedding t WHERE {of_scope})"  # noqa: S608 - as above
    total = ":total" if large else counted
    # The fence keeps GIN, which reads what every course has of a lexeme, out of a small scope; in a
    # large one GIN is used, and the planner must see the query to know how much it finds.
    fenced = f"(SELECT t.* FROM {scope.chunks} OFFSET 0) AS t WHERE"  # noqa: S608 - as above
    rows = f"{scope.chunks} AND" if large else fenced
    wanted = "CAST(:wanted AS tsquery)" if large else "(SELECT wanted FROM asked)"
    most = f" LIMIT {MOST}" if large else ""
    return f"""
        WITH asked AS MATERIALIZED (
            SELECT CAST(:wanted AS tsquery) AS wanted, {lexemes}
        ), hits AS MATERIALIZED (
            SELECT t.id, length(t.tsv)::float8 AS size, {ranks}
            FROM {rows} t.tsv @@ {wanted}{most}
        ), counts AS MATERIALIZED (
            SELECT greatest(avg(size), 1)::float8 AS usual,
                   greatest({total}, count(*))::float8 AS total,
                   {counts}
            FROM hits
        ), weights AS MATERIALIZED (
            SELECT usual, {weights} FROM counts
        ), measured AS (
            SELECT hits.*, weights.*, 1.2 * (0.25 + 0.75 * size / usual) AS norm
            FROM hits, weights
        )
        SELECT id, {score} AS score FROM measured ORDER BY score DESC, id LIMIT :limit
    """  # noqa: S608 - built of constants and a checked name
