"""Calls that end when a CancellationToken is cancelled, with their connection closed."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast

from autogen_core import CancellationToken

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

_END: Final = object()


async def stoppable(work: Coroutine[Any, Any, ResultT], token: CancellationToken | None) -> ResultT:
    """The result of `work`; asyncio.CancelledError once the token is cancelled."""
    task = asyncio.ensure_future(work)
    if token is not None:
        token.link_future(task)
    return await task


async def pumped(
    items: AsyncGenerator[ItemT, None], token: CancellationToken | None
) -> AsyncGenerator[ItemT, None]:
    """The items of a stream that is read, and always closed, by one task of its own.

    So a token, a consumer that leaves and a task that is cancelled all close the connection. Raises
    asyncio.CancelledError once the token is cancelled.
    """
    queue: asyncio.Queue[object] = asyncio.Queue()

    async def pump() -> None:
        async with aclosing(items):
            async for item in items:
                queue.put_nowait(item)
                # What has arrived is read without a pause: a hundred streams that have all arrived
                # would hold the loop for seconds.
                await asyncio.sleep(0)

    task = asyncio.ensure_future(pump())
    task.add_done_callback(lambda _: queue.put_nowait(_END))
    if token is not None:
        token.link_future(task)
    try:
        while (item := await queue.get()) is not _END:
            yield cast(ItemT, item)
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # retrieved, also where the consumer left
