"""The graphql-transport-ws protocol as one table, without I/O.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. A machine takes what the client
sends and what happens on the server, and answers with the step to take or the close code.
4403 is used for whatever new credentials can cure: the clients retry it and take 4401 as final.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

SUBPROTOCOL = "graphql-transport-ws"
REASON_BYTES = 123  # RFC 6455, 5.5: a control frame carries 125, two of them are the code


class State(StrEnum):
    """Where a connection stands."""

    CONNECTED = "connected"
    AUTHENTICATING = "authenticating"
    READY = "ready"


class Event(StrEnum):
    """What moves a connection: messages of the client first, then what the server sees."""

    CONNECTION_INIT = "connection_init"
    SUBSCRIBE = "subscribe"
    COMPLETE = "complete"
    PING = "ping"
    PONG = "pong"
    AUTHENTICATED = "authenticated"
    INIT_TIMEOUT = "init_timeout"
    EXPIRED = "expired"
    FLOODED = "flooded"
    STALLED = "stalled"
    STOPPING = "stopping"


CLIENT_EVENTS = frozenset(list(Event)[:5])


class Step(StrEnum):
    """What the connection does next."""

    NOTHING = "nothing"
    AUTHENTICATE = "authenticate"
    ACKNOWLEDGE = "acknowledge"
    START = "start"
    REFUSE = "refuse"
    STOP = "stop"
    PONG = "pong"


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a connection; the reason is cut to what a close frame carries."""

    code: int
    reason: str

    def __post_init__(self) -> None:
        cut = self.reason.encode()[:REASON_BYTES].decode(errors="ignore")
        object.__setattr__(self, "reason", cut)


UNAUTHORIZED = Close(4401, "Unauthorized")
TOO_MANY_INITS = Close(4429, "Too many initialisation requests")
INIT_TIMEOUT = Close(4408, "Connection initialisation timeout")
EXPIRED = Close(4403, "Forbidden: the token has expired")
FLOODED = Close(4429, "Too many messages")
STALLED = Close(1013, "The client reads too slowly; try again later")
STOPPING = Close(1001, "The server is stopping")
SUBPROTOCOL_NOT_ACCEPTABLE = Close(4406, "Subprotocol not acceptable")

Outcome = Step | Close

_ANYWHERE: dict[Event, Outcome] = {
    Event.PING: Step.PONG,
    Event.PONG: Step.NOTHING,
    Event.EXPIRED: EXPIRED,
    Event.FLOODED: FLOODED,
    Event.STALLED: STALLED,
    Event.STOPPING: STOPPING,
}

TRANSITIONS: Mapping[tuple[State, Event], tuple[Outcome, State]] = {
    **{(state, event): (to, state) for state in State for event, to in _ANYWHERE.items()},
    (State.CONNECTED, Event.CONNECTION_INIT): (Step.AUTHENTICATE, State.AUTHENTICATING),
    (State.CONNECTED, Event.SUBSCRIBE): (UNAUTHORIZED, State.CONNECTED),
    (State.CONNECTED, Event.COMPLETE): (Step.NOTHING, State.CONNECTED),
    (State.CONNECTED, Event.INIT_TIMEOUT): (INIT_TIMEOUT, State.CONNECTED),
    (State.AUTHENTICATING, Event.CONNECTION_INIT): (TOO_MANY_INITS, State.AUTHENTICATING),
    (State.AUTHENTICATING, Event.SUBSCRIBE): (UNAUTHORIZED, State.AUTHENTICATING),
    (State.AUTHENTICATING, Event.COMPLETE): (Step.NOTHING, State.AUTHENTICATING),
    (State.AUTHENTICATING, Event.AUTHENTICATED): (Step.ACKNOWLEDGE, State.READY),
    (State.AUTHENTICATING, Event.INIT_TIMEOUT): (INIT_TIMEOUT, State.AUTHENTICATING),
    (State.READY, Event.CONNECTION_INIT): (TOO_MANY_INITS, State.READY),
    (State.READY, Event.SUBSCRIBE): (Step.START, State.READY),
    (State.READY, Event.COMPLETE): (Step.STOP, State.READY),
    (State.READY, Event.INIT_TIMEOUT): (Step.NOTHING, State.READY),
}


class Machine:
    """One connection's state and the ids of its running operations."""

    def __init__(self, operations: int) -> None:
        self.state = State.CONNECTED
        self.running: set[str] = set()
        self._most = operations

    def on(self, event: Event, operation_id: str = "") -> Outcome:
        """Move on an event.

        `START` enters the id, `STOP` removes it; an id that runs already closes with 4409, and
        one beyond the limit is answered with `REFUSE`. Raises KeyError for a server event that
        cannot happen in this state.
        """
        outcome, self.state = TRANSITIONS[self.state, event]
        if outcome is Step.START:
            if operation_id in self.running:
                return Close(4409, f"Subscriber for {operation_id} already exists")
            if len(self.running) >= self._most:
                return Step.REFUSE
            self.running.add(operation_id)
        elif outcome is Step.STOP:
            if operation_id not in self.running:
                return Step.NOTHING
            self.running.discard(operation_id)
        return outcome

    def finished(self, operation_id: str) -> None:
        """The operation came to its own end; its id may be used again."""
        self.running.discard(operation_id)


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A well-formed message. `operation_id` is empty where the type has none."""

    event: Event
    operation_id: str = ""
    payload: Mapping[str, object] | None = None


class Violation(Exception):
    """A frame the protocol does not know. Closes with 4400."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.close = Close(4400, reason)


def read_message(frame: str | None) -> ClientMessage:
    """Read a text frame, None for a binary one. Raises `Violation`."""
    if frame is None:
        raise Violation("Messages must be text frames")
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise Violation("Messages must be JSON") from None
    if not isinstance(message, dict):
        raise Violation("Messages must be JSON objects")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in CLIENT_EVENTS:
        raise Violation("Unknown message type")
    event = Event(kind)
    payload = message.get("payload")
    if event in {Event.SUBSCRIBE, Event.COMPLETE}:
        operation_id = message.get("id")
        if not isinstance(operation_id, str) or not operation_id:
            raise Violation(f"`{event}` needs an `id`, a string that is not empty")
        if event is Event.SUBSCRIBE:
            _check_request(payload)
        return ClientMessage(event, operation_id, payload)
    if payload is not None and not isinstance(payload, dict):
        raise Violation(f"The payload of `{event}` must be an object")
    return ClientMessage(event, payload=payload)


def _check_request(payload: object) -> None:
    if not isinstance(payload, dict):
        raise Violation("The payload of `subscribe` must be an object")
    if not isinstance(payload.get("query"), str):
        raise Violation("The payload of `subscribe` needs a `query` string")
    if not isinstance(payload.get("operationName"), str | None):
        raise Violation("`operationName` must be a string or null")
    for key in ("variables", "extensions"):
        if not isinstance(payload.get(key), dict | None):
            raise Violation(f"`{key}` must be an object or null")


def frame(kind: str, operation_id: str | None = None, payload: bytes | None = None) -> str:
    """A message of the server; `payload` is JSON already and is not encoded again."""
    parts = [b'{"type":"' + kind.encode() + b'"']
    if operation_id is not None:
        parts.append(b'"id":' + orjson.dumps(operation_id))
    if payload is not None:
        parts.append(b'"payload":' + payload)
    return (b",".join(parts) + b"}").decode()
