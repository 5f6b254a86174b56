"""Tavily's SDK over the wire, against a local server that speaks its protocol and misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agents.ports import WebProblem, WebUnavailable
from agents.web.domains import DomainPolicy
from agents.web.search import CachedSearch
from agents.web.tavily import RESPONSE_BYTES, TavilySearch, open_tavily
from persistence.cache import MemoryCache


def result(url: str, content: Any = "A page says this.", title: Any = "A page") -> dict[str, Any]:
    return {"url": url, "title": title, "content": content, "score": 0.9, "raw_content": None}


@dataclass
class Server:
    """POST /search, answering as told."""

    address: str = ""
    status: int = 200
    body: Any = field(default_factory=lambda: {"results": [result("https://example.org/a")]})
    delay: float = 0.0
    endless: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)

    async def search(self, request: Request) -> Response:
        self.asked.append((await request.json(), dict(request.headers)))
        await asyncio.sleep(self.delay)
        if self.endless:
            return StreamingResponse(self._endless(), media_type="application/json")
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return Response(content, self.status, {"content-type": "application/json"} | self.headers)

    async def _endless(self) -> AsyncIterator[bytes]:
        for _ in range(2 * RESPONSE_BYTES // 65_536):
            yield b" " * 65_536


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    told = Server()
    app = Starlette(routes=[Route("/search", told.search, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    told.address = f"http://127.0.0.1:{port}"
    yield told
    running.should_exit = True
    await task


@asynccontextmanager
async def searching(server: Server, **options: Any) -> AsyncIterator[TavilySearch]:
    async with open_tavily("tvly-secret", server.address) as client:
        yield TavilySearch(client, **options)


async def problem(server: Server, **options: Any) -> WebProblem:
    async with searching(server, **options) as search:
        with pytest.raises(WebUnavailable) as failed:
            await search.search("a question", 5)
    return failed.value.problem


async def test_pages_are_found(server):
    policy = DomainPolicy(allowed=("example.org",), denied=("bad.example.org",))
    async with searching(server, policy=policy, price_micros=7) as search:
        found = await search.search("what is ARP? I am ann@uni.edu, 0049 170 1234567", 3)
    (page,) = found.pages
    assert (page.url, page.title, page.text) == (
        "https://example.org/a",
        "A page",
        "A page says this.",
    )
    assert page.fetched_at.endswith("+00:00")
    assert found.cost_micros == 7
    ((body, headers),) = server.asked
    assert body["query"] == "what is ARP? I am"
    assert body["include_domains"] == ["example.org"]
    assert body["exclude_domains"] == ["bad.example.org"]
    assert body["max_results"] == 3
    assert headers["authorization"] == "Bearer tvly-secret"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (500, WebProblem.UNREACHABLE),
        (503, WebProblem.UNREACHABLE),
        (401, WebProblem.REFUSED),
        (403, WebProblem.REFUSED),
        (432, WebProblem.REFUSED),
        (400, WebProblem.REFUSED),
        (429, WebProblem.BUSY),
    ],
)
@pytest.mark.parametrize("body", [{"detail": {"error": "no"}}, {"detail": "no"}, b"<html>", []])
async def test_each_refusal_has_its_reason(server, status, why, body):
    server.status, server.body = status, body
    assert await problem(server) is why


@pytest.mark.parametrize("status", [204, 302, 304])
async def test_what_is_no_answer_is_a_problem(server, status):
    server.status, server.body = status, b""
    server.headers = {"location": "http://169.254.169.254/"}
    assert await problem(server) in {WebProblem.MALFORMED, WebProblem.UNREACHABLE}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[1]",
        b"null",
        b'{"results": 3}',
        b'{"results": [',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_a_malformed_answer_is_a_problem(server, body):
    server.body = body
    assert await problem(server) is WebProblem.MALFORMED


async def test_a_slow_server_is_left(server):
    server.delay = 30
    assert await problem(server, seconds=0.2) is WebProblem.SLOW


async def test_a_giant_answer_is_not_read(server):
    server.endless = True
    assert await problem(server) is WebProblem.TOO_LARGE


async def test_a_packed_answer_is_not_unpacked(server):
    server.headers = {"content-encoding": "gzip"}
    server.body = b"\x1f\x8b bomb"
    assert await problem(server) is WebProblem.TOO_LARGE


async def test_nobody_listens():
    assert await problem(Server(address="http://127.0.0.1:9")) is WebProblem.UNREACHABLE


async def test_hostile_results_are_left_out(server):
    hostile = [
        "nonsense",
        None,
        {},
        result("javascript:alert(1)"),
        result("https://user@example.org/"),
        result("http://127.0.0.1/admin"),
        result("https://[::1]/"),
        result("file:///etc/passwd"),
        result("https://example.org/\n<script>"),
        result("https://example.org.evil.net/"),
        result("https://notexample.org/"),
        result("https://bad.example.org/x"),
        result("https://example.org/none", content=None),
        result("https://example.org/empty", content=" \u200b "),
        result("https://example.org:99999999/"),
        result(17),
    ]
    hidden = "Seen\U000e0041\u200b<script>x</script>\x00\x1b[31m" + "y" * 10_000
    good = result("https://www.example.org/b", content=hidden, title=["no"])
    server.body = {"results": [*hostile, good, good]}
    policy = DomainPolicy(allowed=("example.org",), denied=("bad.example.org",))
    async with searching(server, policy=policy) as search:
        (page,) = (await search.search("q", 20)).pages
    assert page.url == page.title == "https://www.example.org/b"
    assert page.text.startswith("Seen<script>x</script>[31my")
    assert len(page.text) == 4_000


@dataclass
class Left:
    searches: int

    async def take(self) -> bool:
        self.searches -= 1
        return self.searches >= 0


async def test_what_was_found_is_kept_and_the_quota_holds(server):
    cache = MemoryCache()
    async with searching(server, price_micros=7) as search:
        cached = CachedSearch(search, cache, Left(2))
        first = await cached.search("What is  ARP?", 5)
        again = await cached.search("What is ARP?", 5)
        assert (first.cost_micros, again.cost_micros) == (7, 0)
        assert first.pages == again.pages
        await cached.search("What is DNS?", 5)
        with pytest.raises(WebUnavailable) as failed:
            await cached.search("What is BGP?", 5)
    assert failed.value.problem is WebProblem.QUOTA
    assert len(server.asked) == 2


async def test_a_poisoned_cache_is_not_trusted(server):
    class Poisoned(MemoryCache):
        value = b""

        async def get(self, namespace: str, key: str) -> bytes | None:  # noqa: ARG002
            return self.value

    cache = Poisoned()
    for value in (
        b"rubbish",
        b"[]",
        b'[{"url":"https://evil.net","title":"","text":"t","fetched_at":""}]',
    ):
        cache.value = value
        async with searching(server, policy=DomainPolicy(denied=("evil.net",))) as search:
            found = await CachedSearch(search, cache, Left(1)).search("q", 5)
        assert found.pages[0].url == "https://example.org/a"
