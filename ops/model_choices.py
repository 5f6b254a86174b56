"""Models and budgets of an organization or one of its courses, on the command line."""

from datetime import UTC, datetime
from uuid import UUID

from agents.models.names import OFFLINE, SeatName
from ops.bootstrap import command_event
from ops.settings import Settings
from persistence import audit, courses, users
from persistence.database import Connection, Database
from resolvers import model_choices
from resolvers.access import missing
from resolvers.budgets import Budget, budgets_of, set_limit
from resolvers.refusals import Refusal, RefusalCode


async def choose_models(
    database: Database, settings: Settings, slug: str, course: str | None, role: str, models: str
) -> None:
    """Keeps the models of a seat, as setModelChoice does. Raises `Refusal`."""
    if role not in set(SeatName):
        seats = ", ".join(SeatName)
        raise Refusal(RefusalCode.BAD_INPUT, f"{role!r} is not a seat; these are: {seats}.")
    wanted = [] if models.strip() == OFFLINE else models.split(">")
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        kept = await model_choices.choose(
            connection,
            settings.offering(),
            organization_id,
            course_id,
            SeatName(role),
            wanted,
            now,
        )
        event = command_event(
            organization_id, "setModelChoice", *_object(organization_id, course_id)
        )
        await audit.append(connection, event, {"seat": role, "models": kept}, {})


async def set_budget(database: Database, slug: str, course: str | None, micros: int) -> None:
    """Keeps what may be spent on models in a month, as setBudget does. Raises `Refusal`."""
    async with database.transaction() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        await set_limit(connection, organization_id, course_id, micros)
        event = command_event(organization_id, "setBudget", *_object(organization_id, course_id))
        await audit.append(connection, event, {"limitMicros": micros}, {})


async def budget_of(
    database: Database, settings: Settings, slug: str, course: str | None
) -> Budget:
    """What may be spent this month, and what is. Raises `Refusal`."""
    async with database.read() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        now = datetime.now(UTC)
        (budget,) = await budgets_of(
            connection, settings.offering(), organization_id, [course_id], now
        )
    return budget


async def _scope(connection: Connection, slug: str, code: str | None) -> tuple[UUID, UUID | None]:
    organization = await users.organization_by_slug(connection, slug)
    if organization is None:
        raise missing("organization")
    if code is None:
        return organization.id, None
    course = await courses.course_by_code(connection, organization.id, code)
    if course is None:
        raise missing("course")
    return organization.id, course.id


def _object(organization_id: UUID, course_id: UUID | None) -> tuple[str, list[UUID]]:
    """What the audit log says it was done to."""
    if course_id is None:
        return "Organization", [organization_id]
    return "Course", [course_id]
