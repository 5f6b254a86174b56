"""What the edge asks of the application: who calls, and in which context an operation runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from resolvers.refusals import Refusal, RefusalCode

OperationKind = Literal["query", "mutation", "subscription"]

Report = Callable[[BaseException, str], None]
"""Takes an unforeseen exception and the id the client was given for it."""

Understood = Callable[[BaseException], Refusal | None]
"""Names the refusal behind an exception of a library, None when it stays masked."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller showed of themselves.

    `connection_params` is the payload of `connection_init`, an empty mapping when that had
    none; it is None on HTTP. `headers` has lower-case names. `client_ip` is the peer as the
    server saw it, None on a unix socket.
    """

    authorization: str | None
    headers: Mapping[str, str]
    connection_params: Mapping[str, object] | None
    client_ip: str | None


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """What is known of an operation before it runs.

    `cost` is in points of `EdgeLimits.cost`. `event` is true for the context of one event of a
    subscription, false for the context that opens it (and for queries and mutations): charge a
    rate limit only when it is false. `extensions` is the request's own `extensions` object.
    """

    name: str | None
    kind: OperationKind
    correlation_id: str
    cost: int
    event: bool = False
    extensions: Mapping[str, object] = field(default_factory=dict)


class Principal(Protocol):
    """Who was authenticated."""

    @property
    def key(self) -> str:
        """The same for all sessions of one user; counts connections."""

    @property
    def anonymous(self) -> bool:
        """True when no credentials were shown; a WebSocket is closed with 4403 then."""

    @property
    def expires_at(self) -> datetime | None:
        """When the credentials end (aware, UTC); sockets and streams end with them."""


class Contexts(Protocol):
    """Authentication and the making of contexts."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Tell who calls. Raises `Refusal` (UNAUTHENTICATED, TOKEN_EXPIRED, UNAVAILABLE)."""

    async def context(self, principal: Principal, operation: OperationFacts) -> object:
        """Make the context value of one operation, or of one event of a subscription.

        Raises `Refusal` when the principal may no longer act (this ends a subscription), and
        `Throttled` when a rate limit is used up.
        """


class Throttled(Refusal):
    """A rate limit is used up. Answered with 429, `Retry-After` and the limit's facts.

    `limit` names the limit, `value` is what it allows, `retry_after` is in seconds; `headers`
    are further response headers, such as `RateLimit-*`.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        value: int,
        retry_after: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(RefusalCode.LIMIT_EXCEEDED, message)
        self.limit = limit
        self.value = value
        self.retry_after = retry_after
        self.headers = dict(headers or {})
