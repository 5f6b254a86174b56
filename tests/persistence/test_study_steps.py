"""What the team did is written once, in places without a gap, by whoever writes at the moment."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from persistence import study_work
from persistence.database import Conflict, Database, Duplicate
from persistence.leases import LeaseLost
from persistence.lifecycle.study import MessageState
from persistence.study_steps import NewStep, add_steps, tell
from tests.resolvers.test_study_work import ask, session_of
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

PLANNING, RETRIEVING = MessageState.PLANNING, MessageState.RETRIEVING


def step(key: str, detail: Any = 1) -> NewStep:
    return NewStep(key, "PLAN", {"said": detail})


async def taken(world: StudyWorld) -> tuple[UUID, int]:
    """A reply that is worked on, and the fence."""
    key = await ask(world, await session_of(world, world.ann))
    async with world.database.transaction() as connection:
        fence = await study_work.claim(connection, key, uuid4(), 60)
    assert fence is not None
    return key, fence


async def written(database: Database, key: UUID) -> tuple[list[tuple[int, str]], list[Any]]:
    """Places and keys of the steps, and what events tell: keys of steps, and states."""
    async with database.read() as connection:
        steps = await connection.execute(
            text("SELECT ordinal, key FROM agent_step WHERE message_id = :key ORDER BY ordinal"),
            {"key": key},
        )
        told = await connection.execute(
            text(
                "SELECT coalesce(s.key, e.payload ->> 'state') AS told FROM stream_event e"
                " LEFT JOIN agent_step s ON s.id::text = e.payload ->> 'step_id'"
                " WHERE e.payload ->> 'message_id' = :key ORDER BY e.id"
            ),
            {"key": str(key)},
        )
        return [tuple(row) for row in steps], list(told.scalars())


async def enter(
    world: StudyWorld, key: UUID, fence: int, steps: Sequence[NewStep], **states: MessageState
) -> None:
    async with world.database.statement() as connection:
        await tell(connection, key, fence, states.pop("state", PLANNING), steps, **states)


async def test_steps_and_the_state_they_led_to_are_told_in_order(study_world: StudyWorld) -> None:
    key, fence = await taken(study_world)
    await enter(study_world, key, fence, [step("a"), step("b", None)], becomes=RETRIEVING)
    await enter(study_world, key, fence, [step("c", 'quote " \\ 😀')], state=RETRIEVING)
    places, told = await written(study_world.database, key)
    assert places == [(0, "a"), (1, "b"), (2, "c")]
    assert told == ["QUEUED", "a", "b", "RETRIEVING", "c"]


async def test_a_step_of_an_earlier_try_is_told_again_only_when_it_came_out_otherwise(
    study_world: StudyWorld,
) -> None:
    key, fence = await taken(study_world)
    await enter(study_world, key, fence, [step("a"), step("b")])
    await enter(study_world, key, fence, [step("a"), step("new"), step("b", 2)])
    places, told = await written(study_world.database, key)
    assert places == [(0, "a"), (1, "b"), (2, "new")]
    assert told == ["QUEUED", "a", "b", "b", "new"]


async def test_only_the_holder_writes_and_only_in_the_state_it_knows(
    study_world: StudyWorld,
) -> None:
    key, fence = await taken(study_world)
    with pytest.raises(LeaseLost):
        await enter(study_world, key, fence - 1, [step("a")], becomes=RETRIEVING)
    with pytest.raises(Conflict):
        await enter(study_world, key, fence, [step("a")], state=RETRIEVING)
    assert await written(study_world.database, key) == ([], ["QUEUED"])


async def test_a_former_holder_that_records_what_it_paid_takes_no_place_twice(
    study_world: StudyWorld,
) -> None:
    key, fence = await taken(study_world)
    random = Random(5)

    async def former(number: int) -> None:
        async with study_world.database.transaction() as connection:
            await study_work.lock(connection, key)
            await asyncio.sleep(random.uniform(0, 0.01))
            await add_steps(connection, key, [step(f"paid {number}")])

    async def holder() -> None:
        for number in range(20):
            steps = [step(f"done {number}")]
            try:
                await enter(study_world, key, fence, steps)
            except Duplicate:
                async with study_world.database.transaction() as connection:
                    await study_work.hold(connection, key, fence, PLANNING)
                    await tell(connection, key, fence, PLANNING, steps)

    await asyncio.gather(holder(), *(former(number) for number in range(20)))
    places, told = await written(study_world.database, key)
    assert [place for place, _ in places] == list(range(40))
    assert sorted(told[1:]) == sorted(name for _, name in places)
