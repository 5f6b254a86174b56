"""Originals: in the storage before their row, gone after it, and never lost between."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence import documents_work, stored_objects
from persistence.objects import ObjectMissing, ObjectStorage, one_piece, open_storage
from resolvers import documents
from resolvers.access import Permission
from resolvers.documents_work import ingest_document, sweep_documents
from resolvers.global_ids import global_id
from resolvers.originals import move_originals, store, sweep_objects
from resolvers.refusals import Refusal, RefusalCode
from tests.object_storage import s3_address, storage  # noqa: F401 - fixtures
from tests.resolvers.test_documents_work import AT_ONCE, count, document, state
from tests.study_world import MATERIAL, StudyWorld, embedder, study_world  # noqa: F401 - fixtures

ROUTING = MATERIAL["routing.md"]
OBJECTS = "SELECT count(*) FROM stored_object"


@pytest.fixture
def world(study_world: StudyWorld, storage: ObjectStorage) -> StudyWorld:
    """The course, with its files in each kind of storage."""
    return replace(study_world, files=replace(study_world.files, storage=storage))


async def keys(world: StudyWorld) -> list[str]:
    async with world.database.read() as connection:
        return list((await connection.execute(text("SELECT key FROM stored_object"))).scalars())


async def read(storage: ObjectStorage, key: str, size: int) -> bytes:
    return b"".join([piece async for piece in storage.read(key, 0, size)])


async def execute(world: StudyWorld, statement: str, **values: object) -> None:
    async with world.database.transaction() as connection:
        await connection.execute(text(statement), values)


async def test_an_original_lies_in_the_storage_until_its_document_goes(world: StudyWorld) -> None:
    key = await world.upload("routing.md", ROUTING)
    (name,) = await keys(world)
    assert "routing" not in name
    assert await read(world.files.storage, name, len(ROUTING)) == ROUTING.encode()
    await ingest_document(world.work(), key)
    assert await state(world, key) == "READY"

    await world.change(
        world.instructor,
        documents.delete_document,
        Permission.DOCUMENT_WRITE,
        document_id=global_id("Document", key),
    )
    await sweep_objects(world.work())
    assert await keys(world) == []
    with pytest.raises(ObjectMissing):
        await read(world.files.storage, name, 1)


async def test_what_nobody_kept_is_swept(world: StudyWorld) -> None:
    """A process that died between the object and its row."""
    async with world.database.transaction() as connection:
        row = await stored_objects.begin(connection, world.organization_id)
    await world.files.storage.put(row.key, one_piece(b"orphan"))
    await sweep_objects(world.work())
    assert await keys(world) == [row.key]
    await silent(world)
    await sweep_objects(world.work())
    assert await keys(world) == []


async def silent(world: StudyWorld) -> None:
    """Lets a quarter of an hour pass in which no writer has said anything."""
    off, on = (
        f"ALTER TABLE stored_object {way} TRIGGER touch_stored_object"
        for way in ("DISABLE", "ENABLE")
    )
    await execute(world, off)
    await execute(world, "UPDATE stored_object SET updated_at = now() - interval '16 minutes'")
    await execute(world, on)


async def test_what_is_still_written_is_not_swept(
    world: StudyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that comes slowly: its writer says that it is alive."""
    monkeypatch.setattr("resolvers.originals.BEAT_SECONDS", 0.05)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await go_on.wait()
        yield b"last"

    writing = asyncio.create_task(
        store(
            world.database,
            world.files.storage,
            world.organization_id,
            slowly(),
            most=100,
            too_large=lambda: AssertionError("it is small"),
        )
    )
    await begun.wait()
    await silent(world)
    old = "SELECT count(*) FROM stored_object WHERE updated_at < now() - interval '1 minute'"
    async with asyncio.timeout(30):
        while await count(world, old):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    await sweep_objects(world.work())
    go_on.set()
    stored = await writing
    async with world.database.transaction() as connection:
        await stored_objects.keep(connection, stored.object_id, stored.byte_size)
    assert await count(world, "SELECT count(*) FROM stored_object WHERE state = 'KEPT'") == 1


async def test_the_same_content_twice_keeps_one_object(world: StudyWorld) -> None:
    await world.upload("routing.md", ROUTING)
    await world.upload("copy.md", ROUTING)
    await sweep_objects(world.work())
    assert len(await keys(world)) == 1


async def test_a_refused_upload_leaves_nothing(world: StudyWorld) -> None:
    with pytest.raises(Refusal):
        await world.upload("notes.md", ROUTING, user_id=world.ann)
    with pytest.raises(Refusal):
        await world.upload("program.md", b"\x7fELF\x02\x01")
    assert await keys(world) == []
    with pytest.raises(Refusal):
        await world.upload("big.txt", b"a" * 25_000_001)
    await sweep_objects(world.work())
    assert await keys(world) == []


async def test_a_storage_that_is_away_refuses_and_loses_nothing(
    study_world: StudyWorld, tmp_path: Path
) -> None:
    world = study_world
    key = await world.upload("routing.md", ROUTING)
    (tmp_path / "file").write_text("where the folder should be")
    storage = open_storage((tmp_path / "file").as_uri())
    away = replace(world, files=replace(world.files, storage=storage))
    with pytest.raises(Refusal) as refused:
        await away.upload("transport.md", MATERIAL["transport.md"])
    assert refused.value.code == RefusalCode.UNAVAILABLE
    for _ in range(5):
        await ingest_document(away.work(), key)
        await sweep_documents(away.work(), stuck_after=AT_ONCE, waiting_for=AT_ONCE)
        await sweep_objects(away.work())
    assert await state(world, key) == "UPLOADED"
    await ingest_document(world.work(), key)
    assert await state(world, key) == "READY"


async def test_an_original_that_is_gone_ends_its_document(world: StudyWorld) -> None:
    kept, lost = [await world.upload(f"{n}.md", f"# {n}\n\n{ROUTING}") for n in "ab"]
    async with world.database.read() as connection:
        original = await documents_work.original_to_read(connection, lost)
    assert original is not None
    assert original.key is not None
    await world.files.storage.delete([original.key])
    for key in (lost, kept):
        await ingest_document(world.work(), key)
    assert (await state(world, kept), await state(world, lost)) == ("READY", "FAILED")
    row = await document(world, lost)
    assert row is not None
    assert row.failure is not None
    assert "Upload it again" in row.failure["advice"]
    await sweep_documents(world.work(), stuck_after=AT_ONCE, waiting_for=AT_ONCE)
    assert await state(world, lost) == "FAILED"


async def test_a_folder_that_is_not_mounted_is_a_storage_that_is_away(
    study_world: StudyWorld, tmp_path: Path
) -> None:
    key = await study_world.upload("routing.md", ROUTING)
    (tmp_path / "originals").rename(tmp_path / "elsewhere")
    (tmp_path / "originals").mkdir()
    await ingest_document(study_world.work(), key)
    assert await state(study_world, key) == "UPLOADED"
    (tmp_path / "originals").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "originals")
    await ingest_document(study_world.work(), key)
    assert await state(study_world, key) == "READY"


async def test_originals_of_the_database_move_into_the_storage(world: StudyWorld) -> None:
    """Rows of a version before there was a storage; they are read where they are until then."""
    read_in_place, moved = [await world.upload(f"{n}.md", f"# {n}\n\n{ROUTING}") for n in "ab"]
    await execute(world, "UPDATE document_version SET object_id = NULL, original = :o", o=b"# Old")
    await execute(world, "DELETE FROM stored_object")
    await ingest_document(world.work(), read_in_place)
    assert await state(world, read_in_place) == "READY"
    for _ in range(3):
        await move_originals(world.work())
    left = "SELECT count(*) FROM document_version WHERE original IS NOT NULL OR object_id IS NULL"
    assert await count(world, left) == 0
    assert await count(world, OBJECTS) == 2
    await ingest_document(world.work(), moved)
    assert await state(world, moved) == "READY"
    for name in await keys(world):
        assert await read(world.files.storage, name, 5) == b"# Old"
