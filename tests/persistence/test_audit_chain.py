"""The chain of an organization's audit events: sealed once, in order, whoever seals."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from persistence import audit
from persistence.audit_chain import Head, Verdict, organizations_to_verify, seal, verify
from persistence.database import Database
from persistence.tables.audit import AuditEventRow, Outcome


async def write(database: Database, organization_id: UUID, count: int, name: str = "act") -> None:
    for number in range(count):
        event = AuditEventRow(
            organization_id=organization_id,
            action=f"{name}{number}",
            outcome=Outcome.DONE,
            at=datetime.now(UTC),
        )
        async with database.transaction() as connection:
            await audit.append(connection, event, {"n": number}, {"who": f"person {number}"})


async def verdict(database: Database, points: Sequence[Head] = ()) -> Verdict:
    async with database.read() as connection:
        (organization,) = await organizations_to_verify(connection)
        return await verify(connection, organization, points)


async def tamper(database: Database, *statements: str) -> None:
    connection = await asyncpg.connect(database.direct_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_many_sealers_and_writers_make_one_chain(
    database: Database, organization_id: UUID
) -> None:
    async def sealing() -> int:
        return sum([await seal(database, batch=7) for _ in range(10)])

    await asyncio.gather(
        *(write(database, organization_id, 25, f"w{i}.") for i in range(4)), sealing(), sealing()
    )
    await seal(database)
    found = await verdict(database)
    assert (found.sealed, found.unsealed, found.problems) == (100, 0, [])


async def test_what_is_not_sealed_yet_is_counted(database: Database, organization_id: UUID) -> None:
    await write(database, organization_id, 2)
    await seal(database)
    await write(database, organization_id, 3)
    found = await verdict(database)
    assert (found.sealed, found.unsealed, found.problems) == (2, 3, [])
    assert found.oldest_unsealed is not None


async def test_erased_values_leave_the_chain_whole(
    database: Database, organization_id: UUID
) -> None:
    await write(database, organization_id, 3)
    await seal(database)
    await tamper(database, "DELETE FROM personal_value WHERE value = 'person 1'")
    found = await verdict(database)
    assert (found.erased_values, found.problems) == (1, [])


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_event SET action = 'x' WHERE seq = 3", "event 3 ("),
        ("UPDATE audit_event SET at = at + interval '1 us' WHERE seq = 3", "event 3 ("),
        ("UPDATE audit_event SET changes = '{}' WHERE seq = 3", "event 3 ("),
        ("DELETE FROM audit_event WHERE seq = 3", "event 3 is missing"),
        ("DELETE FROM audit_event WHERE seq = 5", "ends at 4, its head says 5"),
        ("UPDATE audit_event SET seq = 10 - seq WHERE seq IN (4, 6)", "is missing"),
        ("UPDATE personal_value SET value = 'x' WHERE value = 'person 2'", "who of event 3"),
        ("UPDATE audit_chain SET seq = 4", "ends at 5, its head says 4"),
        ("DELETE FROM audit_chain", "ends at 5, its head says 0"),
    ],
)
async def test_tampering_is_found(
    database: Database, organization_id: UUID, statement: str, problem: str
) -> None:
    await write(database, organization_id, 5)
    await seal(database)
    await tamper(database, statement)
    assert problem in "\n".join((await verdict(database)).problems)


async def test_two_events_that_changed_places_are_found(
    database: Database, organization_id: UUID
) -> None:
    await write(database, organization_id, 5)
    await seal(database)
    swap = "UPDATE audit_event SET seq = {} WHERE seq = {}"
    await tamper(database, swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    assert len((await verdict(database)).problems) >= 2


async def test_a_chain_made_anew_differs_from_the_checkpoint(
    database: Database, organization_id: UUID
) -> None:
    await write(database, organization_id, 5)
    await seal(database)
    point = (await verdict(database)).head
    await tamper(
        database,
        "UPDATE audit_event SET action = 'x' WHERE seq = 2",
        "DELETE FROM audit_chain",
        "UPDATE audit_event SET seq = NULL, hash = NULL",
    )
    await seal(database)
    assert (await verdict(database)).problems == []
    assert (await verdict(database, [point])).problems == ["event 5 differs from the checkpoint"]
    await tamper(database, "DELETE FROM audit_event WHERE seq > 3", "DELETE FROM audit_chain")
    assert "event 5 of the checkpoint is missing" in (await verdict(database, [point])).problems
