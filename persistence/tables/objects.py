"""What lies in the object storage, and uploads on their way there."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.objects import ObjectState
from persistence.lifecycle.uploads import UploadState
from persistence.tables.base import Moment, Stamped, one_of, table_of, tenant_key, within_tenant


class UploadPurpose(StrEnum):
    """What an upload is for, which decides how large it may be."""

    DOCUMENT = "DOCUMENT"
    IMPORT = "IMPORT"


class StoredObjectRow(Stamped, table=True):
    """An object of the storage. There is none without its row, so that none is forgotten."""

    __tablename__ = "stored_object"
    __table_args__ = (
        tenant_key(),
        one_of("state", ObjectState),
        CheckConstraint("byte_size >= 0", name="byte_size"),
        UniqueConstraint("key"),
        Index("ix_stored_object_size", "organization_id", postgresql_include=["byte_size"]),
        Index("ix_stored_object_unkept", "created_at", postgresql_where="state <> 'KEPT'"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    key: str
    state: str = ObjectState.WRITING
    byte_size: int = Field(default=0, sa_type=BigInteger)


class UploadRow(Stamped, table=True):
    """A file that comes in parts. `received` bytes are in the storage, in order."""

    __tablename__ = "upload"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        within_tenant("object_id", "stored_object"),
        one_of("state", UploadState),
        one_of("purpose", UploadPurpose),
        CheckConstraint("0 <= received AND received <= byte_size", name="received"),
        Index("ix_upload_user", "user_id", "state"),
        Index("ix_upload_course", "organization_id", "course_id"),
        Index("ix_upload_expiry", "expires_at", postgresql_where="state <> 'USED'"),
        Index("ix_upload_object", "organization_id", "object_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    user_id: UUID
    purpose: str
    file_name: str
    media_type: str | None = None
    byte_size: int = Field(sa_type=BigInteger)
    sha256: str | None = None
    """As declared, and once COMPLETE as found."""
    received: int = Field(default=0, sa_type=BigInteger)
    parts: int = 0
    state: str = UploadState.OPEN
    expires_at: datetime = Field(sa_type=Moment)
    object_id: UUID | None = None
    """The whole file, once COMPLETE."""


class UploadPartRow(Stamped, table=True):
    """Bytes `start` to `start + byte_size` of an upload that is not yet put together."""

    __tablename__ = "upload_part"
    __table_args__ = (
        within_tenant("upload_id", "upload", ondelete="CASCADE"),
        within_tenant("object_id", "stored_object"),
        Index("ix_upload_part_object", "organization_id", "object_id"),
    )
    upload_id: UUID = Field(primary_key=True)
    start: int = Field(primary_key=True, sa_type=BigInteger)
    organization_id: UUID
    byte_size: int
    object_id: UUID


stored_objects = table_of(StoredObjectRow)
uploads = table_of(UploadRow)
upload_parts = table_of(UploadPartRow)
