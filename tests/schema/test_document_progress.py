"""Following a document down each of its ways, cut after every event: each is told once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from persistence.streams import Sequencer
from resolvers.documents_work import ingest_document
from resolvers.global_ids import parse_global_id
from tests.agents.documents.written import write_pdf
from tests.schema.test_original_links import FOLLOW, told
from tests.schema.test_upload_attacks import DELETE, REPLACE, execute, idle  # noqa: F401 - a fixture
from tests.world import INSTRUCTOR, STUDENTS, World

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

TEXT = b"# Routing\n\nA router forwards each packet."
INGEST = ["UPLOADED", "EXTRACTING", "CHUNKING", "EMBEDDING", "READY"]
FILES = {
    "READY": ("a.md", TEXT, INGEST),
    "FAILED": ("a.pdf", write_pdf([["words"]]).data[:300], ["UPLOADED", "EXTRACTING", "FAILED"]),
    "NO_TEXT": (
        "a.pdf", write_pdf([[]], pictures=(1,)).data, ["UPLOADED", "EXTRACTING", "NO_TEXT"],
    ),
    "DELETED": ("a.md", TEXT, ["UPLOADED", "DELETED"]),
    "DELETED later": ("a.md", TEXT, [*INGEST, "DELETED"]),
    "REPLACED": ("a.md", TEXT, [*INGEST, "REPLACED"]),
}  # fmt: skip


@pytest.fixture
async def world(idle: World) -> AsyncIterator[World]:
    """Events are numbered, and documents read when the test has them read."""
    stop = asyncio.Event()
    sequencer = Sequencer(idle.resources.database, idle.resources.bus)
    numbering = asyncio.create_task(sequencer.run(stop))
    yield idle
    stop.set()
    await numbering


async def handed_in(client: Client, world: World, name: str, content: bytes) -> str:
    made = await client.upload(
        gql.UPLOAD, (name, content, "application/octet-stream"), courseId=world.course_id
    )
    return str(made["id"])


async def go(way: str, client: Client, world: World, document: str) -> None:
    """Has become of the document what is to become of it."""
    work = world.resources.work()
    if way != "DELETED":
        await ingest_document(work, parse_global_id(document)[1])
    if way.startswith("DELETED"):
        await client.change(DELETE, documentId=document)
    if way == "REPLACED":
        file = ("b.md", TEXT + b" Newer.", "text/markdown")
        newer = await client.upload(REPLACE, file, documentId=document)
        await ingest_document(work, parse_global_id(newer["id"])[1])


async def in_pieces(client: Client, document: str, ended: asyncio.Event) -> list[int]:
    """The numbers of all events, as a client meets them that is cut after each."""
    seen: list[int] = []
    while True:
        done = ended.is_set()
        after = seen[-1] if seen else 0
        async with client.follow(FOLLOW, {"id": document, "after": after}) as events:
            async for event in events:
                if event["kind"] == "DOCUMENT_STATE":
                    seen.append(event["seq"])
                    break
                assert event["seq"] == after
            else:
                if done:
                    return seen


@pytest.mark.parametrize("way", FILES)
async def test_each_event_is_told_once_down_every_way(world: World, way: str) -> None:
    client = await world.client(INSTRUCTOR)
    name, content, states = FILES[way]
    document, ended = await handed_in(client, world, name, content), asyncio.Event()
    numbers = list(range(1, len(states) + 1))
    live = asyncio.create_task(in_pieces(client, document, ended))
    await go(way, client, world, document)
    ended.set()
    async with asyncio.timeout(30):
        assert await live == numbers

    replayed = await told(client, id=document, after=0)
    assert [e["kind"] for e in replayed] == ["SNAPSHOT", *["DOCUMENT_STATE"] * len(states)]
    assert [e["seq"] for e in replayed] == [0, *numbers]
    assert {e["document"]["state"] for e in replayed} == {states[-1]}, "the state as it is now"
    for after in numbers:
        again = await told(client, id=document, after=after)
        assert [e["seq"] for e in again] == [after, *numbers[after:]]
    with pytest.raises(ApiError, match="RESYNC"):
        await told(client, id=document, after=len(states) + 1)
    student = await world.client(STUDENTS[0])
    if states[-1] in {"READY", "REPLACED"}:
        assert (await told(student, id=document))[-1]["document"]["state"] == states[-1]
    else:
        with pytest.raises(ApiError, match="NOT_FOUND"):
            await told(student, id=document, after=0)


async def test_a_follower_is_told_of_the_end_while_it_waits(world: World) -> None:
    client = await world.client(INSTRUCTOR)
    document = await handed_in(client, world, "a.md", TEXT)
    async with client.follow(FOLLOW, {"id": document}) as events, asyncio.timeout(20):
        assert (await anext(events))["document"]["state"] == "UPLOADED"
        await client.change(DELETE, documentId=document)
        rest = [event async for event in events]
    assert rest[-1]["document"]["state"] == "DELETED"


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE role_grant SET state = 'REVOKED' WHERE role = 'INSTRUCTOR'",
        "UPDATE users SET suspended = true WHERE email = 'instructor@example.edu'",
    ],
)
async def test_a_follower_whose_right_ends_is_told_nothing_more(world: World, ending: str) -> None:
    client = await world.client(INSTRUCTOR)
    document = await handed_in(client, world, "a.md", TEXT)
    after: list[Any] = []
    async with client.follow(FOLLOW, {"id": document}) as events, asyncio.timeout(20):
        assert (await anext(events))["document"]["state"] == "UPLOADED"
        await execute(world, ending)
        await ingest_document(world.resources.work(), parse_global_id(document)[1])
        with pytest.raises(ApiError, match=r"NOT_FOUND|UNAUTHENTICATED|FORBIDDEN"):
            await collect(events, after)
    assert after == []


async def collect(events: AsyncIterator[Any], into: list[Any]) -> None:
    async for event in events:
        into.append(event)  # noqa: PERF401 - what came before an error counts
