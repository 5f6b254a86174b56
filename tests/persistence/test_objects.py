"""The object storage: the same promises over a directory and over S3."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence.identifiers import uuid7
from persistence.objects import (
    ObjectMissing,
    ObjectStorage,
    StorageDown,
    object_key,
    one_piece,
    open_storage,
)
from tests.object_storage import s3_address, storage  # noqa: F401 - fixtures

MEGABYTE = 1_000_000


async def read(storage: ObjectStorage, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in storage.read(key, start, end)])


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [0, 1, MEGABYTE, 20 * MEGABYTE])
async def test_what_is_put_is_read(storage: ObjectStorage, size: int) -> None:
    content, key = os.urandom(size), object_key(uuid7(), uuid7())
    await storage.put(key, pieces(content, 700_000))
    assert await read(storage, key, 0, size) == content
    middle = size // 3
    assert await read(storage, key, middle, size - middle) == content[middle : size - middle]
    await storage.put(key, one_piece(b"again"))
    assert await read(storage, key, 0, 5) == b"again"


async def test_what_is_deleted_is_gone(storage: ObjectStorage) -> None:
    kept, gone = (object_key(uuid7(), uuid7()) for _ in range(2))
    for key in (kept, gone):
        await storage.put(key, one_piece(b"x"))
    await storage.delete([gone, object_key(uuid7(), uuid7())])
    await storage.delete([gone])
    await storage.delete([])
    with pytest.raises(ObjectMissing):
        await read(storage, gone, 0, 1)
    assert await read(storage, kept, 0, 1) == b"x"


@pytest.mark.parametrize("before", [100, 9 * MEGABYTE])
async def test_content_that_breaks_off_leaves_no_object(
    storage: ObjectStorage, before: int
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a" * before
        raise LookupError("of the content")

    key = object_key(uuid7(), uuid7())
    with pytest.raises(LookupError, match="of the content"):
        await storage.put(key, broken())
    with pytest.raises(ObjectMissing):
        await read(storage, key, 0, 1)


async def test_a_storage_that_is_away_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    away = open_storage("s3://bucket", endpoint="http://127.0.0.1:9", region="us-east-1")
    for broken in (open_storage((tmp_path / "file").as_uri()), away):
        with pytest.raises(StorageDown):
            await broken.put("o/00/k", one_piece(b"x"))


async def test_a_bucket_that_is_not_there_is_not_a_missing_object(s3_address: str) -> None:
    other = open_storage("s3://elsewhere", endpoint=s3_address, region="us-east-1")
    with pytest.raises(StorageDown):
        await other.put("o/00/k", one_piece(b"x"))
    with pytest.raises(StorageDown):
        await read(other, "o/00/k", 0, 1)


@pytest.mark.parametrize("url", ["", "originals", "file://host/x", "s3:///x", "gs://bucket"])
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"file:///folder or s3://bucket"):
        open_storage(url)
