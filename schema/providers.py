"""What leaves for providers of models, and which of them are approved, as the API shows it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from resolvers import providers, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import IDEMPOTENCY_KEY, Node
from schema.users import User


@strawberry.type(description="What a feature sends out of this server.")
class DataFlow:
    feature: str = described("What it is needed for.")
    provider: str = described("Who gets it; `offline` for a model inside this server.")
    model: str = described("The model.")
    region: str | None = described("Where the provider works on it; null when nothing leaves.")
    fields: list[str] = described("What is sent; empty when nothing leaves.")
    retention: str | None = described("How long the provider keeps it; null when nothing leaves.")
    approved: bool = described(
        "Whether the organization lets it: `offline` always, another provider once an admin "
        "approved it for this region. What is not approved is not sent."
    )


@strawberry.type(description="A provider of models the organization lets its data go to.")
class ApprovedProvider(Node):
    provider: str = described("Its name, as in dataFlows.")
    region: str = described("Where it works on the data.")
    reason: str = described("Why it was approved.")
    created_at: datetime = described("When it was approved.")
    withdrawn_at: datetime | None = described("When that was withdrawn; null while it holds.")

    @batched("Who approved it.")
    async def approved_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [a.approved_by for a in parents])


@strawberry.input(description="A provider to be approved.")
class ApproveProviderInput:
    provider: str = described("Its name, as in dataFlows.")
    region: str = described("Where it works on the data, as in dataFlows.")
    reason: str = described("Why, for those who ask later.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What approveProvider did.")
class ApproveProviderPayload:
    approved_provider: ApprovedProvider | None = described("The approval; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An approval to be withdrawn.")
class WithdrawProviderInput:
    approved_provider_id: strawberry.ID = described("The approval.")
    reason: str = described("Why, for those who ask later.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What withdrawProvider did.")
class WithdrawProviderPayload:
    approved_provider: ApprovedProvider | None = described(
        "The approval, now withdrawn; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class ProviderQueries:
    @root_field("What leaves this server, for which provider.")
    async def data_flows(context: RequestContext) -> list[DataFlow]:
        return await providers.list_data_flows(context)

    @root_field("The providers the organization approves of, by name. For admins.")
    async def approved_providers(context: RequestContext) -> list[ApprovedProvider]:
        return await providers.list_approved(context)


@strawberry.type
class ProviderMutations:
    approve_provider = mutation(
        providers.approve_provider,
        permission=Permission.ORGANIZATION_WRITE,
        input_type=ApproveProviderInput,
        payload=ApproveProviderPayload,
        noun="approved_provider",
        load=providers.load_approvals,
        text="Lets the organization's data go to a provider of models in a region.",
    )
    withdraw_provider = mutation(
        providers.withdraw_provider,
        permission=Permission.ORGANIZATION_WRITE,
        input_type=WithdrawProviderInput,
        payload=WithdrawProviderPayload,
        noun="approved_provider",
        load=providers.load_approvals,
        text="Ends an approval: nothing more is sent to this provider.",
    )


LOADERS = {"ApprovedProvider": providers.load_approvals}
