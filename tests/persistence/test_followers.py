import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from persistence.bus import Bus
from persistence.database import Database, open_database
from persistence.followers import (
    RIGHTS_TOPIC,
    Followed,
    StreamFollowers,
    Tick,
    open_followers,
)
from persistence.streams import Sequencer, append, stream_topic
from persistence.tables.records import StreamKind
from tests.persistence.conftest import Transport

SOON = 8.0


class Silent:
    """A bus that loses everything."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.subscribe, self.fault = bus.subscribe, bus.fault

    async def publish(self, topic: str, payload: Any) -> None:
        """Lost."""


@pytest.fixture
async def followers(database: Database, bus: Bus) -> AsyncIterator[StreamFollowers]:
    async with open_followers(database, bus, poll_seconds=0.2) as opened:
        yield opened


async def publish(
    database: Database, bus: Bus, organization_id: UUID, stream: UUID, n: int
) -> None:
    """Writes and numbers n events."""
    async with database.transaction() as connection:
        for _ in range(n):
            await append(
                connection,
                organization_id=organization_id,
                kind=StreamKind.GRADING_RUN,
                stream_id=stream,
                event="E",
                payload={},
            )
    assert await Sequencer(database, bus).number() == n


async def until(events: AsyncIterator[Followed], last: int) -> Sequence[int]:
    """The numbers that come, up to `last`, which must come soon."""
    seqs = []
    async with asyncio.timeout(SOON):
        async for item in events:
            if not isinstance(item, Tick):
                seqs.append(item.seq or 0)
                if item.seq == last:
                    break
    return seqs


async def tick(events: AsyncIterator[Followed]) -> Tick:
    async with asyncio.timeout(SOON):
        item = await anext(events)
    assert isinstance(item, Tick)
    return item


async def test_past_and_future_come_once_and_in_order(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    await publish(database, bus, organization_id, stream, 5)
    async with followers.follow(stream, 2) as events:
        assert await until(events, 5) == [3, 4, 5]
        assert await tick(events) == Tick(5, behind_events=True)
        await publish(database, bus, organization_id, stream, 3)
        assert await until(events, 8) == [6, 7, 8]


async def test_a_hint_right_behind_events_is_told_as_one(
    database: Database, bus: Bus, organization_id: UUID
) -> None:
    stream = uuid4()
    await publish(database, bus, organization_id, stream, 1)
    async with (
        open_followers(database, bus, poll_seconds=3600) as followers,
        followers.follow(stream, 0) as events,
        followers.follow(stream, 1) as other,
    ):
        assert await tick(other) == Tick(1)
        assert await until(events, 1) == [1]
        await bus.publish(RIGHTS_TOPIC, {})
        assert await tick(other) == Tick(1)
        assert await tick(events) == Tick(1)


async def test_a_follower_that_is_ahead_waits_for_its_turn(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    async with followers.follow(stream, 2) as events:
        assert await tick(events) == Tick(2)
        await publish(database, bus, organization_id, stream, 2)
        await publish(database, bus, organization_id, stream, 1)
        assert await until(events, 3) == [3]


async def test_lost_hints_cost_time_only(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    async with followers.follow(stream, 0) as events:
        await tick(events)
        for n in (1, 2, 3):
            await publish(database, Silent(bus), organization_id, stream, 1)
            assert await until(events, n) == [n]


async def cut_listener(transport: Transport) -> None:
    """Cuts it, once it is there: it may still be on its way back from the last cut."""
    async with asyncio.timeout(15):
        while await transport.cut("listener") == 0:  # noqa: ASYNC110 - another connection's doing
            await asyncio.sleep(0.05)


async def test_a_cut_bus_loses_nothing(
    database: Database, transport: Transport, bus: Bus, organization_id: UUID
) -> None:
    """The hints get lost and no poll comes: being connected again is what wakes the follower."""
    stream = uuid4()
    async with (
        open_followers(database, bus, poll_seconds=60) as followers,
        followers.follow(stream, 0) as events,
    ):
        await tick(events)
        for n in range(1, 6):
            await publish(database, Silent(bus), organization_id, stream, 1)
            await cut_listener(transport)
            assert await until(events, n) == [n]


async def test_followers_of_two_processes_see_the_same(
    database: Database, bus: Bus, other: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    async with (
        open_followers(database, other, poll_seconds=60) as others,
        followers.follow(stream, 0) as near_events,
        others.follow(stream, 0) as far_events,
    ):
        await tick(far_events)
        for n in (2, 4):
            await publish(database, bus, organization_id, stream, 2)
            assert await until(near_events, n) == await until(far_events, n) == [n - 1, n]


async def test_one_read_serves_a_hundred_followers(
    database_dsn: str, database: Database, bus: Bus, organization_id: UUID
) -> None:
    stream = uuid4()
    await publish(database, bus, organization_id, stream, 20)
    statements: list[str] = []
    async with (
        open_database(database_dsn) as counted,
        open_followers(counted, bus, poll_seconds=60) as followers,
    ):
        event.listen(
            counted.engine.sync_engine,
            "before_cursor_execute",
            lambda *arguments: statements.append(arguments[2]),
        )

        async def follower(after: int) -> Sequence[int]:
            async with followers.follow(stream, after) as events:
                return await until(events, 30)

        tasks = [asyncio.create_task(follower(n % 20)) for n in range(100)]
        async with asyncio.timeout(SOON):
            while not statements:  # noqa: ASYNC110 - the followers' own reading
                await asyncio.sleep(0.01)
        await publish(database, bus, organization_id, stream, 10)
        for n, seqs in enumerate(await asyncio.gather(*tasks)):
            assert seqs == list(range(n % 20 + 1, 31))
    assert len([s for s in statements if "stream_event" in s]) == 2


async def test_a_slow_follower_loses_nothing(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    """It falls behind what is held in memory while another one keeps up."""
    stream = uuid4()
    async with followers.follow(stream, 0) as slow, followers.follow(stream, 0) as fast:
        await publish(database, bus, organization_id, stream, 2)
        assert await until(slow, 1) == [1]
        for n in range(1, 4):
            await publish(database, bus, organization_id, stream, 400)
            assert (await until(fast, 2 + 400 * n))[-1] == 2 + 400 * n
        assert await until(slow, 1202) == list(range(2, 1203))


async def test_followers_come_and_go_without_disturbing_each_other(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    for round_ in range(1, 4):
        async with followers.follow(stream, 0) as stays:
            async with followers.follow(stream, 0):
                pass
            await publish(database, bus, organization_id, stream, 1)
            assert await until(stays, round_) == list(range(1, round_ + 1))


async def test_an_abandoned_wait_loses_nothing(
    database: Database, bus: Bus, followers: StreamFollowers, organization_id: UUID
) -> None:
    stream = uuid4()
    async with followers.follow(stream, 0) as events:
        await tick(events)
        for n in (1, 2):
            waiting = asyncio.create_task(until(events, -1))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
            await publish(database, bus, organization_id, stream, 1)
            assert await until(events, n) == [n]


async def test_closing_ends_the_followers(database: Database, bus: Bus) -> None:
    async with open_followers(database, bus) as followers, followers.follow(uuid4(), 0) as events:
        await tick(events)
        rest = asyncio.create_task(until(events, -1))
        await asyncio.sleep(0)
        await followers.close()
        assert await rest == []


async def test_a_reader_that_dies_says_so_to_its_followers(
    bus: Bus, followers: StreamFollowers
) -> None:
    stream = uuid4()
    async with followers.follow(stream, 0) as events:
        await tick(events)
        await bus.publish(stream_topic(stream), {"nonsense": 1})
        with pytest.raises(KeyError, match="seq"):
            await until(events, 1)
