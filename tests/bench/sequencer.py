"""Events per second: pending events numbered by the sequencer, against a counter row.

Run with `python -m tests.bench.sequencer [writers] [seconds]`; about ten seconds by default.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select, text

from ops.embedded_postgres import embedded_postgres
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.database import Database, add, open_database
from persistence.identifiers import uuid7
from persistence.migrations import migrate
from persistence.streams import Sequencer, announce, append
from persistence.tables.identity import OrganizationRow
from persistence.tables.records import StreamKind, stream_events

Write = Callable[[], Awaitable[None]]


async def drive(write: Write, writers: int, seconds: float) -> list[float]:
    """Latencies (s) of what `writers` at once write in so many seconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        while (began := time.perf_counter()) < end:
            await write()
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(one() for _ in range(writers)))
    return sorted(latencies)


def report(name: str, latencies: list[float], elapsed: float) -> None:
    """One line: rate over all, latencies of the writers' transactions."""
    p50, p99 = (latencies[int(len(latencies) * q)] * 1_000 for q in (0.5, 0.99))
    print(  # noqa: T201 - a bench's output
        f"{name:<24} {len(latencies) / elapsed:8.0f} events/s   "
        f"transaction p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"
    )


async def pending(database: Database, organization: UUID, stream: UUID, bus: Bus) -> None:
    """Writes one event, to be numbered after the commit."""
    async with database.transaction() as connection:
        await append(
            connection,
            organization_id=organization,
            kind=StreamKind.GRADING_RUN,
            stream_id=stream,
            event="E",
            payload={"task": str(stream)},
        )
    await announce(bus)


async def counted(database: Database, organization: UUID, stream: UUID) -> None:
    """Writes one event with a number taken from a counter row in the same transaction."""
    async with database.transaction() as connection:
        taken = text("UPDATE bench_counter SET seq = seq + 1 RETURNING seq")
        seq = (await connection.execute(taken)).scalar_one()
        await connection.execute(
            stream_events.insert().values(
                organization_id=organization,
                stream_kind=StreamKind.GRADING_RUN,
                stream_id=stream,
                seq=seq,
                kind="E",
                payload={"task": str(stream)},
            )
        )


async def numbered(database: Database, stream: UUID, events: int) -> None:
    """Returns when so many events of the stream have their number."""
    while True:
        async with database.read() as connection:
            last = select(func.max(stream_events.c.seq)).where(stream_events.c.stream_id == stream)
            if (await connection.execute(last)).scalar_one() == events:
                return
        await asyncio.sleep(0.01)


async def measure(dsn: str, writers: int, seconds: float) -> None:
    """Prints both."""
    async with (
        open_database(dsn, pool_size=writers + 2) as database,
        open_bus(database) as bus,
    ):
        organization = OrganizationRow(name="Bench", slug="bench")
        async with database.transaction() as connection:
            await add(connection, organization)
            await connection.execute(text("CREATE TABLE bench_counter (seq bigint)"))
            await connection.execute(text("INSERT INTO bench_counter VALUES (0)"))

        stop, stream = asyncio.Event(), uuid7()
        sequencer = asyncio.create_task(Sequencer(database, bus).run(stop))
        began = time.perf_counter()
        latencies = await drive(
            lambda: pending(database, organization.id, stream, bus), writers, seconds
        )
        await numbered(database, stream, len(latencies))
        report("pending + sequencer", latencies, time.perf_counter() - began)
        stop.set()
        await sequencer

        stream, began = uuid7(), time.perf_counter()
        latencies = await drive(
            lambda: counted(database, organization.id, stream), writers, seconds
        )
        report("counter in transaction", latencies, time.perf_counter() - began)


async def main(writers: int = 16, seconds: float = 4.0) -> None:
    """Measures on a server of its own, which syncs to disk."""
    with tempfile.TemporaryDirectory() as scratch:
        async with embedded_postgres(Path(scratch) / "postgres") as server:
            dsn = server.dsn("postgres")
            await migrate(dsn)
            await measure(dsn, writers, seconds)


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:3])))
