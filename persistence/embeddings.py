"""The indexes of embedding models: which serves, which is being built, and the paid vectors."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, delete, func, insert, literal_column, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from persistence.database import Connection, Database, change, fetch, fetch_one
from persistence.lifecycle.embeddings import EMBEDDING_INDEX, FILLED, IndexEvent, IndexState
from persistence.tables.documents import ChunkRow, chunks
from persistence.tables.embeddings import (
    EmbeddingIndexRow,
    chunk_embeddings,
    embedding_cache,
    embedding_indexes,
)

MODEL = re.compile(r"[A-Za-z0-9_.:/+-]{1,120}@[0-9]{1,4}")
"""What a model may be called; the name is written into the definition of its index."""


def dimension_of(model: str) -> int:
    """The dimension in a model's name. Raises ValueError for what is no name of a model."""
    if not MODEL.fullmatch(model):
        raise ValueError(f"{model!r} is no name of an embedding model")
    return int(model.rpartition("@")[2])


def index_name(model: str) -> str:
    """The name of the model's HNSW index."""
    return "hnsw_" + hashlib.sha256(model.encode()).hexdigest()[:16]


async def live_indexes(connection: Connection) -> Sequence[EmbeddingIndexRow]:
    """The index that serves, then the one being built, where there are such."""
    rows = await fetch(
        connection,
        select(embedding_indexes).where(embedding_indexes.c.state.in_(FILLED)),
        EmbeddingIndexRow,
    )
    return sorted(rows, key=lambda row: row.state, reverse=True)  # READY, BUILDING


async def lock_live(connection: Connection) -> set[str]:
    """The models of the live indexes, which stay so until the commit."""
    rows = await connection.execute(
        select(embedding_indexes.c.model)
        .where(embedding_indexes.c.state.in_(FILLED))
        .order_by(embedding_indexes.c.model)
        .with_for_update(read=True)
    )
    return {row.model for row in rows}


async def retired_models(connection: Connection) -> list[str]:
    """The models whose vectors are no longer searched."""
    rows = await connection.execute(
        select(embedding_indexes.c.model).where(embedding_indexes.c.state == IndexState.RETIRED)
    )
    return [row.model for row in rows]


async def serving_model(connection: Connection) -> str | None:
    """The model whose vectors are searched; None where nothing was ever indexed."""
    found: str | None = await connection.scalar(
        select(embedding_indexes.c.model).where(embedding_indexes.c.state == IndexState.READY)
    )
    return found


async def ensure_serving(connection: Connection, model: str) -> str:
    """The model that serves: from now on `model`, where none did."""
    await connection.execute(
        insert_or(embedding_indexes)
        .values(model=model, dimension=dimension_of(model), state=IndexState.READY)
        .on_conflict_do_nothing()
    )
    return await serving_model(connection) or model


async def begin_building(connection: Connection, model: str) -> IndexState:
    """Where the model's index stands: BUILDING from now on, unless it serves already.

    Raises `Duplicate` while another model's index is being built.
    """
    known = await fetch_one(
        connection,
        select(embedding_indexes).where(embedding_indexes.c.model == model),
        EmbeddingIndexRow,
    )
    if known is None:
        values = {
            "model": model,
            "dimension": dimension_of(model),
            "state": EMBEDDING_INDEX.initial,
        }
        await change(connection, insert(embedding_indexes).values(values))
    elif known.state == IndexState.RETIRED:
        await _advance(connection, model, IndexState.RETIRED, IndexEvent.REBUILD)
    serves = known is not None and known.state == IndexState.READY
    return IndexState.READY if serves else IndexState.BUILDING


async def switch(connection: Connection, model: str) -> str | None:
    """Has the whole index of `model` serve; the model it takes the place of.

    Raises `Conflict` when it is not being built any more.
    """
    await connection.execute(
        select(embedding_indexes.c.model).order_by(embedding_indexes.c.model).with_for_update()
    )
    old = await serving_model(connection)
    if old is not None:
        await _advance(connection, old, IndexState.READY, IndexEvent.REPLACE)
    await _advance(connection, model, IndexState.BUILDING, IndexEvent.COMPLETE)
    return old


async def abandon(connection: Connection, model: str) -> None:
    """Gives up a model's index that is being built. Raises `Conflict`."""
    await _advance(connection, model, IndexState.BUILDING, IndexEvent.ABANDON)


async def _advance(
    connection: Connection, model: str, state: IndexState, event: IndexEvent
) -> None:
    await change(
        connection,
        update(embedding_indexes)
        .where(embedding_indexes.c.model == model, embedding_indexes.c.state == state)
        .values(state=EMBEDDING_INDEX.advance(state, event)),
    )


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """A chunk and what a search is limited to by."""

    id: UUID
    organization_id: UUID
    course_id: UUID
    document_id: UUID


async def add_vectors(
    connection: Connection,
    model: str,
    rows: Sequence[ChunkKey | ChunkRow],
    vectors: NDArray[np.float32],
) -> None:
    """Stores the vectors of chunks that are there; a chunk that has one of the model keeps it."""
    if not rows:
        return
    await connection.execute(
        insert_or(chunk_embeddings).on_conflict_do_nothing(),
        [
            {
                "chunk_id": row.id,
                "model": model,
                "dimension": dimension_of(model),
                "organization_id": row.organization_id,
                "course_id": row.course_id,
                "document_id": row.document_id,
                "embedding": vector,
            }
            for row, vector in zip(rows, vectors, strict=True)
        ],
    )


@dataclass(frozen=True, slots=True)
class Missing:
    """What a model's index lacks."""

    chunks: int
    characters: int


def _lacks(model: str) -> Any:
    return ~(
        select(literal_column("1"))
        .where(chunk_embeddings.c.chunk_id == chunks.c.id, chunk_embeddings.c.model == model)
        .exists()
    )


async def missing(connection: Connection, model: str) -> Missing:
    """How many chunks have no vector of the model yet, and their characters."""
    row = (
        await connection.execute(
            select(func.count(), func.coalesce(func.sum(func.length(chunks.c.text)), 0)).where(
                _lacks(model)
            )
        )
    ).one()
    return Missing(row[0], row[1])


async def next_missing(
    connection: Connection, model: str, after: UUID | None, limit: int
) -> Sequence[ChunkRow]:
    """The next chunks by id without a vector of the model."""
    statement = (
        select(
            chunks.c.id,
            chunks.c.organization_id,
            chunks.c.course_id,
            chunks.c.document_id,
            chunks.c.text,
        )
        .where(_lacks(model))
        .order_by(chunks.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(chunks.c.id > after)
    return await fetch(connection, statement, ChunkRow)


async def still_there(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the chunks that exist, locked against their deletion until the commit."""
    rows = await connection.execute(
        select(chunks.c.id).where(chunks.c.id.in_(ids)).with_for_update(key_share=True, read=True)
    )
    return {row.id for row in rows}


async def build_hnsw(database: Database, model: str) -> None:
    """Makes the model's HNSW index without stopping readers or writers. Harmless to repeat.

    m = 16, ef_construction = 128. One that an interrupted build left invalid is made anew.
    """
    dimension, name = dimension_of(model), index_name(model)
    connection = await database.direct()
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SET lock_timeout = 0")
        valid = await connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
        )
        if valid is False:
            await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
        if not valid:
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON chunk_embedding"
                f" USING hnsw ((embedding::halfvec({dimension})) halfvec_ip_ops)"
                f" WITH (m = 16, ef_construction = 128) WHERE model = '{model}'"
            )
    finally:
        await connection.close()


async def drop_retired(database: Database, model: str, batch: int = 5_000) -> int:
    """Removes the vectors of a RETIRED model, its index first; how many there were."""
    removed = 0
    connection = await database.direct()
    try:
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index_name(model)}")
    finally:
        await connection.close()
    some = (
        select(chunk_embeddings.c.chunk_id, chunk_embeddings.c.model)
        .join(
            embedding_indexes,
            and_(
                embedding_indexes.c.model == chunk_embeddings.c.model,
                embedding_indexes.c.state == IndexState.RETIRED,
            ),
        )
        .where(chunk_embeddings.c.model == model)
        .limit(batch)
    )
    while True:
        async with database.transaction() as transaction:
            done = await transaction.execute(
                delete(chunk_embeddings).where(
                    tuple_(chunk_embeddings.c.chunk_id, chunk_embeddings.c.model).in_(some)
                )
            )
        removed += done.rowcount
        if done.rowcount < batch:
            return removed


@dataclass(frozen=True)
class PaidVectors:
    """The vectors that were paid for, by model and digest: a text is never embedded twice."""

    database: Database

    async def get(
        self, model: str, digests: Sequence[bytes]
    ) -> Mapping[bytes, NDArray[np.float32]]:
        """The vectors there are, float32."""
        async with self.database.read() as connection:
            rows = await connection.execute(
                select(embedding_cache.c.sha256, embedding_cache.c.embedding).where(
                    embedding_cache.c.model == model, embedding_cache.c.sha256.in_(digests)
                )
            )
            return {row.sha256: np.asarray(row.embedding, np.float32) for row in rows}

    async def put(self, model: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keeps vectors of a model that has an index; those of another are not kept."""
        async with self.database.transaction() as connection:
            known = select(embedding_indexes.c.dimension).where(embedding_indexes.c.model == model)
            dimension = await connection.scalar(known)
            if dimension is None or not vectors:
                return
            await connection.execute(
                insert_or(embedding_cache).on_conflict_do_nothing(),
                [
                    {"model": model, "sha256": key, "dimension": dimension, "embedding": vector}
                    for key, vector in sorted(vectors.items())
                ],
            )
