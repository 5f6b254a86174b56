"""Material, sessions and answers over HTTP and WebSocket."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError, Client
from tests.study_world import MATERIAL
from tests.world import INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
QUESTION = "What happens when the time to live of a packet reaches zero?"
NUMBERED = {"MESSAGE_STATE", "STEP"}
SETTLED = {"COMPLETE", "ABSTAINED", "FAILED", "CANCELLED"}
ANSWER = """query($id: ID!) { node(id: $id) { ... on Message {
  author text state draft generation route failure { code } replyTo { text author draft route }
  citations { ordinal claimStart claimEnd quote quoteStart quoteEnd verified page
    chunk { text headingPath page start end document { title } } document { id title } }
  steps { ordinal kind detail } } } }"""
SESSION = """query($id: ID!) { node(id: $id) { ... on StudySession {
  title course { code } messages(first: 10) { nodes { author text } } } } }"""
DOCUMENT = """query($id: ID!) { node(id: $id) { ... on Document {
  title fileName mediaType byteSize language state failure { code message advice } pages chunkCount
  chunks(first: 1) { nodes { id text } pageInfo { hasNextPage } } } } }"""
CHUNK = "query($id: ID!) { node(id: $id) { ... on Chunk { text } } }"
DELETE = """mutation($input: DeleteDocumentInput!) { deleteDocument(input: $input) {
  document { state chunkCount } userErrors { code message path } } }"""
CANCEL = """mutation($input: CancelMessageInput!) { cancelMessage(input: $input) {
  message { state } userErrors { code message path } } }"""


async def uploaded(world: World, name: str, content: bytes) -> str:
    """The id of a document that is no longer being worked on."""
    instructor = await world.client(INSTRUCTOR)
    made = await instructor.upload(
        gql.UPLOAD, (name, content, "text/markdown"), courseId=world.course_id
    )
    key = str(made["id"])
    for _ in range(400):
        if (await node(instructor, DOCUMENT, key))["state"] in {"READY", "FAILED", "NO_TEXT"}:
            return key
        await asyncio.sleep(0.05)
    raise AssertionError("the document was not ingested within 20 s")


async def node(client: Client, query: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.ask(query, {"id": key}))["node"]
    return found


async def asked(client: Client, world: World) -> tuple[str, str, list[dict[str, Any]]]:
    """A session, the reply to a question in it, and the events until it was settled."""
    session = (await client.change(gql.CREATE_SESSION, courseId=world.course_id))["id"]
    told: list[dict[str, Any]] = []
    async with client.follow(gql.STUDY, {"sessionId": session}) as events, asyncio.timeout(30):
        told.append(await anext(events))
        reply = (await client.change(gql.ASK, sessionId=session, text=QUESTION))["id"]
        async for event in events:
            told.append(event)
            if event["kind"] == "MESSAGE_STATE" and event["message"]["state"] in SETTLED:
                break
    return session, reply, told


async def test_an_answer_cites_the_material_word_for_word(world: World) -> None:
    key = await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
    ann = await world.client(ANN)
    session, reply, told = await asked(ann, world)

    answer = await node(ann, ANSWER, reply)
    assert (answer["state"], answer["draft"], answer["route"]) == ("COMPLETE", False, "DOCUMENTS")
    question = {"text": QUESTION, "author": "STUDENT", "draft": False, "route": None}
    assert answer["replyTo"] == question
    assert answer["citations"]
    for citation in answer["citations"]:
        chunk = citation["chunk"]
        assert chunk["text"][citation["quoteStart"] : citation["quoteEnd"]] == citation["quote"]
        assert chunk["document"] == {"title": "routing"}
        assert citation["document"]["id"] == key
        assert citation["verified"] is True
    assert [s["ordinal"] for s in answer["steps"]] == list(range(len(answer["steps"])))

    assert (told[0]["kind"], told[0]["seq"], told[0]["message"]) == ("SNAPSHOT", 0, None)
    chunks = [event["chunk"] for event in told if event["kind"] == "CHUNK"]
    shown = ""
    for piece in chunks:
        shown = shown[: piece["offset"]] + piece["text"]
    assert shown == answer["text"]

    read = await node(ann, SESSION, session)
    assert read["course"] == {"code": "NET"}
    assert [m["author"] for m in read["messages"]["nodes"]] == ["STUDENT", "TUTOR"]
    read_document = await node(ann, DOCUMENT, key)
    assert (read_document["state"], read_document["chunkCount"]) == ("READY", 2)
    assert (read_document["pages"], read_document["chunks"]["pageInfo"]["hasNextPage"]) == (
        None,
        True,
    )


async def test_a_session_exists_for_its_owner_alone(world: World) -> None:
    ann = await world.client(ANN)
    session, reply, _ = await asked(ann, world)
    for email in (BOB, INSTRUCTOR):
        other = await world.client(email)
        assert await node(other, SESSION, session) is None
        assert await node(other, ANSWER, reply) is None
        async with other.follow(gql.STUDY, {"sessionId": session}) as events:
            with pytest.raises(ApiError, match="NOT_FOUND"):
                await anext(events)
        for mutation, given in (
            (gql.ASK, {"sessionId": session, "text": "Mine?"}),
            (CANCEL, {"messageId": reply}),
        ):
            (payload,) = (await other.raw(mutation, {"input": given}))["data"].values()
            assert payload["message"] is None
            assert [e["code"] for e in payload["userErrors"]] == ["NOT_FOUND"]


async def test_a_client_that_passes_its_seq_goes_on_there(world: World) -> None:
    ann = await world.client(ANN)
    session, _, told = await asked(ann, world)
    seqs = [event["seq"] for event in told if event["kind"] in NUMBERED]
    assert seqs == list(range(1, len(seqs) + 1))
    async with ann.follow(gql.STUDY, {"sessionId": session, "afterSeq": 1}) as events:
        async with asyncio.timeout(10):
            assert (await anext(events))["seq"] == 1
            again = [event["seq"] async for event in _first(events, 3)]
    assert again == [2, 3, 4]
    async with ann.follow(gql.STUDY, {"sessionId": session, "afterSeq": 99}) as events:
        with pytest.raises(ApiError, match="RESYNC"):
            await anext(events)


async def _first(events: Any, count: int) -> Any:
    async for event in events:
        if event["kind"] in NUMBERED:
            yield event
            count -= 1
        if count == 0:
            return


async def test_a_document_is_taken_away(world: World) -> None:
    key = await uploaded(world, "routing.md", MATERIAL["routing.md"].encode())
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    (chunk,) = (await node(ann, DOCUMENT, key))["chunks"]["nodes"]
    assert (await node(ann, CHUNK, chunk["id"]))["text"] == chunk["text"]
    (refused,) = (await ann.raw(DELETE, {"input": {"documentId": key}}))["data"].values()
    assert [e["code"] for e in refused["userErrors"]] == ["FORBIDDEN"]
    deleted = await instructor.change(DELETE, documentId=key)
    assert deleted == {"state": "DELETED", "chunkCount": 0}
    assert await node(ann, DOCUMENT, key) is None
    assert await node(ann, CHUNK, chunk["id"]) is None
    listed = await instructor.ask(gql.DOCUMENTS, {"courseId": world.course_id})
    assert listed["node"]["documents"]["nodes"] == []


async def test_a_document_that_waits_may_be_taken_away(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    keys = []
    for number in range(6):
        text = f"# {number}\n" + "Routers forward packets. " * 400
        file = (f"{number}.md", text.encode(), "text/markdown")
        document = await instructor.upload(gql.UPLOAD, file, courseId=world.course_id)
        keys.append(document["id"])
    for key in reversed(keys):
        await instructor.change(DELETE, documentId=key)
    await asyncio.sleep(1)
    for key in keys:
        assert (await node(instructor, DOCUMENT, key))["state"] == "DELETED"


async def test_what_is_no_text_says_so(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    with pytest.raises(ApiError, match="UNSUPPORTED_FILE"):
        await instructor.upload(
            gql.UPLOAD, ("a.md", b"\x1f\x8b\x08 packed", "text/markdown"), courseId=world.course_id
        )
    key = await uploaded(world, "empty.md", b"\n")
    failed = await node(instructor, DOCUMENT, key)
    assert failed["state"] == "NO_TEXT"
    assert failed["failure"]["code"] == "EMPTY"
    assert await node(await world.client(ANN), DOCUMENT, key) is None


async def test_the_same_key_with_other_content_is_a_conflict(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    given = {"courseId": world.course_id, "idempotencyKey": "k"}
    await instructor.upload(gql.UPLOAD, ("a.md", b"One two.", "text/markdown"), **given)
    with pytest.raises(ApiError, match="IDEMPOTENCY_CONFLICT"):
        await instructor.upload(gql.UPLOAD, ("a.md", b"Two one.", "text/markdown"), **given)


async def test_an_upload_needs_a_file(world: World) -> None:
    token = await world.token(INSTRUCTOR)
    given = {"courseId": world.course_id, "file": "not a file"}
    response: httpx.Response = await world.http.post(
        "/graphql",
        json={"query": gql.UPLOAD, "variables": {"input": given}},
        headers={"Authorization": f"Bearer {token}"},
    )
    answer = response.json()
    assert "INTERNAL" not in json.dumps(answer), answer
    assert answer.get("errors") or answer["data"]["uploadDocument"]["userErrors"]
