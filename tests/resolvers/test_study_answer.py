"""What a try writes while its calls are recorded beside it."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from uuid import UUID, uuid4

from sqlalchemy import text

from agents.ports import AgentFailure, Paid, Usage
from persistence import study, study_work
from persistence.lifecycle.study import MessageState
from persistence.study_steps import STEP
from persistence.tables.study import AgentStepKind
from resolvers.study_answer import Answer
from resolvers.study_work import answer_message, sweep_messages
from tests.resolvers.test_study_work import Team, ask, message, session_of
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

CALLERS, CALLS = 8, 10
STAGES = (MessageState.RETRIEVING, MessageState.GENERATING, MessageState.VERIFYING)


async def begun(world: StudyWorld) -> tuple[UUID, UUID, Answer, Answer]:
    """A session, a reply in it, the try at that, and what another process has of the same."""
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    async with world.database.transaction() as connection:
        fence = await study_work.claim(connection, reply, uuid4(), 30)
        asked = await study_work.asked(connection, reply)
    assert fence is not None
    one, other = (Answer(world.work(), reply, fence, asked) for _ in range(2))
    return session, reply, one, other


async def test_who_begins_to_cancel_or_delete_holds_up_no_try(study_world: StudyWorld) -> None:
    """They lock the session, then the message: a try that waited for the first is a deadlock."""
    world = study_world
    session, reply, *_ = await begun(world)
    lapsed = text("UPDATE message SET lease_until = now() - interval '1 s' WHERE id = :id")
    async with world.database.transaction() as connection:
        await connection.execute(lapsed, {"id": reply})
    tries = iter([AgentFailure("slow", retryable=True), None])

    async def act(*_: object, **__: object) -> None:
        if failure := next(tries):
            raise failure

    viewer = (await world.context(world.ann)).viewer
    async with world.database.transaction() as connection:
        assert await study.lock_session(connection, viewer, session)
        await sweep_messages(world.work())
        await answer_message(world.work(Team(act)), reply)
        assert (await message(world, reply)).state == MessageState.QUEUED
        await answer_message(world.work(Team(act)), reply)
        assert (await message(world, reply)).state == MessageState.COMPLETE


async def test_states_and_steps_are_written_beside_calls_that_are_recorded(
    study_world: StudyWorld,
) -> None:
    world = study_world
    session, reply, answer, other = await begun(world)

    async def calls(caller: int) -> None:
        for n in range(CALLS):
            paid = Paid(f"hash {caller} {n}".ljust(16), "{}", "p", "m", Usage(1, 1))
            await (answer, other)[n % 2].record(f"step {caller} {n}", paid)

    async def stages() -> None:
        for n, stage in enumerate(STAGES):
            answer.happened(AgentStepKind.RETRIEVE, {"n": n})
            await answer.entered(stage)

    await asyncio.gather(stages(), *(calls(caller) for caller in range(CALLERS)))
    async with world.database.read() as connection:
        steps = await study.steps_of(connection, [reply])
        told = text(
            "SELECT payload ->> 'step_id' FROM stream_event WHERE stream_id = :id AND kind = :k"
        )
        events = (await connection.execute(told, {"id": session, "k": STEP})).scalars().all()
    assert [step.ordinal for step in steps] == list(range(CALLERS * CALLS + len(STAGES)))
    assert sorted(events) == sorted(str(step.id) for step in steps)
