"""The use of language models, as the API shows it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import strawberry

from agents.models.names import SeatName
from persistence.usage import Dimension
from resolvers import courses, usage
from resolvers.context import RequestContext
from resolvers.usage import UsageScope, Wanted
from schema.courses import Course
from schema.enums import described_enum
from schema.fields import batched, described, root_field
from schema.grading import GradingTask
from schema.node import AFTER, FIRST, Connection, connection, part_id
from schema.scalars import BigInt
from schema.study import Message
from schema.users import User

described_enum(
    UsageScope,
    "Whose use of language models.",
    ORGANIZATION="The whole organization's; for admins and auditors.",
    COURSE="A course's; for its instructors, too.",
    OWN="The viewer's own.",
)
described_enum(
    Dimension,
    "What use is added up by.",
    name="UsageDimension",
    DAY="By day, in UTC.",
    MODEL="By provider and model.",
    PURPOSE="By the seat the model was asked in.",
    COURSE="By course.",
)

SCOPE = "Whose use."
COURSE = "This course's alone; needed with COURSE."
SEATS = "Only these seats; all when left out."
PROVIDER = "Only this provider, as `gemini`."
MODEL = "Only this model, without its provider."


@strawberry.input(description="Which requests of language models are meant; all that is given.")
class ModelUsageFilter:
    user_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only this person's; of others for admins and auditors."
    )
    since: datetime | None = strawberry.field(default=None, description="From this moment on.")
    until: datetime | None = strawberry.field(default=None, description="Before this moment.")
    seats: list[SeatName] | None = strawberry.field(default=None, description=SEATS)
    provider: str | None = strawberry.field(default=None, description=PROVIDER)
    model: str | None = strawberry.field(default=None, description=MODEL)


@strawberry.type(description="A request to a language model, also one that failed.")
class ModelUsage:
    id = part_id()
    created_at: datetime = described("When it was made.")
    provider: str = described("Who was asked.")
    model: str = described("The model.")
    place: int = described("The model's place among those of the seat; 0 is the first choice.")
    number: int = described("Which try it was, from 1.")
    outcome: str = described(
        "ANSWERED, CANCELLED, RUNNING, LOST with its process, or the kind of failure."
    )
    input_tokens: int = described("Tokens it read.")
    cached_tokens: int = described("Those of them that the provider had cached.")
    output_tokens: int = described("Tokens it wrote.")
    estimated: bool = described("Whether the tokens are an estimate: it was not heard out.")
    cost_micros: BigInt = described("What it cost, in millionths of the currency.")
    currency: str = described("The currency, as an ISO 4217 code.")
    milliseconds: int = described("How long it took.")

    @strawberry.field(description="The seat; null for one that this version does not know.")
    def seat(root: Any) -> SeatName | None:
        return usage.seat_of(root)

    @batched("The course; null where it is not yours to see.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [u.course_id for u in parents])

    @batched(
        "Who asked: for themselves, admins and auditors; null otherwise, for grading, and once "
        "erased."
    )
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await usage.get_askers(parents, context)

    @batched("The reply it was for; null for grading, and where it is not yours to read.")
    async def message(parents: Sequence[Any], context: RequestContext) -> Sequence[Message | None]:
        return await usage.get_messages(parents, context)

    @batched("The task it was for; null for study, and where it is not yours to read.")
    async def grading_task(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[GradingTask | None]:
        return await usage.get_tasks(parents, context)


@strawberry.type(
    description="What requests of language models came to. A dimension that was not asked for is "
    "null."
)
class ModelUsageTotal:
    requests: BigInt = described("How many there were.")
    failed: BigInt = described("How many of them gave no answer.")
    input_tokens: BigInt = described("Tokens that were read.")
    cached_tokens: BigInt = described("Those of them that providers had cached.")
    output_tokens: BigInt = described("Tokens that were written.")
    cost_micros: BigInt = described("What they cost, in millionths of the currency.")
    currency: str = described("The currency; each has sums of its own.")
    milliseconds: BigInt = described("How long they took in all.")

    @strawberry.field(description="The day, in UTC.")
    def day(root: Any) -> date | None:
        return date.fromisoformat(root.day) if root.day else None

    @strawberry.field(description="Who was asked.")
    def provider(root: Any) -> str | None:
        return root.provider or None

    @strawberry.field(description="The model.")
    def model(root: Any) -> str | None:
        return root.model or None

    @strawberry.field(description="The seat; null for one that this version does not know, too.")
    def seat(root: Any) -> SeatName | None:
        return usage.seat_of(root)

    @batched("The course; null for use without one, and where it is not yours to see, too.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await usage.get_courses_of_totals(parents, context)


@strawberry.type
class UsageQueries:
    @root_field(
        "Requests of language models, newest first. Instructors read those for grading in their "
        "course; who studies is told in totals alone.",
        scope=SCOPE,
        course_id=COURSE,
        filter="Which of them; all when left out.",
        first=FIRST,
        after=AFTER,
    )
    async def model_usage(
        context: RequestContext,
        scope: UsageScope,
        course_id: strawberry.ID | None = None,
        filter: ModelUsageFilter | None = None,  # noqa: A002 - the API's name
        first: int = 20,
        after: str | None = None,
    ) -> Connection[ModelUsage]:
        wanted = _wanted(scope, course_id, filter)
        return connection(await usage.list_usage(context, wanted, first, after))

    @root_field(
        "What requests of language models came to: this month, or 400 days at the most.",
        scope=SCOPE,
        course_id=COURSE,
        by="What they are added up by; one sum of all for an empty list.",
        filter="Which of them; this month's when no time is given.",
        first=FIRST,
        after=AFTER,
    )
    async def model_usage_totals(
        context: RequestContext,
        scope: UsageScope,
        by: list[Dimension],
        course_id: strawberry.ID | None = None,
        filter: ModelUsageFilter | None = None,  # noqa: A002 - the API's name
        first: int = 20,
        after: str | None = None,
    ) -> Connection[ModelUsageTotal]:
        wanted = _wanted(scope, course_id, filter)
        return connection(await usage.list_totals(context, wanted, by, first, after))


def _wanted(scope: UsageScope, course_id: str | None, given: ModelUsageFilter | None) -> Wanted:
    return Wanted(scope, course_id, **({} if given is None else asdict(given)))
