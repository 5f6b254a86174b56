"""Courses laid open to admins and auditors for a while."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, select, update

from persistence.database import Connection, change, fetch, fetch_one
from persistence.identifiers import uuid7
from persistence.keyset import Page, page
from persistence.roles import Role
from persistence.tables.identity import BreakGlassRow, break_glasses
from persistence.visibility import Viewer, sees_break_glasses


def _in_force() -> ColumnElement[bool]:
    return and_(break_glasses.c.ended_at.is_(None), break_glasses.c.expires_at > func.now())


async def opened_courses(
    connection: Connection, user_id: UUID, roles: Collection[Role]
) -> frozenset[UUID]:
    """The courses this person has open now, under roles they still hold."""
    if not roles:
        return frozenset()
    found = await connection.scalars(
        select(break_glasses.c.course_id).where(
            break_glasses.c.user_id == user_id, break_glasses.c.role.in_(roles), _in_force()
        )
    )
    return frozenset(found)


async def glasses_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[BreakGlassRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(break_glasses).where(
            break_glasses.c.id.in_(ids), sees_break_glasses(break_glasses, viewer)
        ),
        BreakGlassRow,
    )


async def page_of_glasses(
    connection: Connection, viewer: Viewer, course_id: UUID | None, first: int, after: str | None
) -> Page[BreakGlassRow]:
    """Those the viewer sees, newest first, ended ones too; of one course when given."""
    statement = select(break_glasses).where(sees_break_glasses(break_glasses, viewer))
    if course_id is not None:
        statement = statement.where(break_glasses.c.course_id == course_id)
    return await page(
        connection,
        statement,
        shape=BreakGlassRow,
        key=[break_glasses.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def glass_in_force(
    connection: Connection, user_id: UUID, course_id: UUID
) -> BreakGlassRow | None:
    """What keeps a course open to this person now; of several, what lasts longest."""
    return await fetch_one(
        connection,
        select(break_glasses)
        .where(
            break_glasses.c.user_id == user_id,
            break_glasses.c.course_id == course_id,
            _in_force(),
        )
        .order_by(break_glasses.c.expires_at.desc())
        .limit(1),
        BreakGlassRow,
    )


async def open_course(connection: Connection, *, lasting: timedelta, **values: Any) -> UUID:
    """Opens the course from now on, by the database's clock; the id."""
    key = uuid7()
    await connection.execute(
        insert(break_glasses).values(id=key, expires_at=func.now() + lasting, **values)
    )
    return key


async def end_glass(connection: Connection, key: UUID, ended_by: UUID) -> None:
    """Closes the course again. Raises `Conflict` when it is closed already."""
    await change(
        connection,
        update(break_glasses)
        .where(break_glasses.c.id == key, _in_force())
        .values(ended_at=func.now(), ended_by=ended_by),
    )
