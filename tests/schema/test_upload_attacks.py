"""One person against the quotas and one upload against itself: many at once, in odd orders."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from observability.metrics import Metrics
from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import serving
from ops.wiring import Resources, open_resources
from persistence.database import open_database
from resolvers.files import FileRules
from resolvers.originals import sweep_objects
from resolvers.uploads import PART_BYTES
from tests.schema.test_uploads import (
    ADD,
    CREATE,
    TUS,
    count,
    create,
    execute,
    material,
    offset,
    patch,
    reaches,
)
from tests.world import ADMIN, INSTRUCTOR, World, make_world

REPLACE = """mutation($input: ReplaceDocumentInput!) { replaceDocument(input: $input) {
  document { id version } userErrors { code message } } }"""
DELETE = """mutation($input: DeleteDocumentInput!) { deleteDocument(input: $input) {
  document { id state } userErrors { code message } } }"""
OBJECTS = "SELECT count(*) FROM stored_object"
UNKEPT = f"{OBJECTS} WHERE state = 'WRITING'"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
TYPED = {"CONFLICT", "INVALID_STATE", "NOT_FOUND", "LIMIT_EXCEEDED"}


@pytest.fixture
async def idle(resources: Resources) -> AsyncIterator[World]:
    """The api without a worker: what is handed in stays UPLOADED."""
    async with serving(resources) as address, make_world(resources, address) as made:
        yield made


@asynccontextmanager
async def two_apis(world: World, rules: FileRules) -> AsyncIterator[list[Client]]:
    """One person's clients at two processes' worth of api, each with a pool of its own."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            own = await stack.enter_async_context(open_resources(world.resources.settings))
            own = replace(own, files=replace(own.files, rules=rules), metrics=Metrics())
            address = await stack.enter_async_context(serving(own))
            http = httpx.AsyncClient(base_url=address, timeout=120)
            await stack.enter_async_context(http)
            clients.append(Client(http, await world.token(INSTRUCTOR)))
        yield clients


async def sent(
    client: Client, mutation: str, values: dict[str, Any], file: tuple[str, bytes, str] | None
) -> tuple[Any, str]:
    """What a mutation made, and the code and text of its refusal."""
    if file is None:
        answer = await client.raw(mutation, {"input": values})
    else:
        answer = await client.raw_upload(mutation, file, **values)
    assert "errors" not in answer, answer
    ((_, payload),) = answer["data"].items()
    (made,) = (value for key, value in payload.items() if key != "userErrors")
    errors = payload["userErrors"]
    assert (made is None) == bool(errors)
    return made, f"{errors[0]['code']}: {errors[0]['message']}" if errors else ""


async def test_a_flood_over_two_processes_never_passes_a_quota(idle: World) -> None:
    """240 at once: announcements and files, against the number of both and against the bytes."""
    rules = FileRules(open_uploads=15, waiting_documents=12, course_bytes=700_000)
    async with two_apis(idle, rules) as clients:
        at_once = asyncio.Semaphore(24)  # all in line for one lock, within the ten seconds

        async def attack(number: int) -> str:
            client, values = clients[number % 2], {"courseId": idle.course_id}
            async with at_once:
                if number % 3:
                    named = values | {"fileName": "a.txt", "byteSize": 30_000}
                    return (await sent(client, CREATE, named, None))[1]
                file = (f"{number}.txt", material(30_000), "text/plain")
                return (await sent(client, gql.UPLOAD, values, file))[1]

        refusals = [r for r in await asyncio.gather(*(attack(n) for n in range(240))) if r]
    uploads = await count(idle, "SELECT count(*) FROM upload WHERE state = 'OPEN'")
    documents = await count(idle, "SELECT count(*) FROM document")
    assert len(refusals) == 240 - uploads - documents
    assert uploads <= 15
    assert documents <= 12
    assert 600_000 < (uploads + documents) * 30_000 <= 700_000
    limits = ("open_uploads", "waiting_documents", "course_bytes")
    told = Counter(next((n for n in limits if n in r), r) for r in refusals)
    assert told.keys() <= set(limits)
    assert all(r.startswith("LIMIT_EXCEEDED") for r in refusals)
    assert await count(idle, UNKEPT) == 0
    await sweep_until_quiet(idle)
    assert await count(idle, OBJECTS) == documents


async def sweep_until_quiet(world: World) -> None:
    while await count(world, f"{OBJECTS} WHERE state = 'DOOMED'"):
        await sweep_objects(world.resources.work())


async def test_many_at_one_place_of_an_upload(world: World) -> None:
    """Of those that begin where it ends one is taken, whole; the others are told where to go on."""
    client = await world.client(INSTRUCTOR)
    contents = [material(40_000 + n) for n in range(12)]
    upload = await create(client, world, bytes(100_000))
    answers = await asyncio.gather(
        *(patch(world, upload, 0, c) for c in contents), patch(world, upload, 7, b"x")
    )
    assert Counter(a.status_code for a in answers) == {204: 1, 409: 12}
    (won,) = (n for n, a in enumerate(answers) if a.status_code == 204)
    reached = await offset(world, upload)
    assert reached == len(contents[won])
    for wrong in (0, reached - 1, reached + 1, 99_999):
        assert (await patch(world, upload, wrong, b"y")).status_code == 409
    assert (await patch(world, upload, reached, bytes(100_001 - reached))).status_code == 413
    rest = material(100_000 - reached)
    assert (await patch(world, upload, reached, rest)).status_code == 204
    document = await client.change(ADD, uploadId=upload["id"])
    query = "query($id: ID!) { node(id: $id) { ... on Document { originalUrl } } }"
    url = (await client.ask(query, {"id": document["id"]}))["node"]["originalUrl"]
    assert (await world.http.get(url)).content == contents[won] + rest


async def test_requests_that_stand_still_do_not_pile_up(world: World) -> None:
    """Each holds a part in memory: beyond two of an upload they are refused unread."""
    client, content = await world.client(INSTRUCTOR), material(PART_BYTES)
    upload = await create(client, world, content)
    standing, may_go_on = [asyncio.Event() for _ in range(2)], asyncio.Event()

    async def slowly(started: asyncio.Event) -> AsyncIterator[bytes]:
        yield content[:1_000_000]
        started.set()
        await may_go_on.wait()
        yield content[1_000_000:]

    slow = [asyncio.create_task(patch(world, upload, 0, slowly(s))) for s in standing]
    for started in standing:
        await started.wait()
    async with asyncio.timeout(20):
        while world.resources.files.sending.total() < len(slow):  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0.01)
    further = await asyncio.gather(*(patch(world, upload, 0, content) for _ in range(6)))
    assert {a.status_code for a in further} == {409}
    assert "Send one at a time" in further[0].json()["errors"][0]["message"]
    may_go_on.set()
    assert sorted([(await s).status_code for s in slow]) == [204, 409]
    assert not world.resources.files.sending
    assert (await client.change(ADD, uploadId=upload["id"]))["byteSize"] == len(content)


async def test_a_part_that_comes_while_the_upload_is_given_up(world: World) -> None:
    client, content = await world.client(INSTRUCTOR), material(3 * PART_BYTES)
    upload = await create(client, world, content)
    given_up = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield content[:PART_BYTES]
        await given_up.wait()
        yield content[PART_BYTES:]

    sending = asyncio.create_task(patch(world, upload, 0, slowly()))
    await reaches(world, upload, PART_BYTES)
    assert (await world.http.delete(upload["url"], headers=TUS)).status_code == 204
    given_up.set()
    answer = await sending
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert await count(world, UNKEPT) == 0
    await sweep_until_quiet(world)
    assert await count(world, OBJECTS) == 0


async def test_a_whole_upload_is_used_once(idle: World) -> None:
    """Twenty want it at once, and nobody has put it together yet: it is copied once."""
    client, content = await idle.client(INSTRUCTOR), material(2 * PART_BYTES)
    older, _ = await sent(client, gql.UPLOAD, {"courseId": idle.course_id}, text_file("old"))
    await execute(idle, "UPDATE document SET state = 'READY'")
    upload = await create(client, idle, content + b"!")
    await patch(idle, upload, 0, content)
    await execute(idle, f"UPDATE upload SET byte_size = {len(content)}")
    before = await count(idle, OBJECTS)
    wishes = [sent(client, ADD, {"uploadId": upload["id"]}, None) for _ in range(14)]
    other = {"documentId": older["id"], "uploadId": upload["id"]}
    wishes += [sent(client, REPLACE, other, None) for _ in range(3)]
    ends = [patch(idle, upload, len(content), b"") for _ in range(3)]
    answers, ended = await asyncio.gather(asyncio.gather(*wishes), asyncio.gather(*ends))
    made = {m["id"] for m, _ in answers if m}
    assert len(made) == 1
    assert {r.partition(":")[0] for _, r in answers if r} <= TYPED
    assert {a.status_code for a in ended} <= {204, 409}
    assert await count(idle, OBJECTS) == before + 1
    assert await count(idle, "SELECT count(*) FROM document") == 2
    await sweep_until_quiet(idle)
    assert await count(idle, OBJECTS) == 2


def text_file(words: str) -> tuple[str, bytes, str]:
    return "a.txt", f"{words}. {material(200).decode()}".encode(), "text/plain"


async def test_two_new_versions_at_once(idle: World) -> None:
    client = await idle.client(INSTRUCTOR)
    older, _ = await sent(client, gql.UPLOAD, {"courseId": idle.course_id}, text_file("old"))
    values = {"documentId": older["id"]}
    assert "INVALID_STATE" in (await sent(client, REPLACE, values, text_file("too soon")))[1]
    await execute(idle, "UPDATE document SET state = 'READY'")
    answers = await asyncio.gather(
        *(sent(client, REPLACE, values, text_file(str(n))) for n in range(10))
    )
    assert sum(made is not None for made, _ in answers) == 1
    assert {r.partition(":")[0] for _, r in answers if r} == {"CONFLICT"}
    assert await count(idle, UNKEPT) == 0, "files of refused versions count in no quota"
    await sweep_until_quiet(idle)
    assert await count(idle, OBJECTS) == 2


async def test_a_retry_with_its_key_stores_nothing_again(idle: World) -> None:
    client, course = await idle.client(INSTRUCTOR), {"courseId": idle.course_id}
    keyed, file = course | {"idempotencyKey": "k"}, text_file("once")
    first, _ = await sent(client, gql.UPLOAD, keyed, file)
    retries = await asyncio.gather(*(sent(client, gql.UPLOAD, keyed, file) for _ in range(8)))
    assert {made["id"] for made, _ in retries} == {first["id"]}
    other = await sent(client, gql.UPLOAD, keyed, text_file("other"))
    assert other[1].startswith("IDEMPOTENCY_CONFLICT")
    assert await count(idle, OBJECTS) == 1

    content = material(5_000)
    upload = await create(client, idle, content)
    await patch(idle, upload, 0, content)
    wanted = {"uploadId": upload["id"], "idempotencyKey": "k"}
    answers = [await sent(client, ADD, wanted, None) for _ in range(2)]
    answers += await asyncio.gather(*(sent(client, ADD, wanted, None) for _ in range(8)))
    assert len({made["id"] for made, _ in answers}) == 1
    for key in ("", "k" * 201):
        assert "BAD_INPUT" in (await sent(client, ADD, wanted | {"idempotencyKey": key}, None))[1]


async def test_nobody_holds_a_connection_and_waits_for_another(resources: Resources) -> None:
    """Else a few requests at once take all there are, and the process stands still for everybody:
    here it has one."""
    settings = resources.settings
    assert settings.database_url is not None
    async with (
        open_database(settings.database_url.get_secret_value(), pool_size=1) as narrow,
        serving(replace(resources, database=narrow, metrics=Metrics())) as address,
        make_world(resources, address) as world,
    ):
        client, content = await world.client(INSTRUCTOR), material(5_000)
        older = await whole_upload(client, world, content)
        document = await client.change(ADD, uploadId=older["id"], idempotencyKey="k")
        await execute(world, "UPDATE document SET state = 'READY'")
        newer = await whole_upload(client, world, material(6_000))
        values = {"documentId": document["id"], "uploadId": newer["id"]}
        made = await client.change(REPLACE, **values)
        assert made["version"] == 2
        shown = "query($id: ID!) { node(id: $id) { ... on Document { originalUrl chunkCount } } }"
        url = (await client.ask(shown, {"id": document["id"]}))["node"]["originalUrl"]
        assert (await world.http.get(url)).content == content
        await client.change(DELETE, documentId=made["id"])


async def test_who_waits_for_their_quota_leaves_others_a_connection(resources: Resources) -> None:
    """Another process has this person's quota: the rest of their flood leaves others the pool."""
    settings = resources.settings
    assert settings.database_url is not None
    async with (
        open_database(settings.database_url.get_secret_value(), pool_size=3) as narrow,
        serving(replace(resources, database=narrow, metrics=Metrics())) as address,
        make_world(resources, address) as world,
    ):
        client, other = await world.client(INSTRUCTOR), await world.client(ADMIN)
        key = f"hashtextextended('quota {await world.user_id(INSTRUCTOR)}', 0)"
        elsewhere = await narrow.direct()
        try:
            await elsewhere.execute(f"SELECT pg_advisory_lock({key})")
            flood = [asyncio.ensure_future(create(client, world, b"text")) for _ in range(12)]
            while await elsewhere.fetchval(WAITING) == 0:  # noqa: ASYNC110 - the database's doing
                await asyncio.sleep(0.01)
            for _ in range(6):
                assert (await other.ask("{ viewer { name } }"))["viewer"]["name"] == "Admin"
            assert await elsewhere.fetchval(WAITING) <= 2
        finally:
            await elsewhere.close()
        assert len({made["id"] for made in await asyncio.gather(*flood)}) == 12


async def whole_upload(client: Client, world: World, content: bytes) -> dict[str, Any]:
    upload = await create(client, world, content)
    assert (await patch(world, upload, 0, content)).status_code == 204
    return upload


async def test_first_tries_with_one_key_at_once(idle: World) -> None:
    client, content = await idle.client(INSTRUCTOR), material(5_000)
    upload = await create(client, idle, content)
    await patch(idle, upload, 0, content)
    wanted, file = {"uploadId": upload["id"], "idempotencyKey": "k"}, text_file("once")
    keyed = {"courseId": idle.course_id, "idempotencyKey": "k"}
    for mutation, values, sent_file in ((ADD, wanted, None), (gql.UPLOAD, keyed, file)):
        answers = await asyncio.gather(
            *(sent(client, mutation, values, sent_file) for _ in range(12))
        )
        assert len({made and made["id"] for made, _ in answers}) == 1, answers
    assert await count(idle, UNKEPT) == 0


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE users SET suspended = true WHERE email = 'instructor@example.edu'",
        "UPDATE role_grant SET state = 'REVOKED' WHERE role = 'INSTRUCTOR'",
        "erase",
    ],
)
async def test_an_upload_ends_with_the_right_to_it(world: World, ending: str) -> None:
    """Its address needs no token, so each part asks whether its person may still write."""
    client, content = await world.client(INSTRUCTOR), material(1_000)
    upload = await create(client, world, content)
    assert (await patch(world, upload, 0, content[:400])).status_code == 204
    if ending == "erase":
        admin = await world.client(ADMIN)
        erase = """mutation($input: ErasePersonalDataInput!) { erasePersonalData(input: $input) {
          user { suspended } userErrors { code message } } }"""
        person = (await client.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
        await admin.change(erase, userId=person, reason="Asked for it")
    else:
        await execute(world, ending)
    for answer in (
        await patch(world, upload, 400, content[400:]),
        await world.http.head(upload["url"], headers=TUS),
        await world.http.delete(upload["url"], headers=TUS),
    ):
        assert answer.status_code in {403, 404}
    assert await count(world, "SELECT count(*) FROM upload WHERE received > 400") == 0


async def test_documents_are_deleted_at_every_moment_of_their_ingest(world: World) -> None:
    """Thirty, each after another pause: nothing of any is left, and no worker writes on."""
    client = await world.client(INSTRUCTOR)
    text = "\n\n".join(f"# {n}\n\nA packet of the kind {n} lives {n} hops." for n in range(60))

    async def come_and_go(number: int) -> str:
        file = (f"{number}.md", f"# No {number}\n\n{text}".encode(), "text/markdown")
        made = await client.upload(gql.UPLOAD, file, courseId=world.course_id)
        await asyncio.sleep(0.15 * number)
        gone, refused = await sent(client, DELETE, {"documentId": made["id"]}, None)
        assert gone, refused
        return str(gone["state"])

    assert set(await asyncio.gather(*(come_and_go(n) for n in range(30)))) == {"DELETED"}
    kept, _ = await sent(client, gql.UPLOAD, {"courseId": world.course_id}, text_file("kept"))
    state = "query($id: ID!) { node(id: $id) { ... on Document { state } } }"
    async with asyncio.timeout(60):
        while (await client.ask(state, kept))["node"]["state"] != "READY":  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.1)
    for table in ("chunk", "chunk_embedding", "document_version"):
        assert await count(world, f"SELECT count(*) FROM {table}") == 1
    states = "SELECT count(*) FROM document WHERE state = 'DELETED'"
    assert await count(world, states) == 30
    await sweep_until_quiet(world)
    assert await count(world, OBJECTS) == 1
