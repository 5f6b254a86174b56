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

LOCATIONS = ("PAGE", "SLIDE", "CELL_RANGE", "NOTEBOOK_CELL", "LINE_RANGE")
"""What the place of a chunk is counted in."""

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
            postgresql_where="state NOT IN ('FAILED', 'NO_TEXT', 'REPLACED', 'DELETED')",
        ),
        within_tenant("replaces_id", "document"),
        CheckConstraint("version >= 1", name="version"),
        Index(
            "uq_document_replacement",
            "organization_id",
            "replaces_id",
            unique=True,
            postgresql_where="state NOT IN ('FAILED', 'NO_TEXT', 'DELETED')",
        ),
        Index("ix_document_replaced", "updated_at", postgresql_where="state = 'REPLACED'"),
        Index("ix_document_course", "organization_id", "course_id"),
        Index("ix_document_not_searched", "course_id", postgresql_where="state <> 'READY'"),
        Index(
            "ix_document_waiting",
            "uploaded_by",
            postgresql_where="state IN ('UPLOADED', 'EXTRACTING', 'CHUNKING', 'EMBEDDING')",
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
    notes: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    """`{code, message}` of each thing to know about how it was read."""
    fence: int = 0
    version: int = 1
    replaces_id: UUID | None = None
    """The document this one takes the place of once it is READY."""


class DocumentVersionRow(Stamped, table=True):
    """A file as it came, and the canonical text (NFC) that all offsets refer to."""

    __tablename__ = "document_version"
    __table_args__ = (
        tenant_key(),
        within_tenant("document_id", "document", ondelete="CASCADE"),
        within_tenant("object_id", "stored_object"),
        UniqueConstraint("document_id", "number"),
        Index("ix_document_version_object", "organization_id", "object_id"),
        Index("ix_document_version_unmoved", "id", postgresql_where="original IS NOT NULL"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    document_id: UUID
    number: int = 1
    object_id: UUID | None = None
    """The bytes, in the object storage; None until they are there."""
    original: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The bytes of a file that came before there was an object storage, until it is moved."""
    text: str | None = None


class DocumentFetchRow(Stamped, table=True):
    """The address of a file that is still to be fetched. Deleted once it has come, or failed."""

    __tablename__ = "document_fetch"
    __table_args__ = (
        within_tenant("document_id", "document", ondelete="CASCADE"),
        Index("ix_document_fetch_waiting", "updated_at"),
    )
    document_id: UUID = Field(primary_key=True)
    organization_id: UUID
    url: str
    tries: int = 0


class ChunkRow(Stamped, table=True):
    """A passage: code points `start` to `end` of the canonical text."""

    __tablename__ = "chunk"
    __table_args__ = (
        tenant_key(),
        within_tenant("document_id", "document", ondelete="CASCADE"),
        within_tenant("document_version_id", "document_version", ondelete="CASCADE"),
        UniqueConstraint("document_version_id", "ordinal"),
        CheckConstraint('0 <= "start" AND "start" < "end"', name="span"),
        one_of("location_kind", LOCATIONS),
        Index("ix_chunk_tsv", "tsv", postgresql_using="gin"),
        Index("ix_chunk_course", "course_id", "language"),
        Index("ix_chunk_document", "organization_id", "document_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    document_id: UUID
    document_version_id: UUID
    ordinal: int
    page: int | None = None
    location_kind: str | None = None
    location_label: str | None = None
    """How people write the place: `pages 3-4`, `Marks!A2:D9`. Null where the format has none."""
    location_first: int | None = None
    location_last: int | None = None
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
document_fetches = table_of(DocumentFetchRow)
chunks = table_of(ChunkRow)
