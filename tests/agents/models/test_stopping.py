"""A stream that has arrived is read, and one that is left is closed, without harm to others."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from autogen_core import CancellationToken

from agents.models.stopping import AT_ONCE, pumped


async def test_a_stream_that_has_arrived_lets_others_have_their_turns():
    turns = 0
    done = asyncio.Event()

    async def arrived() -> AsyncGenerator[int, None]:
        for number in range(200):
            yield number

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    assert [item async for item in pumped(arrived(), None)] == list(range(200))
    done.set()
    await beside
    assert turns >= 200


async def test_a_failure_comes_after_what_came_before_it():
    async def breaks() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("broken")

    items = pumped(breaks(), None)
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(items)


async def test_a_token_that_was_cancelled_before_begins_nothing():
    begun = False

    async def begins() -> AsyncGenerator[int, None]:
        nonlocal begun
        begun = True
        yield 1

    token = CancellationToken()
    token.cancel()
    with pytest.raises(asyncio.CancelledError):
        await anext(pumped(begins(), token))
    assert not begun


async def test_of_many_streams_that_have_arrived_a_few_read_on_in_each_turn():
    read = 0
    most = 0

    async def arrived() -> AsyncGenerator[int, None]:
        nonlocal read
        for number in range(20):
            read += 1
            yield number

    async def drained() -> list[int]:
        return [item async for item in pumped(arrived(), None)]

    reading = asyncio.gather(*(drained() for _ in range(100)))
    while read < 100:  # noqa: ASYNC110 - turns of the loop are what is counted
        await asyncio.sleep(0)
    while not reading.done():
        before = read
        await asyncio.sleep(0)
        most = max(most, read - before)
    assert await reading == [list(range(20))] * 100
    assert 0 < most <= AT_ONCE
