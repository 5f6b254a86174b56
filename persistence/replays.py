"""First results of mutations that came with an idempotency key."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection
from persistence.identifiers import uuid7
from persistence.tables.records import idempotency


class OtherInput(Exception):
    """The key was used before with other input."""


async def claim(
    connection: Connection,
    *,
    organization_id: UUID,
    user_id: UUID,
    mutation: str,
    key: str,
    input_hash: str,
) -> list[UUID] | None:
    """The ids of the first result, or None when this is the first. Raises `OtherInput`.

    A concurrent request with the same key waits here for the first one's transaction.
    """
    claimed = await connection.execute(
        insert(idempotency)
        .values(
            id=uuid7(),
            organization_id=organization_id,
            user_id=user_id,
            mutation=mutation,
            key=key,
            input_hash=input_hash,
        )
        .on_conflict_do_nothing(index_elements=["user_id", "mutation", "key"])
    )
    if claimed.rowcount:
        return None
    return await first_result(
        connection, user_id=user_id, mutation=mutation, key=key, input_hash=input_hash
    )


async def first_result(
    connection: Connection, *, user_id: UUID, mutation: str, key: str, input_hash: str
) -> list[UUID] | None:
    """The ids of the first result; None when there is none yet. Raises `OtherInput`."""
    first = (
        await connection.execute(
            select(idempotency.c.input_hash, idempotency.c.result).where(
                idempotency.c.user_id == user_id,
                idempotency.c.mutation == mutation,
                idempotency.c.key == key,
            )
        )
    ).one_or_none()
    if first is None:
        return None
    if first.input_hash != input_hash:
        raise OtherInput
    return [UUID(i) for i in first.result["ids"]]


async def keep(
    connection: Connection, user_id: UUID, mutation: str, key: str, ids: Sequence[UUID]
) -> None:
    """Keeps the result of the claimed key."""
    await connection.execute(
        update(idempotency)
        .where(
            idempotency.c.user_id == user_id,
            idempotency.c.mutation == mutation,
            idempotency.c.key == key,
        )
        .values(result={"ids": [str(i) for i in ids]})
    )
