"""Links to originals: what comes down is what went up, for who may read it, for a while."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.file_links import ORIGINAL_LIFE, SignedLinks
from ops.file_routes import byte_range
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ROUTING = MATERIAL["routing.md"].encode()
URL = "query($id: ID!) { node(id: $id) { ... on Document { state originalUrl } } }"
FOLLOW = """subscription($id: ID!, $after: Int) {
  documentProgress(documentId: $id, afterSeq: $after) { seq kind document { state } } }"""
DELETE = """mutation($input: DeleteDocumentInput!) { deleteDocument(input: $input) {
  document { id originalUrl } userErrors { code } } }"""


async def ready(client: Client, world: World, name: str = 'Käse & "Brot".md') -> str:
    made = await client.upload(
        gql.UPLOAD, (name, ROUTING, "text/markdown"), courseId=world.course_id
    )
    async with client.follow(FOLLOW, {"id": made["id"]}) as events, asyncio.timeout(30):
        told = [event async for event in events]
    assert told[-1]["document"]["state"] == "READY"
    return str(made["id"])


async def link(client: Client, document: str) -> str:
    return str((await client.ask(URL, {"id": document}))["node"]["originalUrl"])


async def test_a_member_downloads_what_is_ready(world: World) -> None:
    instructor, student = await world.client(INSTRUCTOR), await world.client(STUDENTS[0])
    document = await ready(instructor, world)
    answer = await world.http.get(await link(student, document))
    assert (answer.status_code, answer.content) == (200, ROUTING)
    headers = answer.headers
    assert headers["content-type"].startswith("text/markdown")
    assert headers["content-disposition"].startswith("attachment; filename*=UTF-8''K%C3%A4se")
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["cache-control"] == "private, no-store"
    assert headers["content-length"] == str(len(ROUTING))


async def test_a_part_of_it(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    url = await link(instructor, await ready(instructor, world))

    async def get(**headers: str) -> httpx.Response:
        return await world.http.get(url, headers=headers)

    size = len(ROUTING)
    for asked, start, end in (
        ("bytes=0-9", 0, 10), ("bytes=10-", 10, size), ("bytes=-7", size - 7, size),
        (f"bytes=5-{size * 2}", 5, size),
    ):  # fmt: skip
        part = await get(Range=asked)
        assert (part.status_code, part.content) == (206, ROUTING[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    beyond = await get(Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    whole = await get(Range="bytes=0-1,5-6")
    assert (whole.status_code, whole.content) == (200, ROUTING)
    etag = whole.headers["etag"]
    assert (await get(**{"Range": "bytes=0-1", "If-Range": etag})).status_code == 206
    assert (await get(**{"Range": "bytes=0-1", "If-Range": '"other"'})).status_code == 200
    assert (await get(**{"If-None-Match": etag})).status_code == 304
    head = await world.http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


@given(st.text(max_size=30), st.integers(1, 10**12))
def test_a_range_is_within_the_file(asked: str, size: int) -> None:
    for header in (asked, f"bytes={asked}"):
        span = byte_range(header, size)
        assert span is None or 0 <= span[0] < span[1] <= size


@given(st.integers(0, 99), st.integers(0, 200))
def test_a_range_is_what_was_asked(first: int, last: int) -> None:
    expected = (first, min(last + 1, 100)) if last >= first else (0, 100)
    assert byte_range(f"bytes={first}-{last}", 100) == expected


async def test_a_link_dies_with_the_right(world: World) -> None:
    instructor, student = await world.client(INSTRUCTOR), await world.client(STUDENTS[0])
    url = await link(student, await ready(instructor, world))
    assert (await world.http.get(url)).status_code == 200
    async with world.resources.database.transaction() as connection:
        await connection.execute(text("UPDATE enrollment SET state = 'REMOVED'"))
    assert (await world.http.get(url)).status_code == 404
    async with world.resources.database.transaction() as connection:
        await connection.execute(text("UPDATE users SET suspended = true"))
    assert (await world.http.get(url)).status_code == 403


async def test_a_link_dies_with_the_document(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    document = await ready(instructor, world)
    url = await link(instructor, document)
    deleted = await instructor.change(DELETE, documentId=document)
    assert deleted["originalUrl"] is None
    assert (await world.http.get(url)).status_code == 404


async def test_a_link_dies_by_itself_and_cannot_be_made_up(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    url = await link(instructor, await ready(instructor, world))
    late = world.resources.sign_in.now() + ORIGINAL_LIFE + timedelta(seconds=2)
    links = SignedLinks(world.resources.keys, "", clock=late.timestamp)
    with pytest.raises(Exception, match="expired"):
        links.original_of(url.rpartition("/")[2])
    assert timedelta(minutes=5) >= ORIGINAL_LIFE
    tampered = url[:-4] + ("AAAA" if not url.endswith("AAAA") else "BBBB")
    upload = url.replace("/originals/", "/uploads/")
    assert (await world.http.get(tampered)).status_code == 403
    assert (await world.http.head(upload, headers={"Tus-Resumable": "1.0.0"})).status_code == 403


async def test_a_stranger_gets_no_link(world: World) -> None:
    instructor, admin = await world.client(INSTRUCTOR), await world.client(ADMIN)
    document = await ready(instructor, world)
    await admin.change(gql.CREATE_USERS, users=[{"email": "s@example.edu", "name": "S"}])
    stranger = await world.client("s@example.edu")
    assert (await stranger.ask(URL, {"id": document}))["node"] is None


async def told(client: Client, **variables: Any) -> list[dict[str, Any]]:
    async with client.follow(FOLLOW, variables) as events, asyncio.timeout(30):
        return [event async for event in events]


async def test_progress_is_told_in_order_and_ends(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    file = ("routing.md", ROUTING, "text/markdown")
    made = await instructor.upload(gql.UPLOAD, file, courseId=world.course_id)
    events = await told(instructor, id=made["id"], after=0)
    assert events[0]["kind"] == "SNAPSHOT"
    numbered = [e for e in events if e["kind"] == "DOCUMENT_STATE"]
    assert [e["seq"] for e in numbered] == [1, 2, 3, 4, 5]
    assert events[-1]["document"]["state"] == "READY"
    resumed = await told(instructor, id=made["id"], after=3)
    assert [e["seq"] for e in resumed if e["kind"] == "DOCUMENT_STATE"] == [4, 5]
    (snapshot,) = await told(instructor, id=made["id"])
    assert (snapshot["kind"], snapshot["seq"]) == ("SNAPSHOT", 5)
    (seen,) = await told(await world.client(STUDENTS[0]), id=made["id"])
    assert seen["document"]["state"] == "READY"


async def test_progress_of_what_is_not_there(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    document = await ready(instructor, world)
    for values, code in (
        ({"id": document, "after": 99}, "RESYNC"),
        ({"id": document, "after": -1}, "BAD_INPUT"),
        ({"id": world.course_id}, "BAD_INPUT"),
    ):
        with pytest.raises(Exception, match=code):
            await told(instructor, **values)
    await instructor.change(DELETE, documentId=document)
    assert (await told(instructor, id=document))[-1]["document"]["state"] == "DELETED"
    with pytest.raises(Exception, match="NOT_FOUND"):
        await told(await world.client(STUDENTS[0]), id=document)
