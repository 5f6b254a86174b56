"""Rate limits: one bucket for all processes over Redis, one for each process without it."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.limits import MemoryLimits, open_limits
from tests.redis_server import RedisServer, redis_folder


@given(st.integers(1, 6_000), st.lists(st.floats(0, 5), max_size=80))
def test_no_minute_has_more_than_its_calls_and_the_burst(per_minute, pauses):
    now = [0.0]
    limits = MemoryLimits(lambda: now[0])
    taken: list[float] = []
    for pause in pauses:
        now[0] += pause
        if asyncio.run(limits.take("k", per_minute)) == 0:
            taken.append(now[0])
    for start in taken:
        within = sum(start <= moment < start + 60 for moment in taken)
        assert within <= per_minute + max(1, per_minute / 10) + 1


async def test_what_is_asked_to_wait_may_come_then(monkeypatch):
    now = [0.0]
    limits = MemoryLimits(lambda: now[0])
    assert await limits.take("k", 1) == 0
    wait = await limits.take("k", 1)
    assert wait == pytest.approx(60)
    now[0] += wait
    assert await limits.take("k", 1) == 0


async def test_two_processes_share_a_bucket(redis_server: RedisServer):
    async with open_limits(redis_server.url) as one, open_limits(redis_server.url) as other:
        key = f"shared-{time.monotonic()}"
        taken = [await limits.take(key, 10) for limits in (one, other, one)]
        assert taken[0] == 0
        assert 0 < taken[1] <= 6
        assert 0 < taken[2] <= 6


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_redis_that_is_gone_is_no_hang_and_no_refusal(hangs):
    with redis_folder() as server:
        await server.start()
        async with open_limits(server.url) as limits:
            assert await limits.take("k", 600) == 0
            if hangs:
                server.freeze()
            else:
                await server.kill()
            began = time.monotonic()
            assert [await limits.take("k", 600) for _ in range(20)] == [0] * 20
            assert time.monotonic() - began < 3
        await server.kill()
