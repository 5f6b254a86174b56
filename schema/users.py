"""People, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.roles import Role
from resolvers import study, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection

if TYPE_CHECKING:
    from schema.study import StudySession

StudySessionRef = Annotated["StudySession", strawberry.lazy("schema.study")]

described_enum(
    Role,
    "A role a person can hold.",
    ADMIN="Runs the organization: people, roles, courses.",
    AUDITOR="Reads grades and the audit log of the organization.",
    INSTRUCTOR="Runs a course: material, rubrics, grading, release.",
    MODERATOR="Decides double marking and regrades of work allocated to them.",
    GRADER="Assesses work allocated to them.",
    BLIND_GRADER="Assesses redacted work allocated to them.",
    DESIGNER="Writes a course's rubrics, assignments and material.",
    STUDENT="Studies, submits, reads their own released grades.",
    OBSERVER="Reads the released grades of the student their grant names.",
)


@strawberry.type(description="A tenant: a school or university.")
class Organization(Node):
    name: str = described("Its name.")
    slug: str = described("Its short name, unique on this server.")


@strawberry.type(description="A person of the organization.")
class User(Node):
    name: str = described("The name they go by.")
    email: str = described("Their e-mail address.")


@strawberry.type(description="The person whose token the request carries.")
class Viewer:
    name: str = described("The name they go by.")
    email: str = described("Their e-mail address.")

    @batched("The person as others see them.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_user_of_viewer(parents, context)

    @batched("The organization the token is for.")
    async def organization(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Organization]:
        return await users.get_organization_of_viewer(parents, context)

    @batched("The viewer's study sessions, newest first.", first=FIRST, after=AFTER)
    async def study_sessions(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[StudySessionRef]]:
        page = connection(await study.list_sessions(context, first, after))
        return [page for _ in parents]


@strawberry.type(description="A role somebody holds.")
class RoleGrant(Node):
    role: Role = described("The role.")
    reason: str = described("Why it was given.")
    expires_at: datetime | None = described("When it ends by itself; null when it does not.")

    @batched("Who holds it.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [g.user_id for g in parents])


@strawberry.input(description="A person to be known to the organization.")
class NewUserInput:
    email: str = described("Their e-mail address, unique in the organization.")
    name: str = described("The name they go by.")


@strawberry.input(description="Up to 100 people to be known to the organization.")
class CreateUsersInput:
    users: list[NewUserInput] = described("The people; one who is known stays as they are.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createUsers did.")
class CreateUsersPayload:
    users: list[User] | None = described("The people, in the order given; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A role to be given.")
class GrantRoleInput:
    user_id: strawberry.ID = described("Who gets it.")
    role: Role = described("The role.")
    course_id: strawberry.ID | None = strawberry.field(
        default=None, description="The course; none for ADMIN and AUDITOR."
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


@strawberry.type
class UserMutations:
    create_users = mutation(
        users.create_users,
        permission=Permission.USER_CREATE,
        input_type=CreateUsersInput,
        payload=CreateUsersPayload,
        noun="users",
        load=users.load_users,
        many=True,
        text="Makes people known to the organization.",
    )
    grant_role = mutation(
        users.grant_role,
        permission=Permission.ROLE_GRANT,
        input_type=GrantRoleInput,
        payload=GrantRolePayload,
        noun="role_grant",
        load=users.load_grants,
        text="Gives a role. An instructor gives course staff roles in their own course.",
    )


LOADERS = {
    "Organization": users.load_organizations,
    "RoleGrant": users.load_grants,
    "User": users.load_users,
}
