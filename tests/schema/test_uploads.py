"""Resumable uploads over HTTP, by tus: nothing acknowledged is lost, nothing else gets in."""

import asyncio
import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from observability.metrics import Metrics
from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from ops.file_links import SignedLinks
from ops.processes import serving
from ops.signing_keys import SigningKeys
from ops.wiring import Resources
from resolvers.files import FileRules
from resolvers.global_ids import parse_global_id
from resolvers.originals import sweep_objects
from resolvers.uploads import PART_BYTES, sweep_uploads
from tests.world import INSTRUCTOR, STUDENTS, World

CREATE = """mutation($input: CreateUploadInput!) { createUpload(input: $input) {
  upload { id url expiresAt partSize received state byteSize }
  userErrors { code message path } } }"""
ADD = """mutation($input: AddDocumentInput!) { addDocument(input: $input) {
  document { id state byteSize title fileName } userErrors { code message path } } }"""
STATE = "query($id: ID!) { node(id: $id) { ... on ResumableUpload { state received url } } }"
TUS = {"Tus-Resumable": "1.0.0"}
LINE = b"A router forwards each packet towards its destination.\n\n"


def material(size: int) -> bytes:
    """Text of this size, different each time."""
    return (os.urandom(8).hex().encode() + b"\n\n" + LINE * (size // len(LINE) + 1))[:size]


async def create(client: Client, world: World, content: bytes, **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = await client.change(
        CREATE,
        **{"courseId": world.course_id, "fileName": "big.txt", "byteSize": len(content)} | values,
    )
    return made


async def patch(
    world: World, upload: dict[str, Any], start: int, content: Any, **headers: str
) -> httpx.Response:
    return await world.http.patch(
        upload["url"],
        content=content,
        headers=TUS
        | {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        | headers,
    )


async def offset(world: World, upload: dict[str, Any]) -> int:
    answer = await world.http.head(upload["url"], headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def reaches(world: World, upload: dict[str, Any], least: int) -> int:
    async with asyncio.timeout(20):
        while (reached := await offset(world, upload)) < least:  # noqa: ASYNC110 - another request's doing
            await asyncio.sleep(0.05)
    return reached


async def refused(client: Client, mutation: str, **values: Any) -> str:
    ((_, payload),) = (await client.ask(mutation, {"input": values})).items()
    (error,) = payload["userErrors"]
    return str(error["code"])


async def execute(world: World, statement: str) -> None:
    async with world.resources.database.transaction() as connection:
        await connection.execute(text(statement))


async def count(world: World, query: str) -> int:
    async with world.resources.database.read() as connection:
        return int((await connection.execute(text(query))).scalar_one())


async def test_a_file_comes_in_parts_and_becomes_a_document(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(2 * PART_BYTES + 1000)
    digest = hashlib.sha256(content).hexdigest()
    upload = await create(client, world, content, sha256=digest.upper())
    assert (upload["state"], upload["received"], upload["partSize"]) == ("OPEN", 0, PART_BYTES)
    assert await refused(client, ADD, uploadId=upload["id"]) == "INVALID_STATE"
    start = 0
    for size in (PART_BYTES + 77, 1, PART_BYTES):
        answer = await patch(world, upload, start, content[start : start + size])
        start += size
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(start))
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert "upload-expires" in answer.headers
        assert await offset(world, upload) == start
    answer = await patch(world, upload, start, content[start:])
    assert answer.status_code == 204, answer.text

    shown = (await client.ask(STATE, {"id": upload["id"]}))["node"]
    assert shown == {"state": "COMPLETE", "received": len(content), "url": None}
    document = await client.change(ADD, uploadId=upload["id"], title="Big")
    assert (document["byteSize"], document["title"]) == (len(content), "Big")
    assert await refused(client, ADD, uploadId=upload["id"]) == "INVALID_STATE"
    await sweep_objects(world.resources.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 1
    assert await count(world, "SELECT count(*) FROM upload_part") == 0


async def test_a_connection_that_breaks_goes_on_where_it_broke(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(PART_BYTES + 500_000)
    upload = await create(client, world, content)
    cut = PART_BYTES + 100_000
    address = world.http.base_url
    _, writer = await asyncio.open_connection(address.host, address.port)
    head = (
        f"PATCH {upload['url']} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content[:cut])
    await writer.drain()
    await reaches(world, upload, PART_BYTES)
    writer.close()
    reached = await reaches(world, upload, cut)
    assert reached == cut
    answer = await patch(world, upload, reached, content[reached:])
    assert answer.status_code == 204
    document = await client.change(ADD, uploadId=upload["id"])
    assert document["byteSize"] == len(content)


async def test_of_two_at_the_same_place_one_wins(world: World) -> None:
    client = await world.client(INSTRUCTOR)
    content, other = material(300_000), material(300_000)
    upload = await create(client, world, content + content)
    answers = await asyncio.gather(*(patch(world, upload, 0, c) for c in (content, other)))
    assert sorted(a.status_code for a in answers) == [204, 409]
    (lost,) = (a for a in answers if a.status_code == 409)
    assert lost.headers["upload-offset"] == "300000"
    assert await offset(world, upload) == 300_000
    late = await patch(world, upload, 5, b"x")
    assert (late.status_code, late.json()["errors"][0]["extensions"]["code"]) == (409, "CONFLICT")


async def test_more_than_was_announced_is_refused(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content)
    assert (await patch(world, upload, 0, content + b"x")).status_code == 413

    async def unannounced() -> Any:
        for piece in (content[:600], content[600:] + b"x"):
            yield piece

    answer = await patch(world, upload, 0, unannounced())
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["extensions"]["code"] == "TOO_LARGE"


async def test_another_file_than_was_announced_is_refused(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content, sha256="0" * 64)
    answer = await patch(world, upload, 0, content)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (
        400,
        "BAD_INPUT",
    )
    assert (await client.ask(STATE, {"id": upload["id"]}))["node"]["state"] == "REJECTED"
    assert await refused(client, ADD, uploadId=upload["id"]) == "BAD_INPUT"
    assert (await world.http.head(upload["url"], headers=TUS)).status_code == 400
    await sweep_objects(world.resources.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 0


async def test_who_received_the_last_part_may_have_died(world: World) -> None:
    """All bytes are there, but nobody has put them together: addDocument does."""
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content + b"!")
    await patch(world, upload, 0, content)
    await execute(world, "UPDATE upload SET byte_size = 1000")
    document = await client.change(ADD, uploadId=upload["id"])
    assert document["byteSize"] == 1_000


async def test_what_is_not_used_in_time_is_gone(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    half, whole = [await create(client, world, content) for _ in range(2)]
    await patch(world, half, 0, content[:500])
    await patch(world, whole, 0, content)
    await execute(world, "UPDATE upload SET expires_at = now() - interval '1 second'")
    await sweep_uploads(world.resources.work())
    await sweep_objects(world.resources.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 0
    assert (await world.http.head(half["url"], headers=TUS)).status_code == 404
    assert (await patch(world, half, 500, content[500:])).status_code == 404
    assert await refused(client, ADD, uploadId=whole["id"]) == "INVALID_STATE"
    await execute(world, "ALTER TABLE upload DISABLE TRIGGER touch_upload")
    await execute(world, "UPDATE upload SET updated_at = now() - interval '2 days'")
    await execute(world, "ALTER TABLE upload ENABLE TRIGGER touch_upload")
    await sweep_uploads(world.resources.work())
    assert await count(world, "SELECT count(*) FROM upload") == 0


async def test_a_client_may_give_up(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content)
    await patch(world, upload, 0, content[:500])
    assert (await world.http.delete(upload["url"], headers=TUS)).status_code == 204
    assert (await world.http.head(upload["url"], headers=TUS)).status_code == 404
    assert (await client.ask(STATE, {"id": upload["id"]}))["node"]["state"] == "ENDED"


async def test_only_a_signed_address_takes_bytes(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content)
    _, key = parse_global_id(upload["id"])
    now = world.resources.sign_in.now()
    forged = SignedLinks(SigningKeys.generate(), "").upload_url(key, now + timedelta(hours=1))
    past = world.resources.links.upload_url(key, now - timedelta(seconds=1))
    token = f"/uploads/{await world.token(INSTRUCTOR)}"
    for url, status in (
        (forged, 403),
        (f"/uploads/{key}", 403),
        (upload["url"][:-3] + "AAA", 403),
        (token, 403),
        (past, 404),
    ):
        assert (await patch(world, {"url": url}, 0, content)).status_code == status
    student = await world.client(STUDENTS[0])
    assert (await student.ask(STATE, {"id": upload["id"]}))["node"] is None
    assert await refused(student, ADD, uploadId=upload["id"]) == "NOT_FOUND"
    assert (
        await refused(student, CREATE, courseId=world.course_id, fileName="a.txt", byteSize=1)
        == "FORBIDDEN"
    )


async def test_rights_are_asked_again_when_it_becomes_a_document(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content)
    await patch(world, upload, 0, content)
    await execute(world, "UPDATE role_grant SET state = 'REVOKED' WHERE role = 'INSTRUCTOR'")
    assert await refused(client, ADD, uploadId=upload["id"]) in {"FORBIDDEN", "NOT_FOUND"}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"byteSize": 0}, "BAD_INPUT"),
        ({"byteSize": -1}, "BAD_INPUT"),
        ({"byteSize": 100_000_001}, "TOO_LARGE"),
        ({"byteSize": 2_000_000_001, "purpose": "IMPORT"}, "TOO_LARGE"),
        ({"byteSize": 1, "sha256": "abc"}, "BAD_INPUT"),
        ({"byteSize": 1, "fileName": "/"}, "BAD_INPUT"),
        ({"byteSize": 1, "fileName": "virus.exe"}, "UNSUPPORTED_FILE"),
    ],
)
async def test_what_cannot_come_is_refused_at_once(
    world: World, values: dict[str, Any], code: str
) -> None:
    client = await world.client(INSTRUCTOR)
    given = {"courseId": world.course_id, "fileName": "a.txt"} | values
    assert await refused(client, CREATE, **given) == code


async def test_an_import_may_be_large_and_is_no_document(world: World) -> None:
    client = await world.client(INSTRUCTOR)
    big = await client.change(
        CREATE,
        courseId=world.course_id,
        fileName="all.zip",
        byteSize=2_000_000_000,
        purpose="IMPORT",
    )
    assert await refused(client, ADD, uploadId=big["id"]) == "INVALID_STATE"


async def test_the_protocol(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(10)
    upload = await create(client, world, content)
    url = upload["url"]
    options = await world.http.options(url)
    assert (options.status_code, options.headers["tus-version"]) == (204, "1.0.0")
    assert options.headers["tus-extension"] == "expiration,termination"
    assert options.headers["tus-max-size"] == "2000000000"
    for headers in ({}, {"Tus-Resumable": "0.2.2"}):
        answer = await world.http.head(url, headers=headers)
        assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")
    wrong = await patch(world, upload, 0, content, **{"Content-Type": "text/plain"})
    assert wrong.status_code == 415
    for bad in ("-1", "x", "", "²", "9" * 30):
        answer = await patch(world, upload, 0, content, **{"Upload-Offset": bad.encode()})  # type: ignore[arg-type]
        assert answer.status_code == 400
    overridden = await world.http.post(
        url,
        content=content,
        headers=TUS
        | {
            "X-HTTP-Method-Override": "PATCH",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
    )
    assert overridden.status_code == 204
    again = await patch(world, upload, 10, b"")
    assert (again.status_code, again.headers["upload-offset"]) == (204, "10")


async def test_too_many_uploads_at_once(world: World) -> None:
    client = await world.client(INSTRUCTOR)
    values = {"courseId": world.course_id, "fileName": "a.txt", "byteSize": 10}
    answers = await asyncio.gather(
        *(client.raw(CREATE, {"input": values}) for _ in range(30)), return_exceptions=True
    )
    payloads = [a["data"]["createUpload"] for a in answers if isinstance(a, dict)]
    assert sum(p["upload"] is not None for p in payloads) == 20
    errors = [p["userErrors"][0] for p in payloads if p["userErrors"]]
    assert {e["code"] for e in errors} == {"LIMIT_EXCEEDED"}
    assert "20" in errors[0]["message"]
    with pytest.raises(ApiError, match="LIMIT_EXCEEDED"):
        await client.change(CREATE, **values)


def limited(world: World, rules: FileRules) -> Resources:
    """What another api needs that has these limits."""
    files = replace(world.resources.files, rules=rules)
    return replace(world.resources, files=files, metrics=Metrics())


async def test_a_flood_of_documents_meets_the_limit(world: World) -> None:
    """What is within the limit comes, the rest is told why; twenty are under way at any time."""
    limits = replace(world.resources.files.rules, waiting_documents=10)
    resources = limited(world, limits)
    token = await world.token(INSTRUCTOR)
    async with (
        serving(resources) as address,
        httpx.AsyncClient(base_url=address, timeout=60) as http,
    ):
        client, at_once = Client(http, token), asyncio.Semaphore(20)

        async def upload(number: int) -> str:
            file = (f"{number}.txt", material(40_000), "text/plain")
            try:
                async with at_once:
                    await client.upload(gql.UPLOAD, file, courseId=world.course_id)
            except ApiError as error:
                return str(error)
            return ""

        answers = await asyncio.gather(*(upload(n) for n in range(200)))
    refusals = [a for a in answers if a]
    assert len(refusals) >= 100
    assert all("LIMIT_EXCEEDED" in r and "waiting_documents" in r for r in refusals)
    stored = "SELECT count(*) FROM document"
    assert await count(world, stored) == 200 - len(refusals)


async def test_a_course_and_an_organization_have_so_many_bytes(world: World) -> None:
    for name in ("course_bytes", "organization_bytes"):
        limits = replace(world.resources.files.rules, **{name: 1_500})
        resources = limited(world, limits)
        async with (
            serving(resources) as address,
            httpx.AsyncClient(base_url=address, timeout=60) as http,
        ):
            client = Client(http, await world.token(INSTRUCTOR))
            made = await create(client, world, material(1_000))
            with pytest.raises(ApiError, match=rf"LIMIT_EXCEEDED[^}}]*{name}"):
                await create(client, world, material(1_000))
            await world.http.delete(made["url"], headers=TUS)
            await create(client, world, material(1_000))
        await execute(world, "UPDATE upload SET state = 'ENDED'")
