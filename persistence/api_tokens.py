"""API tokens: what services sign in with."""

import hmac
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, or_, select, text, update

from persistence.database import Connection, change, fetch, fetch_one
from persistence.keyset import Page, page
from persistence.sign_in import digest
from persistence.tables.sign_in import ApiTokenRow, api_tokens
from persistence.visibility import Viewer, sees_api_tokens

_USE_NOTED_EVERY = text("interval '1 minute'")


async def tokens_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[ApiTokenRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(api_tokens).where(api_tokens.c.id.in_(ids), sees_api_tokens(api_tokens, viewer)),
        ApiTokenRow,
    )


async def page_of_tokens(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[ApiTokenRow]:
    """The tokens the viewer sees, newest first, ended ones too."""
    return await page(
        connection,
        select(api_tokens).where(sees_api_tokens(api_tokens, viewer)),
        shape=ApiTokenRow,
        key=[api_tokens.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def find_by_secret(connection: Connection, prefix: str, secret: str) -> ApiTokenRow | None:
    """The token of this prefix, if that is its secret; whether it ended or not."""
    found = await fetch_one(
        connection, select(api_tokens).where(api_tokens.c.prefix == prefix), ApiTokenRow
    )
    if found is None or not hmac.compare_digest(found.hash, digest(secret)):
        return None
    return found


async def token_in_force(connection: Connection, key: UUID) -> ApiTokenRow | None:
    """The token, unless it was revoked or has expired."""
    return await fetch_one(
        connection,
        select(api_tokens).where(
            api_tokens.c.id == key,
            api_tokens.c.revoked_at.is_(None),
            api_tokens.c.expires_at > func.now(),
        ),
        ApiTokenRow,
    )


async def note_use(connection: Connection, key: UUID) -> None:
    """Keeps when the token was last used, to the minute."""
    last = api_tokens.c.last_used_at
    await connection.execute(
        update(api_tokens)
        .where(api_tokens.c.id == key, or_(last.is_(None), last < func.now() - _USE_NOTED_EVERY))
        .values(last_used_at=func.now())
    )


async def revoke(connection: Connection, key: UUID) -> None:
    """Ends a token. Raises `Conflict` when that was done already."""
    await change(
        connection,
        update(api_tokens)
        .where(api_tokens.c.id == key, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=func.now()),
    )
