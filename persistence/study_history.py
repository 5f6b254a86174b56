"""What was said before a question, read from the rows of its branch."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update

from persistence.database import Connection, fetch
from persistence.tables.study import MessageRow, messages


async def branch_above(connection: Connection, leaf_id: UUID) -> Sequence[MessageRow]:
    """The messages down to `leaf_id`, oldest first; from the last reply with a summary on."""
    columns = (messages.c.id, messages.c.parent_id, messages.c.summary)
    found = select(*columns).where(messages.c.id == leaf_id).cte("above", recursive=True)
    above = select(*columns).join(found, messages.c.id == found.c.parent_id)
    found = found.union_all(above.where(found.c.summary.is_(None)))
    return await fetch(
        connection,
        select(messages).where(messages.c.id.in_(select(found.c.id))).order_by(messages.c.ordinal),
        MessageRow,
    )


async def keep_summary(connection: Connection, reply_id: UUID, summary: str) -> None:
    """Keeps what the branch down to and with this reply came to."""
    await connection.execute(
        update(messages).where(messages.c.id == reply_id).values(summary=summary)
    )
