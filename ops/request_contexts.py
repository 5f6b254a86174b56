"""Who calls, and what each operation is given: the application's side of the GraphQL edge."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from observability.logs import correlate, logger
from ops.edge.contexts import Credentials, OperationFacts, Principal
from ops.wiring import Resources
from persistence.users import find_viewer
from resolvers.context import RequestContext, utc_now
from resolvers.refusals import Refusal, RefusalCode


@dataclass(frozen=True)
class Caller:
    """Someone whose token was verified, or nobody."""

    user_id: UUID | None
    organization_id: UUID | None
    expires_at: datetime | None

    @property
    def key(self) -> str:
        """One a person."""
        return str(self.user_id or "")

    @property
    def anonymous(self) -> bool:
        """Whether no token was shown."""
        return self.user_id is None


NOBODY = Caller(None, None, None)


@dataclass(frozen=True)
class RequestContexts:
    """Implements `ops.edge.contexts.Contexts`."""

    resources: Resources
    now: Callable[[], datetime] = utc_now

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Verifies the bearer token of the header or of `connection_init`. Raises `Refusal`."""
        bearer = credentials.authorization
        if credentials.connection_params is not None:
            shown = next(
                (
                    v
                    for k, v in credentials.connection_params.items()
                    if k.lower() == "authorization"
                ),
                None,
            )
            bearer = shown if isinstance(shown, str) else bearer
        if bearer is None:
            return NOBODY
        scheme, _, token = bearer.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(
                RefusalCode.UNAUTHENTICATED, "Send the token as `Authorization: Bearer <token>`."
            )
        claims = self.resources.tokens.verify_token(token.strip())
        return Caller(claims.user_id, claims.organization_id, claims.expires_at)

    async def context(self, principal: Principal, operation: OperationFacts) -> RequestContext:
        """A fresh context with the rights the caller has now. Raises `Refusal`."""
        if not isinstance(principal, Caller):
            raise TypeError(principal)
        correlate(operation.correlation_id)
        if not operation.event:
            logger.info("operation", kind=operation.kind, operation=operation.name)
        viewer = None
        if principal.user_id is not None and principal.organization_id is not None:
            expires_at = principal.expires_at or datetime.max.replace(tzinfo=UTC)
            if expires_at <= self.now():
                raise Refusal(RefusalCode.TOKEN_EXPIRED, "The access token has expired.")
            async with self.resources.database.read() as connection:
                viewer = await find_viewer(
                    connection, principal.user_id, principal.organization_id, expires_at
                )
            if viewer is None:
                raise Refusal(
                    RefusalCode.UNAUTHENTICATED, "The person this token is for has no access."
                )
        return RequestContext(
            database=self.resources.database,
            bus=self.resources.bus,
            followers=self.resources.followers,
            embedder=self.resources.query_embedder,
            signed_in=viewer,
            correlation_id=operation.correlation_id,
            now=self.now,
            renew=lambda: self.context(principal, operation),
        )
