"""How much of the storage is in use, and how much is on its way."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text

from persistence.database import Connection
from persistence.lifecycle.documents import DocumentState
from persistence.lifecycle.uploads import UPLOAD, UploadEvent
from persistence.tables.documents import documents
from persistence.tables.objects import stored_objects, uploads

WAITING = (
    DocumentState.UPLOADED,
    DocumentState.EXTRACTING,
    DocumentState.CHUNKING,
    DocumentState.EMBEDDING,
)
_UNDER_WAY = UPLOAD.sources(UploadEvent.END)


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of one person, bytes of their course and organization, with what is announced."""

    open_uploads: int
    waiting_documents: int
    course_bytes: int
    organization_bytes: int


async def one_at_a_time(connection: Connection, user_id: UUID) -> None:
    """Has this person's other transactions that count wait for the end of this one."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:user, 0))"),
        {"user": f"quota {user_id}"},
    )


async def usage(
    connection: Connection, organization_id: UUID, course_id: UUID, user_id: UUID
) -> Usage:
    """What is in use now."""
    open_uploads = uploads.c.state.in_(_UNDER_WAY)
    announced = func.coalesce(func.sum(uploads.c.byte_size), 0)
    row = (
        await connection.execute(
            select(
                select(func.count())
                .where(uploads.c.user_id == user_id, open_uploads)
                .scalar_subquery()
                .label("open_uploads"),
                select(func.count())
                .where(documents.c.uploaded_by == user_id, documents.c.state.in_(WAITING))
                .scalar_subquery()
                .label("waiting_documents"),
                select(func.coalesce(func.sum(documents.c.byte_size), 0))
                .where(
                    documents.c.organization_id == organization_id,
                    documents.c.course_id == course_id,
                    documents.c.state != DocumentState.DELETED,
                )
                .scalar_subquery()
                .label("course_documents"),
                select(announced)
                .where(
                    uploads.c.organization_id == organization_id,
                    uploads.c.course_id == course_id,
                    open_uploads,
                )
                .scalar_subquery()
                .label("course_uploads"),
                select(func.coalesce(func.sum(stored_objects.c.byte_size), 0))
                .where(stored_objects.c.organization_id == organization_id)
                .scalar_subquery()
                .label("stored"),
                select(announced - func.coalesce(func.sum(uploads.c.received), 0))
                .where(uploads.c.organization_id == organization_id, open_uploads)
                .scalar_subquery()
                .label("coming"),
            )
        )
    ).one()
    return Usage(
        row.open_uploads,
        row.waiting_documents,
        int(row.course_documents + row.course_uploads),
        int(row.stored + row.coming),
    )
