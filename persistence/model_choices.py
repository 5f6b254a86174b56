"""Which models an organization, or one of its courses, chose for a seat."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, fetch
from persistence.tables.usage import ModelChoiceRow, model_choices


async def choices_of(
    connection: Connection, organization_id: UUID, course_id: UUID
) -> Mapping[str, str]:
    """The models chosen for each seat: the course's choice, else its organization's."""
    rows = await choices_for(connection, organization_id, [course_id])
    return {row.role: row.models for row in rows}


async def choices_for(
    connection: Connection, organization_id: UUID, course_ids: Sequence[UUID]
) -> Sequence[ModelChoiceRow]:
    """The choices of the organization, then those of these courses."""
    return await fetch(
        connection,
        select(model_choices)
        .where(
            model_choices.c.organization_id == organization_id,
            or_(model_choices.c.course_id.in_(course_ids), model_choices.c.course_id.is_(None)),
        )
        .order_by(model_choices.c.course_id.nulls_first()),
        ModelChoiceRow,
    )


async def all_choices(connection: Connection, organization_id: UUID) -> Sequence[ModelChoiceRow]:
    """Every choice of an organization and its courses."""
    return await fetch(
        connection,
        select(model_choices)
        .where(model_choices.c.organization_id == organization_id)
        .order_by(model_choices.c.role, model_choices.c.id),
        ModelChoiceRow,
    )


async def choose(
    connection: Connection, organization_id: UUID, course_id: UUID | None, role: str, models: str
) -> None:
    """Keeps the models of a seat."""
    chosen = insert(model_choices).values(
        ModelChoiceRow(
            organization_id=organization_id, course_id=course_id, role=role, models=models
        ).model_dump(exclude={"created_at", "updated_at"})
    )
    await connection.execute(
        chosen.on_conflict_do_update(
            index_elements=["organization_id", "course_id", "role"], set_={"models": models}
        )
    )


async def clear(
    connection: Connection, organization_id: UUID, course_id: UUID | None, role: str
) -> bool:
    """Takes a choice back; False where there was none."""
    done = await connection.execute(
        delete(model_choices).where(
            model_choices.c.organization_id == organization_id,
            model_choices.c.course_id.is_not_distinct_from(course_id),
            model_choices.c.role == role,
        )
    )
    return bool(done.rowcount)
