"""Which models sit where: what the server offers, and what organizations and courses choose.

A choice holds for what is asked or graded from now on, in every process: workers read it with
each message and task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from agents.models.catalogue import Price
from agents.models.names import Chain, ModelName, SeatName, chain, model_name, written
from agents.models.offering import Hindrance, Offering
from persistence import courses, model_choices, providers
from persistence.database import Connection
from persistence.tables.courses import CourseRow
from persistence.tables.identity import OrganizationRow
from persistence.tables.usage import ModelChoiceRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import unless_refused
from resolvers.refusals import Refusal, RefusalCode

MOST_MODELS = 5
"""In a chain."""

_PATH = ("input", "courseId")
_CODES = {
    Hindrance.NOT_OFFERED: RefusalCode.UNKNOWN_MODEL,
    Hindrance.NOT_APPROVED: RefusalCode.PROVIDER_NOT_APPROVED,
    Hindrance.OTHER_REGION: RefusalCode.PROVIDER_NOT_APPROVED,
}


class ChosenBy(StrEnum):
    """Whose choice counts."""

    COURSE = "COURSE"
    ORGANIZATION = "ORGANIZATION"
    SERVER = "SERVER"


@dataclass(frozen=True)
class Hindered:
    """Why a model is not asked."""

    model: str
    code: Hindrance

    @property
    def message(self) -> str:
        """A sentence, with what to do."""
        return self.code.said_of(self.model)


@dataclass(frozen=True)
class Available:
    """A model the server offers, and what keeps the organization from using it."""

    name: str
    region: str | None
    retention: str | None
    prices: Sequence[Price]
    currency: str
    problem: Hindered | None

    @property
    def usable(self) -> bool:
        """Whether it is asked once it is chosen."""
        return self.problem is None


@dataclass(frozen=True)
class Choice:
    """The models of a seat, empty for the offline member, and whose choice they are."""

    seat: SeatName
    models: Sequence[str]
    chosen_by: ChosenBy
    chosen_at: datetime | None
    problems: Sequence[Hindered]


@dataclass(frozen=True)
class _Asked:
    """What judging a choice takes."""

    offering: Offering
    day: date
    regions: Mapping[str, str]

    def problem(self, name: ModelName) -> Hindered | None:
        code = self.offering.hindrance(name, self.day, self.regions)
        return None if code is None else Hindered(str(name), code)

    def choice(self, seat: SeatName, row: ModelChoiceRow | None) -> Choice:
        models: Chain = self.offering.seats.get(seat, ()) if row is None else chain(row.models)
        by = ChosenBy.SERVER
        if row is not None:
            by = ChosenBy.ORGANIZATION if row.course_id is None else ChosenBy.COURSE
        problems = [problem for name in models if (problem := self.problem(name))]
        chosen_at = None if row is None else row.updated_at
        return Choice(seat, [str(name) for name in models], by, chosen_at, problems)


async def list_available(context: RequestContext, course_id: str | None) -> list[Available]:
    """The models the server offers, for who chooses among them."""
    course = None if course_id is None else key_of(course_id, "Course", ("courseId",))
    viewer = context.require(Permission.MODEL_CHOOSE, course)
    offering = context.offering
    async with context.database.read() as connection:
        asked = await _asked(connection, offering, viewer.organization_id, context.now())
    return [
        Available(
            one.name,
            one.region,
            one.retention,
            one.prices,
            offering.catalogue.currency,
            asked.problem(model_name(one.name)),
        )
        for one in offering.catalogue.models
    ]


async def list_choices_of_courses(
    parents: Sequence[CourseRow], context: RequestContext
) -> list[list[Choice] | Refusal]:
    """Who sits where in each course; a refusal for who does not choose there."""
    keys = [course.id for course in parents]
    refusals = context.refusals(Permission.MODEL_CHOOSE, keys)
    return unless_refused(refusals, await _choices(context, keys))


async def list_choices_of_organizations(
    parents: Sequence[OrganizationRow], context: RequestContext
) -> list[list[Choice] | Refusal]:
    """Who sits where unless a course chooses otherwise; a refusal for who does not choose."""
    refused = context.refusal(Permission.MODEL_CHOOSE)
    (choices,) = await _choices(context, [None])
    return [refused or choices for _ in parents]


async def load_choices(context: RequestContext, ids: Sequence[UUID]) -> list[Choice]:
    """The choices of the organization or course whose id a mutation returned."""
    (key,) = ids
    course = None if key == context.viewer.organization_id else key
    (choices,) = await _choices(context, [course])
    return choices


async def set_model_choice(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str | None,
    seat: SeatName,
    models: Sequence[str],
) -> UUID:
    """Seats models, in the order they are tried; none for the offline member."""
    course = await scope_of(context, transaction, Permission.MODEL_CHOOSE, course_id)
    checks.at_most(models, "models", MOST_MODELS, least=0)
    organization_id = context.viewer.organization_id
    await choose(
        transaction.connection,
        context.offering,
        organization_id,
        course,
        seat,
        models,
        context.now(),
    )
    return course or organization_id


async def clear_model_choice(
    context: RequestContext, transaction: Transaction, *, course_id: str | None, seat: SeatName
) -> UUID:
    """Takes a choice back: the organization's, or the server's, counts again."""
    course = await scope_of(context, transaction, Permission.MODEL_CHOOSE, course_id)
    organization_id = context.viewer.organization_id
    if not await model_choices.clear(transaction.connection, organization_id, course, seat):
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "No models were chosen here for this seat.",
            ("input", "seat"),
        )
    return course or organization_id


async def scope_of(
    context: RequestContext,
    transaction: Transaction,
    permission: Permission,
    course_id: str | None,
) -> UUID | None:
    """The course that is meant, None for the organization. Raises `Refusal`."""
    course = None if course_id is None else key_of(course_id, "Course", _PATH)
    viewer = context.require(permission, course)
    context.object_type = "Organization" if course is None else "Course"
    if course is not None and not await courses.courses_by_id(
        transaction.connection, viewer, [course]
    ):
        raise missing("course", _PATH)
    return course


async def choose(
    connection: Connection,
    offering: Offering,
    organization_id: UUID,
    course_id: UUID | None,
    seat: SeatName,
    models: Sequence[str],
    now: datetime,
) -> str:
    """Keeps the models of a seat; as settings write them. Raises `Refusal` for one that could not
    be asked: not offered, without a price or a key, of a provider that is not approved."""
    asked = await _asked(connection, offering, organization_id, now)
    names: list[ModelName] = []
    for place, text in enumerate(models):
        path = ("input", "models", str(place))
        try:
            names.append(model_name(text))
        except ValueError as error:
            said = str(error)
            raise Refusal(RefusalCode.BAD_INPUT, f"{said[:1].upper()}{said[1:]}.", path) from None
        problem = asked.problem(names[-1])
        if problem is not None:
            code = _CODES.get(problem.code, RefusalCode.INVALID_STATE)
            raise Refusal(code, problem.message, path)
    kept = written(tuple(dict.fromkeys(names)))
    await model_choices.choose(connection, organization_id, course_id, seat, kept)
    return kept


async def _asked(
    connection: Connection, offering: Offering, organization_id: UUID, now: datetime
) -> _Asked:
    rows = await providers.approved(connection, organization_id)
    return _Asked(offering, now.date(), {row.provider: row.region for row in rows})


async def _choices(context: RequestContext, courses_: Sequence[UUID | None]) -> list[list[Choice]]:
    organization_id = context.viewer.organization_id
    async with context.database.read() as connection:
        asked = await _asked(connection, context.offering, organization_id, context.now())
        rows = await model_choices.choices_for(
            connection, organization_id, [key for key in courses_ if key is not None]
        )
    kept = {(row.course_id, row.role): row for row in rows}
    return [
        [asked.choice(seat, kept.get((key, seat)) or kept.get((None, seat))) for seat in SeatName]
        for key in courses_
    ]
