"""Sessions named, archived, shared by their student's own act, and deleted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.demo.client import ApiError
from tests import study_api as api
from tests.study_api import answered, node, opened, refused, shown
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
SHARED = """query($c: ID!, $after: String) { sharedStudySessions(courseId: $c, first: 1,
  after: $after) { nodes { id owner { name } } pageInfo { hasNextPage endCursor } } }"""
OWN = """query($archived: Boolean!) { viewer { studySessions(archived: $archived) {
  nodes { id } } } }"""


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def ended(events: AsyncIterator[dict[str, Any]]) -> str:
    """What ends a subscription."""
    try:
        async for _ in events:
            pass
    except ApiError as error:
        return str(error)
    raise AssertionError("it ended without saying why")


async def test_staff_read_what_is_shared_while_it_is(world: World) -> None:
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    session = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="What is a router?")
    asked = {"c": world.course_id}
    assert await node(instructor, api.SESSION, session) is None
    assert (await instructor.ask(SHARED, asked))["sharedStudySessions"]["nodes"] == []

    await ann.change(api.SHARE, sessionId=session)
    found = (await instructor.ask(SHARED, asked))["sharedStudySessions"]
    assert found["nodes"] == [{"id": session, "owner": {"name": "Ann"}}]
    assert await shown(instructor, session) == await shown(ann, session)
    assert (await node(instructor, api.MESSAGE, reply["id"]))["text"] == reply["text"]
    for email in (BOB, ADMIN):
        other = await world.client(email)
        assert await node(other, api.SESSION, session) is None
        assert await refused(other, api.ASK, sessionId=session, text="?") == "NOT_FOUND"

    async with instructor.follow(api.FOLLOW, {"sessionId": session}) as events:
        assert (await anext(events))["message"]["id"] == reply["id"]
        second = await ann.change(api.ASK, sessionId=session, text="And a switch?")
        async with asyncio.timeout(20):
            async for event in events:
                if event["message"]["id"] == second["id"] and event["kind"] == "STEP":
                    break
        await api.settled(ann, second["id"])
        await ann.change(api.UNSHARE, sessionId=session)
        async with asyncio.timeout(10):
            assert "NOT_FOUND" in await ended(events)
    assert await node(instructor, api.SESSION, session) is None
    assert await node(instructor, api.MESSAGE, reply["id"]) is None


async def test_reading_is_all_that_a_share_gives(world: World) -> None:
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    session = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="What is a router?")
    await ann.change(api.SHARE, sessionId=session)
    mine, message = {"sessionId": session}, {"messageId": reply["id"]}
    question = {"messageId": reply["replyTo"]["id"], "text": "?"}
    for document, values in (
        (api.ASK, mine | {"text": "Mine?"}),
        (api.REGENERATE, message),
        (api.CANCEL, message),
        (api.SELECT, message),
        (api.EDIT, question),
        (api.UPDATE, mine | {"title": "Mine"}),
        (api.SHARE, mine),
        (api.UNSHARE, mine),
        (api.DELETE, mine),
    ):
        assert await refused(instructor, document, **values) == "NOT_FOUND", document


async def test_a_share_ends_by_itself(world: World) -> None:
    ann, instructor = await world.client(ANN), await world.client(INSTRUCTOR)
    session = await opened(ann, world.course_id)
    assert await refused(ann, api.SHARE, sessionId=session, until=later(-60)) == "BAD_INPUT"
    await ann.change(api.SHARE, sessionId=session, until=later(2))
    assert (await node(instructor, api.SESSION, session))["share"]["until"] is not None
    async with instructor.follow(api.FOLLOW, {"sessionId": session}) as events:
        async with asyncio.timeout(10):
            assert "NOT_FOUND" in await ended(events)
    assert await node(instructor, api.SESSION, session) is None
    assert (await node(ann, api.SESSION, session))["share"] is None


async def test_shared_sessions_are_paged_and_the_instructors_alone(world: World) -> None:
    ann, bob = await world.client(ANN), await world.client(BOB)
    sessions = [await opened(client, world.course_id) for client in (ann, bob)]
    for client, session in zip((ann, bob), sessions, strict=True):
        await client.change(api.SHARE, sessionId=session)
    await opened(bob, world.course_id)
    instructor = await world.client(INSTRUCTOR)
    asked: dict[str, Any] = {"c": world.course_id}
    seen: list[str] = []
    for _ in sessions:
        page = (await instructor.ask(SHARED, asked))["sharedStudySessions"]
        seen += [one["id"] for one in page["nodes"]]
        asked["after"] = page["pageInfo"]["endCursor"]
    assert (seen, page["pageInfo"]["hasNextPage"]) == (sessions[::-1], False)
    for client in (ann, await world.client(ADMIN)):
        answer = await client.raw(SHARED, {"c": world.course_id})
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_session_is_named_archived_and_taken_back(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=session, text="What is a router?")
    changed = await ann.change(api.UPDATE, sessionId=session, title="  My\nnotes ")
    assert changed == {"title": "My notes", "archivedAt": None}
    for title in ("", " ", "x" * 201, "a\u202eb"):
        assert await refused(ann, api.UPDATE, sessionId=session, title=title) == "BAD_INPUT"

    async def listed(*, archived: bool) -> list[str]:
        found = await ann.ask(OWN, {"archived": archived})
        return [one["id"] for one in found["viewer"]["studySessions"]["nodes"]]

    archived = await ann.change(api.UPDATE, sessionId=session, archived=True)
    assert archived["title"] == "My notes"
    assert archived["archivedAt"] is not None
    assert await ann.change(api.UPDATE, sessionId=session, archived=True) == archived
    assert (await listed(archived=False), await listed(archived=True)) == ([], [session])
    for document, values in (
        (api.ASK, {"sessionId": session, "text": "And?"}),
        (api.REGENERATE, {"messageId": reply["id"]}),
        (api.EDIT, {"messageId": reply["replyTo"]["id"], "text": "And?"}),
    ):
        assert await refused(ann, document, **values) == "INVALID_STATE"
    assert await shown(ann, session)
    await ann.change(api.UPDATE, sessionId=session, archived=False)
    assert (await listed(archived=False), await listed(archived=True)) == ([session], [])
    await answered(ann, api.ASK, sessionId=session, text="And?")


async def test_a_deleted_session_leaves_figures_and_nothing_else(world: World) -> None:
    ann, bob = await world.client(ANN), await world.client(BOB)
    session, other = await opened(ann, world.course_id), await opened(ann, world.course_id)
    one = await answered(ann, api.ASK, sessionId=session, text="What is a quokkaquestion?")
    await answered(ann, api.REGENERATE, messageId=one["id"])
    await answered(ann, api.ASK, sessionId=other, text="What is a router?")
    theirs = await opened(bob, world.course_id)
    assert await refused(ann, api.DELETE, sessionId=theirs) == "NOT_FOUND"
    connection = await world.resources.database.direct()
    try:
        calls = "SELECT count(*), sum(length(response_sha256)) FROM model_call"
        before = await connection.fetchrow(calls)
        async with ann.follow(api.FOLLOW, {"sessionId": session}) as events:
            await anext(events)
            assert await ann.change(api.DELETE, sessionId=session) == session
            async with asyncio.timeout(10):
                assert "NOT_FOUND" in await ended(events)
        assert await connection.fetchrow(calls) == before
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        for row in tables:
            found = await connection.fetchval(
                f"SELECT count(*) FROM {row['tablename']} t WHERE t::text ILIKE '%quokka%'"
            )
            assert found == 0, row["tablename"]
        assert await connection.fetchval("SELECT count(*) FROM model_call WHERE response <> ''")
    finally:
        await connection.close()
    assert await node(ann, api.SESSION, session) is None
    assert await node(ann, api.MESSAGE, one["id"]) is None
    assert await refused(ann, api.DELETE, sessionId=session) == "NOT_FOUND"
    assert len(await shown(ann, other)) == 2


async def test_deleting_stops_an_answer_and_a_replayed_question_is_gone(world: World) -> None:
    ann = await world.client(ANN)
    session = await opened(ann, world.course_id)
    given = {"sessionId": session, "text": "What is a router?", "idempotencyKey": "k"}
    await ann.change(api.ASK, **given)
    await ann.change(api.DELETE, sessionId=session, idempotencyKey="d")
    assert await ann.change(api.DELETE, sessionId=session, idempotencyKey="d") == session
    assert await refused(ann, api.ASK, **given) == "NOT_FOUND"
    again = await opened(ann, world.course_id)
    reply = await answered(ann, api.ASK, sessionId=again, text="What is a router?")
    assert reply["state"] == "ABSTAINED"
