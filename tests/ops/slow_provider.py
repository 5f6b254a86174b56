"""A server that speaks OpenAI's chat protocol, counts its calls and answers when a test lets it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

QUOTE = "the packet is discarded and an ICMP message is sent back"
TEXT = f"When it reaches zero, {QUOTE}. [1]"
REPLIES: dict[str, Any] = {
    "StudyPlan": {
        "route": "DOCUMENTS",
        "queries": ["time to live reaches zero"],
        "clarification": "",
        "assignment_id": "",
        "reason": "It is in the material.",
    },
    "TutorAnswer": {
        "text": TEXT,
        "quotations": [{"marker": 1, "passage": 1, "quote": QUOTE}],
        "abstained": False,
        "remember": [],
    },
    "CriticVerdict": {"verdict": "APPROVE", "issues": []},
}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
BEFORE_GATE = 40


class SlowProvider:
    """Streams a tutor's answer up to the middle, then waits for `gate`."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.broken_off = asyncio.Event()
        """Set when a client leaves before its answer is whole."""
        self.address = ""

    async def complete(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        asked = await request.json()
        kind = asked["response_format"]["json_schema"]["name"]
        self.calls[kind] += 1
        content = json.dumps(REPLIES[kind])
        if asked.get("stream"):
            return StreamingResponse(self._stream(content), media_type="text/event-stream")
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(_body("chat.completion", [choice]) | {"usage": USAGE})

    async def _stream(self, content: str) -> AsyncIterator[str]:
        whole = False
        try:
            for at in range(0, len(content), 4):
                if at >= BEFORE_GATE:
                    await self.gate.wait()
                yield _chunk([{"index": 0, "delta": {"content": content[at : at + 4]}}])
                await asyncio.sleep(0.005)
            yield _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            yield _chunk([], usage=USAGE)
            yield "data: [DONE]\n\n"
            whole = True
        finally:
            if not whole:
                self.broken_off.set()


def _body(kind: str, choices: list[Any]) -> dict[str, Any]:
    return {"id": "c", "object": kind, "created": 0, "model": "slow", "choices": choices}


def _chunk(choices: list[Any], **more: Any) -> str:
    return f"data: {json.dumps(_body('chat.completion.chunk', choices) | more)}\n\n"


@asynccontextmanager
async def slow_provider() -> AsyncIterator[SlowProvider]:
    """The server, on a port of its own."""
    provider = SlowProvider()
    app = Starlette(routes=[Route("/v1/chat/completions", provider.complete, methods=["POST"])])
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        provider.address = f"http://127.0.0.1:{port}/v1"
        yield provider
    finally:
        provider.gate.set()
        server.should_exit = True
        await serving
