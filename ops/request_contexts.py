"""Who calls, and what each operation is given: the application's side of the GraphQL edge."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from agents.models.offering import Offering
from observability.logs import correlate, logger
from ops.edge.contexts import Credentials, OperationFacts, Principal
from ops.sign_in.provider_tokens import Subject
from ops.wiring import Resources
from persistence import api_tokens
from persistence.sign_in import find_identity
from persistence.users import Proof, find_viewer, organization_by_slug
from persistence.visibility import Viewer
from resolvers.context import RIGHTS_SECONDS, RequestContext, utc_now
from resolvers.refusals import Refusal, RefusalCode

API_TOKEN = "assay_"  # noqa: S105 - how they begin, not one of them


@dataclass
class Rights:
    """What a caller may do, as it was last read."""

    _viewer: Viewer | None = None
    _read_at: float = 0.0

    def note(self, viewer: Viewer | None, began: float) -> None:
        """They were read from `began` on; None when there are none. What was read later stays."""
        if began >= self._read_at:
            self._viewer, self._read_at = viewer, began

    @property
    def recent(self) -> Viewer | None:
        """The viewer, unless that was read longer than `RIGHTS_SECONDS` ago."""
        return self._viewer if time.monotonic() - self._read_at < RIGHTS_SECONDS else None


@dataclass(frozen=True)
class Caller:
    """Someone whose token was verified, or nobody."""

    proof: Proof | None
    rights: Rights = field(default_factory=Rights, compare=False)

    @property
    def key(self) -> str:
        """One a person."""
        return "" if self.proof is None else str(self.proof.user_id)

    @property
    def expires_at(self) -> datetime | None:
        """When the token ends by itself."""
        return None if self.proof is None else self.proof.expires_at

    @property
    def anonymous(self) -> bool:
        """Whether no token was shown."""
        return self.proof is None


NOBODY = Caller(None)


@dataclass(frozen=True)
class RequestContexts:
    """Implements `ops.edge.contexts.Contexts`."""

    resources: Resources
    now: Callable[[], datetime] = utc_now

    @cached_property
    def offering(self) -> Offering:
        """Of the settings, read once."""
        return self.resources.settings.offering()

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
        return await self._verified(token.strip())

    async def _verified(self, token: str) -> Caller:
        """Whose token it is: of a service, of a provider that is trusted, or ours."""
        if token.startswith(API_TOKEN):
            return await self._service(token)
        subject = await self.resources.provider_tokens.verify(token)
        if subject is not None:
            return await self._of_provider(subject)
        claims = self.resources.tokens.verify_token(token)
        return Caller(
            Proof(
                claims.user_id,
                claims.organization_id,
                claims.expires_at,
                claims.issued_at,
                claims.session_id,
                claims.real_user_id,
            )
        )

    async def _service(self, token: str) -> Caller:
        prefix, _, secret = token.removeprefix(API_TOKEN).partition("_")
        async with self.resources.database.transaction() as connection:
            found = await api_tokens.find_by_secret(connection, prefix, secret)
            if found is not None:
                await api_tokens.note_use(connection, found.id)
        if found is None:
            raise Refusal(RefusalCode.UNAUTHENTICATED, "There is no such API token.")
        return Caller(
            Proof(found.user_id, found.organization_id, found.expires_at, api_token_id=found.id)
        )

    async def _of_provider(self, subject: Subject) -> Caller:
        async with self.resources.database.read() as connection:
            known = await organization_by_slug(connection, subject.organization)
            identity = (
                None
                if known is None
                else await find_identity(connection, known.id, subject.issuer, subject.subject)
            )
        if identity is None:
            raise Refusal(
                RefusalCode.UNAUTHENTICATED,
                "This account has not signed in here. Sign in once at /auth/login.",
            )
        return Caller(
            Proof(
                identity.user_id,
                identity.organization_id,
                subject.expires_at,
                subject.issued_at,
            )
        )

    async def context(self, principal: Principal, operation: OperationFacts) -> RequestContext:
        """A fresh context with the rights the caller has now. Raises `Refusal`.

        The fields of a subscription's event are told under the rights its source has just read, or
        under those read `RIGHTS_SECONDS` ago at the most.
        """
        if not isinstance(principal, Caller):
            raise TypeError(principal)
        correlate(operation.correlation_id)
        if not operation.event:
            logger.info("operation", kind=operation.kind, operation=operation.name)
        recent = principal.rights.recent if operation.event else None
        return await self._made(principal, operation.correlation_id, recent)

    async def _made(
        self, caller: Caller, correlation_id: str, viewer: Viewer | None = None
    ) -> RequestContext:
        """A context under the rights of `viewer`, or else under those the caller has now."""
        if caller.proof is not None:
            if caller.proof.expires_at <= self.now():
                raise Refusal(RefusalCode.TOKEN_EXPIRED, "The access token has expired.")
            viewer = viewer or await self._viewer(caller.proof, caller.rights)
        return RequestContext(
            database=self.resources.database,
            bus=self.resources.bus,
            followers=self.resources.followers,
            embedders=self.resources.embedders,
            files=self.resources.files,
            signed_in=viewer,
            correlation_id=correlation_id,
            now=self.now,
            metrics=self.resources.metrics,
            issue_access=self.resources.issue_access,
            offering=self.offering,
            flows=self.resources.flows,
            renew=lambda: self._made(caller, correlation_id),
        )

    async def _viewer(self, proof: Proof, rights: Rights) -> Viewer:
        began = time.monotonic()
        async with self.resources.database.read() as connection:
            viewer = await find_viewer(connection, proof)
        rights.note(viewer, began)
        if viewer is None:
            raise Refusal(
                RefusalCode.UNAUTHENTICATED,
                "This token is no longer good: its session is over, or its owner has no access.",
            )
        return viewer
