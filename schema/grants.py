"""Roles people hold, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.lifecycle.courses import GrantState
from persistence.roles import Role
from resolvers import courses, custom_roles, grants, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.break_glass import BreakGlass
from schema.courses import Course
from schema.custom_roles import CustomRole
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection
from schema.users import User

described_enum(
    GrantState,
    "Where a grant stands.",
    REQUESTED="Asked for, not given.",
    ACTIVE="Given.",
    EXPIRED="Ended by itself.",
    REVOKED="Taken away.",
)


@strawberry.type(description="A role somebody holds.")
class RoleGrant(Node):
    role: Role | None = described("The role; null for a custom one.")
    state: GrantState = described("Where it stands. An active one past its end gives nothing.")
    reason: str = described("Why it was given.")
    expires_at: datetime | None = described("When it ends by itself; null when it does not.")

    @batched("Who holds it.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [g.user_id for g in parents])

    @batched("The custom role; null for a built-in one.")
    async def custom_role(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[CustomRole | None]:
        return await custom_roles.get_roles_of_grants(parents, context)

    @batched("The course it is for; null when it is for the organization.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [g.course_id for g in parents])

    @batched("Whose released grades an OBSERVER reads; null for other roles.")
    async def observed_student(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[User | None]:
        return await users.get_users(context, [g.observed_student_id for g in parents])

    @batched("Who gave it; null when it was given on the server's command line.")
    async def granted_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await users.get_users(context, [g.granted_by for g in parents])


@strawberry.type(description="Whether somebody may do something, and why.")
class Access:
    allowed: bool = described("Whether they may.")
    rule: str = described("The rule that lets them, or what they lack.")
    role: Role | None = described(
        "The built-in role that lets them; null when they may not, or by a custom role."
    )
    role_grant: RoleGrant | None = described(
        "The grant that lets them; null for an enrolment, and for one the viewer does not see."
    )
    roles_that_allow: list[Role] = described("The built-in roles that give the permission.")
    break_glass: BreakGlass | None = described("The break-glass that lets them; null otherwise.")


@strawberry.input(description="A role to be given: a built-in one or a custom one.")
class GrantRoleInput:
    user_id: strawberry.ID = described("Who gets it.")
    role: Role | None = strawberry.field(
        default=None, description="The built-in role; left out for a custom one."
    )
    custom_role_id: strawberry.ID | None = strawberry.field(
        default=None, description="The custom role; left out for a built-in one."
    )
    course_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The course; none for ADMIN, AUDITOR and custom roles over the organization.",
    )
    observed_student_id: strawberry.ID | None = strawberry.field(
        default=None, description="Whose released grades an OBSERVER reads; for OBSERVER alone."
    )
    reason: str = strawberry.field(description="Why, for those who ask later.")
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends by itself."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What grantRole did.")
class GrantRolePayload:
    role_grant: RoleGrant | None = described("The grant; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A grant whose end is to be changed.")
class UpdateRoleInput:
    role_grant_id: strawberry.ID = described("The grant.")
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends by itself; left out, it does not."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What updateRole did.")
class UpdateRolePayload:
    role_grant: RoleGrant | None = described("The grant; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A role to be taken away.")
class RevokeRoleInput:
    role_grant_id: strawberry.ID = described("The grant.")
    reason: str = described("Why, for those who ask later.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What revokeRole did.")
class RevokeRolePayload:
    role_grant: RoleGrant | None = described("The grant, now REVOKED; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class GrantQueries:
    @root_field(
        "The roles in force the viewer sees, newest first: an admin all, an instructor those of "
        "their courses, everybody their own.",
        user_id="Of this person alone.",
        course_id="In this course alone.",
        first=FIRST,
        after=AFTER,
    )
    async def role_grants(
        context: RequestContext,
        user_id: strawberry.ID | None = None,
        course_id: strawberry.ID | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[RoleGrant]:
        return connection(await grants.list_grants(context, user_id, course_id, first, after))

    @root_field(
        "Whether the viewer may do this: to show or hide a button. The server asks again.",
        permission="What.",
        course_id="In which course; left out for the whole organization.",
    )
    async def viewer_can(
        context: RequestContext, permission: Permission, course_id: strawberry.ID | None = None
    ) -> bool:
        return await grants.viewer_can(context, permission, course_id)

    @root_field(
        "Whether a person may do this and why; for oneself and for those who manage roles there.",
        user_id="Who.",
        permission="What.",
        course_id="In which course; left out for the whole organization.",
    )
    async def explain_access(
        context: RequestContext,
        user_id: strawberry.ID,
        permission: Permission,
        course_id: strawberry.ID | None = None,
    ) -> Access:
        return await grants.explain_access(context, user_id, permission, course_id)


@strawberry.type
class GrantMutations:
    grant_role = mutation(
        grants.grant_role,
        permission=Permission.ROLE_GRANT,
        input_type=GrantRoleInput,
        payload=GrantRolePayload,
        noun="role_grant",
        load=grants.load_grants,
        text="Gives a role. An instructor gives course staff roles, and custom roles of what they "
        "may do themselves, in their own course.",
    )
    update_role = mutation(
        grants.update_role,
        permission=Permission.ROLE_GRANT,
        input_type=UpdateRoleInput,
        payload=UpdateRolePayload,
        noun="role_grant",
        load=grants.load_grants,
        text="Changes when a role ends by itself. Nobody prolongs their own.",
    )
    revoke_role = mutation(
        grants.revoke_role,
        permission=Permission.ROLE_GRANT,
        input_type=RevokeRoleInput,
        payload=RevokeRolePayload,
        noun="role_grant",
        load=grants.load_grants,
        text="Takes a role away at once, for open subscriptions too. The last admin stays.",
    )


LOADERS = {"RoleGrant": grants.load_grants}
