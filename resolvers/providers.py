"""Which providers of models an organization lets its data go to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from agents.models.flows import SEARCH, DataFlow, flow_of_search
from persistence import embeddings, model_choices, providers
from persistence.database import Database, Duplicate
from persistence.tables.privacy import ApprovedProviderRow
from resolvers import checks
from resolvers.access import Permission, may, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

_PATH = ("input", "approvedProviderId")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,59}(@https?://[\w.\-\[\]:/~]{1,200})?")


@dataclass(frozen=True)
class JudgedFlow:
    """What a feature sends out of this server, and whether the organization lets it."""

    flow: DataFlow
    approved: bool

    def __getattr__(self, name: str) -> object:
        return getattr(self.flow, name)


@dataclass(frozen=True)
class DatabaseApproval:
    """The `ProviderApproval` of the model gateway, asked before anything is sent."""

    database: Database

    async def provider_approved(
        self, organization_id: UUID, provider: str, region: str | None
    ) -> bool:
        """See `ProviderApproval.provider_approved`."""
        async with self.database.read() as connection:
            return await providers.provider_approved(connection, organization_id, provider, region)


async def list_data_flows(context: RequestContext) -> list[JudgedFlow]:
    """What leaves this server, for whom. For everybody who has signed in."""
    organization_id = context.viewer.organization_id
    async with context.database.read() as connection:
        rows = await providers.approved(connection, organization_id)
        chosen = await model_choices.all_choices(connection, organization_id)
        live = [index.model for index in await embeddings.live_indexes(connection)]
    models = live or [context.embedders.default]
    flows = [
        *(f for f in context.flows([(c.role, c.models) for c in chosen]) if f.feature != SEARCH),
        *(flow_of_search(context.embedders.provider(model), model) for model in models),
    ]
    regions = {row.provider: row.region for row in rows}
    return [
        JudgedFlow(
            flow,
            flow.provider == providers.OFFLINE
            or (flow.provider in regions and flow.region in {None, regions[flow.provider]}),
        )
        for flow in flows
    ]


async def list_approved(context: RequestContext) -> Sequence[ApprovedProviderRow]:
    """The providers the organization approves of; for its admins."""
    viewer = context.require(Permission.ORGANIZATION_WRITE)
    async with context.database.read() as connection:
        return await providers.approved(connection, viewer.organization_id)


async def load_approvals(
    context: RequestContext, ids: Sequence[UUID]
) -> list[ApprovedProviderRow | None]:
    """Approvals by id, withdrawn ones too; for admins."""
    viewer = context.viewer
    if not may(viewer, Permission.ORGANIZATION_WRITE):
        return [None for _ in ids]
    async with context.database.read() as connection:
        return in_order(
            ids, await providers.approvals_by_id(connection, viewer.organization_id, ids)
        )


async def approve_provider(
    context: RequestContext, transaction: Transaction, *, provider: str, region: str, reason: str
) -> UUID:
    """Lets data go to a provider in a region."""
    viewer = context.require(Permission.ORGANIZATION_WRITE)
    if provider == providers.OFFLINE:
        raise checks.bad("provider", "offline stays inside this server; nobody approves it.")
    if not _PROVIDER.fullmatch(provider):
        raise checks.bad(
            "provider", "provider is the name dataFlows shows, as gemini or openai@https://host/v1."
        )
    row = ApprovedProviderRow(
        organization_id=viewer.organization_id,
        provider=provider,
        region=checks.line(region, "region", most=60),
        approved_by=viewer.user_id,
        reason=checks.line(reason, "reason", most=500),
    )
    try:
        await providers.approve(transaction.connection, row)
    except Duplicate as e:
        raise checks.bad(
            "provider", f"{provider} is approved already; withdraw that for another region."
        ) from e
    return row.id


async def withdraw_provider(
    context: RequestContext, transaction: Transaction, *, approved_provider_id: str, reason: str
) -> UUID:
    """Ends an approval: from now on nothing more is sent there."""
    viewer = context.require(Permission.ORGANIZATION_WRITE)
    checks.line(reason, "reason", most=500)
    key = key_of(approved_provider_id, "ApprovedProvider", _PATH)
    connection = transaction.connection
    found = await providers.approvals_by_id(connection, viewer.organization_id, [key])
    if not found:
        raise missing("approval", _PATH)
    if found[0].withdrawn_at is not None:
        raise Refusal(RefusalCode.INVALID_STATE, "This approval was withdrawn already.", _PATH)
    await providers.withdraw(connection, key, context.now())
    return key
