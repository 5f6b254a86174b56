"""Streams of events: written pending beside the change they tell of, numbered after its commit.

`persistence.followers` follows them.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, and_, cast, func, insert, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.bus import Bus
from persistence.database import Connection, Database, fetch
from persistence.direct import DATABASE_ERRORS, pause_after
from persistence.tables.records import StreamEventRow, StreamKind, stream_events

logger = logging.getLogger(__name__)

PENDING_TOPIC = "stream-pending"
BATCH_EVENTS = 2_000

_NUMBER = text("SELECT stream_id, seq, events FROM number_events(:most)")


def stream_topic(stream_id: UUID) -> str:
    """The topic that hints `{seq}`, the latest number of a stream."""
    return f"stream:{stream_id}"


async def append(
    connection: Connection,
    *,
    organization_id: UUID,
    kind: StreamKind,
    stream_id: UUID,
    event: str,
    payload: Mapping[str, Any],
) -> None:
    """Writes a pending event in the caller's transaction. `payload` holds ids and enums only.

    After the commit, `announce` saves the reader up to half a second.
    """
    await connection.execute(
        insert(stream_events).values(
            organization_id=organization_id,
            stream_kind=kind,
            stream_id=stream_id,
            kind=event,
            payload=dict(payload),
        )
    )


async def announce(bus: Bus) -> None:
    """Tells the sequencers that pending events were committed. Call it after the commit."""
    await bus.publish(PENDING_TOPIC, {})


async def read_after(
    connection: Connection, stream_id: UUID, after_seq: int, limit: int
) -> Sequence[StreamEventRow]:
    """The numbered events with `seq > after_seq`, in order, at most `limit`."""
    return await fetch(
        connection,
        select(stream_events)
        .where(stream_events.c.stream_id == stream_id, stream_events.c.seq > after_seq)
        .order_by(stream_events.c.seq)
        .limit(limit),
        StreamEventRow,
    )


async def read_last(
    connection: Connection, stream_id: UUID, limit: int
) -> Sequence[StreamEventRow]:
    """The latest numbered events, at most `limit`, oldest first."""
    rows = await fetch(
        connection,
        select(stream_events)
        .where(stream_events.c.stream_id == stream_id, stream_events.c.seq.is_not(None))
        .order_by(stream_events.c.seq.desc())
        .limit(limit),
        StreamEventRow,
    )
    return rows[::-1]


async def latest_seq(connection: Connection, stream_id: UUID) -> int:
    """The number of the stream's last numbered event; 0 before the first."""
    return (await latest_seqs(connection, [stream_id])).get(stream_id, 0)


async def goes_on_from(connection: Connection, stream_id: UUID, after_seq: int) -> bool:
    """Whether nothing lies between `after_seq` and what the stream still has after it."""
    following = await read_after(connection, stream_id, after_seq, 1)
    if following:
        return following[0].seq == after_seq + 1
    return after_seq <= await latest_seq(connection, stream_id)


async def has_undelivered(connection: Connection, stream_id: UUID, seq: int) -> bool:
    """Whether the stream has events after `seq`, numbered or still to be."""
    found = await connection.scalar(
        select(literal(1))
        .where(
            and_(
                stream_events.c.stream_id == stream_id,
                or_(stream_events.c.seq.is_(None), stream_events.c.seq > seq),
            )
        )
        .limit(1)
    )
    return found is not None


async def latest_seqs(connection: Connection, stream_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The last numbers of many streams at once; streams without one are absent."""
    ids = cast(list(stream_ids), ARRAY(Uuid))
    wanted = select(func.unnest(ids).label("stream_id")).subquery()
    last = (
        select(func.max(stream_events.c.seq).label("seq"))
        .where(stream_events.c.stream_id == wanted.c.stream_id)
        .lateral()
    )
    rows = await connection.execute(
        select(wanted.c.stream_id, last.c.seq).where(last.c.seq.is_not(None))
    )
    return {row.stream_id: row.seq for row in rows}


class Sequencer:
    """Numbers what is pending, in every process that runs one; an advisory lock lets one work.

    An event becomes visible to the numbering statement when its transaction commits, so numbers
    follow commits and an event that commits late gets a later number: none is skipped. Within one
    numbering, events keep the order they were written in.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        interval_seconds: float = 0.02,
        poll_seconds: float = 0.5,
        batch: int = BATCH_EVENTS,
    ) -> None:
        self._database, self._bus, self._batch = database, bus, batch
        self._interval, self._poll = interval_seconds, poll_seconds

    async def number(self) -> int | None:
        """Numbers one batch and hints at it; how many, or None when another process is at it.

        `number_events` (migration 0017) answers with a row of NULLs then.
        """
        async with self._database.statement() as connection:
            rows = (await connection.execute(_NUMBER, {"most": self._batch})).all()
        if rows and rows[0].stream_id is None:
            return None
        for row in rows:
            await self._bus.publish(stream_topic(row.stream_id), {"seq": row.seq})
        return sum(int(row.events) for row in rows)

    async def run(self, stop: asyncio.Event) -> None:
        """Numbers until `stop` is set: at once when hinted, then every 20 ms while there is work.

        Survives the database: a failure is logged and tried again.
        """
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.gather(stopping, working, return_exceptions=True)

    async def _work(self) -> None:
        failures = 0
        with self._bus.subscribe(PENDING_TOPIC) as hints:
            while True:
                try:
                    events = await self.number()
                    failures = 0
                except DATABASE_ERRORS as error:
                    failures += 1
                    logger.warning("numbering failed: %s", type(error).__name__)
                    await asyncio.sleep(pause_after(failures))
                    continue
                if events == 0:
                    await hints.wake(self._poll)
                elif events is None or events < self._batch:
                    await asyncio.sleep(self._interval)
