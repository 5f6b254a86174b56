"""Models and budgets of an organization or one of its courses, on the command line."""

from datetime import UTC, datetime
from uuid import UUID

from agents.models.names import DOCUMENT_ROLES, GRADING_ROLES, STUDY_ROLES, chain
from ops.bootstrap import command_event
from ops.settings import Settings
from persistence import audit, courses, usage, users
from persistence.database import Connection, Database
from resolvers.access import missing
from resolvers.refusals import Refusal, RefusalCode

ROLES = (*STUDY_ROLES, *GRADING_ROLES, *DOCUMENT_ROLES)


async def choose_models(
    database: Database, settings: Settings, slug: str, course: str | None, role: str, models: str
) -> None:
    """Keeps the models of a role. Raises `Refusal`."""
    if role not in ROLES:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"{role!r} is not a role; these are: {', '.join(ROLES)}."
        )
    try:
        chosen = chain(models)
    except ValueError as error:
        said = str(error)
        raise Refusal(RefusalCode.BAD_INPUT, f"{said[:1].upper()}{said[1:]}.") from None
    offered = {one.name for one in settings.models}
    if unknown := [str(one) for one in chosen if str(one) not in offered]:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"{unknown[0]} is not offered; add it to ASSAY_MODELS first."
        )
    written = " > ".join(map(str, chosen)) or "offline"
    async with database.transaction() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        await usage.choose(connection, organization_id, course_id, role, written)
        event = command_event(organization_id, "chooseModels", "Course", _ids(course_id))
        await audit.append(connection, event, {"role": role, "models": written}, {})


async def set_budget(database: Database, slug: str, course: str | None, micros: int) -> None:
    """Keeps what may be spent on models in a month. Raises `Refusal`."""
    async with database.transaction() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        await usage.set_budget(connection, organization_id, course_id, micros)
        event = command_event(organization_id, "setModelBudget", "Course", _ids(course_id))
        await audit.append(connection, event, {"micros": micros}, {})


async def spending(database: Database, slug: str, course: str | None) -> tuple[int, int]:
    """What is spent this month, and what is set aside for calls that run. Raises `Refusal`."""
    month = datetime.now(UTC).date().replace(day=1)
    async with database.read() as connection:
        organization_id, course_id = await _scope(connection, slug, course)
        return await usage.spent_micros(connection, organization_id, month, course_id)


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


def _ids(course_id: UUID | None) -> list[UUID]:
    return [] if course_id is None else [course_id]
