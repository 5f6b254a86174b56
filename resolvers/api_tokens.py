"""API tokens: what services sign in with. They act as who made them, within scopes."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from persistence import api_tokens, courses
from persistence.database import add
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.sign_in import digest
from persistence.tables.sign_in import ApiTokenRow
from resolvers import checks
from resolvers.access import NEVER_A_SCOPE, Permission, may, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

LONGEST_LIFE = timedelta(days=366)


async def load_tokens(context: RequestContext, ids: Sequence[UUID]) -> list[ApiTokenRow | None]:
    """Tokens by id: one's own; an admin all."""
    async with context.database.read() as connection:
        return in_order(ids, await api_tokens.tokens_by_id(connection, context.viewer, ids))


async def list_tokens(context: RequestContext, first: int, after: str | None) -> Page[ApiTokenRow]:
    """The tokens the viewer sees, newest first."""
    async with context.database.read() as connection:
        return await api_tokens.page_of_tokens(
            connection, context.viewer, checks.page_size(first), after
        )


async def create_api_token(
    context: RequestContext,
    transaction: Transaction,
    *,
    name: str,
    scopes: Sequence[Permission],
    course_id: str | None,
    expires_at: datetime,
) -> UUID:
    """Makes a token of permissions the viewer holds. This operation alone shows its secret."""
    course = None if course_id is None else key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.TOKEN_CREATE, course)
    wanted = _scopes(context, scopes, course)
    end = checks.moment(expires_at, "expiresAt")
    if end is None or not context.now() < end <= context.now() + LONGEST_LIFE:
        raise checks.bad("expiresAt", "expiresAt lies in the coming 366 days.")
    if course is not None and not await courses.courses_by_id(
        transaction.connection, viewer, [course]
    ):
        raise missing("course", ("input", "courseId"))
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = ApiTokenRow(
        organization_id=viewer.organization_id,
        user_id=viewer.user_id,
        name=checks.line(name, "name"),
        prefix=prefix,
        hash=digest(secret),
        scopes=wanted,
        course_id=course,
        expires_at=end,
    )
    await add(transaction.connection, row)
    context.secrets[row.id] = f"assay_{prefix}_{secret}"
    return row.id


def _scopes(
    context: RequestContext, scopes: Sequence[Permission], course: UUID | None
) -> list[str]:
    wanted = sorted({Permission(scope.value) for scope in scopes})
    checks.at_most(wanted, "scopes")
    for scope in wanted:
        if scope in NEVER_A_SCOPE:
            raise checks.bad("scopes", f"No API token has {scope.value}: a person does this.")
        if not may(context.viewer, scope, course):
            raise Refusal(
                RefusalCode.FORBIDDEN,
                f"You do not hold {scope.value} there yourself.",
                ("input", "scopes"),
            )
    return [scope.value for scope in wanted]


async def revoke_api_token(
    context: RequestContext, transaction: Transaction, *, api_token_id: str
) -> UUID:
    """Ends a token at once: one's own; an admin any."""
    path = ("input", "apiTokenId")
    key = key_of(api_token_id, "ApiToken", path)
    if not await api_tokens.tokens_by_id(transaction.connection, context.viewer, [key]):
        raise missing("API token", path)
    context.note_own(Permission.TOKEN_CREATE)
    await api_tokens.revoke(transaction.connection, key)
    transaction.hint(RIGHTS_TOPIC)
    return key
