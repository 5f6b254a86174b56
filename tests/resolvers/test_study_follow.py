"""Following a session: each numbered event once, and never a hole in the answer's text."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.study.brief import StudyBrief
from persistence.bus import answer_topic
from persistence.streams import Sequencer
from resolvers.context import RequestContext
from resolvers.global_ids import global_id
from resolvers.refusals import Refusal, RefusalCode
from resolvers.study_follow import StudyEvent, StudyEventKind, follow_session
from resolvers.study_work import answer_message, sweep_messages
from tests.resolvers.test_answer_text import Client
from tests.resolvers.test_study_work import Team, ask, cancel, session_of
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

PIECES = ["A router ", "lowers ", "the time ", "to live."]
ANSWER = "".join(PIECES)
DONE = 7
"""QUEUED, four stages, the team's one step, COMPLETE."""


@pytest.fixture(autouse=True)
async def sequencer(study_world: StudyWorld) -> AsyncIterator[None]:
    """Numbers events while the test runs."""
    stop = asyncio.Event()
    sequencer = Sequencer(study_world.database, study_world.bus, poll_seconds=0.1)
    task = asyncio.create_task(sequencer.run(stop))
    yield
    stop.set()
    await task


class Writes(Team):
    """Writes the answer in pieces, waiting before each for the test to let it."""

    def __init__(self) -> None:
        super().__init__(self._write)
        self.gate = asyncio.Semaphore(0)
        self.began = asyncio.Event()

    async def _write(self, _brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        self.began.set()
        offset = 0
        for piece in PIECES:
            await self.gate.acquire()
            await sink.write(offset, piece)
            offset += len(piece)
        await self.gate.acquire()

    async def answer(self, brief: StudyBrief, **ports: Any) -> Any:
        return replace(await super().answer(brief, **ports), text=ANSWER)

    def let(self, pieces: int = len(PIECES) + 1) -> None:
        for _ in range(pieces):
            self.gate.release()


async def follow(
    world: StudyWorld, session: UUID, after_seq: int | None = None, user_id: UUID | None = None
) -> AsyncGenerator[StudyEvent]:
    context = await world.context(user_id or world.ann)
    return follow_session(context, global_id("StudySession", session), after_seq)


async def until(events: AsyncIterator[StudyEvent], seq: int) -> list[StudyEvent]:
    """Events up to the one with this number."""
    told: list[StudyEvent] = []
    async with asyncio.timeout(10):
        async for event in events:
            told.append(event)
            if event.kind is StudyEventKind.MESSAGE_STATE and event.seq == seq:
                break
    return told


def numbered(events: list[StudyEvent]) -> list[int]:
    numbered = (StudyEventKind.MESSAGE_STATE, StudyEventKind.STEP)
    return [e.seq for e in events if e.kind in numbered]


def shown(events: list[StudyEvent]) -> str:
    """What a client shows that takes the snapshot's text and then chunks alone."""
    client = Client(0, "")
    for event in events:
        if event.kind is StudyEventKind.SNAPSHOT and event.message is not None:
            client = Client(event.message.generation, event.message.text)
        if event.chunk is not None:
            client.receive(event.chunk)
    return client.text


async def test_an_answer_is_followed_from_question_to_end(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    team = Writes()
    team.let()
    async with aclosing(await follow(world, session)) as events:
        snapshot = await anext(events)
        assert (snapshot.kind, snapshot.seq, snapshot.message) == ("SNAPSHOT", 0, None)
        reply = await ask(world, session)
        worker = asyncio.create_task(answer_message(world.work(team), reply))
        told = await until(events, DONE)
        await worker
    assert numbered(told) == list(range(1, DONE + 1))
    assert shown(told) == ANSWER
    last = told[-1].message
    assert last is not None
    assert (last.id, last.text, told[-1].session.id) == (reply, ANSWER, session)
    seqs = [e.seq for e in told]
    assert seqs == sorted(seqs)


async def test_a_resumed_follower_gets_each_event_once(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    team = Writes()
    seen: list[int] = []
    reply = await ask(world, session)
    worker = asyncio.create_task(answer_message(world.work(team), reply))
    await team.began.wait()
    after = 0
    for _ in range(4):
        async with aclosing(await follow(world, session, after)) as events:
            snapshot = await anext(events)
            assert (snapshot.kind, snapshot.seq) == ("SNAPSHOT", after)
            async for event in events:
                if event.kind is StudyEventKind.MESSAGE_STATE:
                    seen.append(after := event.seq)
                    break
    team.let()
    async with aclosing(await follow(world, session, after)) as events:
        seen += numbered(await until(events, DONE))
    await worker
    assert seen == list(range(1, DONE + 1))


async def test_a_late_follower_has_the_text_so_far_and_then_the_rest(
    study_world: StudyWorld,
) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    team = Writes()
    reply = await ask(world, session)
    worker = asyncio.create_task(answer_message(world.work(team), reply))
    team.let(2)
    await team.began.wait()
    async with aclosing(await follow(world, session)) as events:
        told = [await anext(events)]
        team.let()
        told += await until(events, DONE)
    await worker
    assert shown(told) == ANSWER


async def test_lost_chunks_are_read_from_the_row(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    team = Writes()
    reply = await ask(world, session)
    told: list[StudyEvent] = []
    async with aclosing(await follow(world, session)) as events:
        told.append(await anext(events))
        worker = asyncio.create_task(answer_message(world.work(team), reply))
        publish = world.bus.publish
        dropped = 0

        async def lossy(topic: str, payload: Any) -> None:
            nonlocal dropped
            if topic == answer_topic(reply) and dropped < 2:
                dropped += 1
                return
            await publish(topic, payload)

        world.bus.publish = lossy  # type: ignore[method-assign]  # the bus loses two chunks
        team.let(len(PIECES))
        async with asyncio.timeout(10):
            while shown(told) != ANSWER:
                told.append(await anext(events))
        team.let(1)
        told += await until(events, DONE)
        await worker
    assert dropped == 2
    assert shown(told) == ANSWER


async def test_a_revision_begins_a_generation(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)

    async def revises(_brief: StudyBrief, *, sink: Any, generation: int, **_: Any) -> None:
        await sink.write(0, "A first draft that is longer")
        await sink.reset(generation)
        await sink.write(0, "Done.")

    async with aclosing(await follow(world, session)) as events:
        told = [await anext(events)]
        reply = await ask(world, session)
        await answer_message(world.work(Team(revises)), reply)
        told += await until(events, DONE)
    assert shown(told) == "Done."
    last = told[-1].message
    assert last is not None
    assert last.generation == 2


async def test_a_takeover_begins_a_generation(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    started = asyncio.Event()

    async def dies(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        await sink.write(0, "Half an answer, too long")
        started.set()
        await asyncio.Event().wait()

    async def writes(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        await sink.write(0, "Done.")

    async with aclosing(await follow(world, session)) as events:
        told = [await anext(events)]
        reply = await ask(world, session)
        worker = asyncio.create_task(answer_message(world.work(Team(dies)), reply))
        await started.wait()
        told += await until(events, 4)
        worker.cancel()
        await asyncio.wait({worker})
        async with world.database.transaction() as connection:
            await connection.execute(
                text("UPDATE message SET lease_until = now() - interval '1 s'")
            )
        await sweep_messages(world.work())
        await answer_message(world.work(Team(writes)), reply)
        told += await until(events, DONE + 4)
    assert shown(told) == "Done."


async def test_a_strangers_session_is_not_found(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    for other in (world.bob, world.instructor):
        with pytest.raises(Refusal) as refused:
            await anext(await follow(world, session, user_id=other))
        assert refused.value.code is RefusalCode.NOT_FOUND


@pytest.mark.parametrize(
    ("after_seq", "code"), [(-1, RefusalCode.BAD_INPUT), (7, RefusalCode.RESYNC)]
)
async def test_a_number_the_stream_does_not_reach_is_refused(
    study_world: StudyWorld,
    after_seq: int,
    code: RefusalCode,
) -> None:
    session = await session_of(study_world, study_world.ann)
    with pytest.raises(Refusal) as refused:
        await anext(await follow(study_world, session, after_seq))
    assert refused.value.code is code


async def test_rights_that_end_end_the_stream(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    async with aclosing(await follow(world, session)) as events:
        await anext(events)
        async with world.database.transaction() as connection:
            await connection.execute(
                text("UPDATE enrollment SET state = 'REMOVED' WHERE user_id = :ann"),
                {"ann": world.ann},
            )
        await answer_message(world.work(Team(_nothing)), reply)
        with pytest.raises(Refusal) as refused:
            await until(events, DONE)
    assert refused.value.code is RefusalCode.NOT_FOUND


async def test_renewal_is_asked_before_each_numbered_event(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    context = await world.context(world.ann)

    async def expired() -> RequestContext:
        raise Refusal(RefusalCode.TOKEN_EXPIRED, "The access token has expired.")

    context = replace(context, renew=expired)
    events = follow_session(context, global_id("StudySession", session), None)
    async with aclosing(events):
        await anext(events)
        reply = await ask(world, session)
        await cancel(world, world.ann, reply)
        with pytest.raises(Refusal) as refused:
            await until(events, 2)
    assert refused.value.code is RefusalCode.TOKEN_EXPIRED


async def _nothing(_brief: StudyBrief, **_: Any) -> None:
    return None
