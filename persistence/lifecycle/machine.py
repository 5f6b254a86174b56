"""What a state machine is: one table, `(state, event) -> state`.

Each noun's machine stands in its own file beside this one. The GraphQL enums, the database's
check constraints and the diagram in the documentation are
made from these tables; a pair that is missing is an `InvalidTransition`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class InvalidTransition(Exception):
    """The machine has no transition for this event in this state."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: {event} is not possible in state {state}")
        self.machine, self.state, self.event = machine, state, event


@dataclass(frozen=True)
class Machine(Generic[State, Event]):
    """A state machine. `states` and `events` are its enums, `table` its only rule."""

    name: str
    states: type[State]
    events: type[Event]
    initial: State
    table: Mapping[tuple[State, Event], State]

    def advance(self, state: State | str, event: Event) -> State:
        """The next state. Raises `InvalidTransition`."""
        try:
            return self.table[self.states(state), event]
        except KeyError:
            raise InvalidTransition(self.name, str(state), event) from None

    def sources(self, event: Event) -> tuple[State, ...]:
        """The states in which `event` is possible, in declaration order."""
        return tuple(s for s in self.states if (s, event) in self.table)

    def terminal(self) -> frozenset[State]:
        """The states no event leaves."""
        return frozenset(self.states) - {source for source, _ in self.table}
