"""Writing what the team does for an answer, step by step, once each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection
from persistence.identifiers import uuid7
from persistence.tables.study import agent_steps


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to be written; see `AgentStepRow`."""

    key: str
    kind: str
    detail: dict[str, Any]


async def add_steps(
    connection: Connection, organization_id: UUID, message_id: UUID, steps: Sequence[NewStep]
) -> list[UUID]:
    """The ids of those that were not there, or came out otherwise in an earlier try.

    The caller has locked the message, so that its steps get their places one by one.
    """
    following = (
        select(func.coalesce(func.max(agent_steps.c.ordinal) + 1, 0))
        .where(agent_steps.c.message_id == message_id)
        .scalar_subquery()
    )
    written: list[UUID] = []
    for step in steps:
        statement = insert(agent_steps).values(
            id=uuid7(),
            organization_id=organization_id,
            message_id=message_id,
            ordinal=following,
            key=step.key,
            kind=step.kind,
            detail=step.detail,
        )
        kept = await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["message_id", "key"],
                set_={"detail": statement.excluded.detail},
                where=agent_steps.c.detail.is_distinct_from(statement.excluded.detail),
            ).returning(agent_steps.c.id)
        )
        written.extend(kept.scalars())
    return written
