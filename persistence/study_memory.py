"""What people let the tutor remember of them. Read by nobody but the person and their tutor."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select, update

from persistence.database import Connection, change, fetch
from persistence.keyset import Page, page
from persistence.lifecycle.study import FACT, FactEvent, FactState
from persistence.tables.identity import users
from persistence.tables.study import MemoryFactRow, memory_facts
from persistence.visibility import Viewer, sees_memory_facts


async def facts_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[MemoryFactRow]:
    """Those of `ids` that are the viewer's own."""
    return await fetch(
        connection,
        select(memory_facts).where(
            memory_facts.c.id.in_(ids), sees_memory_facts(memory_facts, viewer)
        ),
        MemoryFactRow,
    )


async def page_of_facts(
    connection: Connection, viewer: Viewer, course_id: UUID | None, first: int, after: str | None
) -> Page[MemoryFactRow]:
    """The viewer's own facts, newest first; with a course those its tutor may be told."""
    statement = select(memory_facts).where(sees_memory_facts(memory_facts, viewer))
    if course_id is not None:
        statement = statement.where(_concerns(course_id))
    return await page(
        connection,
        statement,
        shape=MemoryFactRow,
        key=[memory_facts.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def facts_for_tutor(
    connection: Connection, user_id: UUID, course_id: UUID, limit: int
) -> Sequence[MemoryFactRow]:
    """What the tutor of a course is told of a person: what they accepted, newest first."""
    return await fetch(
        connection,
        select(memory_facts)
        .where(
            memory_facts.c.user_id == user_id,
            memory_facts.c.state == FactState.ACCEPTED,
            _concerns(course_id),
        )
        .order_by(memory_facts.c.id.desc())
        .limit(limit),
        MemoryFactRow,
    )


def _concerns(course_id: UUID) -> ColumnElement[bool]:
    return or_(memory_facts.c.course_id.is_(None), memory_facts.c.course_id == course_id)


async def known_texts(connection: Connection, user_id: UUID) -> list[str]:
    """The texts of a person's facts, locked against another transaction that adds some."""
    await connection.execute(
        select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    )
    found = await connection.execute(
        select(memory_facts.c.text).where(memory_facts.c.user_id == user_id)
    )
    return list(found.scalars())


async def rewrite(connection: Connection, fact: MemoryFactRow, text: str, version: int) -> None:
    """What the owner wrote is accepted. Raises `Conflict` for another version."""
    await change(
        connection,
        update(memory_facts)
        .where(memory_facts.c.id == fact.id, memory_facts.c.version == version)
        .values(text=text, state=FactState.ACCEPTED, version=memory_facts.c.version + 1),
    )


async def accept(connection: Connection, fact: MemoryFactRow) -> None:
    """Accepts a proposal. Raises `InvalidTransition` and `Conflict`."""
    state = FACT.advance(fact.state, FactEvent.ACCEPT)
    await change(
        connection,
        update(memory_facts)
        .where(memory_facts.c.id == fact.id, memory_facts.c.state == fact.state)
        .values(state=state, version=memory_facts.c.version + 1),
    )


async def forget(connection: Connection, fact_id: UUID) -> None:
    """Deletes a fact. Raises `Conflict` when it is gone already."""
    await change(connection, delete(memory_facts).where(memory_facts.c.id == fact_id))
