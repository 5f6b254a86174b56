"""Versions of a document: a new one takes the old one's place once it is searchable itself."""

from collections.abc import Sequence
from uuid import UUID

from persistence import documents, streams, uploads
from persistence.lifecycle.documents import DOCUMENT, DocumentEvent, DocumentState
from persistence.tables.documents import DocumentRow
from resolvers import uploads as incoming_uploads
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.documents import (
    Incoming,
    UploadedFile,
    announce_state,
    file_name,
    get_documents,
    recognise,
    store_for,
    take_in,
)
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.originals import StoredFile
from resolvers.refusals import Refusal, RefusalCode
from resolvers.work import WorkResources

_DOCUMENT = ("input", "documentId")
_FILE = ("input", "file")
_UPLOAD = ("input", "uploadId")
_SWEPT = 20


async def get_replaced(
    parents: Sequence[DocumentRow], context: RequestContext
) -> list[DocumentRow | None]:
    """The document each one took, or will take, the place of."""
    return await get_documents(context, [d.replaces_id for d in parents])


async def get_replacements(
    parents: Sequence[DocumentRow], context: RequestContext
) -> list[DocumentRow | None]:
    """The document that took the place of each."""
    async with context.database.read() as connection:
        rows = await documents.replacements_of(connection, context.viewer, [d.id for d in parents])
    found = {row.replaces_id: row for row in rows}
    return [found.get(d.id) for d in parents]


async def find_replacement(
    context: RequestContext,
    *,
    document_id: str,
    upload_id: str | None,
    file: UploadedFile | None,
    **_: object,
) -> dict[str, StoredFile]:
    """The file that is to replace a document's, in the storage."""
    if (upload_id is None) == (file is None):
        raise Refusal(RefusalCode.BAD_INPUT, "Give either `file` or `uploadId`.", _FILE)
    older = await _readable(context, document_id)
    context.require(Permission.DOCUMENT_WRITE, older.course_id)
    if file is not None:
        return {"stored": await store_for(context, older.course_id, file)}
    return dict(await incoming_uploads.find_whole(context, upload_id=upload_id or ""))


async def _readable(context: RequestContext, document_id: str) -> DocumentRow:
    key = key_of(document_id, "Document", _DOCUMENT)
    (older,) = await get_documents(context, [key])
    if older is None:
        raise missing("document", _DOCUMENT)
    return older


async def replace_document(
    context: RequestContext,
    transaction: Transaction,
    *,
    document_id: str,
    upload_id: str | None,
    file: UploadedFile | None,
    title: str | None,
    stored: StoredFile,
) -> UUID:
    """Makes the next version of a document, which serves until that one is READY."""
    connection = transaction.connection
    key = key_of(document_id, "Document", _DOCUMENT)
    rows = await documents.documents_by_id(connection, context.viewer, [key])
    older = await documents.locked_document(connection, key) if rows else None
    if older is None:
        raise missing("document", _DOCUMENT)
    context.require(Permission.DOCUMENT_WRITE, older.course_id)
    DOCUMENT.advance(older.state, DocumentEvent.REPLACE)
    if await documents.is_being_replaced(connection, key):
        raise Refusal(
            RefusalCode.CONFLICT,
            "Another version of this document is on its way. Wait for it, or delete it.",
            _DOCUMENT,
        )
    if upload_id is not None:
        upload = await incoming_uploads.own_upload(context, connection, upload_id)
        if upload.course_id != older.course_id:
            raise missing("upload", _UPLOAD)
        await uploads.use(connection, upload)
        name, declared, path = upload.file_name, upload.media_type, _UPLOAD
    elif file is not None:
        name, declared, path = file_name(file.filename), file.content_type, _FILE
    media_type = recognise(name, declared, stored.head, path)
    incoming = Incoming(name, media_type, older.title if title is None else title)
    made = await take_in(context, transaction, older.course_id, incoming, stored, older)
    (newer,) = await documents.documents_by_id(connection, context.viewer, [made])
    if newer.replaces_id != older.id:
        raise Refusal(
            RefusalCode.CONFLICT, f"The course has this content already, as {newer.title}.", path
        )
    return made


async def sweep_replaced(resources: WorkResources) -> None:
    """Deletes what was replaced long ago, with the quotations answers made of it."""
    if resources.replaced_life is None:
        return
    async with resources.database.transaction() as connection:
        old = await documents.replaced_before(connection, resources.replaced_life, _SWEPT)
        for document in old:
            await documents.delete_document(connection, document)
            await announce_state(connection, document, DocumentState.DELETED)
    if old:
        await streams.announce(resources.bus)
