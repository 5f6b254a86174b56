"""Identities, sessions with their refresh tokens, and passwords."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, add, fetch_one
from persistence.tables.identity import UserRow, users
from persistence.tables.sign_in import (
    ExternalIdentityRow,
    PasswordRow,
    RefreshTokenRow,
    SessionRow,
    external_identities,
    passwords,
    refresh_tokens,
    sessions,
)


class Unusable(Enum):
    """Why a refresh token gives nothing."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    ENDED = "ended"
    REUSED = "reused"


@dataclass(frozen=True)
class Refreshed:
    """A session that goes on, with its new refresh token."""

    session: SessionRow
    refresh_token: str


async def find_identity(
    connection: Connection, organization_id: UUID, issuer: str, subject: str
) -> ExternalIdentityRow | None:
    """Who this subject of this issuer is."""
    return await fetch_one(
        connection,
        select(external_identities).where(
            external_identities.c.organization_id == organization_id,
            external_identities.c.issuer == issuer,
            external_identities.c.subject == subject,
        ),
        ExternalIdentityRow,
    )


async def link_identity(connection: Connection, row: ExternalIdentityRow) -> None:
    """Makes a person known under this subject. Raises `Duplicate`: they, or it, are linked."""
    await add(connection, row)


async def user_who_may_sign_in(
    connection: Connection, organization_id: UUID, user_id: UUID
) -> UserRow | None:
    """The person, unless they are suspended."""
    return await fetch_one(
        connection,
        select(users).where(
            users.c.id == user_id,
            users.c.organization_id == organization_id,
            users.c.suspended.is_(False),
        ),
        UserRow,
    )


async def open_session(connection: Connection, row: SessionRow, life: timedelta) -> str:
    """Begins a session; its first refresh token, which ends after `life`."""
    await add(connection, row)
    return await _new_token(connection, row.id, life)


async def _new_token(connection: Connection, session_id: UUID, life: timedelta) -> str:
    token = secrets.token_urlsafe(32)
    await connection.execute(
        insert(refresh_tokens).values(
            hash=digest(token), session_id=session_id, expires_at=func.now() + life
        )
    )
    return token


def digest(token: str) -> bytes:
    """SHA-256. A token of 256 random bits needs no slow hash."""
    return hashlib.sha256(token.encode()).digest()


async def refresh(connection: Connection, token: str, life: timedelta) -> Refreshed | Unusable:
    """Takes a refresh token for a new one. One that was used before ends its session.

    Of two who use the same token at once the second waits for the first and then ends it too:
    one of them is not whom the token was given to (RFC 9700 §4.14.2).
    """
    found = await fetch_one(
        connection,
        select(refresh_tokens).where(refresh_tokens.c.hash == digest(token)).with_for_update(),
        RefreshTokenRow,
    )
    if found is None:
        return Unusable.UNKNOWN
    session = await fetch_one(
        connection, select(sessions).where(sessions.c.id == found.session_id), SessionRow
    )
    now = (await connection.execute(select(func.now()))).scalar_one()
    if session is None or session.ended_at is not None:
        return Unusable.ENDED
    if found.used_at is not None:
        await end_session(connection, session.id, "a refresh token was used twice")
        return Unusable.REUSED
    if found.expires_at <= now or session.expires_at <= now:
        return Unusable.EXPIRED
    await connection.execute(
        update(refresh_tokens).where(refresh_tokens.c.hash == found.hash).values(used_at=func.now())
    )
    return Refreshed(session, await _new_token(connection, session.id, life))


async def session_of(connection: Connection, token: str) -> SessionRow | None:
    """The session a refresh token belongs to, whether it still gives something or not."""
    return await fetch_one(
        connection,
        select(sessions)
        .join(refresh_tokens, refresh_tokens.c.session_id == sessions.c.id)
        .where(refresh_tokens.c.hash == digest(token)),
        SessionRow,
    )


async def end_session(connection: Connection, session_id: UUID, reason: str) -> bool:
    """Ends a session and the access tokens issued in it; whether it was open."""
    ended = await connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
        .values(ended_at=func.now(), end_reason=reason)
    )
    return bool(ended.rowcount)


async def sign_out_everywhere(
    connection: Connection, user_ids: Sequence[UUID], moment: datetime, reason: str
) -> None:
    """Ends every session of these people, and every access token issued before `moment`."""
    await connection.execute(
        update(users).where(users.c.id.in_(user_ids)).values(signed_out_at=moment)
    )
    await connection.execute(
        update(sessions)
        .where(sessions.c.user_id.in_(user_ids), sessions.c.ended_at.is_(None))
        .values(ended_at=func.now(), end_reason=reason)
    )


async def set_password(
    connection: Connection, organization_id: UUID, user_id: UUID, hashed: str
) -> None:
    """Stores a password's hash, in place of the one before; unlocks it."""
    statement = insert(passwords).values(
        user_id=user_id, organization_id=organization_id, hash=hashed, failures=0
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"hash": hashed, "failures": 0, "locked_until": None},
        )
    )


async def find_password(
    connection: Connection, organization_id: UUID, email: str
) -> PasswordRow | None:
    """The password of a person who may sign in."""
    return await fetch_one(
        connection,
        select(passwords)
        .join(users, users.c.id == passwords.c.user_id)
        .where(
            passwords.c.organization_id == organization_id,
            users.c.email == email,
            users.c.suspended.is_(False),
        ),
        PasswordRow,
    )


async def note_failure(connection: Connection, user_id: UUID, most: int, lock: timedelta) -> None:
    """Counts a wrong password; every `most` in a row lock it for `lock`, counted anew."""
    failures = passwords.c.failures + 1
    await connection.execute(
        update(passwords).where(passwords.c.user_id == user_id).values(failures=failures)
    )
    await connection.execute(
        update(passwords)
        .where(passwords.c.user_id == user_id, passwords.c.failures >= most)
        .values(failures=0, locked_until=func.now() + lock)
    )


async def note_success(connection: Connection, user_id: UUID) -> None:
    """Forgets the failures."""
    await connection.execute(
        update(passwords).where(passwords.c.user_id == user_id).values(failures=0)
    )
