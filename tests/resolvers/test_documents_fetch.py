"""Documents by their address: fetched by a worker, or failed with a reason."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.documents.extracted import ExtractionCode
from ops.files import reading_limits
from persistence import fetches
from persistence.documents_work import UNREADABLE
from persistence.jobs import outstanding
from persistence.objects import open_storage
from resolvers import documents, documents_fetch
from resolvers.access import Permission
from resolvers.documents_fetch import FETCH, fetch_document, sweep_fetches
from resolvers.documents_work import NOT_APPROVED, ingest_document, sweep_documents
from resolvers.fetching import FetchCode
from resolvers.files import FileRules
from resolvers.global_ids import global_id
from resolvers.originals import sweep_objects
from resolvers.refusals import Refusal, RefusalCode
from schema.documents import DocumentFailureCode
from tests.ops.test_file_fetching import OUTSIDE, RULES, answer, listening
from tests.resolvers.test_documents_work import AT_ONCE, count, document, jobs_of, state
from tests.study_world import MATERIAL, StudyWorld, embedder, study_world  # noqa: F401 - fixtures

ROUTING = MATERIAL["routing.md"].encode()


@pytest.fixture
def world(study_world: StudyWorld) -> StudyWorld:
    """The course, on a server that fetches."""
    return replace(study_world, files=replace(study_world.files, fetching=RULES))


async def add(world: StudyWorld, url: str, **values: Any) -> UUID:
    return await world.change(
        values.pop("user_id", world.instructor),
        documents_fetch.add_document_from_url,
        Permission.DOCUMENT_WRITE,
        course_id=global_id("Course", world.course_id),
        url=url,
        title=values.get("title"),
    )


async def failure(world: StudyWorld, key: UUID) -> str:
    row = await document(world, key)
    assert row is not None
    assert row.state == "FAILED"
    assert row.failure is not None
    assert row.failure.keys() == {"code", "message", "advice"}
    return str(row.failure["code"])


async def test_a_file_is_fetched_and_read(world: StudyWorld) -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/routing.md"] = answer(ROUTING, "Content-Type: text/markdown; charset=utf-8")
        url = f"http://{OUTSIDE}:{host.port}/routing.md"
        key = await add(world, url)
        assert await add(world, url) == key
        assert await state(world, key) == "UPLOADED"
        async with world.database.read() as connection:
            assert await outstanding(connection, FETCH) == {key}
        await sweep_documents(world.work(), waiting_for=AT_ONCE)
        assert await jobs_of(world) == frozenset()

        await fetch_document(world.work(), key)
        await fetch_document(world.work(), key)
    assert len(host.asked) == 1
    assert await jobs_of(world) == {key}
    await ingest_document(world.work(), key)
    row = await document(world, key)
    assert row is not None
    assert (row.state, row.title, row.file_name) == ("READY", "routing", "routing.md")
    assert (row.byte_size, row.media_type) == (len(ROUTING), "text/markdown")
    assert await world.upload("again.md", ROUTING) == key
    assert await count(world, "SELECT count(*) FROM document_fetch") == 0


async def test_what_does_not_come_has_a_reason(world: StudyWorld) -> None:
    async with listening(OUTSIDE) as host:
        host.answers |= {
            "/gone.md": answer(b"", status="404 Not Found"),
            "/page": answer(b"\x7fELF\x02\x01", "Content-Type: application/octet-stream"),
            "/other.pdf": answer(b"<html>Sign in first</html>"),
            "/inward.md": answer(b"", "Location: http://127.0.0.1/x", status="302 Found"),
            "/big.md": answer(b"a" * 2_000),
            "/same.md": answer(ROUTING),
        }
        await world.upload("routing.md", ROUTING)
        for path, code in (
            ("/gone.md", "FETCH_FAILED"), ("/page", "UNSUPPORTED_TYPE"),
            ("/other.pdf", "WRONG_TYPE"),
            ("/inward.md", "FETCH_REFUSED"), ("/big.md", "TOO_LARGE"), ("/same.md", "DUPLICATE"),
        ):  # fmt: skip
            key = await add(world, f"http://{OUTSIDE}:{host.port}{path}")
            work = replace(world.work(), file_rules=FileRules(document_bytes=1_000))
            await fetch_document(work, key)
            assert await failure(world, key) == code
    await sweep_objects(world.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 1


async def test_what_there_is_no_room_for_does_not_stay(world: StudyWorld) -> None:
    await world.upload("routing.md", ROUTING)
    work = replace(world.work(), file_rules=FileRules(course_bytes=2 * len(ROUTING)))
    async with listening(OUTSIDE) as host:
        host.answers |= {f"/{n}.md": answer(b"# %d\n\n" % n + ROUTING) for n in range(2)}
        for path in host.answers:
            key = await add(world, f"http://{OUTSIDE}:{host.port}{path}")
            await fetch_document(work, key)
            assert await failure(world, key) == "NO_ROOM"
    await sweep_objects(world.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 1


async def test_a_large_file_that_was_fetched_has_the_seat_of_large_ones(world: StudyWorld) -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/large.txt"] = answer(b"A line of text.\n" * 70_000)
        key = await add(world, f"http://{OUTSIDE}:{host.port}/large.txt")
        await fetch_document(world.work(), key)
    async with world.database.read() as connection:
        assert await outstanding(connection, documents.INGEST_LARGE) == {key}
        assert await outstanding(connection, documents.INGEST) == frozenset()


async def test_a_file_that_comes_slowly_is_fetched_once(world: StudyWorld) -> None:
    """While its job is a worker's, no second one is begun; when that is lost, one is."""
    jobs = "SELECT count(*) FROM pgqueuer"
    key = await add(world, f"http://{OUTSIDE}:9/slow.md")
    async with world.database.transaction() as connection:
        assert await fetches.begin(connection, key) is not None
    for _ in range(3):
        await sweep_fetches(world.work(), again_after=timedelta(0))
    assert await count(world, jobs) == 1
    async with world.database.transaction() as connection:
        await connection.execute(text("DELETE FROM pgqueuer"))
    await sweep_fetches(world.work(), again_after=timedelta(0))
    assert await count(world, jobs) == 1


async def test_a_host_that_is_away_is_asked_three_times(world: StudyWorld) -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/a.md"] = answer(b"", status="503 Later")
        key = await add(world, f"http://{OUTSIDE}:{host.port}/a.md")
        for _ in range(2):
            await fetch_document(world.work(), key)
            assert await state(world, key) == "UPLOADED"
        await sweep_fetches(world.work(), again_after=timedelta(0))
        await fetch_document(world.work(), key)
        assert await failure(world, key) == "FETCH_FAILED"
        assert len(host.asked) == 3
        again = await add(world, f"http://{OUTSIDE}:{host.port}/a.md")
        assert again != key


async def test_a_fetch_that_takes_its_workers_with_it_ends(world: StudyWorld) -> None:
    key = await add(world, f"http://{OUTSIDE}:9/a.md")
    async with world.database.transaction() as connection:
        await connection.execute(text("UPDATE document_fetch SET tries = 5"))
    await fetch_document(world.work(), key)
    assert await failure(world, key) == "FETCH_FAILED"


async def test_a_storage_that_is_away_costs_no_try(world: StudyWorld, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    storage = open_storage((tmp_path / "file").as_uri())
    away = replace(world, files=replace(world.files, storage=storage))
    async with listening(OUTSIDE) as host:
        host.answers["/a.md"] = answer(ROUTING)
        key = await add(world, f"http://{OUTSIDE}:{host.port}/a.md")
        for _ in range(7):
            await fetch_document(away.work(), key)
        await fetch_document(world.work(), key)
    await ingest_document(world.work(), key)
    assert await state(world, key) == "READY"


async def test_a_document_deleted_meanwhile_is_not_fetched(world: StudyWorld) -> None:
    key = await add(world, f"http://{OUTSIDE}:9/a.md")
    await world.change(
        world.instructor,
        documents.delete_document,
        Permission.DOCUMENT_WRITE,
        document_id=global_id("Document", key),
    )
    await fetch_document(world.work(), key)
    assert await state(world, key) == "DELETED"


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.org/a.md", "ftp://docs.example.edu/a.md", "a.md", "", "http://[::1",
        "https://docs.example.edu:99999/", "https://me:pw@docs.example.edu/a.md",
        "https://docs.example.edu/a b", "https://docs.example.edu/\nx", "https://" + "a" * 2_000,
        "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_what_is_never_fetched_is_refused_at_once(world: StudyWorld, url: str) -> None:
    rules = replace(RULES, hosts=("docs.example.edu",), networks=())
    strict = replace(world, files=replace(world.files, fetching=rules))
    with pytest.raises(Refusal) as refused:
        await add(strict, url)
    assert refused.value.code == RefusalCode.BAD_INPUT


async def test_it_is_off_unless_hosts_are_named(study_world: StudyWorld) -> None:
    with pytest.raises(Refusal, match="ASSAY_FETCH_HOSTS"):
        await add(study_world, "https://docs.example.edu/a.md")
    with pytest.raises(Refusal) as refused:
        await add(study_world, "https://docs.example.edu/a.md", user_id=study_world.ann)
    assert refused.value.code == RefusalCode.FORBIDDEN


def test_every_reason_a_document_can_have_is_in_the_schema() -> None:
    codes = {*ExtractionCode, *FetchCode, UNREADABLE["code"], NOT_APPROVED}
    assert {str(code) for code in codes} == {str(code) for code in DocumentFailureCode}


def test_a_document_that_may_come_may_be_read() -> None:
    limits = reading_limits(FileRules(document_bytes=1_000_000_000), 50)
    assert limits.max_bytes == 1_000_000_000
    assert limits.max_unpacked >= limits.max_bytes
