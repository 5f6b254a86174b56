"""The chain over each organization's audit events: sealed soon after they commit, and verified.

`hash(n) = SHA-256(hash(n-1) ‖ event n as canonical JSON)`, `hash(0) = SHA-256("assay-audit:" ‖
organization id)`. The writers of events never meet at the head of the chain; one sealer numbers
what has committed. A chain whose end was cut off agrees with itself: compare it with a checkpoint
that was kept elsewhere.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from persistence.audit import commitment
from persistence.database import Connection, Database, fetch
from persistence.tables.audit import (
    AuditChainRow,
    AuditEventRow,
    PersonalValueRow,
    audit_chains,
    audit_events,
    personal_values,
)
from persistence.tables.identity import OrganizationRow, organizations

BATCH = 1_000
_LOCK = 0x617564  # "aud" in ASCII: one sealer at a time
_TAKE_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")
_SEAL = text("""
UPDATE audit_event e SET seq = s.seq, hash = s.hash
FROM unnest(cast(:ids AS uuid[]), cast(:seqs AS bigint[]), cast(:hashes AS bytea[]))
    AS s(id, seq, hash)
WHERE e.id = s.id
""")
_SEALED_FIELDS = [
    c.name for c in audit_events.columns if c.name not in {"seq", "hash", "at", "changes"}
]


@dataclass(frozen=True)
class Head:
    """The last link of a chain."""

    seq: int
    hash: bytes


@dataclass
class Verdict:
    """What a chain was found to be. It is whole when `problems` is empty."""

    organization: OrganizationRow
    head: Head
    sealed: int = 0
    unsealed: int = 0
    oldest_unsealed: datetime | None = None
    erased_values: int = 0
    problems: list[str] = field(default_factory=list)


def genesis(organization_id: UUID) -> Head:
    """What the first event of an organization is chained to."""
    return Head(0, hashlib.sha256(f"assay-audit:{organization_id}".encode()).digest())


def following(head: Head, event: AuditEventRow) -> Head:
    """The link of `event` after `head`."""
    seq = head.seq + 1
    sealed = {name: getattr(event, name) for name in _SEALED_FIELDS} | {
        "seq": seq,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "changes": event.changes,
    }
    raw = orjson.dumps(sealed, default=str, option=orjson.OPT_SORT_KEYS)
    return Head(seq, hashlib.sha256(head.hash + raw).digest())


async def seal(database: Database, batch: int = BATCH) -> int:
    """Chains what was committed, in batches until nothing is left; how many."""
    total = 0
    while True:
        async with database.transaction() as connection:
            if not (await connection.execute(_TAKE_LOCK, {"key": _LOCK})).scalar_one():
                return total
            sealed = await _seal_batch(connection, batch)
        total += sealed
        if sealed < batch:
            return total


async def _seal_batch(connection: Connection, batch: int) -> int:
    events = await fetch(
        connection,
        select(audit_events)
        .where(audit_events.c.seq.is_(None))
        .order_by(audit_events.c.id)
        .limit(batch),
        AuditEventRow,
    )
    if not events:
        return 0
    heads = await heads_of(connection, {event.organization_id for event in events})
    links = []
    for event in events:
        head = heads.get(event.organization_id) or genesis(event.organization_id)
        heads[event.organization_id] = following(head, event)
        links.append(heads[event.organization_id])
    await connection.execute(
        _SEAL,
        {
            "ids": [event.id for event in events],
            "seqs": [link.seq for link in links],
            "hashes": [link.hash for link in links],
        },
    )
    await _keep_heads(connection, heads)
    return len(events)


async def heads_of(connection: Connection, organization_ids: set[UUID]) -> dict[UUID, Head]:
    """The heads that were kept; none for an organization without a sealed event."""
    rows = await fetch(
        connection,
        select(audit_chains).where(audit_chains.c.organization_id.in_(organization_ids)),
        AuditChainRow,
    )
    return {row.organization_id: Head(row.seq, row.hash) for row in rows}


async def _keep_heads(connection: Connection, heads: Mapping[UUID, Head]) -> None:
    statement = insert(audit_chains).values(
        [{"organization_id": k, "seq": h.seq, "hash": h.hash} for k, h in heads.items()]
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["organization_id"],
            set_={"seq": statement.excluded.seq, "hash": statement.excluded.hash},
        )
    )


async def organizations_to_verify(connection: Connection) -> Sequence[OrganizationRow]:
    """All organizations, by short name."""
    return await fetch(
        connection, select(organizations).order_by(organizations.c.slug), OrganizationRow
    )


async def sealed_events(
    connection: Connection, organization_id: UUID
) -> AsyncIterator[Sequence[AuditEventRow]]:
    """The sealed events in order, a batch at a time."""
    after = 0
    while True:
        rows = await fetch(
            connection,
            select(audit_events)
            .where(audit_events.c.organization_id == organization_id, audit_events.c.seq > after)
            .order_by(audit_events.c.seq)
            .limit(BATCH),
            AuditEventRow,
        )
        if not rows:
            return
        yield rows
        after = rows[-1].seq or 0


async def verify(
    connection: Connection, organization: OrganizationRow, checkpoints: Sequence[Head] = ()
) -> Verdict:
    """Computes an organization's chain again and compares each link, head and checkpoint."""
    head = genesis(organization.id)
    verdict = Verdict(organization, head)
    kept = {point.seq: point for point in checkpoints}
    async for events in sealed_events(connection, organization.id):
        for event in events:
            head = _compared(verdict, head, event)
            _compare_checkpoint(verdict, kept.pop(event.seq or 0, None), event)
        await _compare_values(connection, verdict, events)
        verdict.sealed += len(events)
    stored = (await heads_of(connection, {organization.id})).get(organization.id)
    if (stored or genesis(organization.id)) != head:
        found = stored.seq if stored else 0
        verdict.problems.append(f"the chain ends at {head.seq}, its head says {found}")
    verdict.problems += [f"event {seq} of the checkpoint is missing" for seq in sorted(kept)]
    verdict.head = head
    await _count_unsealed(connection, verdict)
    return verdict


def _compared(verdict: Verdict, head: Head, event: AuditEventRow) -> Head:
    """The link the stored one should be; goes on from what is stored, to name each break once."""
    stored = Head(event.seq or 0, event.hash or b"")
    if stored.seq != head.seq + 1:
        missing = f"{head.seq + 1}" if stored.seq == head.seq + 2 else f"{head.seq + 1} on"
        verdict.problems.append(f"event {missing} is missing before {stored.seq}")
    elif following(head, event) != stored:
        verdict.problems.append(f"event {stored.seq} ({event.id}) was changed or moved")
    return stored


def _compare_checkpoint(verdict: Verdict, point: Head | None, event: AuditEventRow) -> None:
    if point is not None and point.hash != event.hash:
        verdict.problems.append(f"event {event.seq} differs from the checkpoint")


async def _compare_values(
    connection: Connection, verdict: Verdict, events: Sequence[AuditEventRow]
) -> None:
    committed: dict[tuple[UUID, str], Any] = {
        (event.id, path): value["commitment"]
        for event in events
        for path, value in event.changes.items()
        if isinstance(value, dict)
    }
    rows = await fetch(
        connection,
        select(personal_values).where(personal_values.c.event_id.in_([e.id for e in events])),
        PersonalValueRow,
    )
    verdict.erased_values += len(committed) - len(rows)
    seqs = {event.id: event.seq for event in events}
    for row in rows:
        said = committed.get((row.event_id, row.path))
        if said is None or (row.value is not None and commitment(row.salt, row.value) != said):
            where = f"{row.path} of event {seqs[row.event_id]}"
            verdict.problems.append(f"the value {where} is another")


async def _count_unsealed(connection: Connection, verdict: Verdict) -> None:
    count, oldest = (
        await connection.execute(
            select(func.count(), func.min(audit_events.c.at)).where(
                audit_events.c.organization_id == verdict.organization.id,
                audit_events.c.seq.is_(None),
            )
        )
    ).one()
    verdict.unsealed, verdict.oldest_unsealed = count, oldest
