"""A server that speaks OpenAI's chat completions and misbehaves on demand."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from tests.agents.models.protocol_server import (
    CHUNKED,
    Behaviour,
    ProtocolServer,
    Reply,
    Request,
    answers,
)

KEY = "test-key"
DONE = "[DONE]"
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of one choice."""
    return _chunk([{"index": 0, "delta": delta, "finish_reason": finish}], None)


def counted(usage: dict[str, Any] | None = None) -> dict[str, Any]:
    """The last chunk, which has the usage and no choice."""
    return _chunk([], usage or USAGE)


def _chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "test",
        "choices": choices,
        "usage": usage,
    }


def says(text: str, *, pieces: int = 4, finish: str = "stop") -> Behaviour:
    """Text in so many chunks."""
    size = max(1, -(-len(text) // pieces))
    cuts = [text[at : at + size] for at in range(0, len(text), size)]
    events = [chunk(content=piece) for piece in cuts]
    return stream_of([*events, chunk(finish), counted(), DONE])


def calls(name: str, *arguments: str) -> Behaviour:
    """A tool call whose arguments come in pieces."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": name}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    events = [chunk(tool_calls=[one]) for one in (first, *rest)]
    return stream_of([*events, chunk("tool_calls"), counted(), DONE])


def fails(status: int, **headers: str) -> Behaviour:
    """An error as OpenAI writes it."""
    error = {"message": "SECRET PROMPT", "type": "x", "code": None}
    return answers(status, {"error": error}, **headers)


def stream_of(events: Sequence[Any], *, then: Callable[[Reply], Any] | None = None) -> Behaviour:
    """These events, then whatever `then` does instead of the end."""

    async def behave(_request: Request, reply: Reply) -> None:
        await reply.begin(200, CHUNKED)
        for event in events:
            await reply.event(event)
        await asyncio.sleep(0)
        if then is None:
            await reply.end()
        else:
            then(reply)

    return behave


async def endless(_request: Request, reply: Reply) -> None:
    """A stream that never ends."""
    await reply.begin(200, CHUNKED)
    while True:
        await reply.event(chunk(content="and "))
        await asyncio.sleep(0.01)


def _refusal(request: Request) -> tuple[int, Any] | None:
    error = {"error": {"message": "SECRET PROMPT"}}
    if request.method != "POST" or request.path != "/v1/chat/completions":
        return 404, error
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return 401, error
    form = request.body.get("response_format", {}).get("json_schema")
    if form is not None and (not form["strict"] or form["schema"]["additionalProperties"]):
        return 400, error
    return None


def openai_server() -> ProtocolServer:
    """Says hello unless it is told otherwise."""
    return ProtocolServer(says("Hello there."), _refusal)
