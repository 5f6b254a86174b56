"""Custom roles, as the API shows them."""

from datetime import datetime

import strawberry

from resolvers import custom_roles
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.fields import UserError, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection

PERMISSIONS = (
    "What it gives; what these need comes with them. Never power over roles, accounts, personal "
    "data or the organization."
)


@strawberry.type(description="A role an organization made of known permissions.")
class CustomRole(Node):
    name: str = described("Its name, unique in the organization.")
    description: str = described("What it is for.")
    permissions: list[Permission] = described("What it gives, with what that needs.")
    organization_wide: bool = described(
        "Whether it is given over the organization; else it is given in a course."
    )
    version: int = described("Pass it to updateCustomRole; each change adds one.")
    deleted_at: datetime | None = described(
        "When it was taken out of use; null while it can be given."
    )


@strawberry.input(description="A role to be made.")
class CreateCustomRoleInput:
    name: str = described("Its name, unique in the organization, up to 80 characters.")
    description: str = described("What it is for, up to 500 characters.")
    permissions: list[Permission] = described(PERMISSIONS)
    organization_wide: bool = strawberry.field(
        default=False,
        description="Given over the organization, of the permissions an admin holds there; left "
        "out, it is given in a course.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createCustomRole did.")
class CreateCustomRolePayload:
    custom_role: CustomRole | None = described("The role; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A role to be changed, for everybody who holds it.")
class UpdateCustomRoleInput:
    custom_role_id: strawberry.ID = described("The role.")
    name: str = described("Its name from now on.")
    description: str = described("What it is for.")
    permissions: list[Permission] = described(PERMISSIONS)
    version: int = described("The version that was read; another one is a CONFLICT.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What updateCustomRole did.")
class UpdateCustomRolePayload:
    custom_role: CustomRole | None = described("The role as it is now; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A role to be taken out of use.")
class DeleteCustomRoleInput:
    custom_role_id: strawberry.ID = described("The role, which nobody holds.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What deleteCustomRole did.")
class DeleteCustomRolePayload:
    custom_role: CustomRole | None = described("The role, out of use; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class CustomRoleQueries:
    @root_field(
        "The custom roles the viewer sees, by name: who gives roles all, others those they hold.",
        first=FIRST,
        after=AFTER,
    )
    async def custom_roles(
        context: RequestContext, first: int = 20, after: str | None = None
    ) -> Connection[CustomRole]:
        return connection(await custom_roles.list_roles(context, first, after))


@strawberry.type
class CustomRoleMutations:
    create_custom_role = mutation(
        custom_roles.create_custom_role,
        permission=Permission.ROLE_GRANT,
        input_type=CreateCustomRoleInput,
        payload=CreateCustomRolePayload,
        noun="custom_role",
        load=custom_roles.load_roles,
        text="Makes a role of known permissions. For admins.",
    )
    update_custom_role = mutation(
        custom_roles.update_custom_role,
        permission=Permission.ROLE_GRANT,
        input_type=UpdateCustomRoleInput,
        payload=UpdateCustomRolePayload,
        noun="custom_role",
        load=custom_roles.load_roles,
        text="Changes a role for everybody who holds it, at once, for open subscriptions too. "
        "Nobody adds permissions to a role they hold. For admins.",
    )
    delete_custom_role = mutation(
        custom_roles.delete_custom_role,
        permission=Permission.ROLE_GRANT,
        input_type=DeleteCustomRoleInput,
        payload=DeleteCustomRolePayload,
        noun="custom_role",
        load=custom_roles.load_roles,
        text="Takes a role out of use. Refused while somebody holds it. For admins.",
    )


LOADERS = {"CustomRole": custom_roles.load_roles}
