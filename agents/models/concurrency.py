"""How many calls a server gets at once: additive increase, multiplicative decrease.

Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
Computer Networks" (1989). The signs of congestion are a 429, a 503, and a first token that takes
several times as long as it used to. Until the first of them the limit grows by one with each answer
(slow start; Jacobson, "Congestion Avoidance and Control", 1988).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from autogen_core import CancellationToken

FIRST: Final = 32.0
_DECREASE: Final = 0.7
_SLOW: Final = 4.0
_MEMORY: Final = 0.05
_NEVER: Final = float("-inf")
_PAUSE_SECONDS: Final = 1.0
"""Calls that fail together are one sign."""


class AdaptiveLimit:
    """Slots of one server, first come first served, between 1 and `most`."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = float(most)
        self._limit = min(FIRST, self._most)
        self._clock = clock
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual: float | None = None
        self._decreased = _NEVER

    @property
    def limit(self) -> int:
        """Calls that may run at once now."""
        return max(1, int(self._limit))

    async def enter(self, token: CancellationToken | None = None) -> None:
        """Takes a place among the calls that run; waits for one. `leave` gives it back."""
        if self._used < self.limit and not self._waiting:
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if token is not None:
            token.link_future(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it had just been given a place
            raise

    def leave(self) -> None:
        """Gives a place back."""
        self._used -= 1
        self._wake()

    def answered(self, first_seconds: float) -> None:
        """A call's first token came after so long."""
        usual = self._usual
        self._usual = first_seconds if usual is None else usual + _MEMORY * (first_seconds - usual)
        if usual is not None and first_seconds > _SLOW * usual and first_seconds > 1:
            self.congested()
        elif self._used >= self.limit - 1:  # room that nobody uses says nothing
            untroubled = self._decreased == _NEVER
            self._limit = min(self._most, self._limit + (1 if untroubled else 1 / self._limit))
            self._wake()

    def congested(self) -> None:
        """The server said, or shows, that it has too much to do."""
        now = self._clock()
        if now - self._decreased >= _PAUSE_SECONDS:
            self._decreased = now
            self._limit = max(1.0, min(self._limit, float(self._used or 1)) * _DECREASE)

    def _wake(self) -> None:
        while self._waiting and self._used < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._used += 1
                turn.set_result(None)
