import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from agents.models.cached_embedding import CachedEmbedder
from persistence.cache import Cache, MemoryCache, open_cache
from tests.redis_server import RedisServer, redis_folder


class Reads(Counter[tuple[str, bool]]):
    """Counts the reads of each tier, by hit."""

    def __call__(self, tier: str, *, hit: bool) -> None:
        self[tier, hit] += 1


class Model:
    """Counts what it embeds; each text has a unit vector of its own."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Any:
        self.texts += texts
        rows = [np.random.default_rng(len(t)).normal(size=8) for t in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    with redis_folder() as made:
        yield made
        await made.kill()


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    async with open_cache(url, Reads()) as opened:
        yield opened


async def test_a_value_is_kept_for_its_time_in_its_namespace(cache: Cache) -> None:
    key = uuid4().hex
    await cache.set("a", key, b"value", 0.3)
    assert await cache.get("a", key) == b"value"
    assert await cache.get("b", key) is None
    await asyncio.sleep(0.4)
    assert await cache.get("a", key) is None


async def test_memory_is_bounded() -> None:
    cache = MemoryCache(10_000)
    await cache.set("a", "large", b"x" * 20_000, 60)
    assert await cache.get("a", "large") is None
    for n in range(100):
        await cache.set("a", str(n), b"x" * 300, 60)
    kept = [n for n in range(100) if await cache.get("a", str(n))]
    assert kept == list(range(80, 100))


async def test_another_process_finds_it_in_redis_and_keeps_a_copy(
    redis_server: RedisServer,
) -> None:
    reads, key = Reads(), uuid4().hex
    async with (
        open_cache(redis_server.url, Reads()) as first,
        open_cache(redis_server.url, reads) as second,
    ):
        await first.set("a", key, b"value", 60)
        assert await second.get("a", key) == b"value"
        assert reads == {("memory", False): 1, ("redis", True): 1}
        assert await second.get("a", key) == b"value"
        assert reads["memory", True] == 1


@pytest.mark.parametrize("state", ["down", "hanging"])
async def test_redis_away_costs_little_and_is_then_skipped(server: RedisServer, state: str) -> None:
    if state == "hanging":
        await server.start()
    async with open_cache(server.url, Reads()) as cache:
        await cache.get("a", "connected")
        if state == "hanging":
            server.freeze()
        began = time.monotonic()
        for n in range(200):
            await cache.set("a", str(n), b"value", 60)
            assert await cache.get("a", str(n)) == b"value"
            assert await cache.get("a", "other") is None
        assert time.monotonic() - began < 2.0  # 600 calls; waiting for each would take 30 s


async def test_redis_back_is_used_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.cache.SKIPPED_SECONDS", 0.2)
    async with (
        open_cache(server.url, Reads()) as first,
        open_cache(server.url, Reads()) as second,
    ):
        await first.set("a", "key", b"lost", 60)
        await server.start()
        async with asyncio.timeout(10):
            while await second.get("a", "key") is None:
                await first.set("a", "key", b"value", 60)
                await asyncio.sleep(0.05)


async def test_a_query_is_embedded_once(cache: Cache) -> None:
    model, mark = Model(), uuid4().hex
    embedder = CachedEmbedder(model, "model", 8, cache)
    first = await embedder.embed([f"{mark} cafe\u0301  au\nlait", "tea " + mark])
    again = await embedder.embed([f"tea {mark}", f"{mark} café au lait", f"tea {mark}"])
    assert np.array_equal(again, first[[1, 0, 1]])
    assert model.texts == [f"{mark} café au lait", f"tea {mark}"]
    await CachedEmbedder(model, "another", 8, cache).embed([f"tea {mark}"])
    assert len(model.texts) == 3


@pytest.mark.parametrize(
    "stored", [b"", b"\0" * 32, b"\xff" * 32, np.ones(7, "<f4").tobytes(), b"\0" * 31]
)
async def test_a_value_that_is_no_vector_is_computed_anew(stored: bytes) -> None:
    model, cache = Model(), MemoryCache()
    embedder = CachedEmbedder(model, "model", 8, cache)
    expected = await embedder.embed(["tea"])
    ((namespace, key),) = cache._entries  # noqa: SLF001 - only the keys, to put something else there
    await cache.set(namespace, key, stored, 60)
    assert np.array_equal(await embedder.embed(["tea"]), expected)
    assert model.texts == ["tea", "tea"]
