"""What may be spent on language models, as the API shows it."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import strawberry

from resolvers import budgets, courses
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.courses import Course
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY
from schema.scalars import BigInt


@strawberry.type(
    description="What an organization, or one of its courses, may spend on language models in a "
    "month. A request is refused when it could exceed either budget. Money is in millionths of "
    "the currency."
)
class ModelBudget:
    month: date = described("The first day of the month, in UTC.")
    renews_at: datetime = described("When the next month begins, with nothing spent.")
    limit_micros: BigInt | None = described("What may be spent; null where there is no limit.")
    is_default: bool = described("Whether nobody set it: it is the server's, or none.")
    spent_micros: BigInt = described("What requests that have ended cost.")
    reserved_micros: BigInt = described("What is set aside for requests under way, at the most.")
    left_micros: BigInt | None = described(
        "What is neither spent nor set aside, 0 at least; null where there is no limit."
    )
    exhausted: bool = described("Whether all of it is spent.")
    currency: str = described("The currency, as an ISO 4217 code.")

    @batched("The course; null for the organization's own.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [b.course_id for b in parents])


@strawberry.input(description="What may be spent in a month.")
class SetBudgetInput:
    course_id: strawberry.ID | None = strawberry.field(
        default=None, description="The course it is for; leave out for the organization."
    )
    limit_micros: BigInt | None = strawberry.field(
        default=None,
        description="In millionths of the currency, 0 for nothing at all; null for no budget of "
        "its own: an organization has the server's then, a course its organization's alone.",
    )
    currency: str = described("The currency, which must be the one money is counted in here.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What setBudget did.")
class SetBudgetPayload:
    model_budget: ModelBudget | None = described("The budget; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class BudgetMutations:
    set_budget = mutation(
        budgets.set_budget,
        permission=Permission.BUDGET_WRITE,
        input_type=SetBudgetInput,
        payload=SetBudgetPayload,
        noun="model_budget",
        load=budgets.load_budgets,
        text="Decides what an organization or a course may spend on language models in a month, "
        "from the next request on.",
    )
