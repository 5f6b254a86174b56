"""Following a study session: numbered state events, and the text of an answer as it is written."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from persistence import streams, study, study_tree
from persistence.bus import Payload, Subscription, answer_topic
from persistence.followers import Followed, Tick
from persistence.study_steps import STEP
from persistence.tables.records import StreamEventRow
from persistence.tables.study import AgentStepRow, MessageRow, StudySessionRow
from resolvers.access import Permission, missing
from resolvers.answer_text import AnswerChunk, AnswerText
from resolvers.context import RIGHTS_SECONDS, RequestContext
from resolvers.global_ids import key_of
from resolvers.refusals import Refusal, RefusalCode

CATCH_UP_SECONDS = 0.25
_CHUNKS = 1_024


class StudyEventKind(StrEnum):
    """What an event of a study session tells."""

    SNAPSHOT = "SNAPSHOT"
    MESSAGE_STATE = "MESSAGE_STATE"
    STEP = "STEP"
    CHUNK = "CHUNK"


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """`seq` is the event's number, or that of the last one told before it."""

    seq: int
    kind: StudyEventKind
    at: datetime
    session: StudySessionRow
    message: MessageRow | None
    chunk: AnswerChunk | None = None
    step: AgentStepRow | None = None


async def follow_session(
    context: RequestContext, session_id: str, after_seq: int | None
) -> AsyncGenerator[StudyEvent]:
    """A snapshot, then what happens in a session the viewer reads, without end.

    Raises `Refusal`: NOT_FOUND, BAD_INPUT for a negative `after_seq`, RESYNC for one the stream
    does not reach (any more), and whatever `context.renew` raises once rights are gone.
    """
    key = key_of(session_id, "StudySession", ("sessionId",))
    context.note_own(Permission.STUDY_ASK)
    if after_seq is not None and after_seq < 0:
        raise Refusal(RefusalCode.BAD_INPUT, "`afterSeq` is 0 or a `seq`.", ("afterSeq",))
    with ExitStack() as stack:
        follower = _Follower(context, key, stack)
        seq = await follower.start(after_seq)
        yield follower.event(StudyEventKind.SNAPSHOT, seq)
        async with (
            context.followers.follow(key, seq) as events,
            aclosing(follower.follow(events)) as told,
        ):
            async for event in told:
                yield event


class _Follower:
    """One subscription: the session as last read, and the answer that is being written."""

    def __init__(self, context: RequestContext, session_id: UUID, stack: ExitStack) -> None:
        self._context, self._session_id, self._stack = context, session_id, stack
        self._renewed = self._read_at = time.monotonic()
        self._session: StudySessionRow | None = None
        self._message: MessageRow | None = None
        self._seq = 0
        self._text = AnswerText(0, "")
        self._chunks: Subscription | None = None

    def event(
        self,
        kind: StudyEventKind,
        seq: int,
        *,
        at: datetime | None = None,
        chunk: AnswerChunk | None = None,
        step: AgentStepRow | None = None,
    ) -> StudyEvent:
        """An event as of what was last read. Raises `Refusal` when the session is gone."""
        if self._session is None:
            raise missing("study session", ("sessionId",))
        when = at or self._context.now()
        return StudyEvent(seq, kind, when, self._session, self._message, chunk, step)

    async def start(self, after_seq: int | None) -> int:
        """Reads the session as it stands; the number from which to go on."""
        await self._read()
        async with self._context.database.read() as connection:
            latest = await streams.latest_seq(connection, self._session_id)
            last = await study.latest_message(connection, self._session_id)
            following = (
                ()
                if after_seq is None
                else await streams.read_after(connection, self._session_id, after_seq, 1)
            )
        if after_seq is not None:
            _check_reached(after_seq, latest, following)
        self._seq = latest if after_seq is None else after_seq
        if last is not None:
            self._listen(last.id)
            await self._read(last.id)
        if self._message is not None:
            self._text = AnswerText(self._message.generation, self._message.text)
        return self._seq

    async def follow(self, events: AsyncIterator[Followed]) -> AsyncGenerator[StudyEvent]:
        """What happens, in order."""
        coming: asyncio.Future[Any] = asyncio.ensure_future(anext(events))
        written: asyncio.Future[Any] | None = None
        try:
            while True:
                if written is None and self._chunks is not None:
                    written = asyncio.ensure_future(self._chunks.get())
                waited = {coming} if written is None else {coming, written}
                timeout = CATCH_UP_SECONDS if self._text.behind else None
                done, _ = await asyncio.wait(
                    waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if written in done and written is not None:
                    async for event in self._told(written.result()):
                        yield event
                    written = None
                if not done:
                    async for event in self._caught_up():
                        yield event
                if coming in done:
                    if written is not None:
                        written.cancel()
                        written = None
                    try:
                        followed = coming.result()
                    except StopAsyncIteration:  # the process is closing; the client resumes
                        return
                    async for event in self._happened(followed):
                        yield event
                    coming = asyncio.ensure_future(anext(events))
        finally:
            await _stopped(coming, written)

    async def _happened(self, followed: Followed) -> AsyncIterator[StudyEvent]:
        if isinstance(followed, Tick) and followed.behind_events:
            return
        await self._renew()
        if isinstance(followed, Tick):
            if self._message is None or self._message.state not in study_tree.OPEN:
                await self._read()
                return
            async for event in self._caught_up():
                yield event
            return
        key = UUID(followed.payload["message_id"])
        if self._message is None or self._message.id != key:
            self._listen(key)
            self._text = AnswerText(1, "")
        step_id = UUID(followed.payload["step_id"]) if followed.kind == STEP else None
        step = await self._read(key, step_id)
        for event in self._row_told():
            yield event
        self._seq = followed.seq or self._seq
        kind = StudyEventKind.STEP if followed.kind == STEP else StudyEventKind.MESSAGE_STATE
        yield self.event(kind, self._seq, at=followed.at, step=step)

    async def _told(self, payload: Payload | None) -> AsyncIterator[StudyEvent]:
        if time.monotonic() - self._renewed > RIGHTS_SECONDS:
            await self._renew()
            await self._read()
        if payload is None:
            async for event in self._caught_up():
                yield event
            return
        chunk = AnswerChunk(payload["generation"], payload["offset"], payload["text"])
        for event in self._written(self._text.take_chunk(chunk)):
            yield event
        if self._text.behind and time.monotonic() - self._read_at > CATCH_UP_SECONDS:
            async for event in self._caught_up():
                yield event

    async def _caught_up(self) -> AsyncIterator[StudyEvent]:
        if self._message is not None:
            await self._read(self._message.id)
            for event in self._row_told():
                yield event

    def _row_told(self) -> Iterable[StudyEvent]:
        """What the row's text has that was not told."""
        if self._message is not None:
            told = self._text.take_row(self._message.generation, self._message.text)
            yield from self._written(told)

    def _written(self, chunks: Iterable[AnswerChunk]) -> Iterable[StudyEvent]:
        for chunk in chunks:
            yield self.event(StudyEventKind.CHUNK, self._seq, chunk=chunk)

    def _listen(self, message_id: UUID) -> None:
        """Before the row is read, so that what the row does not hold yet is heard."""
        self._stack.close()
        self._chunks = self._stack.enter_context(
            self._context.bus.subscribe(answer_topic(message_id), size=_CHUNKS)
        )

    async def _read(
        self, message_id: UUID | None = None, step_id: UUID | None = None
    ) -> AgentStepRow | None:
        """The session and the message as they are now; the step. Raises `Refusal`."""
        async with self._context.database.read() as connection:
            found = await study.read_together(
                connection, self._context.viewer, self._session_id, message_id, step_id
            )
        # deleted, no longer shared, or the course was left
        if found is None or (message_id is not None and found[1] is None):
            raise missing("study session", ("sessionId",))
        self._session, message, step = found
        if message is not None:
            self._message, self._read_at = message, time.monotonic()
        return step

    async def _renew(self) -> None:
        """The viewer's rights as they are now. Raises `Refusal`."""
        if self._context.renew is not None:
            self._context = await self._context.renew()
        self._renewed = time.monotonic()


def _check_reached(after_seq: int, latest: int, following: Iterable[StreamEventRow]) -> None:
    if after_seq > latest or any(row.seq != after_seq + 1 for row in following):
        raise Refusal(
            RefusalCode.RESYNC,
            "The session's events do not go on from there. Subscribe again without `afterSeq`.",
            ("afterSeq",),
        )


async def _stopped(*futures: asyncio.Future[Any] | None) -> None:
    waited = [future for future in futures if future is not None]
    for future in waited:
        future.cancel()
    await asyncio.gather(*waited, return_exceptions=True)
