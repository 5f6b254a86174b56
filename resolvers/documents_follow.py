"""Following a document on its way to being searchable."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from persistence import streams
from persistence.followers import Tick
from persistence.lifecycle.documents import DocumentState
from persistence.tables.documents import DocumentRow
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.documents import load_documents
from resolvers.global_ids import key_of
from resolvers.refusals import Refusal, RefusalCode

SETTLED = frozenset(
    {
        DocumentState.READY,
        DocumentState.FAILED,
        DocumentState.NO_TEXT,
        DocumentState.REPLACED,
        DocumentState.DELETED,
    }
)


class DocumentEventKind(StrEnum):
    """What an event of a document tells."""

    SNAPSHOT = "SNAPSHOT"
    DOCUMENT_STATE = "DOCUMENT_STATE"
    PROGRESS = "PROGRESS"


@dataclass(frozen=True, slots=True)
class DocumentFollowed:
    """An event, with the document as the viewer may read it now.

    `seq` is the event's number, or that of the last one told before it.
    """

    seq: int
    kind: DocumentEventKind
    at: datetime
    document: DocumentRow


async def follow_document(
    context: RequestContext, document_id: str, after_seq: int | None
) -> AsyncIterator[DocumentFollowed]:
    """A snapshot, then each event after it; ends once a settled document was told in full.

    Raises `Refusal`: BAD_INPUT for a negative `after_seq`, RESYNC for one beyond the last event,
    NOT_FOUND and FORBIDDEN at once or as soon as the viewer may no longer read the document.
    """
    key = key_of(document_id, "Document", ("documentId",))
    if after_seq is not None and after_seq < 0:
        raise Refusal(RefusalCode.BAD_INPUT, "afterSeq is at least 0.", ("afterSeq",))
    async with context.database.read() as connection:
        latest = await streams.latest_seq(connection, key)  # before the state it is as of
    document = await _followed(context, key)
    if after_seq is not None and after_seq > latest:
        raise Refusal(
            RefusalCode.RESYNC,
            f"The document has {latest} events; leave afterSeq out to begin with its state.",
            ("afterSeq",),
        )
    seq = latest if after_seq is None else after_seq
    yield DocumentFollowed(seq, DocumentEventKind.SNAPSHOT, context.now(), document)
    async with context.followers.follow(key, seq) as events:
        async for event in events:
            fresh = context if context.renew is None else await context.renew()
            before, document = document, await _followed(fresh, key)
            if isinstance(event, Tick):
                if await _is_told(fresh, document, seq):
                    return
                if document.updated_at != before.updated_at:
                    yield DocumentFollowed(seq, DocumentEventKind.PROGRESS, fresh.now(), document)
                continue
            seq = event.seq or seq
            yield DocumentFollowed(seq, DocumentEventKind(event.kind), event.at, document)


async def _followed(context: RequestContext, key: UUID) -> DocumentRow:
    (document,) = await load_documents(context, [key])
    if document is None:
        raise missing("document", ("documentId",))
    context.require(Permission.DOCUMENT_READ, document.course_id)
    return document


async def _is_told(context: RequestContext, document: DocumentRow, seq: int) -> bool:
    if document.state not in SETTLED:
        return False
    async with context.database.read() as connection:
        return not await streams.has_undelivered(connection, document.id, seq)
