"""Course material and the passages it is searched by."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, LargeBinary, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.types import Text
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.documents import DocumentState
from persistence.tables.base import Json, Stamped, one_of, table_of, tenant_key, within_tenant

SEARCHED_TEXT = (
    "to_tsvector(text_configuration(language), heading_text(heading_path))"
    " || to_tsvector(text_configuration(language), text)"
)
"""A chunk's lexemes: its text's, and those of the headings it stands under."""


class DocumentRow(Stamped, table=True):
    """A file of a course's material."""

    __tablename__ = "document"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("uploaded_by", "users"),
        one_of("state", DocumentState),
        Index(
            "uq_document_content",
            "course_id",
            "sha256",
            unique=True,
            postgresql_where="state NOT IN ('FAILED', 'NO_TEXT', 'DELETED')",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    uploaded_by: UUID
    title: str
    file_name: str
    media_type: str
    byte_size: int
    sha256: str
    language: str = "en"
    state: str = DocumentState.UPLOADED
    failure: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """`{code, message, advice}` when FAILED or NO_TEXT."""
    fence: int = 0


class DocumentVersionRow(Stamped, table=True):
    """The bytes as they came, and the canonical text (NFC) that all offsets refer to."""

    __tablename__ = "document_version"
    __table_args__ = (
        tenant_key(),
        within_tenant("document_id", "document", ondelete="CASCADE"),
        UniqueConstraint("document_id", "number"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    document_id: UUID
    number: int = 1
    original: bytes = Field(sa_type=LargeBinary)
    text: str | None = None


class ChunkRow(Stamped, table=True):
    """A passage: code points `start` to `end` of the canonical text."""

    __tablename__ = "chunk"
    __table_args__ = (
        tenant_key(),
        within_tenant("document_id", "document", ondelete="CASCADE"),
        within_tenant("document_version_id", "document_version", ondelete="CASCADE"),
        UniqueConstraint("document_version_id", "ordinal"),
        CheckConstraint('0 <= "start" AND "start" < "end"', name="span"),
        Index("ix_chunk_tsv", "tsv", postgresql_using="gin"),
        Index("ix_chunk_course", "course_id"),
        Index("ix_chunk_document", "organization_id", "document_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    document_id: UUID
    document_version_id: UUID
    ordinal: int
    page: int | None = None
    start: int
    end: int
    heading_path: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    text: str
    language: str = "en"
    """A BCP 47 tag; it chooses the rules by which `tsv` reduces words to lexemes."""
    tsv: Any = Field(
        default=None, sa_type=TSVECTOR, sa_column_args=[Computed(SEARCHED_TEXT, persisted=True)]
    )


documents = table_of(DocumentRow)
document_versions = table_of(DocumentVersionRow)
chunks = table_of(ChunkRow)
