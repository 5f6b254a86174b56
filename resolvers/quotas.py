"""What one person, course and organization may have in the storage, and on its way there."""

from uuid import UUID

from persistence import quotas
from persistence.database import Connection
from persistence.quotas import Usage
from persistence.tables.documents import DocumentRow
from resolvers.context import RequestContext
from resolvers.files import FileRules
from resolvers.refusals import Refusal, RefusalCode


async def check_upload(
    context: RequestContext, connection: Connection, course_id: UUID, byte_size: int
) -> None:
    """Raises `Refusal` LIMIT_EXCEEDED when an upload of this size may not begin."""
    used = await _counted(context, connection, course_id)
    most = context.files.rules.open_uploads
    if used.open_uploads >= most:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"You have {used.open_uploads} uploads under way; the limit (open_uploads) is {most}. "
            "Use or delete one of them first.",
        )
    _check_bytes(context.files.rules, used, byte_size)


async def check_document(
    context: RequestContext,
    connection: Connection,
    course_id: UUID,
    byte_size: int,
    *,
    exactly: bool = True,
) -> None:
    """Raises `Refusal` LIMIT_EXCEEDED when a document of this size may not come.

    `byte_size` is what is not in the storage yet. Not `exactly`: without waiting for the person's
    other requests, so that who is far over the limit is refused before their file is stored.
    """
    used = await _counted(context, connection, course_id, exactly=exactly)
    most = context.files.rules.waiting_documents
    if used.waiting_documents >= most:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"{used.waiting_documents} of your documents wait to be read; the limit "
            f"(waiting_documents) is {most}. Send more once some of them are READY.",
        )
    _check_bytes(context.files.rules, used, byte_size)


async def check_fetched(
    rules: FileRules, connection: Connection, document: DocumentRow, byte_size: int
) -> None:
    """Raises `Refusal` LIMIT_EXCEEDED when the file that was fetched for a document may not stay.

    Its size was not known when it was announced.
    """
    await quotas.one_at_a_time(connection, document.uploaded_by)
    used = await quotas.usage(
        connection, document.organization_id, document.course_id, document.uploaded_by
    )
    _check_bytes(rules, used, byte_size)


async def _counted(
    context: RequestContext, connection: Connection, course_id: UUID, *, exactly: bool = True
) -> Usage:
    viewer = context.viewer
    if exactly:
        await quotas.one_at_a_time(connection, viewer.user_id)
    return await quotas.usage(connection, viewer.organization_id, course_id, viewer.user_id)


def _check_bytes(rules: FileRules, used: Usage, more: int) -> None:
    for name, where, taken, most in (
        ("course_bytes", "course", used.course_bytes, rules.course_bytes),
        ("organization_bytes", "organization", used.organization_bytes, rules.organization_bytes),
    ):
        if taken + more > most:
            raise Refusal(
                RefusalCode.LIMIT_EXCEEDED,
                f"The files of this {where} may have {most:,} bytes ({name}); {taken:,} are taken, "
                f"and this needs {more:,}. Delete documents that are not needed, or have the limit "
                "raised.",
            )
