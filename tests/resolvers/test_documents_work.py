"""Documents from upload to search, and what becomes of those that break down on the way."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.documents.extracted import LocationKind
from persistence import streams
from persistence.database import add
from persistence.jobs import outstanding
from persistence.lifecycle.documents import DocumentState
from persistence.streams import Sequencer
from persistence.tables.documents import LOCATIONS, ChunkRow, DocumentRow
from persistence.tables.identity import OrganizationRow
from resolvers import documents
from resolvers.access import Permission
from resolvers.documents_work import ingest_document, sweep_documents
from resolvers.global_ids import global_id
from resolvers.refusals import Refusal, RefusalCode
from tests.agents.documents.written import (
    Written,
    write_docx,
    write_notebook,
    write_pdf,
    write_pptx,
    write_xlsx,
)
from tests.embedders import only
from tests.study_world import (
    MATERIAL,
    StudyWorld,
    add_course,
    add_people,
    embedder,  # noqa: F401 - fixture
    study_world,  # noqa: F401 - fixture
)

AT_ONCE = timedelta(0)


async def document(world: StudyWorld, key: UUID, user_id: UUID | None = None) -> DocumentRow | None:
    context = await world.context(user_id or world.instructor)
    (row,) = await documents.load_documents(context, [key])
    return row


async def state(world: StudyWorld, key: UUID) -> str:
    row = await document(world, key)
    assert row is not None
    return row.state


async def chunks(world: StudyWorld, key: UUID) -> list[ChunkRow]:
    context = await world.context(world.instructor)
    row = await document(world, key)
    assert row is not None
    (page,) = await documents.list_chunks([row], context, 100, None)
    return list(page.rows)


async def count(world: StudyWorld, query: str, **values: Any) -> int:
    async with world.database.read() as connection:
        return int((await connection.execute(text(query), values)).scalar_one())


async def jobs_of(world: StudyWorld) -> frozenset[UUID]:
    async with world.database.read() as connection:
        return await outstanding(connection, documents.INGEST)


async def test_an_upload_becomes_searchable(study_world: StudyWorld) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    assert await state(world, key) == DocumentState.UPLOADED
    assert await jobs_of(world) == {key}

    await ingest_document(world.work(), key)

    row = await document(world, key)
    assert row is not None
    assert (row.state, row.title, row.file_name) == ("READY", "routing", "routing.md")
    assert (row.media_type, row.byte_size) == ("text/markdown", len(MATERIAL["routing.md"]))
    found = await chunks(world, key)
    assert [c.ordinal for c in found] == list(range(len(found)))
    assert all(MATERIAL["routing.md"][c.start : c.end] == c.text for c in found)
    assert ["Routing", "Time to live"] in [c.heading_path for c in found]
    (extent,) = await documents.get_extents([row], await world.context(world.ann))
    assert (extent.chunks, extent.pages) == (len(found), None)


async def test_each_state_is_an_event(study_world: StudyWorld) -> None:
    key = (await study_world.ingest({"a.txt": "Page one.\fPage two."}))[0]
    await Sequencer(study_world.database, study_world.bus).number()
    async with study_world.database.read() as connection:
        events = await streams.read_after(connection, key, 0, 100)
    told = [event.payload["state"] for event in events]
    assert told == ["UPLOADED", "EXTRACTING", "CHUNKING", "EMBEDDING", "READY"]
    row = await document(study_world, key)
    assert row is not None
    (extent,) = await documents.get_extents([row], await study_world.context(study_world.ann))
    assert extent.pages == 2


async def test_members_read_what_is_ready(study_world: StudyWorld) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    assert await document(world, key, world.ann) is None
    await ingest_document(world.work(), key)
    assert await document(world, key, world.ann) is not None
    (chunk, *_) = await chunks(world, key)
    assert (await documents.load_chunks(await world.context(world.ann), [chunk.id]))[0] is not None


async def test_the_same_content_is_the_same_document(study_world: StudyWorld) -> None:
    world = study_world
    first = await world.upload("routing.md", MATERIAL["routing.md"])
    assert await world.upload("copy.md", MATERIAL["routing.md"]) == first
    both = await asyncio.gather(*(world.upload(f"{n}.md", "Twice at once.") for n in range(2)))
    assert both[0] == both[1]
    assert await count(world, "SELECT count(*) FROM document") == 2


async def test_content_that_failed_may_come_again(study_world: StudyWorld) -> None:
    first = await study_world.upload("empty.md", " \n ")
    await ingest_document(study_world.work(), first)
    row = await document(study_world, first)
    assert row is not None
    assert row.state == "NO_TEXT"
    assert row.failure is not None
    assert row.failure.keys() == {"code", "message", "advice"}
    assert row.failure["code"] == "EMPTY"
    assert await study_world.upload("empty.md", " \n ") != first


@pytest.mark.parametrize(
    ("name", "content", "declared", "code"),
    [
        ("slides.pdf", b"Text.", "application/pdf", RefusalCode.UNSUPPORTED_FILE),
        ("notes.md", b"\x1f\x8b\x08 gzip", "text/markdown", RefusalCode.UNSUPPORTED_FILE),
        ("notes.txt", bytes(range(256)) * 8, None, RefusalCode.UNSUPPORTED_FILE),
        ("notes.exe", b"text", "application/octet-stream", RefusalCode.UNSUPPORTED_FILE),
        ("", b"text", "text/plain", RefusalCode.BAD_INPUT),
        ("big.txt", b"a" * 25_000_001, "text/plain", RefusalCode.TOO_LARGE),
    ],
)
async def test_a_file_that_is_not_read_is_refused_at_once(
    study_world: StudyWorld,
    name: str,
    content: bytes,
    declared: str | None,
    code: RefusalCode,
) -> None:
    with pytest.raises(Refusal) as refused:
        await study_world.upload(name, content, content_type=declared)
    assert (refused.value.code, refused.value.path) == (code, ("input", "file"))
    assert await count(study_world, "SELECT count(*) FROM document") == 0


async def test_a_file_that_breaks_further_in_fails_with_advice(
    study_world: StudyWorld,
) -> None:
    key = await study_world.upload("latin.txt", b"Fine. " * 20_000 + b"caf\xe9 \xc3\xa9")
    await ingest_document(study_world.work(), key)
    row = await document(study_world, key)
    assert row is not None
    assert (row.state, (row.failure or {}).get("code")) == ("FAILED", "BAD_ENCODING")


async def test_students_do_not_upload(study_world: StudyWorld) -> None:
    with pytest.raises(Refusal) as refused:
        await study_world.upload("a.md", "Text.", user_id=study_world.ann)
    assert refused.value.code is RefusalCode.FORBIDDEN


async def test_deleting_removes_text_bytes_and_vectors(study_world: StudyWorld) -> None:
    world = study_world
    key, other = await world.ingest()
    with pytest.raises(Refusal) as refused:
        await _delete(world, key, world.ann)
    assert refused.value.code is RefusalCode.FORBIDDEN
    await _delete(world, key, world.instructor)
    assert await state(world, key) == "DELETED"
    assert await document(world, key, world.ann) is None
    held = "SELECT count(*) FROM {} WHERE document_id = :key"
    assert await count(world, held.format("chunk"), key=key) == 0
    assert await count(world, held.format("document_version"), key=key) == 0
    assert await count(world, held.format("chunk"), key=other) > 0
    assert await world.upload("routing.md", MATERIAL["routing.md"]) != key


async def _delete(world: StudyWorld, key: UUID, user_id: UUID) -> None:
    await world.change(
        user_id,
        documents.delete_document,
        Permission.DOCUMENT_WRITE,
        document_id=global_id("Document", key),
    )


class _Broken:
    """An embedder whose process dies, or whose call fails, in the middle of a document."""

    def __init__(self, world: StudyWorld, error: BaseException) -> None:
        self.name, self._error = world.embedder.name, error

    async def embed(self, texts: Any) -> Any:  # noqa: ARG002 - the port's
        raise self._error


async def _break(world: StudyWorld, key: UUID, error: BaseException) -> None:
    work = world.work()
    object.__setattr__(work, "embedders", only(_Broken(world, error)))
    await ingest_document(work, key)


async def test_an_ingest_whose_worker_died_is_taken_over(study_world: StudyWorld) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    with pytest.raises(asyncio.CancelledError):
        await _break(world, key, asyncio.CancelledError())
    assert await state(world, key) == "EMBEDDING"
    await sweep_documents(world.work())
    assert await state(world, key) == "EMBEDDING"  # not stuck for long enough
    await sweep_documents(world.work(), stuck_after=AT_ONCE)
    assert await state(world, key) == "UPLOADED"
    await ingest_document(world.work(), key)
    assert await state(world, key) == "READY"
    assert len(await chunks(world, key)) == 2


async def test_a_stalled_worker_writes_nothing_after_the_takeover(
    study_world: StudyWorld,
) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    work = world.work()
    reached, go = asyncio.Event(), asyncio.Event()

    class Stalled(_Broken):
        async def embed(self, texts: Any) -> Any:
            reached.set()
            await go.wait()
            return await world.embedder.embed(texts)

    object.__setattr__(work, "embedders", only(Stalled(world, RuntimeError())))
    stalled = asyncio.create_task(ingest_document(work, key))
    await reached.wait()
    await sweep_documents(world.work(), stuck_after=AT_ONCE)
    await ingest_document(world.work(), key)
    before = [c.id for c in await chunks(world, key)]
    go.set()
    await stalled
    assert await state(world, key) == "READY"
    assert [c.id for c in await chunks(world, key)] == before


async def test_a_slow_ingest_is_not_taken_over(study_world: StudyWorld) -> None:
    """It says that it is alive while one step takes longer than a dead worker is waited for."""
    key = await study_world.upload("routing.md", MATERIAL["routing.md"])
    began, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        name = study_world.embedder.name

        async def embed(self, texts: Sequence[str]) -> Any:
            began.set()
            await go_on.wait()
            return await study_world.embedder.embed(texts)

    work = replace(study_world.work(), embedders=only(Slow()), lease_seconds=0.15)
    ingest = asyncio.create_task(ingest_document(work, key))
    await began.wait()
    async with study_world.database.transaction() as connection:
        await connection.execute(text("ALTER TABLE document DISABLE TRIGGER touch_document"))
        await connection.execute(text("UPDATE document SET updated_at = now() - interval '1 h'"))
        await connection.execute(text("ALTER TABLE document ENABLE TRIGGER touch_document"))
    old = "SELECT count(*) FROM document WHERE updated_at < now() - interval '1 min'"
    async with asyncio.timeout(30):
        while await count(study_world, old):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    await sweep_documents(study_world.work())
    go_on.set()
    await ingest
    assert await state(study_world, key) == "READY"
    assert await count(study_world, "SELECT fence FROM document") == 1


async def test_what_breaks_down_three_times_fails(study_world: StudyWorld) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    for expected in ("UPLOADED", "UPLOADED", "FAILED"):
        await _break(world, key, RuntimeError("no memory"))
        assert await state(world, key) == expected
    row = await document(world, key)
    assert row is not None
    assert (row.failure or {}).get("code") == "INTERNAL"


async def test_a_worker_that_dies_every_time_fails(study_world: StudyWorld) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    for expected in ("UPLOADED", "UPLOADED", "FAILED"):
        with pytest.raises(asyncio.CancelledError):
            await _break(world, key, asyncio.CancelledError())
        await sweep_documents(world.work(), stuck_after=AT_ONCE)
        assert await state(world, key) == expected


async def test_a_document_whose_job_was_lost_is_enqueued_again(
    study_world: StudyWorld,
) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    async with world.database.transaction() as connection:
        await connection.execute(text("DELETE FROM pgqueuer"))
    await sweep_documents(world.work())
    assert await jobs_of(world) == frozenset()  # too young to be missed
    await sweep_documents(world.work(), waiting_for=AT_ONCE)
    await sweep_documents(world.work(), waiting_for=AT_ONCE)
    assert await jobs_of(world) == {key}
    assert await count(world, "SELECT count(*) FROM pgqueuer") == 1


@pytest.mark.parametrize(("tries", "due"), [(0, 10), (1, 40), (2, 160)])
async def test_each_try_that_failed_is_waited_for_longer(
    study_world: StudyWorld, tries: int, due: int
) -> None:
    world = study_world
    key = await world.upload("routing.md", MATERIAL["routing.md"])
    for _ in range(tries):
        await _break(world, key, RuntimeError("no provider"))
    for seconds, expected in ((due - 2, frozenset()), (due + 2, {key})):
        async with world.database.transaction() as connection:
            await connection.execute(text("DELETE FROM pgqueuer"))
            await connection.execute(text("ALTER TABLE document DISABLE TRIGGER touch_document"))
            await connection.execute(
                text("UPDATE document SET updated_at = now() - make_interval(secs => :s)"),
                {"s": seconds},
            )
            await connection.execute(text("ALTER TABLE document ENABLE TRIGGER touch_document"))
        await sweep_documents(world.work())
        assert await jobs_of(world) == expected


async def test_courses_and_organizations_are_served_in_turn(study_world: StudyWorld) -> None:
    world = study_world
    second = await add_course(world.database, world.organization_id, "SEC", world.instructor)
    await upload_many(world, "net", world.course_id, 5)
    await upload_many(world, "sec", second, 3)
    await upload_many(world, "net-later", world.course_id, 1)
    assert await order(world) == [
        "net-0", "sec-0", "net-1", "net-2", "sec-1", "net-3", "net-4", "sec-2", "net-later-0",
    ]  # fmt: skip


async def test_an_organization_of_many_courses_has_no_more_turns(study_world: StudyWorld) -> None:
    world = study_world
    for n in range(3):
        course = await add_course(world.database, world.organization_id, f"C{n}", world.instructor)
        await upload_many(world, f"c{n}", course, 6)
    other, course = await other_organization(world)
    await upload_many(other, "other", course, 6)
    first = (await order(world))[:12]
    assert sum(name.startswith("other") for name in first) >= 4
    assert len({name.partition("-")[0] for name in first}) == 4


async def test_a_large_document_has_a_seat_of_its_own(study_world: StudyWorld) -> None:
    large = await study_world.upload("large.txt", "A line of text.\n" * 70_000)
    small = await study_world.upload("small.txt", "A line of text.")
    async with study_world.database.read() as connection:
        assert await outstanding(connection, documents.INGEST) == {small}
        assert await outstanding(connection, documents.INGEST_LARGE) == {large}


async def upload_many(world: StudyWorld, name: str, course: UUID, number: int) -> None:
    for n in range(number):
        await world.upload(f"{name}-{n}.txt", f"{name} {n}", course_id=course)


async def order(world: StudyWorld) -> list[str]:
    """The titles of waiting documents in the order in which the engine gives them out."""
    async with world.database.read() as connection:
        rows = await connection.execute(
            text(
                "SELECT d.title FROM pgqueuer q"
                " JOIN document d ON d.id = encode(q.payload, 'hex')::uuid"
                " ORDER BY q.priority DESC, q.id"
            )
        )
        return list(rows.scalars())


async def other_organization(world: StudyWorld) -> tuple[StudyWorld, UUID]:
    organization = OrganizationRow(name="Other", slug="other-org")
    async with world.database.transaction() as connection:
        await add(connection, organization)
    (teacher,) = await add_people(world.database, organization.id, ["teacher"])
    course = await add_course(world.database, organization.id, "OTH", teacher)
    other = replace(world, organization_id=organization.id, instructor=teacher, course_id=course)
    return other, course


@pytest.mark.parametrize(
    ("written", "places"),
    [
        (write_pdf([["One."], [], ["Two."]], pictures=(2,)), ["page 1", "page 3"]),
        (write_pptx([["First", "one"], ["Second", "two"]]), ["slide 1", "slide 2"]),
        (write_xlsx([[["a", "b"], ["c", "d"]]]), ["Sheet no 1!B2:C3"]),
        (write_notebook([["# Title"], ["x = 1"]]), ["cells 1-2"]),
        (write_docx([["Title", "words"]]), [None]),
    ],
    ids=["pdf", "pptx", "xlsx", "ipynb", "docx"],
)
async def test_passages_know_their_place(
    study_world: StudyWorld, written: Written, places: list[str | None]
) -> None:
    key = await study_world.upload(written.file_name, written.data)
    await ingest_document(study_world.work(), key)
    found = await chunks(study_world, key)
    assert [c.location_label for c in found] == places
    assert [c.page for c in found] == [
        int(p.split()[1]) if p and p.startswith("page") else None for p in places
    ]
    row = await document(study_world, key)
    assert row is not None
    notes = ["PAGES_WITHOUT_TEXT"] if written.file_name == "x.pdf" else []
    assert [note["code"] for note in row.notes] == notes


async def test_a_file_is_read_as_what_it_is(study_world: StudyWorld) -> None:
    key = await study_world.upload("notes.docx", write_xlsx([[["a"]]]).data)
    await ingest_document(study_world.work(), key)
    row = await document(study_world, key)
    assert row is not None
    assert row.media_type.endswith("spreadsheetml.sheet")
    assert [note["code"] for note in row.notes] == ["TYPE_RECOGNISED"]


async def test_a_passage_in_another_script_has_its_language(study_world: StudyWorld) -> None:
    russian = "Это русский текст о компьютерных сетях и протоколах."
    key = await study_world.upload("mixed.md", f"# One\n\nEnglish words.\n\n# Two\n\n{russian}\n")
    await ingest_document(study_world.work(), key)
    assert [c.language for c in await chunks(study_world, key)] == ["en", "und-Cyrl"]


def test_places_are_those_the_database_takes() -> None:
    assert tuple(LocationKind) == LOCATIONS
