"""A circuit breaker for each server: one that failed often in a row is left alone for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agents.models.failures import FailureKind

FAILURES: Final = 5
OPEN_SECONDS: Final = 20.0
_FAULTS: Final = frozenset({FailureKind.UNAVAILABLE, FailureKind.TIMEOUT, FailureKind.BROKEN})


@dataclass
class Circuit:
    """Closed at first. After five faults in a row it is open for 20 s, then lets one call through
    to see; that call closes it, or opens it again."""

    clock: Callable[[], float]
    _faults: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now; asking changes nothing."""
        return self._faults >= FAILURES and self._open_until > self.clock()

    def seconds_closed_to_calls(self) -> float:
        """0 when a call may be made now, else how long to wait."""
        if self._faults < FAILURES:
            return 0.0
        left = self._open_until - self.clock()
        if left > 0:
            return left
        if self._probing:
            return OPEN_SECONDS
        self._probing = True
        return 0.0

    def ended(self, failure: FailureKind | None) -> None:
        """A call ended; a failure that is no fault of the server says that it answers."""
        self._probing = False
        if failure not in _FAULTS:
            self._faults = 0
            return
        self._faults += 1
        if self._faults >= FAILURES:
            self._open_until = self.clock() + OPEN_SECONDS

    def abandoned(self) -> None:
        """A call was cancelled, which says nothing of the server."""
        self._probing = False
