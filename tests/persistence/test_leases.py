import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Table, insert, select, text

from persistence.database import Conflict, Database, open_database
from persistence.leases import (
    ENDED,
    Lapsed,
    LeaseLost,
    Renewals,
    acquire,
    expired,
    fenced_update,
    renew,
    revoke,
    take_over,
)
from persistence.lifecycle.grading import TASK_WORKING, TaskState
from persistence.lifecycle.study import MESSAGE_WORKING, MessageState
from persistence.tables.grading import grading_tasks
from persistence.tables.study import messages

MINUTE, OVER = 60.0, -1.0
TASK = (grading_tasks, TaskState.PENDING, TaskState.PREPARING, TASK_WORKING)
MESSAGE = (messages, MessageState.QUEUED, MessageState.PLANNING, MESSAGE_WORKING)
Leased = tuple[Table, str, str, tuple[str, ...]]


async def make(database: Database, leased: Leased) -> UUID:
    """A row to lease, without what it belongs to."""
    table, waiting, _, _ = leased
    table_ids = ("id", "organization_id", "course_id", "session_id", "run_id", "attempt_id")
    ids = {c: uuid4() for c in (*table_ids, "submission_id") if c in table.c}
    own = (
        {"alias": "ABC"}
        if table is grading_tasks
        else {"ordinal": 1, "author": "TUTOR", "parent_id": uuid4()}
    )
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        defaults = {"text": "", "tries": 0, "cost_micros": 0, "reasons": [], "generation": 1}
        values = {k: v for k, v in defaults.items() if k in table.c} | ids | own
        await connection.execute(insert(table).values(state=waiting, fence=0, **values))
    return ids["id"]


async def get(database: Database, leased: Leased, row_id: UUID, seconds: float) -> int | None:
    table, waiting, working, _ = leased
    async with database.transaction() as connection:
        return await acquire(
            connection,
            table,
            row_id,
            uuid4(),
            seconds,
            from_states=[waiting, working],
            to_state=working,
        )


async def put(database: Database, leased: Leased, row_id: UUID, fence: int, tries: int) -> None:
    table, _, _, working_states = leased
    async with database.transaction() as connection:
        await fenced_update(connection, table, row_id, fence, working_states, {"tries": tries})


async def tries(database: Database, leased: Leased, row_id: UUID) -> int:
    table = leased[0]
    async with database.read() as connection:
        found = await connection.execute(select(table.c.tries).where(table.c.id == row_id))
        return int(found.scalar_one())


@pytest.fixture(params=[TASK, MESSAGE], ids=["grading_task", "message"])
def leased(request: pytest.FixtureRequest) -> Leased:
    table: Leased = request.param
    return table


async def test_one_of_many_gets_the_lease(database: Database, leased: Leased) -> None:
    row = await make(database, leased)
    fences = await asyncio.gather(*(get(database, leased, row, MINUTE) for _ in range(8)))
    assert sorted(fences, key=lambda f: f or 0) == [None] * 7 + [1]


async def test_a_stalled_worker_cannot_write_after_its_successor_began(
    database: Database, leased: Leased
) -> None:
    table, waiting, _, working = leased
    row = await make(database, leased)
    stalled = await get(database, leased, row, OVER)
    assert stalled == 1
    await put(database, leased, row, stalled, 1)  # late, but nobody took it
    async with database.transaction() as connection:
        found = await expired(connection, table, working, 10)
        assert [(f.id, f.fence) for f in found] == [(row, 1)]
        assert await take_over(
            connection, table, row, found[0].fence, from_states=working, to_state=waiting
        )
    with pytest.raises(LeaseLost):
        await put(database, leased, row, stalled, 2)
    successor = await get(database, leased, row, MINUTE)
    assert successor == 3
    with pytest.raises(LeaseLost):
        await put(database, leased, row, stalled, 3)
    await put(database, leased, row, successor, 4)
    async with database.transaction() as connection:
        assert not await renew(connection, table, row, stalled, MINUTE)
        assert await renew(connection, table, row, successor, MINUTE)
        with pytest.raises(LeaseLost):
            await fenced_update(connection, table, row, stalled, working, ENDED)
    assert await tries(database, leased, row) == 4


async def test_a_renewed_lease_is_not_taken_over(database: Database, leased: Leased) -> None:
    table, waiting, _, working = leased
    row = await make(database, leased)
    fence = await get(database, leased, row, OVER)
    assert fence is not None
    async with database.transaction() as connection:
        assert await renew(connection, table, row, fence, MINUTE)
        assert await expired(connection, table, working, 10) == []
        assert not await take_over(
            connection, table, row, fence, from_states=working, to_state=waiting
        )
    assert await get(database, leased, row, MINUTE) is None


async def test_leases_are_renewed_while_the_pool_is_lent_out(
    database_dsn: str, database: Database, leased: Leased
) -> None:
    rows = [await make(database, leased) for _ in range(12)]
    fences = [await get(database, leased, row, OVER) for row in rows]
    async with open_database(database_dsn, pool_size=1) as narrow:
        async with narrow.read():
            with pytest.raises(TimeoutError):
                async with replace(narrow, wait_seconds=0.05).read():
                    raise AssertionError("there is no connection")
            waiting = asyncio.ensure_future(tries(narrow.patient(), leased, rows[0]))
            renewals = Renewals(narrow.keeping(), leased[0], MINUTE)
            held = zip(rows, fences, strict=True)
            kept = await asyncio.gather(*(renewals.renew(row, fence or 0) for row, fence in held))
            assert kept == [True] * 12
            assert not await renewals.renew(rows[0], 9)
            assert not waiting.done()
        assert await waiting == 0
    async with database.transaction() as connection:
        assert await expired(connection, leased[0], leased[3], 20) == []


async def test_a_row_that_is_locked_does_not_hold_up_the_others_renewal(
    database: Database, leased: Leased
) -> None:
    locked, other = [await make(database, leased) for _ in range(2)]
    fences = {row: await get(database, leased, row, OVER) or 0 for row in (locked, other)}
    renewals = Renewals(database.keeping(), leased[0], MINUTE)
    async with database.transaction() as connection:
        await connection.execute(
            select(leased[0].c.id).where(leased[0].c.id == locked).with_for_update()
        )
        both = await asyncio.gather(*(renewals.renew(*one) for one in fences.items()))
    assert both == [True, True]
    async with database.transaction() as connection:
        found = await expired(connection, leased[0], leased[3], 20)
    assert [one.id for one in found] == [locked], "to be renewed the next time"


async def test_the_end_of_a_lease_is_the_holders_last_write(
    database: Database, leased: Leased
) -> None:
    table, waiting, _, working = leased
    row = await make(database, leased)
    fence = await get(database, leased, row, MINUTE)
    assert fence is not None
    async with database.transaction() as connection:
        last = {"state": waiting, "tries": 1, **ENDED}
        await fenced_update(connection, table, row, fence, working, last)
        assert await expired(connection, table, working, 10) == []
    with pytest.raises(LeaseLost):
        await put(database, leased, row, fence, 2)
    assert await tries(database, leased, row) == 1
    assert await get(database, leased, row, MINUTE) == 2


async def test_a_cancelled_row_refuses_its_worker(database: Database, leased: Leased) -> None:
    table, waiting, _, working = leased
    row = await make(database, leased)
    fence = await get(database, leased, row, MINUTE)
    assert fence is not None
    with pytest.raises(Conflict):
        async with database.transaction() as connection:
            await fenced_update(connection, table, row, fence, [waiting], {"tries": 1})
    for expected in (True, False):
        async with database.transaction() as connection:
            assert expected == await revoke(
                connection, table, row, from_states=[waiting, *working], to_state="CANCELLED"
            )
    with pytest.raises(LeaseLost):
        await put(database, leased, row, fence, 2)


async def test_two_sweepers_do_not_get_the_same_row(database: Database, leased: Leased) -> None:
    table, _, _, working = leased
    rows = {await make(database, leased) for _ in range(3)}
    for row in rows:
        await get(database, leased, row, OVER)
    async with database.transaction() as one, database.transaction() as two:
        first: list[Lapsed] = list(await expired(one, table, working, 2))
        second = list(await expired(two, table, working, 10))
    assert len(first) == 2
    assert {found.id for found in first + second} == rows
    assert len(second) == 1
