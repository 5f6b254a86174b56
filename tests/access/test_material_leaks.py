"""A course's material asked for from outside, by every door: the answer to an id that is not yours
is the answer to an id that does not exist, and holds none of its words.

`pytest -s` prints what each caller met at each door.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from ops.bootstrap import find_user
from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from resolvers.global_ids import global_id
from tests.access.people import _foreign_admin, _studied
from tests.schema.test_retrieval import REMOVE, REVOKE, SEARCH, uploaded
from tests.schema.test_upload_attacks import DELETE, REPLACE, whole_upload
from tests.schema.test_uploads import ADD, CREATE, create
from tests.study_world import MATERIAL
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

PLANTED = "zyzzyva"  # in every text and title of the course, and nowhere else
WORDS = f"# The {PLANTED} protocol\n\nA {PLANTED} router lowers the time to live of each packet.\n"
QUERY = "time to live of a packet"
ANN, BOB, _ = STUDENTS
DOCUMENT = """query($id: ID!) { node(id: $id) { ... on Document { title fileName byteSize state
  version chunkCount pages originalUrl failure { code } replaces { title } replacedBy { title }
  chunks(first: 5) { nodes { text } } } } }"""
CHUNK = """query($id: ID!) { node(id: $id) { ... on Chunk { text headingPath start end
  document { title } } } }"""
UPLOAD = "query($id: ID!) { node(id: $id) { ... on ResumableUpload { fileName url state } } }"
MESSAGE = """query($id: ID!) { node(id: $id) { ... on Message { text
  citations { quote chunk { text } document { title } } } } }"""
LISTED = """query($id: ID!, $after: String) { node(id: $id) { ... on Course {
  documents(first: 5, after: $after) { nodes { title } pageInfo { endCursor } } } } }"""
PROGRESS = """subscription($id: ID!) { documentProgress(documentId: $id, afterSeq: 0) {
  seq document { title state } } }"""
FROM_URL = """mutation($input: AddDocumentFromUrlInput!) { addDocumentFromUrl(input: $input) {
  document { id title } userErrors { code message path } } }"""
IMPERSONATE = """mutation($input: ImpersonateUserInput!) { impersonateUser(input: $input) {
  impersonation { accessToken } userErrors { code message } } }"""
API_KEY = """mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {
  apiToken { secret } userErrors { code message } } }"""
CUSTOM = """mutation($input: CreateCustomRoleInput!) { createCustomRole(input: $input) {
  customRole { id } userErrors { code message } } }"""
GIVE = """mutation($input: GrantRoleInput!) { grantRole(input: $input) {
  roleGrant { id } userErrors { code message } } }"""

Ids = Mapping[str, str]
Door = Callable[["Caller", Ids], Awaitable[Any]]


@dataclass(frozen=True)
class Caller:
    """Somebody outside, with what they have of their own: a course, a document, an upload."""

    client: Client
    own: Ids


def ask(query: str, name: str, **more: str) -> Door:
    """A query by an id; `more` are further variables by the name of an id."""

    async def asked(caller: Caller, ids: Ids) -> Any:
        return await caller.client.raw(
            query, {"id": ids[name]} | {k: ids[v] for k, v in more.items()}
        )

    return asked


def change(mutation: str, values: Callable[[Ids, Ids], dict[str, Any]]) -> Door:
    async def changed(caller: Caller, ids: Ids) -> Any:
        return await caller.client.raw(mutation, {"input": values(ids, caller.own)})

    return changed


def search(scope: Callable[[Ids, Ids], dict[str, Any]], after: str | None = None) -> Door:
    async def searched(caller: Caller, ids: Ids) -> Any:
        values = {"scope": scope(ids, caller.own), "query": f"{PLANTED} {QUERY}"}
        return await caller.client.raw(SEARCH, values | ({"after": ids[after]} if after else {}))

    return searched


async def follow(caller: Caller, ids: Ids) -> Any:
    async with asyncio.timeout(20):
        try:
            async with caller.client.follow(PROGRESS, {"id": ids["Document"]}) as events:
                return [event async for event in events]
        except ApiError as error:
            return json.loads(str(error))


async def send_file(caller: Caller, ids: Ids) -> Any:
    file = ("x.md", b"# Something of my own", "text/markdown")
    return await caller.client.raw_upload(gql.UPLOAD, file, courseId=ids["Course"])


OF_DOCUMENTS: dict[str, Door] = {
    "node(Document)": ask(DOCUMENT, "Document"),
    "node(Chunk)": ask(CHUNK, "Chunk"),
    "search a document": search(lambda ids, _: {"documentIds": [ids["Document"]]}),
    "search one's own and another": search(
        lambda ids, own: {"documentIds": [own["Document"], ids["Document"]]}
    ),
    "documentProgress": follow,
    "replace it": change(
        REPLACE, lambda ids, own: {"documentId": ids["Document"], "uploadId": own["Upload"]}
    ),
    "delete it": change(DELETE, lambda ids, _: {"documentId": ids["Document"]}),
}
OF_UPLOADS: dict[str, Door] = {
    "node(ResumableUpload)": ask(UPLOAD, "Upload"),
    "add another's upload": change(ADD, lambda ids, _: {"uploadId": ids["Upload"]}),
    "replace one's own by it": change(
        REPLACE, lambda ids, own: {"documentId": own["Document"], "uploadId": ids["Upload"]}
    ),
    "node(Message) { citations }": ask(MESSAGE, "Message"),
}
OF_COURSES: dict[str, Door] = {
    "documents of the course": ask(LISTED, "Course"),
    "search the course": search(lambda ids, _: {"courseIds": [ids["Course"]]}),
    "search both courses": search(lambda ids, own: {"courseIds": [own["Course"], ids["Course"]]}),
    "createUpload": change(
        CREATE, lambda ids, _: {"courseId": ids["Course"], "fileName": "a.md", "byteSize": 9}
    ),
    "uploadDocument": send_file,
    "addDocumentFromUrl": change(
        FROM_URL, lambda ids, _: {"courseId": ids["Course"], "url": "https://x.example/a.md"}
    ),
}
CURSORS: dict[str, Door] = {
    "search after its cursor": search(lambda _, own: {"courseIds": [own["Course"]]}, "Cursor"),
    "documents after its cursor": lambda caller, ids: caller.client.raw(
        LISTED, {"id": caller.own["Course"], "after": ids["Listed"]}
    ),
}
ALL = OF_DOCUMENTS | OF_UPLOADS | OF_COURSES | CURSORS
OUTSIDE = (
    "instructor of another course", "student of another course", "admin of another organization",
    "instructor of another organization", "nobody's member", "grader, revoked", "student, removed",
    "API token of another course",
)  # fmt: skip
CUSTOM_ROLE = "custom role without documents"
"""Its holder knows the course, so what is asked of the course itself differs."""


def missing(ids: Ids) -> dict[str, str]:
    """Ids of the same types that nothing has; cursors of the same place behind another id."""
    made = {
        name: global_id("ResumableUpload" if name == "Upload" else name, uuid4())
        for name in ("Document", "Chunk", "Course", "Message", "Upload")
    }
    return made | {"Cursor": ids["OtherCursor"], "Listed": ids["OtherListed"]}


async def test_nothing_of_a_course_is_told_outside(world: World) -> None:
    ids, callers = await material(world), await outsiders(world)
    wrong, table = [], {}
    for name in (*OUTSIDE, CUSTOM_ROLE):
        doors = OF_DOCUMENTS | OF_UPLOADS if name == CUSTOM_ROLE else ALL
        for door, through in doors.items():
            answers = [await through(callers[name], asked) for asked in (ids, missing(ids))]
            table[name, door] = met(answers[0])
            if answers[0] != answers[1] or PLANTED in json.dumps(answers[0]):
                wrong.append((name, door, answers))
    show(table)
    assert wrong == []


async def test_a_student_is_not_told_of_what_is_not_open_to_them(world: World) -> None:
    """Documents that are waiting, failed or taken away, and uploads of the staff."""
    instructor = await world.client(INSTRUCTOR)
    ids = await material(world)
    ann = Caller(await world.client(ANN), {k: ids[k] for k in ("Course", "Document", "Upload")})
    assert PLANTED in json.dumps(await ask(DOCUMENT, "Document")(ann, ids))
    assert PLANTED in json.dumps(await search(lambda i, _: {"courseIds": [i["Course"]]})(ann, ids))
    wrong, table = [], {}
    for state in ("UPLOADED", "EXTRACTING", "EMBEDDING", "FAILED", "NO_TEXT", "DELETED"):
        await execute(world, f"UPDATE document SET state = '{state}'")
        for door, through in (OF_DOCUMENTS | OF_UPLOADS).items():
            if "Message" in door:
                continue  # her classmate's, which the other test asks for
            answers = [await through(ann, asked) for asked in (ids, missing(ids))]
            table[f"student, {state}", door] = met(answers[0])
            if answers[0] != answers[1] or PLANTED in json.dumps(answers[0]):
                wrong.append((state, door, answers))
        for door in ("documents of the course", "search the course"):
            answer = await ALL[door](ann, ids)
            table[f"student, {state}", door] = met(answer)
            if PLANTED in json.dumps(answer):
                wrong.append((state, door, answer))
        told = await ask(DOCUMENT, "Document")(Caller(instructor, {}), ids)
        assert told["data"]["node"]["state"] == state
    show(table)
    assert wrong == []


async def test_a_narrow_token_and_who_acts_as_another_hold_no_address_to_write_to(
    world: World,
) -> None:
    """Both read what their person reads; the address of an upload is a way to write."""
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    mine = await theirs(instructor, world, world.course_id)
    me = (await instructor.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    made = await admin.change(IMPERSONATE, userId=me, reason="A complaint")
    acting = Client(world.http, made["accessToken"])
    narrow = await token(world, instructor, ["RUBRIC_WRITE"], world.course_id)
    scope = {"courseIds": [world.course_id]}
    for client, codes in ((acting, ["2 of their own", "FORBIDDEN"]), (narrow, ["FORBIDDEN"] * 2)):
        caller = Caller(client, mine)
        told = (await ask(UPLOAD, "Upload")(caller, mine))["data"]["node"]
        assert told == {"fileName": "big.txt", "url": None, "state": "OPEN"}
        found = await client.raw(SEARCH, {"scope": scope, "query": QUERY})
        used = await change(ADD, lambda ids, _: {"uploadId": ids["Upload"]})(caller, mine)
        assert [met(found), met(used)] == codes
        for door in ("replace it", "delete it", "createUpload", "uploadDocument"):
            assert met(await ALL[door](caller, mine)) == "FORBIDDEN", door
    assert (await ask(UPLOAD, "Upload")(Caller(instructor, mine), mine))["data"]["node"]["url"]


def met(answer: Any) -> str:
    """What an answer comes to, in a word."""
    if isinstance(answer, list):
        return str(answer[0]["extensions"]["code"]) if "extensions" in answer[0] else "events"
    if answer.get("errors"):
        return "+".join(sorted({e["extensions"]["code"] for e in answer["errors"]}))
    ((_, value),) = answer["data"].items()
    if value is None:
        return "null"
    if value.get("userErrors"):
        return str(value["userErrors"][0]["code"])
    value = value.get("documents", value)
    return f"{len(value['nodes'])} of their own" if "nodes" in value else "something"


def show(table: Mapping[tuple[str, str], str]) -> None:
    for (caller, door), cell in table.items():
        sys.stdout.write(f"\n{caller:36} {door:30} {cell}")


async def execute(world: World, statement: str) -> None:
    async with world.resources.database.transaction() as connection:
        await connection.execute(text(statement))


async def material(world: World) -> dict[str, str]:
    """A document, an upload, an answer that quotes, and cursors, of the course NET."""
    instructor = await world.client(INSTRUCTOR)
    document = await uploaded(instructor, world.course_id, f"{PLANTED}.md", WORDS)
    await uploaded(instructor, world.course_id, f"{PLANTED}-2.md", f"{WORDS}\n\nAnd more of it.")
    upload = await whole_upload(instructor, world, f"{PLANTED} {PLANTED}".encode())
    shown = "query($id: ID!) { node(id: $id) { ... on Document { chunks { nodes { id } } } } }"
    chunk = (await instructor.ask(shown, {"id": document}))["node"]["chunks"]["nodes"][0]["id"]
    _, message = await _studied(await world.client(BOB), world)
    pages = []
    for first in (1, 2):
        values = {"scope": {"courseIds": [world.course_id]}, "query": QUERY, "first": first}
        found = (await instructor.ask(SEARCH, values))["search"]["pageInfo"]["endCursor"]
        listed = LISTED.replace("first: 5", f"first: {first}")
        course = (await instructor.ask(listed, {"id": world.course_id}))["node"]
        pages.append((found, course["documents"]["pageInfo"]["endCursor"]))
    return {
        "Course": world.course_id, "Document": document, "Chunk": chunk, "Message": message,
        "Upload": upload["id"],
        "Cursor": pages[0][0], "Listed": pages[0][1],
        "OtherCursor": pages[1][0], "OtherListed": pages[1][1],
    }  # fmt: skip


async def outsiders(world: World) -> dict[str, Caller]:
    """Each with a course of their own where they can have one."""
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    names = ["other", "pupil", "nobody", "grader", "registrar"]
    people = [{"email": f"{name}@example.edu", "name": name} for name in names]
    users = dict(zip(names, await admin.change(gql.CREATE_USERS, users=people), strict=True))
    course = (await admin.change(gql.CREATE_COURSE, code="OTHER", title="Other"))["id"]
    me = (await instructor.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    for user in (users["other"]["id"], me):
        await give(admin, userId=user, role="INSTRUCTOR", courseId=course)
    await admin.change(gql.ENROL, courseId=course, emails=["pupil@example.edu"])
    graded = await give(
        admin, userId=users["grader"]["id"], role="GRADER", courseId=world.course_id
    )
    await admin.change(REVOKE, roleGrantId=graded, reason="Over")
    (enrolled,) = await admin.change(gql.ENROL, courseId=world.course_id, emails=[ANN])
    await instructor.change(REMOVE, enrollmentId=enrolled["id"])
    values = {"name": "Registrar", "description": "d", "permissions": ["GRADE_READ"]}
    custom = (await admin.change(CUSTOM, **values))["id"]
    registrar = users["registrar"]["id"]
    await give(admin, userId=registrar, customRoleId=custom, courseId=world.course_id)
    own = await theirs(await world.client("other@example.edu"), world, course)
    service = await theirs(instructor, world, course)
    foreign = await _foreign_admin(world)
    abroad = await _foreign_instructor(world, foreign)
    clients = {
        "instructor of another course": (await world.client("other@example.edu"), own),
        "student of another course": (await world.client("pupil@example.edu"), own),
        "admin of another organization": (foreign, abroad.own),
        "instructor of another organization": (abroad.client, abroad.own),
        "nobody's member": (await world.client("nobody@example.edu"), own),
        "grader, revoked": (await world.client("grader@example.edu"), own),
        "student, removed": (await world.client(ANN), own),
        "API token of another course": (
            await token(world, instructor, ["DOCUMENT_READ", "DOCUMENT_WRITE"], course), service,
        ),
        CUSTOM_ROLE: (await world.client("registrar@example.edu"), own),
    }  # fmt: skip
    return {name: Caller(*made) for name, made in clients.items()}


async def give(admin: Client, **values: Any) -> str:
    return str((await admin.change(GIVE, **values, reason="For the table"))["id"])


async def theirs(client: Client, world: World, course: str) -> dict[str, str]:
    """What somebody has of their own: a course with a document, and an upload."""
    document = await uploaded(client, course, "routing.md", MATERIAL["routing.md"])
    upload = await create(client, world, b"123456789", courseId=course)
    return {"Course": course, "Document": document, "Upload": upload["id"]}


async def token(world: World, owner: Client, scopes: list[str], course: str) -> Client:
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    values = {"name": "LMS", "scopes": scopes, "courseId": course, "expiresAt": expires}
    return Client(world.http, (await owner.change(API_KEY, **values))["secret"])


async def _foreign_instructor(world: World, admin: Client) -> Caller:
    """Of another organization, with a course and a document there."""
    course = (await admin.change(gql.CREATE_COURSE, code="ABROAD", title="Abroad"))["id"]
    made = [{"email": "teacher@elsewhere.org", "name": "Teacher"}]
    (user,) = await admin.change(gql.CREATE_USERS, users=made)
    await give(admin, userId=user["id"], role="INSTRUCTOR", courseId=course)
    found = await find_user(
        world.resources.database, slug="elsewhere", email="teacher@elsewhere.org"
    )
    assert found is not None
    client = Client(world.http, world.resources.issue_token(*found, 900))
    return Caller(client, await theirs(client, world, course))
