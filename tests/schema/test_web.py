"""What the tutor may search of the web, and how often it kept questions from graded work."""

import asyncio

import pytest

from ops.demo import documents as gql
from ops.demo.client import ApiError
from tests.world import INSTRUCTOR, STUDENTS, World

SET = """mutation($input: SetWebPolicyInput!) { setWebPolicy(input: $input) {
  course { webPolicy { enabled allowedDomains deniedDomains } }
  userErrors { code message path } } }"""
POLICY = """query($id: ID!) { node(id: $id) { ... on Course {
  webPolicy { enabled allowedDomains deniedDomains } } } }"""
GUARDED = """query($id: ID!) { node(id: $id) { ... on Assignment {
  guardedQuestions { guarding questions } } } }"""
STATE = "query($id: ID!) { node(id: $id) { ... on Message { state route text } } }"


async def test_a_course_narrows_the_web(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(STUDENTS[0])
    at_first = await ann.ask(POLICY, {"id": world.course_id})
    everything = {"enabled": True, "allowedDomains": [], "deniedDomains": []}
    assert at_first["node"]["webPolicy"] == everything
    course = await instructor.change(
        SET,
        courseId=world.course_id,
        allowedDomains=["Example.ORG", "example.org", "münchen.de"],
        deniedDomains=["bad.example.org."],
    )
    narrowed = {
        "enabled": True,
        "allowedDomains": ["example.org", "xn--mnchen-3ya.de"],
        "deniedDomains": ["bad.example.org"],
    }
    assert course["webPolicy"] == narrowed
    for refused in (
        {"allowedDomains": ["https://example.org/x"]},
        {"deniedDomains": ["a.org"] * 101},
    ):
        with pytest.raises(ApiError, match=r"domain|deniedDomains"):
            await instructor.change(SET, courseId=world.course_id, **refused)
    with pytest.raises(ApiError, match="document:write"):
        await ann.change(SET, courseId=world.course_id, enabled=False)
    assert (await ann.ask(POLICY, {"id": world.course_id}))["node"]["webPolicy"] == narrowed


async def test_staff_see_how_often_and_nothing_else(world: World) -> None:
    assignment, _, _ = await world.assignment()
    ann = await world.client(STUDENTS[0])
    session = (await ann.change(gql.CREATE_SESSION, courseId=world.course_id))["id"]
    for question in ("What does a router do with a packet?", "Was macht ein Router mit dem Paket?"):
        reply = await ann.change(gql.ASK, sessionId=session, text=question)
        async with asyncio.timeout(60):
            while True:
                answer = (await ann.ask(STATE, {"id": reply["id"]}))["node"]
                if answer["state"] == "COMPLETE":
                    break
                await asyncio.sleep(0.05)
        assert answer["route"] == "REFUSE_GRADED_WORK"
        assert "is still open" in answer["text"]
    instructor = await world.client(INSTRUCTOR)
    counts = (await instructor.ask(GUARDED, {"id": assignment}))["node"]["guardedQuestions"]
    assert counts == [
        {"guarding": "HINTED", "questions": 1},
        {"guarding": "LANGUAGE", "questions": 1},
    ]
