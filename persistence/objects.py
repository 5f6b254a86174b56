"""The object storage: originals of documents and parts of uploads, by key.

Two backends behind one Protocol: a local directory, and whatever speaks S3. Keys are made here
and hold nothing a person wrote.
"""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import S3Config

PIECE_BYTES = 1 << 20
"""What is read from an object at a time."""

_TRANSFER_BYTES = 8 << 20  # of one request to S3; parts of an upload have at least 5 MiB there
_TRANSFERS_AT_ONCE = 2


class ObjectMissing(Exception):
    """There is no object of this key."""


class StorageDown(Exception):
    """The storage does not answer, or refuses us; nothing is known of what was asked."""


class ObjectStorage(Protocol):
    """Objects by key. Every call may raise `StorageDown`."""

    async def put(self, key: str, content: AsyncIterable[bytes]) -> None:
        """Stores the object whole or not at all; it outlives a crash once this returns."""

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` to `end` (exclusive) in pieces. Raises `ObjectMissing`."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes what there is of these."""


def object_key(organization_id: UUID, object_id: UUID) -> str:
    """The key of an object: of its organization, spread over 256 folders."""
    return f"{organization_id}/{object_id.hex[-2:]}/{object_id}"


def open_storage(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
) -> ObjectStorage:
    """The storage at `file:///folder` or `s3://bucket/prefix`. Raises `ValueError`.

    Without keys, S3 credentials come from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    `AWS_SESSION_TOKEN`, or from the web identity or instance the process runs on.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return LocalStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        config: S3Config = {"bucket": parts.netloc}
        if endpoint:
            config["endpoint"] = endpoint
        if region:
            config["region"] = region
        if access_key and secret_key:
            config["access_key_id"], config["secret_access_key"] = access_key, secret_key
        return S3Storage(config, parts.path.strip("/"))
    raise ValueError("write it as file:///folder or s3://bucket/prefix")


class LocalStorage:
    """A directory. Every process that reads or writes originals needs the same one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: AsyncIterable[bytes]) -> None:
        """As `ObjectStorage`: written aside, flushed to the disk, then renamed."""
        try:
            draft = self._draft(key)
            try:
                with await asyncio.to_thread(_open_new, draft) as file:
                    async for piece in content:
                        await asyncio.to_thread(file.write, piece)
                    await asyncio.to_thread(_settle, file)
                await asyncio.to_thread(self._place, draft, key)
            finally:
                with suppress(FileNotFoundError):
                    draft.unlink()
        except OSError as error:
            raise StorageDown(error.strerror or type(error).__name__) from error

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As `ObjectStorage`."""
        try:
            file = await asyncio.to_thread((self._root / key).open, "rb")
        except FileNotFoundError as error:
            if not await asyncio.to_thread(self._used):
                raise StorageDown("the folder is empty or not there; is it mounted?") from error
            raise ObjectMissing(key) from None
        except OSError as error:
            raise StorageDown(error.strerror or type(error).__name__) from error
        with file:
            file.seek(start)
            while start < end:
                piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, end - start))
                if not piece:
                    return
                start += len(piece)
                yield piece

    async def delete(self, keys: Sequence[str]) -> None:
        """As `ObjectStorage`."""
        try:
            await asyncio.to_thread(self._unlink, keys)
        except OSError as error:
            raise StorageDown(error.strerror or type(error).__name__) from error

    def _used(self) -> bool:
        """Whether anything was ever written here: a volume that is not mounted looks new."""
        return self._root.is_dir() and any(self._root.iterdir())

    def _draft(self, key: str) -> Path:
        return self._root / "writing" / key.rpartition("/")[2]

    def _place(self, draft: Path, key: str) -> None:
        target = self._root / key
        made = _made(target.parent)
        draft.replace(target)
        for folder in (target.parent, *made):
            _sync_folder(folder)

    def _unlink(self, keys: Iterable[str]) -> None:
        for key in keys:
            (self._root / key).unlink(missing_ok=True)
            self._draft(key).unlink(missing_ok=True)  # of a writer that was killed


def _open_new(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("wb")


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _made(folder: Path) -> list[Path]:
    """Makes a folder with those above it; returns the ones that got a new entry."""
    changed: list[Path] = []
    missing = folder
    while not missing.exists():
        missing = missing.parent
        changed.append(missing)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return changed


def _sync_folder(folder: Path) -> None:
    """So that the new name itself outlives a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3Storage:
    """A bucket of S3 or of what speaks its protocol."""

    def __init__(self, config: "S3Config", prefix: str) -> None:
        endpoint = config.get("endpoint", "")
        self._store = S3Store(
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": "3s",
                "timeout": "30s",
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        )

    async def put(self, key: str, content: AsyncIterable[bytes]) -> None:
        """As `ObjectStorage`: a large object in parts, which the last request makes one."""
        pieces = aiter(content)
        first = bytearray()
        async for piece in pieces:
            first += piece
            if len(first) >= _TRANSFER_BYTES:
                break
        else:
            with _s3_errors():
                await obstore.put_async(self._store, key, bytes(first), use_multipart=False)
            return
        rest = _Rest(bytes(first), pieces)
        try:
            with _s3_errors():
                await obstore.put_async(
                    self._store,
                    key,
                    rest,
                    chunk_size=_TRANSFER_BYTES,
                    max_concurrency=_TRANSFERS_AT_ONCE,
                )
        except StorageDown:
            if rest.error is not None:  # of the content, which the client reports as its own
                raise rest.error from None
            raise

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As `ObjectStorage`: a request for each few megabytes, so that none lasts long."""
        for begin in range(start, end, _TRANSFER_BYTES):
            span = (begin, min(end, begin + _TRANSFER_BYTES))
            with _s3_errors(key):
                found = await obstore.get_async(self._store, key, options={"range": span})
                piece = bytes(await found.bytes_async())
            yield piece

    async def delete(self, keys: Sequence[str]) -> None:
        """As `ObjectStorage`."""
        if keys:
            with _s3_errors():
                await obstore.delete_async(self._store, list(keys))


class _Rest:
    """Content whose beginning was read already, with what went wrong while it was read."""

    def __init__(self, first: bytes, pieces: AsyncIterator[bytes]) -> None:
        self._first, self._pieces = first, pieces
        self.error: BaseException | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        try:
            async for piece in self._pieces:
                yield piece
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def _s3_errors(key: str | None = None) -> Iterator[None]:
    """`key` where an object may be missing; else only the bucket can be."""
    try:
        yield
    except FileNotFoundError as error:
        if key is None or "NoSuchBucket" in str(error):
            raise StorageDown("no such bucket") from error
        raise ObjectMissing(key) from None
    except (BaseError, OSError) as error:
        raise StorageDown(type(error).__name__) from error


async def one_piece(content: bytes) -> AsyncIterator[bytes]:
    """Bytes at hand, as `put` takes them."""
    yield content
