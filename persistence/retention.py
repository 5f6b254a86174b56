"""How long an organization keeps what may go, and the deletion of what is older."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from persistence import audit
from persistence.database import Connection, Database, fetch
from persistence.identifiers import uuid7_floor
from persistence.register import TABLES, Kept
from persistence.tables.audit import AuditEventRow, Outcome
from persistence.tables.identity import organizations
from persistence.tables.privacy import RetentionRow, retention

BATCH = 1_000
SWEPT = "sweepRetention"


async def retention_of(
    connection: Connection, organization_ids: Sequence[UUID]
) -> Mapping[UUID, RetentionRow]:
    """What each organization decided, or what holds until it does."""
    rows = await fetch(
        connection,
        select(retention).where(retention.c.organization_id.in_(organization_ids)),
        RetentionRow,
    )
    decided = {row.organization_id: row for row in rows}
    return {key: decided.get(key) or RetentionRow(organization_id=key) for key in organization_ids}


async def set_retention(
    connection: Connection, organization_id: UUID, days: Mapping[str, int | None]
) -> None:
    """Decides anew."""
    statement = insert(retention).values(organization_id=organization_id, **days)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["organization_id"], set_=dict(days))
    )


async def sweep(database: Database, now: datetime, batch: int = BATCH) -> None:
    """Deletes what is older than its organization keeps it, in batches, each an audit event."""
    async with database.read() as connection:
        ids = (await connection.scalars(select(organizations.c.id))).all()
        kept = await retention_of(connection, ids)
    for organization_id in ids:
        while True:
            async with database.transaction() as connection:
                counts = await _swept(connection, kept[organization_id], now, batch)
                if counts:
                    event = AuditEventRow(
                        organization_id=organization_id,
                        action=SWEPT,
                        outcome=Outcome.DONE,
                        at=now,
                    )
                    await audit.append(connection, event, counts, {})
            if batch not in counts.values():
                break


async def _swept(
    connection: Connection, kept: RetentionRow, now: datetime, batch: int
) -> dict[str, int]:
    """How many rows of each table went; at most `batch` keys of each."""
    counts = {}
    for table, store in TABLES.items():
        days = None if store.kept is None else getattr(kept, store.kept.days)
        if store.kept is None or days is None:
            continue
        before = now - timedelta(days=days)
        if ids := await _due(connection, table, store.kept, kept.organization_id, before, batch):
            for statement in store.kept.first:
                await connection.execute(text(statement), {"ids": ids})
            await connection.execute(
                text(f"DELETE FROM {table} WHERE {store.kept.key} = ANY(:ids)"),  # noqa: S608 - of the register
                {"ids": ids},
            )
            counts[table] = len(ids)
    return counts


async def _due(
    connection: Connection,
    table: str,
    kept: Kept,
    organization_id: UUID,
    before: datetime,
    batch: int,
) -> list[UUID | int]:
    """The keys of rows that may go, locked; those another worker is at are left to it."""
    values: dict[str, object] = {"organization": organization_id, "limit": batch}
    values |= {
        name: value
        for name, value in {"before": before, "floor": uuid7_floor(before)}.items()
        if f":{name}" in kept.due
    }
    rows = await connection.execute(
        text(
            f"SELECT t.{kept.key} FROM {table} t "  # noqa: S608 - of the register
            f"WHERE t.organization_id = :organization AND {kept.due} "
            "LIMIT :limit FOR UPDATE OF t SKIP LOCKED"
        ),
        values,
    )
    return list(rows.scalars())
