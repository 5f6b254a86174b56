"""Signing in and out: by an OpenID provider or a password; sessions that go on and end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from persistence import audit, sign_in, users
from persistence.audit import Plain
from persistence.bus import Bus
from persistence.database import Connection, Database, Duplicate
from persistence.followers import RIGHTS_TOPIC
from persistence.sign_in import Refreshed, Unusable
from persistence.tables.audit import AuditEventRow, Outcome
from persistence.tables.identity import OrganizationRow, UserRow
from persistence.tables.sign_in import ExternalIdentityRow, PasswordRow, SessionRow
from resolvers.refusals import Refusal, RefusalCode

MOST_FAILURES = 10
LOCK = timedelta(minutes=15)
LONGEST_ADDRESS = 254
SIGN_IN_AGAIN = "This session is over. Sign in again."


class PasswordHasher(Protocol):
    """Slow hashes, away from the event loop."""

    async def hash(self, password: str) -> str:
        """The hash to store."""

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password; as long for no hash as for a wrong one."""


@dataclass(frozen=True)
class SignInResources:
    """What signing in needs. `refresh_life` is from one refresh to the next."""

    database: Database
    bus: Bus
    hasher: PasswordHasher
    now: Callable[[], datetime]
    session_life: timedelta
    refresh_life: timedelta


@dataclass(frozen=True)
class ProviderClaims:
    """What a provider says of somebody, its signature verified.

    `email` is None unless the provider vouches for it and is trusted to.
    """

    organization: str
    provider: str
    issuer: str
    subject: str
    email: str | None


@dataclass(frozen=True)
class SignedIn:
    """An open session and the token that continues it."""

    user_id: UUID
    organization_id: UUID
    session_id: UUID
    refresh_token: str


async def sign_in_by_provider(
    resources: SignInResources, claims: ProviderClaims, correlation_id: str
) -> SignedIn:
    """Opens a session for whom the provider names. Raises `Refusal`.

    A person is found by issuer and subject. At their first sign-in, and only then, they are found
    by an e-mail address the provider vouches for, and linked.
    """
    way = f"oidc:{claims.provider}"
    async with resources.database.transaction() as connection:
        organization = await _organization(connection, claims.organization)
        user = await _known(connection, organization, claims)
        if user is not None:
            return await _opened(resources, connection, user, way, correlation_id)
        told = {"issuer": claims.issuer, "subject": claims.subject}
        told |= {"email": claims.email} if claims.email else {}
        event = _event(resources, organization.id, None, RefusalCode.FORBIDDEN, correlation_id)
        await audit.append(connection, event, {"way": way}, told)
    raise Refusal(
        RefusalCode.FORBIDDEN,
        f"{organization.name} does not know this account, or has shut it out. Ask an admin to add "
        "you under the e-mail address you sign in with.",
    )


async def _organization(connection: Connection, slug: str) -> OrganizationRow:
    found = await users.organization_by_slug(connection, slug)
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"There is no organization {slug!r} here.")
    return found


async def _known(
    connection: Connection, organization: OrganizationRow, claims: ProviderClaims
) -> UserRow | None:
    identity = await sign_in.find_identity(
        connection, organization.id, claims.issuer, claims.subject
    )
    if identity is not None:
        return await sign_in.user_who_may_sign_in(connection, organization.id, identity.user_id)
    if claims.email is None:
        return None
    by_email = await users.users_by_email(connection, organization.id, [claims.email.lower()])
    if not by_email or by_email[0].suspended:
        return None
    link = ExternalIdentityRow(
        organization_id=organization.id,
        user_id=by_email[0].id,
        issuer=claims.issuer,
        subject=claims.subject,
    )
    try:
        async with connection.begin_nested():
            await sign_in.link_identity(connection, link)
    except Duplicate:  # the person is linked to another subject of this issuer
        return None
    return by_email[0]


async def sign_in_by_password(
    resources: SignInResources, organization: str, email: str, password: str, correlation_id: str
) -> SignedIn:
    """Opens a session for an admin with a password. Raises `Refusal`: one answer for all reasons.

    Ten wrong passwords in a row lock the account for 15 minutes.
    """
    async with resources.database.read() as connection:
        known = await users.organization_by_slug(connection, organization)
        row = (
            None
            if known is None
            else await sign_in.find_password(connection, known.id, email.strip().lower())
        )
    locked = row is not None and (row.locked_until or resources.now()) > resources.now()
    right = await resources.hasher.verify(password, None if row is None else row.hash)
    if row is None or locked or not right:
        if known is not None:
            await _note_wrong(resources, known.id, row, email, correlation_id, locked=locked)
        raise Refusal(
            RefusalCode.UNAUTHENTICATED,
            "Organization, e-mail address or password is wrong, or the account is locked for 15 "
            "minutes after too many attempts.",
        )
    async with resources.database.transaction() as connection:
        user = await sign_in.user_who_may_sign_in(connection, row.organization_id, row.user_id)
        if user is None:
            raise Refusal(RefusalCode.UNAUTHENTICATED, SIGN_IN_AGAIN)
        await sign_in.note_success(connection, row.user_id)
        return await _opened(resources, connection, user, "password", correlation_id)


async def _note_wrong(
    resources: SignInResources,
    organization_id: UUID,
    row: PasswordRow | None,
    email: str,
    correlation_id: str,
    *,
    locked: bool,
) -> None:
    user_id = None if row is None else row.user_id
    event = _event(resources, organization_id, user_id, RefusalCode.UNAUTHENTICATED, correlation_id)
    async with resources.database.transaction() as connection:
        if user_id is not None and not locked:
            await sign_in.note_failure(connection, user_id, MOST_FAILURES, LOCK)
        told = {"email": email[:LONGEST_ADDRESS]} if user_id is None else {}
        await audit.append(connection, event, {"way": "password", "locked": locked}, told)


async def _opened(
    resources: SignInResources,
    connection: Connection,
    user: UserRow,
    way: str,
    correlation_id: str,
) -> SignedIn:
    session = SessionRow(
        organization_id=user.organization_id,
        user_id=user.id,
        way=way,
        expires_at=resources.now() + resources.session_life,
    )
    token = await sign_in.open_session(connection, session, resources.refresh_life)
    event = _event(resources, user.organization_id, user.id, None, correlation_id)
    await audit.append(connection, event, {"way": way, "session": str(session.id)}, {})
    return SignedIn(user.id, user.organization_id, session.id, token)


async def refresh_session(
    resources: SignInResources, refresh_token: str, correlation_id: str
) -> SignedIn:
    """A new refresh token for one that was not used. Raises `Refusal`.

    A second use ends the session for whoever holds its tokens, at once.
    """
    refused = Refusal(RefusalCode.UNAUTHENTICATED, SIGN_IN_AGAIN)
    async with resources.database.transaction() as connection:
        found = await sign_in.refresh(connection, refresh_token, resources.refresh_life)
        if found is Unusable.REUSED:
            await _note_reuse(resources, connection, refresh_token, correlation_id)
        elif isinstance(found, Refreshed):
            session = found.session
            user = await sign_in.user_who_may_sign_in(
                connection, session.organization_id, session.user_id
            )
            if user is not None:
                return SignedIn(user.id, user.organization_id, session.id, found.refresh_token)
    if found is Unusable.REUSED:
        await resources.bus.publish(RIGHTS_TOPIC, {})
    raise refused


async def _note_reuse(
    resources: SignInResources, connection: Connection, refresh_token: str, correlation_id: str
) -> None:
    session = await sign_in.session_of(connection, refresh_token)
    if session is not None:
        values: Mapping[str, Plain] = {"session": str(session.id)}
        event = _event(
            resources,
            session.organization_id,
            session.user_id,
            RefusalCode.UNAUTHENTICATED,
            correlation_id,
            action="reuseRefreshToken",
        )
        await audit.append(connection, event, values, {})


async def sign_out(resources: SignInResources, refresh_token: str, correlation_id: str) -> None:
    """Ends the session of a refresh token; a token nobody knows is no error."""
    async with resources.database.transaction() as connection:
        session = await sign_in.session_of(connection, refresh_token)
        if session is None or not await sign_in.end_session(connection, session.id, "signed out"):
            return
        event = _event(
            resources,
            session.organization_id,
            session.user_id,
            None,
            correlation_id,
            action="signOut",
        )
        await audit.append(connection, event, {"session": str(session.id)}, {})
    await resources.bus.publish(RIGHTS_TOPIC, {})


def _event(
    resources: SignInResources,
    organization_id: UUID,
    user_id: UUID | None,
    code: RefusalCode | None,
    correlation_id: str,
    *,
    action: str = "signIn",
) -> AuditEventRow:
    return AuditEventRow(
        organization_id=organization_id,
        actor_id=user_id,
        action=action,
        outcome=Outcome.DONE if code is None else Outcome.REFUSED,
        refusal_code=code,
        correlation_id=correlation_id,
        at=resources.now(),
    )
