"""The worker's side of documents: extract, chunk, embed, index."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from agents.documents.chunking import TextChunk, chunk
from agents.documents.extracted import WITHOUT_TEXT, ExtractedText, ExtractionFailure
from agents.documents.languages import language_of
from agents.documents.reading import read_file
from agents.ports import AgentFailure, ProviderNotApproved
from persistence import documents_work, embeddings, providers, reservations, streams
from persistence.database import Connection
from persistence.documents_work import UNREADABLE, IngestLost, NewChunk
from persistence.identifiers import uuid7
from persistence.lifecycle.documents import DocumentEvent, DocumentState
from persistence.objects import ObjectMissing, StorageDown
from persistence.tables.documents import DocumentRow
from resolvers import originals
from resolvers.documents import announce_state, enqueue_ingest, replace_older
from resolvers.documents_pictures import picture_reader
from resolvers.originals import Original
from resolvers.work import WorkResources

logger = logging.getLogger(__name__)

BATCH_CHUNKS = 32
"""Chunks embedded and indexed at a time; each batch says that the ingest is alive."""

MOST_TRIES = 3
NOT_APPROVED = "PROVIDER_NOT_APPROVED"
"""The failure of a document whose text may not leave for the provider that indexes it."""

WAITING_FOR = timedelta(seconds=10)
_SWEPT = 100

_MISSING = {
    "code": "INTERNAL",
    "message": "The file is not in this server's storage any more.",
    "advice": "Upload it again, and tell the people who run this server.",
}

T = TypeVar("T")


@runtime_checkable
class TokenCounter(Protocol):
    """An embedder that counts in its own tokens, which chunks are measured in."""

    def count_tokens(self, text: str) -> int:
        """Tokens of the whole text, the embedder's own marks included."""


async def ingest_document(resources: WorkResources, document_id: UUID) -> None:
    """Makes an UPLOADED document searchable; does nothing when it is not (any more) UPLOADED.

    A file without usable text ends as FAILED or NO_TEXT with a reason, and so does one that is not
    in the storage. While the storage is away the document stays UPLOADED. What goes wrong otherwise
    is tried again, three times in all.
    """
    try:
        async with originals.on_disk(resources, document_id) as original:
            if original is not None:
                await _ingest(resources, document_id, original)
    except StorageDown as error:
        logger.warning("document %s waits: the object storage is away: %s", document_id, error)
    except ObjectMissing:
        logger.error("document %s: its original is not in the storage", document_id)  # noqa: TRY400 - no stack of interest
        await _fail_missing(resources, document_id)


async def _fail_missing(resources: WorkResources, document_id: UUID) -> None:
    async with resources.database.transaction() as connection:
        document = await documents_work.begin_ingest(connection, document_id)
        if document is not None:
            reached = await documents_work.move(
                connection,
                document,
                DocumentState.EXTRACTING,
                DocumentEvent.FAIL,
                failure=_MISSING,
            )
            await announce_state(connection, document, reached)
    await streams.announce(resources.bus)


async def _ingest(resources: WorkResources, document_id: UUID, original: Original) -> None:
    async with resources.database.transaction() as connection:
        document = await documents_work.begin_ingest(connection, document_id)
        if document is None:
            return
        await announce_state(connection, document, DocumentState.EXTRACTING)
    await streams.announce(resources.bus)
    ingest = _Ingest(resources, document, original)
    beating = asyncio.create_task(_beat(resources, document))
    try:
        await ingest.run()
    except IngestLost:
        logger.info("document %s: taken over or deleted meanwhile", document_id)
    except ExtractionFailure as failure:
        await ingest.fail(failure)
    except ProviderNotApproved as refused:
        await ingest.refuse(refused)
    except AgentFailure as failure:
        logger.warning("document %s waits: %s", document_id, failure)
        await ingest.retry()
    except Exception as error:
        logger.exception("document %s: %s", document_id, type(error).__name__)
        await ingest.retry()
    finally:
        beating.cancel()


async def _beat(resources: WorkResources, document: DocumentRow) -> None:
    """Keeps the sweeper from taking a slow ingest for a dead one: a large text is read and cut for
    minutes, and a provider may take as long over a batch."""
    while True:
        await asyncio.sleep(resources.lease_seconds / 3)
        try:
            async with resources.database.keeping().transaction() as connection:
                if not await documents_work.beat(connection, document):
                    return
        except Exception:  # the next beat may come through
            logger.warning("document %s: a beat was missed", document.id, exc_info=True)


class _Ingest:
    """One try at one document, under the fence it began with."""

    def __init__(self, resources: WorkResources, document: DocumentRow, original: Original) -> None:
        self._resources, self._document, self._original = resources, document, original
        self._state = DocumentState.EXTRACTING

    async def run(self) -> None:
        """Raises `IngestLost` and `ExtractionFailure`."""
        version_id = self._original.version_id
        extracted = await self._read(self._original.path)
        await self._move(DocumentEvent.CHUNK, text=(version_id, extracted))
        chunks = await asyncio.to_thread(chunk, extracted, count_tokens=self._counter())
        await self._move(DocumentEvent.EMBED)
        for batch in _batches(chunks, BATCH_CHUNKS):
            await self._index(version_id, batch)
        await self._move(DocumentEvent.INDEXED)

    async def _read(self, path: Path) -> ExtractedText:
        return await read_file(
            path,
            file_name=self._document.file_name,
            media_type=self._document.media_type,
            limits=self._resources.document_limits,
            pictures=await picture_reader(
                self._resources, self._document, last_try=self._document.fence >= MOST_TRIES
            ),
        )

    async def fail(self, failure: ExtractionFailure) -> None:
        """Ends the ingest with the reason the file gave."""
        empty = failure.code in WITHOUT_TEXT
        await self._end(
            DocumentEvent.FIND_NO_TEXT if empty else DocumentEvent.FAIL,
            {"code": failure.code, "message": failure.message, "advice": failure.advice},
        )

    async def refuse(self, refused: ProviderNotApproved) -> None:
        """Ends the ingest of a text that may not leave for the provider that indexes it."""
        failure = {"code": NOT_APPROVED, "message": str(refused)}
        failure["advice"] = "Upload it again once the provider is approved."
        await self._end(DocumentEvent.FAIL, failure)

    async def retry(self) -> None:
        """Has it tried again after a while, or ends it when that was the last try."""
        if self._document.fence >= MOST_TRIES:
            await self._end(DocumentEvent.FAIL, UNREADABLE)
        else:
            await self._end(DocumentEvent.TAKEOVER, None)

    async def _end(self, event: DocumentEvent, failure: dict[str, str] | None) -> None:
        try:
            await self._move(event, failure=failure)
        except IngestLost:
            logger.info("document %s: taken over or deleted meanwhile", self._document.id)

    async def _move(
        self,
        event: DocumentEvent,
        *,
        failure: dict[str, str] | None = None,
        text: tuple[UUID, ExtractedText] | None = None,
    ) -> None:
        async with self._resources.database.transaction() as connection:
            reached = await documents_work.move(
                connection, self._document, self._state, event, failure=failure
            )
            if text is not None:
                version_id, read = text
                notes = [{"code": n.code, "message": n.message} for n in read.notes]
                await documents_work.save_text(
                    connection, self._document, version_id, read.text, read.media_type, notes
                )
            await announce_state(connection, self._document, reached)
            if event is DocumentEvent.INDEXED:
                await replace_older(connection, self._document)
        self._state = reached
        await streams.announce(self._resources.bus)

    async def _index(self, version_id: UUID, batch: Sequence[TextChunk]) -> None:
        new = [
            NewChunk(
                id=uuid7(),
                ordinal=c.ordinal,
                page=c.page,
                place=c.location,
                language=language_of(c.text, self._document.language),
                start=c.start,
                end=c.end,
                heading_path=c.heading_path,
                text=c.text,
            )
            for c in batch
        ]
        vectors: dict[str, Any] = {}
        while True:
            for model in await self._models():
                if model not in vectors:
                    embedder = self._resources.embedders.documents(model)
                    vectors[model] = await embedder.embed([c.text for c in batch])
            async with self._resources.database.transaction() as connection:
                live = await embeddings.lock_live(connection)
                if live <= vectors.keys():  # no index was begun while the batch was embedded
                    kept = {model: vectors[model] for model in live}
                    await documents_work.add_chunks(
                        connection, self._document, version_id, new, kept
                    )
                    return

    async def _models(self) -> Sequence[str]:
        """The models to index by: the one that serves, and the one an index is built of."""
        default = self._resources.embedders.default
        async with self._resources.database.transaction() as connection:
            live = await embeddings.live_indexes(connection)
            models = [index.model for index in live]
            models = models or [await embeddings.ensure_serving(connection, default)]
            for model in models:
                await self._check_approved(connection, model)
        return models

    async def _check_approved(self, connection: Connection, model: str) -> None:
        provider = self._resources.embedders.provider(model)
        organization_id = self._document.organization_id
        if not await providers.provider_approved(connection, organization_id, provider):
            raise ProviderNotApproved(provider)

    def _counter(self) -> "_Count":
        embedder = self._resources.embedder
        if not isinstance(embedder, TokenCounter):
            raise TypeError(f"{type(embedder).__name__} cannot count tokens")
        return embedder.count_tokens


class _Count(Protocol):
    def __call__(self, text: str) -> int: ...


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def sweep_documents(
    resources: WorkResources,
    *,
    stuck_after: timedelta | None = None,
    waiting_for: timedelta = WAITING_FOR,
) -> None:
    """Heals what dead workers left: an ingest that stands still for `stuck_after` (None: a lease),
    a document nobody was told of, or one whose next try is due."""
    if stuck_after is None:
        stuck_after = timedelta(seconds=resources.lease_seconds)
    async with resources.database.transaction() as connection:
        taken = await documents_work.take_over(connection, stuck_after, MOST_TRIES, _SWEPT)
        for document in taken:
            await announce_state(connection, document, DocumentState(document.state))
            if document.state == DocumentState.UPLOADED:
                await enqueue_ingest(connection, document)
        for document in await documents_work.waiting(connection, waiting_for, _SWEPT):
            await enqueue_ingest(connection, document)
        await reservations.settle_taken_over(connection, [document.id for document in taken])
    if taken:
        await streams.announce(resources.bus)
