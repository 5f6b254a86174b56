"""Originals: brought into the object storage before the row that points at them, and out again."""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from persistence import documents, documents_work, stored_objects
from persistence.database import Database
from persistence.documents_work import StoredOriginal
from persistence.objects import ObjectStorage, StorageDown, one_piece
from persistence.users import Proof, find_viewer
from resolvers.access import missing
from resolvers.refusals import Refusal, RefusalCode
from resolvers.work import WorkResources

logger = logging.getLogger(__name__)

HEAD_BYTES = 65_536
ABANDONED_AFTER = timedelta(minutes=15)
"""An object whose writer has said nothing for so long is deleted. Beyond its last beat a writer has
only the transaction before it that keeps the object, which takes seconds."""

BEAT_SECONDS = 60.0

_SWEPT = 200


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the storage. `head` is its first 64 KiB; `kept` says that a row points at it."""

    object_id: UUID
    byte_size: int
    sha256: str
    head: bytes
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Original:
    """A version of a document, and the file that holds its bytes for now."""

    version_id: UUID
    path: Path


class _Measured:
    """Content on its way: counted, hashed, and cut off beyond `most` bytes."""

    def __init__(
        self, content: AsyncIterable[bytes], most: int, too_large: Callable[[], Exception]
    ) -> None:
        self._content, self._most, self._too_large = content, most, too_large
        self.byte_size, self.head = 0, b""
        self.digest = hashlib.sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            self.byte_size += len(piece)
            if self.byte_size > self._most:
                raise self._too_large()
            self.digest.update(piece)
            if len(self.head) < HEAD_BYTES:
                self.head += piece[: HEAD_BYTES - len(self.head)]
            yield piece


async def store(
    database: Database,
    storage: ObjectStorage,
    organization_id: UUID,
    content: AsyncIterable[bytes],
    *,
    most: int,
    too_large: Callable[[], Exception],
) -> StoredFile:
    """Streams a file into the storage. What keeps it is `stored_objects.keep`.

    Raises `StorageDown`, what `content` raises, and `too_large()` beyond `most` bytes; nothing of
    the file stays then.
    """
    async with database.transaction() as connection:
        row = await stored_objects.begin(connection, organization_id)
    measured = _Measured(content, most, too_large)
    beating = asyncio.create_task(_beat(database, row.id))
    try:
        await storage.put(row.key, measured)
    except BaseException:
        await discard(database, row.id)
        raise
    finally:
        beating.cancel()
    return StoredFile(row.id, measured.byte_size, measured.digest.hexdigest(), measured.head)


async def _beat(database: Database, object_id: UUID) -> None:
    """Keeps the sweeper from taking a slow writer for a dead one."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        try:
            async with database.transaction() as connection:
                await stored_objects.beat(connection, object_id)
        except Exception:  # the next beat may come through
            logger.warning("object %s: a beat was missed", object_id, exc_info=True)


async def discard(database: Database, object_id: UUID) -> None:
    """Has an object deleted that no row will point at."""
    async with database.transaction() as connection:
        await stored_objects.doom(connection, [object_id])


@asynccontextmanager
async def on_disk(resources: WorkResources, document_id: UUID) -> AsyncIterator[Original | None]:
    """The newest original of an UPLOADED document as a file of this process; None: there is none.

    Raises `StorageDown`, `ObjectMissing`. The file goes with the context.
    """
    async with resources.database.read() as connection:
        found = await documents_work.original_to_read(connection, document_id)
    if found is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        path = Path(folder) / "original"
        with path.open("wb") as file:
            if found.key is None:
                file.write(found.inline or b"")
            else:
                async for piece in resources.storage.read(found.key, 0, found.byte_size):
                    file.write(piece)
        yield Original(found.version_id, path)


async def sweep_objects(resources: WorkResources) -> None:
    """Deletes objects whose rows are gone, and those whose writers never came back."""
    async with resources.database.transaction() as connection:
        await stored_objects.doom_abandoned(connection, ABANDONED_AFTER)
    async with resources.database.read() as connection:
        doomed = await stored_objects.doomed(connection, _SWEPT)
    if not doomed:
        return
    try:
        await resources.storage.delete([row.key for row in doomed])
    except StorageDown as error:
        logger.warning("the object storage is away: %s", error)
        return
    async with resources.database.transaction() as connection:
        await stored_objects.forget(connection, [row.id for row in doomed])


async def move_originals(resources: WorkResources) -> None:
    """Moves one original that is still in the database into the storage. Safe to run at once."""
    async with resources.database.read() as connection:
        unmoved = await documents_work.unmoved(connection)
    if unmoved is None or unmoved.original is None:
        return
    try:
        stored = await store(
            resources.database,
            resources.storage,
            unmoved.organization_id,
            one_piece(unmoved.original),
            most=len(unmoved.original),
            too_large=lambda: AssertionError("it is as large as it is"),
        )
    except StorageDown as error:
        logger.warning("the object storage is away: %s", error)
        return
    async with resources.database.transaction() as connection:
        if await documents_work.set_object(connection, unmoved.id, stored.object_id):
            await stored_objects.keep(connection, stored.object_id, stored.byte_size)
        else:
            await stored_objects.doom(connection, [stored.object_id])


@dataclass(frozen=True, slots=True)
class Download:
    """An original somebody may have: what it is, and where its bytes are."""

    file_name: str
    media_type: str
    sha256: str
    byte_size: int
    where: StoredOriginal


async def find_download(database: Database, proof: Proof, document_id: UUID) -> Download:
    """The original of a document this person may read now. Raises `Refusal`."""
    async with database.read() as connection:
        viewer = await find_viewer(connection, proof)
        if viewer is None:
            raise Refusal(
                RefusalCode.FORBIDDEN, "Whoever this address was made for has no access any more."
            )
        rows = await documents.documents_by_id(connection, viewer, [document_id])
        where = await documents_work.stored_original(connection, document_id)
    if not rows or where is None:
        raise missing("document")
    (row,) = rows
    return Download(row.file_name, row.media_type, row.sha256, row.byte_size, where)


async def content_of(
    storage: ObjectStorage, download: Download, start: int, end: int
) -> AsyncIterator[bytes]:
    """Bytes `start` to `end` (exclusive) of an original."""
    if download.where.key is None:
        yield (download.where.inline or b"")[start:end]
        return
    async for piece in storage.read(download.where.key, start, end):
        yield piece
