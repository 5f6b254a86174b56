"""Rubrics, their versions, criteria and levels."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Table, func, select, update

from persistence.database import Connection, Shape, change, fetch
from persistence.keyset import Page, pages_by_parent
from persistence.lifecycle.assignments import RubricVersionState
from persistence.tables.assignments import (
    CriterionRow,
    LevelRow,
    RubricRow,
    RubricVersionRow,
    criteria,
    levels,
    rubric_versions,
    rubrics,
)
from persistence.visibility import Viewer, sees_as_designer


async def rubrics_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[RubricRow]:
    """Those of `ids` the viewer designs with."""
    return await fetch(
        connection,
        select(rubrics).where(rubrics.c.id.in_(ids), sees_as_designer(rubrics, viewer)),
        RubricRow,
    )


async def pages_of_rubrics(
    connection: Connection,
    viewer: Viewer,
    course_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[RubricRow]]:
    """The rubrics of each course, oldest first."""
    return await pages_by_parent(
        connection,
        select(rubrics).where(sees_as_designer(rubrics, viewer)),
        shape=RubricRow,
        parent=rubrics.c.course_id,
        parents=course_ids,
        key=[rubrics.c.id],
        first=first,
        after=after,
    )


async def versions_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[RubricVersionRow]:
    """Versions of the organization."""
    return await fetch(
        connection,
        select(rubric_versions).where(
            rubric_versions.c.id.in_(ids), rubric_versions.c.organization_id == organization_id
        ),
        RubricVersionRow,
    )


async def versions_of(
    connection: Connection, rubric_ids: Sequence[UUID]
) -> Sequence[RubricVersionRow]:
    """All versions of these rubrics, newest first."""
    return await fetch(
        connection,
        select(rubric_versions)
        .where(rubric_versions.c.rubric_id.in_(rubric_ids))
        .order_by(rubric_versions.c.number.desc()),
        RubricVersionRow,
    )


async def criteria_of(
    connection: Connection, version_ids: Sequence[UUID]
) -> Sequence[CriterionRow]:
    """The criteria of these versions, in their order."""
    return await fetch(
        connection,
        select(criteria)
        .where(criteria.c.rubric_version_id.in_(version_ids))
        .order_by(criteria.c.position),
        CriterionRow,
    )


async def levels_of(connection: Connection, criterion_ids: Sequence[UUID]) -> Sequence[LevelRow]:
    """The levels of these criteria, lowest first."""
    return await fetch(
        connection,
        select(levels).where(levels.c.criterion_id.in_(criterion_ids)).order_by(levels.c.position),
        LevelRow,
    )


async def criteria_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[CriterionRow]:
    """Criteria of the organization."""
    return await _of_organization(connection, criteria, organization_id, ids, CriterionRow)


async def levels_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[LevelRow]:
    """Levels of the organization."""
    return await _of_organization(connection, levels, organization_id, ids, LevelRow)


async def _of_organization(
    connection: Connection,
    table: Table,
    organization_id: UUID,
    ids: Sequence[UUID],
    shape: type[Shape],
) -> Sequence[Shape]:
    return await fetch(
        connection,
        select(table).where(table.c.id.in_(ids), table.c.organization_id == organization_id),
        shape,
    )


async def lock_and_count_versions(connection: Connection, rubric_id: UUID) -> int:
    """How many versions there are, with the rubric locked against another's new one."""
    await connection.execute(
        select(rubrics.c.id).where(rubrics.c.id == rubric_id).with_for_update()
    )
    count = await connection.scalar(
        select(func.count()).where(rubric_versions.c.rubric_id == rubric_id)
    )
    return int(count or 0)


async def move_version(
    connection: Connection, key: UUID, source: RubricVersionState, target: RubricVersionState
) -> None:
    """Changes a version's state. Raises `Conflict`."""
    await change(
        connection,
        update(rubric_versions)
        .where(rubric_versions.c.id == key, rubric_versions.c.state == source)
        .values(state=target),
    )
