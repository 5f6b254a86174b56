import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from persistence.bus import Bus
from persistence.database import Connection, Database, open_database
from persistence.streams import (
    Sequencer,
    announce,
    append,
    latest_seq,
    read_after,
    read_last,
    stream_topic,
)
from persistence.tables.records import StreamKind, stream_events
from tests.persistence.conftest import Transport


async def write(
    connection: Connection, organization_id: UUID, stream_id: UUID, label: object
) -> None:
    await append(
        connection,
        organization_id=organization_id,
        kind=StreamKind.GRADING_RUN,
        stream_id=stream_id,
        event="E",
        payload={"label": label},
    )


async def labels(database: Database, stream_id: UUID) -> list[object]:
    """What the numbered events say, in order; their numbers must be 1, 2, 3 …"""
    async with database.read() as connection:
        rows = await read_after(connection, stream_id, 0, 100_000)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [row.payload["label"] for row in rows]


@asynccontextmanager
async def running(*sequencers: Sequencer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(s.run(stop)) for s in sequencers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def all_numbered(database: Database) -> None:
    async with asyncio.timeout(10):
        while True:
            async with database.read() as connection:
                pending = select(stream_events.c.id).where(stream_events.c.seq.is_(None)).limit(1)
                if (await connection.execute(pending)).first() is None:
                    return
            await asyncio.sleep(0.02)


async def test_only_committed_events_are_numbered_and_a_late_commit_is_not_skipped(
    database: Database, bus: Bus, organization_id: UUID
) -> None:
    stream, sequencer = uuid4(), Sequencer(database, bus)
    async with database.transaction() as early:
        await write(early, organization_id, stream, "written first, committed last")
        async with database.transaction() as late:
            await write(late, organization_id, stream, "a")
            await write(late, organization_id, stream, "b")
        assert await sequencer.number() == 2
        assert await labels(database, stream) == ["a", "b"]
    assert await sequencer.number() == 1
    assert await sequencer.number() == 0
    assert await labels(database, stream) == ["a", "b", "written first, committed last"]


async def test_what_was_rolled_back_leaves_no_gap(
    database: Database, bus: Bus, organization_id: UUID
) -> None:
    stream, sequencer = uuid4(), Sequencer(database, bus)
    for n in range(4):
        async with database.engine.connect() as connection:
            await write(connection, organization_id, stream, n)
            await (connection.rollback() if n % 2 else connection.commit())
    await sequencer.number()
    assert await labels(database, stream) == [0, 2]


async def test_numbers_continue_where_they_ended_and_each_stream_has_its_own(
    database: Database, bus: Bus, organization_id: UUID
) -> None:
    one, two = uuid4(), uuid4()
    sequencer = Sequencer(database, bus, batch=2)
    with bus.subscribe(stream_topic(one)) as hints:
        async with database.transaction() as connection:
            for n in range(3):
                await write(connection, organization_id, one, n)
                await write(connection, organization_id, two, -n)
        assert [await sequencer.number() for _ in range(4)] == [2, 2, 2, 0]
        assert [await hints.get() for _ in range(3)] == [{"seq": 1}, {"seq": 2}, {"seq": 3}]
    assert await labels(database, one) == [0, 1, 2]
    assert await labels(database, two) == [0, -1, -2]
    async with database.read() as connection:
        assert [row.seq for row in await read_last(connection, one, 2)] == [2, 3]
        assert [row.seq for row in await read_after(connection, one, 1, 1)] == [2]
        assert await latest_seq(connection, one) == 3
        assert await latest_seq(connection, uuid4()) == 0


async def test_another_process_at_work_is_left_alone(
    database: Database, bus: Bus, organization_id: UUID
) -> None:
    sequencer = Sequencer(database, bus)
    async with database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(7562609)"))
        assert await sequencer.number() is None
    assert await sequencer.number() == 0


async def test_it_numbers_without_any_hint_and_after_its_connections_were_cut(
    database: Database, database_dsn: str, bus: Bus, organization_id: UUID
) -> None:
    stream = uuid4()
    async with (
        open_database(database_dsn, application_name="cut me") as other,
        running(Sequencer(other, bus, poll_seconds=0.05)),
    ):
        for n in range(2):
            async with database.transaction() as connection:
                await write(connection, organization_id, stream, n)
            await all_numbered(database)
            async with database.transaction() as connection:
                await connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'cut me'"
                    )
                )
    assert await labels(database, stream) == [0, 1]


@pytest.mark.parametrize("seed", [1, 2])
async def test_sixteen_writers_three_sequencers_and_rollbacks(
    database: Database,
    database_dsn: str,
    transport: Transport,
    bus: Bus,
    organization_id: UUID,
    seed: int,
) -> None:
    """Each committed event once, without gaps, in each writer's own order."""
    dice = random.Random(seed)
    streams = [uuid4() for _ in range(3)]
    committed: dict[UUID, dict[int, list[int]]] = {s: defaultdict(list) for s in streams}

    async def writer(own: Database, name: int) -> None:
        count = 0
        for _ in range(20):
            stream, size, fate = dice.choice(streams), dice.randint(1, 4), dice.random()
            async with own.engine.connect() as connection:
                for n in range(count, count + size):
                    await write(connection, organization_id, stream, [name, n])
                    await asyncio.sleep(dice.choice((0, 0, 0.005)))
                if fate < 0.25:
                    await connection.rollback()
                    continue
                await connection.commit()
            committed[stream][name].extend(range(count, count + size))
            count += size
            await announce(bus)

    async with (
        open_database(database_dsn, pool_size=16) as own,
        transport.open() as second,
        running(
            Sequencer(database, bus, batch=7),
            Sequencer(database, second),
            Sequencer(database, second, interval_seconds=0.001),
        ),
    ):
        await asyncio.gather(*(writer(own, name) for name in range(16)))
        await all_numbered(database)
    for stream in streams:
        seen: dict[int, list[int]] = defaultdict(list)
        for label in await labels(database, stream):
            assert isinstance(label, list)
            seen[label[0]].append(label[1])
        assert seen == committed[stream]
