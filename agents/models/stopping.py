"""Calls that end when a CancellationToken is cancelled, with their connection closed."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from autogen_core import CancellationToken

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

_END: Final = object()
AT_ONCE: Final = 12
"""Streams that read on in one turn of the loop."""


class _Turns:
    """Lets a loop's streams read on in turn, first come first served.

    What has arrived is read without a pause: a hundred streams that have all arrived would hold the
    loop for seconds, and for a tenth of one if all of them read one item each time it turns.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Returns when it is the caller's turn, in a later turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._give)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _give(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._give)


_TURNS: "Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]]" = WeakKeyDictionary()


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
    turns = _TURNS.setdefault(asyncio.get_running_loop(), _Turns())

    async def pump() -> None:
        async with aclosing(items):
            async for item in items:
                queue.put_nowait(item)
                await turns.take()

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
