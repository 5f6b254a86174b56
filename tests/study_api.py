"""Study sessions over the API: the documents the tests send, and short ways to send them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ops.demo import documents as gql
from ops.demo.client import Client
from resolvers.answer_text import AnswerChunk
from tests.resolvers.test_answer_text import Client as Reader

SETTLED = {"COMPLETE", "ABSTAINED", "FAILED", "CANCELLED"}
MESSAGE = """query($id: ID!) { node(id: $id) { ... on Message {
  id author text state generation parent { id } replyTo { id } children { id } siblings { id }
  usage { calls inputTokens outputTokens costMicros currency }
  steps { id ordinal kind result { __typename
    ... on SpentResult { step provider model inputTokens outputTokens costMicros } } } } } }"""
SESSION = """query($id: ID!) { node(id: $id) { ... on StudySession {
  title archivedAt share { at until } owner { name } activeLeaf { id }
  messages(first: 100) { nodes { id author text state } } } } }"""
FOLLOW = """subscription($sessionId: ID!, $afterSeq: Int) {
  studyMessage(sessionId: $sessionId, afterSeq: $afterSeq) {
    seq kind session { title } chunk { generation offset text }
    step { id ordinal kind } message { id state generation text } } }"""


def mutation(name: str, shown: str) -> str:
    """The document of a mutation whose payload shows `shown`."""
    kind = name[0].upper() + name[1:]
    return (
        f"mutation($input: {kind}Input!) {{ {name}(input: $input) "
        f"{{ {shown} userErrors {{ code message path }} }} }}"
    )


ASK = mutation("askQuestion", "message { id }")
REGENERATE = mutation("regenerateMessage", "message { id }")
EDIT = mutation("editQuestion", "message { id }")
SELECT = mutation("selectBranch", "studySession { id activeLeaf { id } }")
CANCEL = mutation("cancelMessage", "message { id state usage { calls costMicros } }")
UPDATE = mutation("updateStudySession", "studySession { title archivedAt }")
SHARE = mutation("shareStudySession", "studySession { share { until } }")
UNSHARE = mutation("unshareStudySession", "studySession { share { until } }")
DELETE = mutation("deleteStudySession", "deletedId")
REMEMBER = mutation("rememberFact", "memoryFact { id text state version course { code } }")
REWRITE = mutation("updateMemoryFact", "memoryFact { text state version }")
ACCEPT = mutation("acceptMemoryFact", "memoryFact { state version }")
SET_CHOICE = mutation("setModelChoice", "modelChoices { seat models }")
SET_BUDGET = mutation("setBudget", "modelBudget { limitMicros }")
FORGET = mutation("forgetFact", "deletedId")


async def node(client: Client, query: str, key: str) -> Any:
    """The object with this id as `query` shows it, or None."""
    return (await client.ask(query, {"id": key}))["node"]


async def refused(client: Client, document: str, **values: Any) -> str:
    """The code with which a mutation is refused; empty when it is done."""
    answer = await client.raw(document, {"input": values})
    if answer.get("errors"):
        return str(answer["errors"][0]["extensions"]["code"])
    (payload,) = answer["data"].values()
    return str(payload["userErrors"][0]["code"]) if payload["userErrors"] else ""


async def refusal(client: Client, document: str, **values: Any) -> tuple[str, str]:
    """The code and the message of a refusal."""
    answer = await client.raw(document, {"input": values})
    if answer.get("errors"):
        error = answer["errors"][0]
        return error["extensions"]["code"], error["message"]
    (payload,) = answer["data"].values()
    (error,) = payload["userErrors"]
    return error["code"], error["message"]


async def opened(client: Client, course_id: str) -> str:
    """A new session's id."""
    return str((await client.change(gql.CREATE_SESSION, courseId=course_id))["id"])


async def settled(client: Client, message_id: str) -> Any:
    """The message once it is settled."""
    async with asyncio.timeout(60):
        while True:
            found = await node(client, MESSAGE, message_id)
            if found["state"] in SETTLED:
                return found
            await asyncio.sleep(0.05)


async def answered(client: Client, document: str, **values: Any) -> Any:
    """The reply that a mutation begins, once it is settled."""
    return await settled(client, (await client.change(document, **values))["id"])


async def shown(client: Client, session_id: str) -> list[str]:
    """The ids of the session's messages as `messages` shows them."""
    found = await node(client, SESSION, session_id)
    return [m["id"] for m in found["messages"]["nodes"]]


async def until(events: AsyncIterator[dict[str, Any]], told: list[Any], enough: Any) -> None:
    """Adds events to `told` up to the one that is enough."""
    async with asyncio.timeout(90):
        async for event in events:
            told.append(event)
            if enough(event):
                return
    raise AssertionError(f"it ended early, after {told[-1:]}")


def is_chunk(event: dict[str, Any]) -> bool:
    """Whether it brings text."""
    return bool(event["chunk"] and event["chunk"]["text"])


def is_complete(event: dict[str, Any]) -> bool:
    """Whether it tells that the message is settled."""
    return event["kind"] == "MESSAGE_STATE" and event["message"]["state"] in SETTLED


def read(told: list[dict[str, Any]]) -> Reader:
    """What a client shows that takes chunks alone."""
    reader = Reader(0, "")
    for event in told:
        if event["chunk"]:
            reader.receive(AnswerChunk(**event["chunk"]))
    return reader


def numbers(told: list[dict[str, Any]]) -> list[int]:
    """Of the numbered events."""
    return [e["seq"] for e in told if e["kind"] in {"MESSAGE_STATE", "STEP"}]


def steps_of(told: list[Any]) -> set[str]:
    """The steps that events have told."""
    return {event["step"]["id"] for event in told if event["step"]}


async def until_told(
    events: AsyncIterator[dict[str, Any]], told: list[Any], steps: set[str]
) -> None:
    """Adds events up to the last of `steps`.

    An event shows the message as it reads by then, so one that shows it whole may have steps
    behind it.
    """
    if not steps_of(told) >= steps:
        await until(events, told, lambda _: steps_of(told) >= steps)
