"""Organizations and what they decide about data, as the API shows them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from resolvers import budgets, model_choices, retention, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.fields import UserError, batched, described, mutation
from schema.model_choices import ModelChoice
from schema.node import IDEMPOTENCY_KEY, Node

if TYPE_CHECKING:
    from schema.budgets import ModelBudget

ModelBudgetRef = Annotated["ModelBudget", strawberry.lazy("schema.budgets")]

SESSIONS = "Days that sessions stay after they ended or ran out."
KEYS = "Days that idempotency keys stay: sent again later, one does the work again."
STUDY = "Days that a conversation with the tutor stays after its last message; null for ever."
VALUES = "Days that the texts of the audit log stay; what was done stays for ever. Null for ever."
EVENTS = (
    "Days that the events of grading runs that ended and of other streams stay, but for the last "
    "of each; null for ever."
)


@strawberry.type(description="How long an organization keeps what may go.")
class Retention:
    session_days: int = described(SESSIONS)
    idempotency_days: int = described(KEYS)
    study_session_days: int | None = described(STUDY)
    audit_value_days: int | None = described(VALUES)
    stream_event_days: int | None = described(EVENTS)


@strawberry.type(description="A tenant: a school or university.")
class Organization(Node):
    name: str = described("Its name.")
    slug: str = described("Its short name, unique on this server.")

    @batched("How long it keeps what may go.")
    async def retention(parents: Sequence[Any], context: RequestContext) -> Sequence[Retention]:
        return await retention.get_retention(parents, context)

    @batched(
        "Which language models sit where unless a course chooses otherwise; null with an error for "
        "who does not choose them."
    )
    async def model_choices(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[ModelChoice] | None]:
        return await model_choices.list_choices_of_organizations(parents, context)

    @batched(
        "What may be spent on language models this month; null with an error for who does not "
        "read it."
    )
    async def model_budget(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[ModelBudgetRef | None]:
        return await budgets.list_budgets_of_organizations(parents, context)


@strawberry.input(description="How long to keep what may go, 1 to 36,500 days each.")
class UpdateRetentionInput:
    session_days: int = described(SESSIONS)
    idempotency_days: int = described(KEYS)
    study_session_days: int | None = strawberry.field(default=None, description=STUDY)
    audit_value_days: int | None = strawberry.field(default=None, description=VALUES)
    stream_event_days: int | None = strawberry.field(default=None, description=EVENTS)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What updateRetention did.")
class UpdateRetentionPayload:
    organization: Organization | None = described("The organization; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class OrganizationMutations:
    update_retention = mutation(
        retention.update_retention,
        permission=Permission.ORGANIZATION_WRITE,
        input_type=UpdateRetentionInput,
        payload=UpdateRetentionPayload,
        noun="organization",
        load=users.load_organizations,
        text="Decides how long the organization keeps what may go, all of it anew: what is left "
        "out is kept for ever. Older rows go within minutes, for good.",
    )


LOADERS = {"Organization": users.load_organizations}
