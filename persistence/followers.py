"""Following streams: each numbered event once, in order, to however many followers."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from persistence.bus import Bus, Subscription
from persistence.database import Database
from persistence.direct import DATABASE_ERRORS, pause_after
from persistence.streams import latest_seqs, read_after, read_last, stream_topic
from persistence.tables.records import StreamEventRow

logger = logging.getLogger(__name__)

RIGHTS_TOPIC = "rights"
"""Published when a role, an enrolment or a person's access was taken away."""

RECENT_EVENTS = 256
PAGE_EVENTS = 500


@dataclass(frozen=True)
class Tick:
    """Nothing new: an occasion to look at what is not an event. `seq` is the last known.

    `behind_events` says that it comes right behind events, and nothing was hinted at since.
    """

    seq: int
    behind_events: bool = False


Followed: TypeAlias = StreamEventRow | Tick


class _Tail:
    """The end of one stream, read once for all its followers of this process."""

    def __init__(self, database: Database, stream_id: UUID, hints: Subscription) -> None:
        self.stream_id, self.hints = stream_id, hints
        self.followers = 0
        self.seq = 0
        self._database = database
        self._recent: deque[StreamEventRow] = deque(maxlen=RECENT_EVENTS)
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._end: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Returns when the end of the stream has been read."""
        await self._ready.wait()

    def news(self) -> asyncio.Event:
        """What will be set at the next event, tick or end."""
        return self._news

    def ended(self) -> bool:
        """Whether the reader was closed. Raises what it died of."""
        if self._end is not None and not self._end.cancelled():
            self._end.result()
        return self._end is not None

    def end(self, reader: asyncio.Task[None]) -> None:
        """Tells the followers that `reader` is done."""
        self._end = reader
        self._ready.set()
        self._wake()

    async def after(self, seq: int) -> Sequence[StreamEventRow]:
        """What follows `seq`: from memory, or else (a page) from the database."""
        if seq >= self.seq:
            return ()
        missing = self.seq - seq
        if missing <= len(self._recent):
            return [self._recent[i] for i in range(-missing, 0)]
        async with self._database.read() as connection:
            return await read_after(connection, self.stream_id, seq, PAGE_EVENTS)

    async def run(self) -> None:
        """Reads what the hints announce, until cancelled."""
        failures = 0
        hinted: int | None = None
        while True:
            try:
                if not self._ready.is_set():
                    await self._start()
                elif hinted is None or hinted > self.seq:
                    await self._read()
                failures = 0
            except DATABASE_ERRORS as error:
                failures += 1
                logger.warning("reading a stream failed: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))
                continue
            self._wake()
            hint = await self.hints.get()
            hinted = None if hint is None else int(hint["seq"])

    async def _start(self) -> None:
        async with self._database.read() as connection:
            rows = await read_last(connection, self.stream_id, RECENT_EVENTS)
        self._take(rows)
        self._ready.set()

    async def _read(self) -> None:
        while True:
            async with self._database.read() as connection:
                rows = await read_after(connection, self.stream_id, self.seq, PAGE_EVENTS)
            self._take(rows)
            if len(rows) < PAGE_EVENTS:
                return
            self._wake()

    def _take(self, rows: Sequence[StreamEventRow]) -> None:
        for row in rows:
            self._recent.append(row)
            self.seq = row.seq or 0  # a numbered row's is never empty

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class _Follower:
    """Iterates over one tail from a cursor of its own. A cancelled wait loses nothing."""

    def __init__(self, tail: _Tail, cursor: int) -> None:
        self._tail, self._cursor = tail, cursor
        self._page: deque[StreamEventRow] = deque()
        self._news: asyncio.Event | None = None
        self._looked: asyncio.Event | None = None
        """What was to be set next when the page was read."""

    def __aiter__(self) -> AsyncIterator[Followed]:
        return self

    async def __anext__(self) -> Followed:
        await self._tail.ready()
        while not self._tail.ended():
            if self._page:
                row = self._page.popleft()
                self._cursor = row.seq or self._cursor
                return row
            if self._news is not None:
                await self._news.wait()
            news = self._tail.news()  # before looking, so that none is missed
            self._page.extend(await self._look())
            self._news = None if self._page else news
            if not self._page:
                behind = self._looked is not None and not self._looked.is_set()
                self._looked = None
                return Tick(max(self._cursor, self._tail.seq), behind)
            self._looked = news
        raise StopAsyncIteration

    async def _look(self) -> Sequence[StreamEventRow]:
        failures = 0
        while True:
            try:
                return await self._tail.after(self._cursor)
            except DATABASE_ERRORS as error:
                failures += 1
                logger.warning("reading a stream failed: %s", type(error).__name__)
                await asyncio.sleep(pause_after(failures))


class StreamFollowers:
    """The followers of one process. Made by `open_followers`.

    They share one reader for each stream and one poll for all streams.
    """

    def __init__(self, database: Database, bus: Bus, *, poll_seconds: float) -> None:
        self._database, self._bus, self._poll_seconds = database, bus, poll_seconds
        self._tails: dict[UUID, tuple[_Tail, asyncio.Task[None]]] = {}

    @asynccontextmanager
    async def follow(
        self, stream_id: UUID, after_seq: int
    ) -> AsyncIterator[AsyncIterator[Followed]]:
        """The events with `seq > after_seq`, in order, each once, without end.

        A `Tick` comes once everything known has been told, and then at least every two seconds.
        A follower that is slow loses nothing: what has left the shared memory (the last 256
        events) it reads from the database by its own cursor. The database being away makes
        silence, not an exception.
        """
        tail = self._join(stream_id)
        try:
            yield _Follower(tail, after_seq)
        finally:
            await self._leave(tail)

    def _join(self, stream_id: UUID) -> _Tail:
        if stream_id not in self._tails or self._tails[stream_id][1].done():
            hints = Subscription(64)
            tail = _Tail(self._database, stream_id, hints)
            reader = asyncio.create_task(self._run(tail))
            reader.add_done_callback(tail.end)
            self._tails[stream_id] = tail, reader
        tail, _ = self._tails[stream_id]
        tail.followers += 1
        return tail

    async def _leave(self, tail: _Tail) -> None:
        tail.followers -= 1
        known, reader = self._tails.get(tail.stream_id, (None, None))
        if tail.followers == 0 and known is tail and reader is not None:
            del self._tails[tail.stream_id]
            await _end(reader)

    async def _run(self, tail: _Tail) -> None:
        with self._bus.subscribe(stream_topic(tail.stream_id)) as hints:
            tail.hints = hints
            await tail.run()

    async def poll(self) -> None:
        """Asks for the last numbers of all followed streams in one read, until cancelled.

        At once when somebody's rights have changed: a tick is what makes a follower look at them.
        """
        failures = 0
        with self._bus.subscribe(RIGHTS_TOPIC) as changes:
            while True:
                if failures:
                    await asyncio.sleep(pause_after(failures))
                else:
                    await changes.wake(self._poll_seconds)
                failures = await self._polled(failures)

    async def _polled(self, failures: int) -> int:
        if self._tails:
            try:
                async with self._database.read() as connection:
                    latest = await latest_seqs(connection, list(self._tails))
            except DATABASE_ERRORS as error:
                logger.warning("polling the streams failed: %s", type(error).__name__)
                return failures + 1
            for stream_id, (tail, _) in self._tails.items():
                tail.hints.offer({"seq": latest.get(stream_id, 0)})
        return 0

    async def close(self) -> None:
        """Ends every reader."""
        tails, self._tails = self._tails, {}
        for _, task in tails.values():
            await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # the followers were told


@asynccontextmanager
async def open_followers(
    database: Database, bus: Bus, *, poll_seconds: float = 2.0
) -> AsyncIterator[StreamFollowers]:
    """The followers of this process; the readers end with the context."""
    followers = StreamFollowers(database, bus, poll_seconds=poll_seconds)
    polling = asyncio.create_task(followers.poll())
    try:
        yield followers
    finally:
        await _end(polling)
        await followers.close()
