"""Turns and branches of a session over HTTP."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from ops.demo import documents as gql
from resolvers.global_ids import global_id
from tests import study_api as api
from tests.study_api import answered, node, opened, refusal, refused, shown
from tests.world import INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS


async def test_a_reply_is_made_again_beside_the_first(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    first = await answered(ann, api.ASK, sessionId=session, text="What does a router do?")
    question = first["replyTo"]["id"]
    assert await shown(ann, session) == [question, first["id"]]

    second = await answered(ann, api.REGENERATE, messageId=first["id"])
    assert second["id"] != first["id"]
    assert second["replyTo"] == second["parent"] == {"id": question}
    assert second["siblings"] == [{"id": first["id"]}, {"id": second["id"]}]
    assert (await node(ann, api.MESSAGE, question))["children"] == second["siblings"]
    assert await shown(ann, session) == [question, second["id"]]

    back = await ann.change(api.SELECT, messageId=first["id"])
    assert back["activeLeaf"] == {"id": first["id"]}
    assert await shown(ann, session) == [question, first["id"]]


async def test_an_edited_question_is_a_branch_and_the_other_stays(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    one = await answered(ann, api.ASK, sessionId=session, text="What is a router?")
    two = await answered(ann, api.ASK, sessionId=session, text="And what is a switch?")
    asked = two["replyTo"]["id"]
    assert (await node(ann, api.MESSAGE, asked))["parent"] == {"id": one["id"]}

    edited = await answered(ann, api.EDIT, messageId=asked, text="And what is a bridge?")
    wording = await node(ann, api.MESSAGE, edited["replyTo"]["id"])
    assert (wording["text"], wording["parent"]) == ("And what is a bridge?", {"id": one["id"]})
    assert wording["siblings"] == [{"id": asked}, {"id": wording["id"]}]
    first = one["replyTo"]["id"]
    assert await shown(ann, session) == [first, one["id"], wording["id"], edited["id"]]
    assert (await node(ann, api.MESSAGE, asked))["text"] == "And what is a switch?"

    start = await answered(ann, api.EDIT, messageId=first, text="What is a packet?")
    opening = await node(ann, api.MESSAGE, start["replyTo"]["id"])
    assert (opening["parent"], len(opening["siblings"])) == (None, 2)
    assert await shown(ann, session) == [opening["id"], start["id"]]

    await ann.change(api.SELECT, messageId=first)  # down to its latest end
    assert await shown(ann, session) == [first, one["id"], wording["id"], edited["id"]]


async def test_a_question_may_follow_any_earlier_reply(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    one = await answered(ann, api.ASK, sessionId=session, text="What is a router?")
    await answered(ann, api.ASK, sessionId=session, text="What is a switch?")
    aside = await answered(
        ann, api.ASK, sessionId=session, text="What is a host?", parentId=one["id"]
    )
    assert len(await shown(ann, session)) == 4
    after = await answered(ann, api.ASK, sessionId=session, text="And a server?")
    assert (await node(ann, api.MESSAGE, after["replyTo"]["id"]))["parent"] == {"id": aside["id"]}
    assert len(await shown(ann, session)) == 6


async def test_pages_of_a_branch_go_on_after_their_cursor(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    for text in ("One?", "Two?"):
        last = await answered(ann, api.ASK, sessionId=session, text=text)
        await answered(ann, api.REGENERATE, messageId=last["id"])
    page = """query($id: ID!, $after: String) { node(id: $id) { ... on StudySession {
      messages(first: 3, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } } } }"""
    first = (await ann.ask(page, {"id": session}))["node"]["messages"]
    rest = (await ann.ask(page, {"id": session, "after": first["pageInfo"]["endCursor"]}))["node"]
    ids = [m["id"] for m in (*first["nodes"], *rest["messages"]["nodes"])]
    assert ids == await shown(ann, session)
    assert (len(ids), rest["messages"]["pageInfo"]["hasNextPage"]) == (4, False)


async def test_what_is_no_parent_is_refused(world: World) -> None:
    ann, bob = await world.client(ANN), await world.client(BOB)
    session, other = await opened(ann, world.course_id), await opened(ann, world.course_id)
    foreign = await opened(bob, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="One?")
    elsewhere = await answered(ann, api.ASK, sessionId=other, text="Two?")
    theirs = await answered(bob, api.ASK, sessionId=foreign, text="Three?")
    question = reply["replyTo"]["id"]

    async def asked(parent: str) -> str:
        return await refused(ann, api.ASK, sessionId=session, text="Four?", parentId=parent)

    for parent in (elsewhere["id"], theirs["id"], global_id("Message", uuid4())):
        assert await asked(parent) == "NOT_FOUND"
    for parent in (question, session, "nonsense", ""):
        assert await asked(parent) == "BAD_INPUT"
    for document in (api.REGENERATE, api.SELECT, api.CANCEL):
        assert await refused(ann, document, messageId=theirs["id"]) == "NOT_FOUND"
        assert await refused(ann, document, messageId=session) == "BAD_INPUT"
    edit = {"text": "Five?"}
    assert await refused(ann, api.EDIT, messageId=theirs["replyTo"]["id"], **edit) == "NOT_FOUND"
    assert await refused(ann, api.EDIT, messageId=reply["id"], **edit) == "BAD_INPUT"
    assert await refused(ann, api.REGENERATE, messageId=question) == "BAD_INPUT"
    assert await refused(ann, api.ASK, sessionId=foreign, text="Six?") == "NOT_FOUND"
    assert len(await shown(ann, session)) == 2


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "BAD_INPUT", "1 to 8000"),
        (" \n\t ", "BAD_INPUT", "1 to 8000"),
        ("x" * 8_001, "BAD_INPUT", "8000"),
        ("x" * 900_000, "BAD_INPUT", "8000"),
        ("a" + "\u0301" * 500, "BAD_INPUT", "combining"),
    ],
)
async def test_a_question_that_is_none_is_refused(
    world: World, text: str, code: str, says: str
) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    refusing = await refusal(ann, api.ASK, sessionId=session, text=text)
    assert refusing[0] == code
    assert says in refusing[1]
    assert await shown(ann, session) == []


@pytest.mark.parametrize("text", ["What\0is it?", "What\ud800 is it?", "\x01\x02\x03"])
async def test_binary_in_a_question_is_refused_or_answered_and_never_an_accident(
    world: World, text: str
) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    body = json.dumps({"query": api.ASK, "variables": {"input": {"sessionId": session}}})
    quoted = json.dumps(text)
    body = body.replace('"sessionId"', f'"text": {quoted}, "sessionId"')
    token = await world.token(ANN)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    response = await world.http.post("/graphql", content=body.encode(), headers=headers)
    answer: Any = response.json()
    assert response.status_code < 500
    assert "INTERNAL" not in json.dumps(answer)
    if not answer.get("errors") and answer["data"]["askQuestion"]["message"]:
        reply = answer["data"]["askQuestion"]["message"]["id"]
        assert (await api.settled(ann, reply))["state"] in {"COMPLETE", "ABSTAINED"}
    else:
        assert "BAD_INPUT" in json.dumps(answer)


async def test_forty_questions_and_nothing_indexed_are_answered_honestly(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    many = " ".join(f"What is topic number {n}?" for n in range(40))
    crowd = await answered(ann, api.ASK, sessionId=session, text=many)
    assert "40" in crowd["text"]
    empty = await answered(ann, api.ASK, sessionId=session, text="What does a router do?")
    assert empty["state"] == "ABSTAINED"
    assert "no course material" in empty["text"]


async def test_the_same_key_asks_once(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    given = {"sessionId": session, "text": "One?", "idempotencyKey": "k"}
    replies = await asyncio.gather(*(ann.change(api.ASK, **given) for _ in range(3)))
    assert len({reply["id"] for reply in replies}) == 1
    assert len(await shown(ann, session)) == 2
    given["text"] = "Two?"
    assert await refused(ann, api.ASK, **given) == "IDEMPOTENCY_CONFLICT"


async def test_a_course_that_was_left_is_asked_no_more(world: World) -> None:
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    session = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="One?")
    (enrollment,) = await instructor.change(gql.ENROL, courseId=world.course_id, emails=[ANN])
    end = api.mutation("removeEnrollment", "enrollment { id }")
    await instructor.change(end, enrollmentId=enrollment["id"])
    assert await refused(ann, api.ASK, sessionId=session, text="Two?") == "NOT_FOUND"
    assert await refused(ann, api.REGENERATE, messageId=reply["id"]) == "NOT_FOUND"
    assert await refused(ann, gql.CREATE_SESSION, courseId=world.course_id) == "NOT_FOUND"
    assert await node(ann, api.SESSION, session) is None


async def test_sessions_messages_and_branches_have_limits(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="One?")
    connection = await world.resources.database.direct()
    try:
        await connection.execute(
            "INSERT INTO message (id, organization_id, course_id, session_id, ordinal, author, "
            "parent_id, text, state, generation, tries, fence) SELECT gen_random_uuid(), "
            "organization_id, course_id, session_id, 1 + n, 'TUTOR', parent_id, '', 'COMPLETE', "
            "1, 0, 0 FROM message, generate_series(1, 49) n WHERE author = 'TUTOR'"
        )
        code, says = await refusal(ann, api.REGENERATE, messageId=reply["id"])
        assert (code, "50" in says) == ("LIMIT_EXCEEDED", True)
        await connection.execute(
            "INSERT INTO message (id, organization_id, course_id, session_id, ordinal, author, "
            "text, state, generation, tries, fence) SELECT gen_random_uuid(), organization_id, "
            "course_id, session_id, 100 + n, 'STUDENT', '', 'COMPLETE', 1, 0, 0 "
            "FROM message, generate_series(1, 1949) n WHERE ordinal = 1"
        )
        code, says = await refusal(ann, api.ASK, sessionId=session, text="Two?")
        assert (code, "2000" in says) == ("LIMIT_EXCEEDED", True)
        await connection.execute(
            "INSERT INTO study_session (id, organization_id, course_id, user_id, title) SELECT "
            "gen_random_uuid(), organization_id, course_id, user_id, 'T' FROM study_session, "
            "generate_series(1, 498)"
        )
    finally:
        await connection.close()
    codes = await asyncio.gather(
        *(refused(ann, gql.CREATE_SESSION, courseId=world.course_id) for _ in range(4))
    )
    assert sorted(codes) == ["", *["LIMIT_EXCEEDED"] * 3]
    code, says = await refusal(ann, gql.CREATE_SESSION, courseId=world.course_id)
    assert "500" in says
    bob = await world.client(BOB)
    assert await refused(bob, gql.CREATE_SESSION, courseId=world.course_id) == ""
