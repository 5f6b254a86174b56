"""API tokens, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry
from strawberry.types import Info

from resolvers import api_tokens, courses, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.courses import Course
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection
from schema.users import User


@strawberry.type(description="What a service signs in with: it acts as who made it, within scopes.")
class ApiToken(Node):
    name: str = described("What it is for.")
    prefix: str = described("The part of the token that is no secret: `assay_<prefix>_…`.")
    scopes: list[Permission] = described("What it may do, as far as its owner still may.")
    expires_at: datetime = described("When it ends by itself.")
    last_used_at: datetime | None = described("When it was last used, to the minute; null: never.")
    revoked_at: datetime | None = described("When it was revoked; null when it was not.")

    @strawberry.field(
        description="The token, to be sent as `Authorization: Bearer <token>`. Only in the answer "
        "of the createApiToken that made it; null everywhere else."
    )
    def secret(root: Any, info: Info) -> str | None:
        found: str | None = info.context.secrets.get(root.id)
        return found

    @batched("Who made it, and as whom it acts.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [t.user_id for t in parents])

    @batched("The course it is limited to; null when it is not limited to one.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [t.course_id for t in parents])


@strawberry.input(description="An API token to be made.")
class CreateApiTokenInput:
    name: str = described("What it is for.")
    scopes: list[Permission] = described(
        "What it may do; you hold each yourself. Reading needs none. No token grants roles, "
        "decides about people or grades, or releases."
    )
    course_id: strawberry.ID | None = strawberry.field(
        default=None, description="The course it is limited to; left out, all of yours."
    )
    expires_at: datetime = strawberry.field(description="When it ends by itself: 366 days at most.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createApiToken did.")
class CreateApiTokenPayload:
    api_token: ApiToken | None = described("The token, with its `secret`; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An API token to be ended.")
class RevokeApiTokenInput:
    api_token_id: strawberry.ID = described("The token.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What revokeApiToken did.")
class RevokeApiTokenPayload:
    api_token: ApiToken | None = described("The token, now revoked; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class ApiTokenQueries:
    @root_field(
        "The API tokens the viewer made, newest first; an admin sees all of the organization.",
        first=FIRST,
        after=AFTER,
    )
    async def api_tokens(
        context: RequestContext, first: int = 20, after: str | None = None
    ) -> Connection[ApiToken]:
        return connection(await api_tokens.list_tokens(context, first, after))


@strawberry.type
class ApiTokenMutations:
    create_api_token = mutation(
        api_tokens.create_api_token,
        permission=Permission.TOKEN_CREATE,
        input_type=CreateApiTokenInput,
        payload=CreateApiTokenPayload,
        noun="api_token",
        load=api_tokens.load_tokens,
        text="Makes a token for a service. Its secret is shown once, by this answer.",
    )
    revoke_api_token = mutation(
        api_tokens.revoke_api_token,
        permission=Permission.TOKEN_CREATE,
        input_type=RevokeApiTokenInput,
        payload=RevokeApiTokenPayload,
        noun="api_token",
        load=api_tokens.load_tokens,
        text="Ends a token at once, for open subscriptions too.",
    )


LOADERS = {"ApiToken": api_tokens.load_tokens}
