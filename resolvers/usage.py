"""The use of models: the account book of the gateway, and what people read of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from agents.models.names import STUDY_ROLES, SeatName
from agents.models.ports import Attempt, BudgetExceeded, Purse
from agents.models.tokens import CountedUsage
from persistence import reservations
from persistence import usage as book
from persistence.database import Database
from persistence.keyset import Page
from persistence.reservations import OverBudget, Settled
from persistence.tables.courses import CourseRow
from persistence.tables.usage import ModelUsageRow
from persistence.usage import Dimension, UsageFilter, UsageTotal
from resolvers import checks, courses, grading, study, users
from resolvers.access import Permission
from resolvers.budgets import month_of
from resolvers.context import RequestContext, utc_now
from resolvers.global_ids import key_of
from resolvers.refusals import Refusal, RefusalCode

MOST_TOKENS: Final = 2**31 - 1
MOST_DAYS: Final = 400
"""Of totals, which are added up when they are asked for."""


def _purse(over: OverBudget) -> Purse:
    if over.of_owner:
        return Purse.DOCUMENT
    return Purse.ORGANIZATION if over.course_id is None else Purse.COURSE


@dataclass(frozen=True)
class DatabaseUsage:
    """A `UsageBook`. `monthly_micros` is the budget of an organization without one of its own."""

    database: Database
    currency: str = "USD"
    monthly_micros: int | None = None
    now: Callable[[], datetime] = utc_now

    async def reserve(self, attempt: Attempt, most_micros: int) -> UUID:
        """See `UsageBook.reserve`."""
        account = attempt.account
        row = ModelUsageRow(
            organization_id=account.organization_id,
            course_id=account.course_id,
            user_id=account.user_id,
            owner_id=account.owner_id,
            role=attempt.role,
            provider=attempt.provider,
            model=attempt.model,
            place=attempt.place,
            number=attempt.number,
            month=month_of(self.now()),
            reserved_micros=most_micros,
            currency=self.currency,
        )
        try:
            opened = (
                self.database.transaction
                if account.most_micros is not None
                else self.database.statement
            )
            async with opened() as connection:
                await reservations.reserve(
                    connection,
                    row,
                    monthly_micros=self.monthly_micros,
                    owner_micros=account.most_micros,
                )
        except OverBudget as over:
            raise BudgetExceeded(_purse(over), passing=over.passing) from None
        return row.id

    async def settle(
        self,
        reserved: UUID,
        *,
        outcome: str,
        usage: CountedUsage,
        cost_micros: int,
        milliseconds: int,
    ) -> None:
        """See `UsageBook.settle`."""
        settled = Settled(
            outcome,
            min(usage.prompt_tokens, MOST_TOKENS),
            min(usage.completion_tokens, MOST_TOKENS),
            min(usage.cached_tokens, MOST_TOKENS),
            usage.estimated,
            cost_micros,
            min(milliseconds, MOST_TOKENS),
        )
        async with self.database.statement() as connection:
            await reservations.settle(connection, reserved, settled)


class UsageScope(StrEnum):
    """Whose use."""

    ORGANIZATION = "ORGANIZATION"
    COURSE = "COURSE"
    OWN = "OWN"


@dataclass(frozen=True)
class Wanted:
    """Which use a query asks for; `until` is not included."""

    scope: UsageScope
    course_id: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    seats: Sequence[SeatName] | None = None
    provider: str | None = None
    model: str | None = None


async def list_usage(
    context: RequestContext, wanted: Wanted, first: int, after: str | None
) -> Page[ModelUsageRow]:
    """The requests of models, newest first.

    Who studies is theirs to tell: somebody who reads a course's use, and is neither admin nor
    auditor, gets none in the seats of a tutor's team but their own; of the others the totals alone.
    """
    filtered = _filter(context, wanted)
    if wanted.scope is not UsageScope.OWN and not _knows_people(context):
        own = context.viewer.user_id
        filtered = replace(filtered, private_seats=STUDY_ROLES, private_to=own)
    async with context.database.read() as connection:
        return await book.page_of_usages(connection, filtered, checks.page_size(first), after)


async def list_totals(
    context: RequestContext,
    wanted: Wanted,
    by: Sequence[Dimension],
    first: int,
    after: str | None,
) -> Page[UsageTotal]:
    """What the requests came to, of at most `MOST_DAYS`: this month's unless said otherwise."""
    now = context.now()
    until = wanted.until or now + timedelta(minutes=1)
    since = wanted.since or datetime.combine(month_of(until), time(), UTC)
    filtered = _filter(context, replace(wanted, since=since, until=until))
    if until - since > timedelta(days=MOST_DAYS):
        raise _bad("since", f"Totals are of {MOST_DAYS} days at the most: narrow since and until.")
    async with context.database.read() as connection:
        return await book.page_of_totals(connection, filtered, by, checks.page_size(first), after)


async def get_askers(parents: Sequence[ModelUsageRow], context: RequestContext) -> list[Any]:
    """Who asked, for themselves, admins and auditors; None otherwise, and for grading."""
    own, all_of_them = context.viewer.user_id, _knows_people(context)
    ids = [row.user_id if all_of_them or row.user_id == own else None for row in parents]
    return await users.get_users(context, ids)


async def get_messages(parents: Sequence[ModelUsageRow], context: RequestContext) -> list[Any]:
    """The replies that were asked for, as far as the viewer sees them."""
    return await study.load_messages(context, [row.owner_id for row in parents])


async def get_tasks(parents: Sequence[ModelUsageRow], context: RequestContext) -> list[Any]:
    """The grading tasks that were asked for, as far as the viewer sees them."""
    return await grading.load_tasks(context, [row.owner_id for row in parents])


def seat_of(row: ModelUsageRow | UsageTotal) -> SeatName | None:
    """The seat a model was asked in; None for one that this version does not know."""
    return SeatName(row.role) if row.role in set(SeatName) else None


async def get_courses_of_totals(
    parents: Sequence[UsageTotal], context: RequestContext
) -> list[CourseRow | None]:
    """The courses of sums by course, as far as the viewer sees them."""
    return await courses.get_seen_courses(
        context, [UUID(total.course) if total.course else None for total in parents]
    )


def _knows_people(context: RequestContext) -> bool:
    return context.viewer.is_admin or context.viewer.is_auditor


def _filter(context: RequestContext, wanted: Wanted) -> UsageFilter:
    viewer = context.viewer
    course = None if wanted.course_id is None else key_of(wanted.course_id, "Course", ("courseId",))
    user = None
    if wanted.scope is UsageScope.COURSE and course is None:
        raise _bad("courseId", "Pass the course whose use you ask for.")
    if wanted.scope is UsageScope.OWN:
        context.note_own(Permission.VIEWER_READ)
        user = viewer.user_id
    else:
        context.require(
            Permission.USAGE_READ, course if wanted.scope is UsageScope.COURSE else None
        )
    if wanted.user_id is not None:
        user = _person(context, wanted)
    return UsageFilter(
        viewer.organization_id,
        course_id=course,
        user_id=user,
        since=checks.moment(wanted.since, "since"),
        until=checks.moment(wanted.until, "until"),
        seats=wanted.seats,
        provider=wanted.provider,
        model=wanted.model,
    )


def _person(context: RequestContext, wanted: Wanted) -> UUID:
    person = key_of(wanted.user_id or "", "User", ("userId",))
    own = context.viewer.user_id
    if person != own and (wanted.scope is UsageScope.OWN or not _knows_people(context)):
        raise Refusal(
            RefusalCode.FORBIDDEN,
            "Only admins and auditors ask for another person's use.",
            ("userId",),
        )
    return person


def _bad(argument: str, message: str) -> Refusal:
    return Refusal(RefusalCode.BAD_INPUT, message, (argument,))
