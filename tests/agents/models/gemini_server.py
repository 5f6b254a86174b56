"""A server that speaks Gemini's generateContent protocol (v1beta) and misbehaves on demand."""

import asyncio
import re
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
SIGNATURE = "c2lnbmVkIQ=="
USAGE = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 18,
}


def body(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """A GenerateContentResponse of one candidate."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "test", **more}


def says(text: str, *, pieces: int = 4, finish: str = "STOP") -> Behaviour:
    """Text: at once, or in so many events where a stream is asked for."""

    async def behave(request: Request, reply: Reply) -> None:
        if not streamed(request):
            await reply.json(body({"text": text}, finish=finish))
            return
        await reply.begin(200, CHUNKED)
        size = max(1, -(-len(text) // pieces))
        cuts = [text[at : at + size] for at in range(0, len(text), size)]
        for at, piece in enumerate(cuts, 1):
            last = finish if at == len(cuts) else None
            await reply.event(body({"text": piece}, finish=last))
        await reply.end()

    return behave


def parts(*given: dict[str, Any], finish: str = "STOP") -> Behaviour:
    """A response with these parts, streamed as one event."""
    return whole(body(*given, finish=finish))


def whole(response: Any) -> Behaviour:
    """This body, streamed as one event."""

    async def behave(request: Request, reply: Reply) -> None:
        if not streamed(request):
            await reply.json(response)
            return
        await reply.begin(200, CHUNKED)
        await reply.event(response)
        await reply.end()

    return behave


def fails(status: int, reason: str, *, delay: str | None = None, **headers: str) -> Behaviour:
    """An error as Google's APIs write it; `delay` is the RetryInfo."""
    details: list[dict[str, Any]] = []
    if delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    error = {"code": status, "message": "SECRET PROMPT", "status": reason, "details": details}
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
            after = then(reply)
            if after is not None:
                await after

    return behave


async def endless(_request: Request, reply: Reply) -> None:
    """A stream that never ends."""
    await reply.begin(200, CHUNKED)
    while True:
        await reply.event(body({"text": "and "}, finish=None))
        await asyncio.sleep(0.01)


def streamed(request: Request) -> bool:
    return ":streamGenerateContent" in request.path


def _refusal(request: Request) -> tuple[int, Any] | None:
    """What the real API refuses."""
    found = re.fullmatch(
        r"/v1beta/models/([\w.-]+):(generateContent|streamGenerateContent\?alt=sse)", request.path
    )
    if request.method != "POST" or found is None:
        return 404, _error(404, "NOT_FOUND")
    if request.headers.get("x-goog-api-key") != KEY:
        return 401, _error(401, "UNAUTHENTICATED")
    asked = request.body
    replayed = [
        part
        for content in asked["contents"]
        for part in content.get("parts", [])
        if "functionCall" in part
    ]
    if found[1].startswith("gemini-3") and any("thoughtSignature" not in p for p in replayed):
        return 400, _error(400, "INVALID_ARGUMENT")
    json_type = asked.get("generationConfig", {}).get("responseMimeType")
    if found[1].startswith("gemini-2") and asked.get("tools") and json_type == "application/json":
        return 400, _error(400, "INVALID_ARGUMENT")
    return None


def _error(status: int, reason: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": "SECRET PROMPT", "status": reason}}


def gemini_server() -> ProtocolServer:
    """Says hello unless it is told otherwise."""
    return ProtocolServer(says("Hello there."), _refusal)
