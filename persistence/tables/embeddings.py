"""Vectors of chunks: of one model each, beside those of another while that one is being built."""

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlmodel import Field

from persistence.lifecycle.embeddings import IndexState
from persistence.tables.base import Row, Stamped, one_of, table_of, within_tenant


class EmbeddingIndexRow(Stamped, table=True):
    """A model's vectors over every chunk. The one READY index serves; one may be BUILDING."""

    __tablename__ = "embedding_index"
    __table_args__ = (
        one_of("state", IndexState),
        UniqueConstraint("model", "dimension"),
        CheckConstraint("dimension BETWEEN 1 AND 3072", name="dimension"),
        Index(
            "uq_embedding_index_live",
            "state",
            unique=True,
            postgresql_where=text("state <> 'RETIRED'"),
        ),
    )
    model: str = Field(primary_key=True)
    """`provider:name@dimension`."""
    dimension: int
    state: str = IndexState.BUILDING


class ChunkEmbeddingRow(Row, table=True):
    """A chunk's unit vector by one model. What a search is limited to stands beside it."""

    __tablename__ = "chunk_embedding"
    __table_args__ = (
        within_tenant("chunk_id", "chunk", ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["model", "dimension"],
            ["embedding_index.model", "embedding_index.dimension"],
            ondelete="RESTRICT",
            name=None,
        ),
        CheckConstraint("vector_dims(embedding) = dimension", name="dimension"),
        Index("ix_chunk_embedding_course", "course_id", "model", "document_id"),
        Index("ix_chunk_embedding_document", "document_id", "model"),
    )
    chunk_id: UUID = Field(primary_key=True)
    model: str = Field(primary_key=True)
    dimension: int
    organization_id: UUID
    course_id: UUID
    document_id: UUID
    embedding: Any = Field(sa_type=HALFVEC())


class EmbeddingCacheRow(Stamped, table=True):
    """A vector that was paid for, under the SHA-256 of the normalised text. Never the text."""

    __tablename__ = "embedding_cache"
    __table_args__ = (
        ForeignKeyConstraint(
            ["model", "dimension"],
            ["embedding_index.model", "embedding_index.dimension"],
            ondelete="CASCADE",
            name=None,
        ),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        CheckConstraint("vector_dims(embedding) = dimension", name="dimension"),
    )
    model: str = Field(primary_key=True)
    sha256: bytes = Field(primary_key=True, sa_type=LargeBinary)
    dimension: int
    embedding: Any = Field(sa_type=HALFVEC())


embedding_indexes = table_of(EmbeddingIndexRow)
chunk_embeddings = table_of(ChunkEmbeddingRow)
embedding_cache = table_of(EmbeddingCacheRow)
