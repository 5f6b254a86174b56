"""Steps told while they happen, what a reply cost, and what the tutor is told of the branch."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agents.ports import AgentCancelled, Paid, Usage
from agents.study.brief import StudyBrief
from agents.study.messages import Route
from agents.study.outcome import StepKind, StudyOutcome, StudyState, StudyStep
from persistence.followers import open_followers
from resolvers import study, study_memory, study_sessions, study_turns
from resolvers.access import Permission
from resolvers.global_ids import global_id
from resolvers.refusals import Refusal, RefusalCode
from resolvers.study_follow import StudyEventKind
from resolvers.study_work import answer_message, sweep_messages
from tests.resolvers.test_study_follow import follow, sequencer  # noqa: F401 - a fixture
from tests.resolvers.test_study_work import (
    Team,
    answering,
    ask,
    cancel,
    message,
    refusal,
    session_of,
    sql,
)
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures


def paid(request: str, response: str = "{}", provider: str = "p") -> Paid:
    return Paid(request * 64, response, provider, "m", Usage(100, 7), 30)


class Scripted(Team):
    """Ends with the steps and proposals a test gives it."""

    def __init__(self, act: Any, steps: tuple[StudyStep, ...] = (), remember: Any = ()) -> None:
        super().__init__(act)
        self._outcome = StudyOutcome(
            StudyState.COMPLETE, "Done.", Route.DIRECT, steps=steps, remember=tuple(remember)
        )

    async def answer(self, brief: StudyBrief, **ports: Any) -> StudyOutcome:
        await super().answer(brief, **ports)
        return self._outcome


async def nothing(_brief: StudyBrief, **_: Any) -> None:
    return None


async def turn(world: StudyWorld, work: Any, **values: Any) -> UUID:
    return await world.change(world.ann, work, Permission.STUDY_ASK, **values)


async def steps_of(world: StudyWorld, key: UUID) -> list[tuple[int, str, Any]]:
    context = await world.context(world.ann)
    (found,) = await study.list_steps([await message(world, key)], context)
    return [(s.ordinal, s.kind, s.detail) for s in found]


async def usage_of(world: StudyWorld, key: UUID) -> tuple[int, int, int, int]:
    context = await world.context(world.ann)
    (spent,) = await study.list_usage([await message(world, key)], context)
    assert spent is not None
    return spent.calls, spent.input_tokens, spent.output_tokens, spent.cost_micros


async def test_steps_are_told_while_the_team_works(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    go = asyncio.Event()

    async def act(_brief: StudyBrief, *, steps: Any, **_: Any) -> None:
        steps.happened("PLAN", {"route": "DIRECT", "queries": [], "reason": "a\0b"})
        steps.happened("DRAFT", {"attempt": 0, "characters": 5, "abstained": False})
        await go.wait()

    ended = (
        StudyStep(StepKind.PLAN, {"route": "DIRECT", "queries": [], "reason": "a\0b"}),
        StudyStep(StepKind.DRAFT, {"attempt": 0, "characters": 5, "abstained": False}),
        StudyStep(StepKind.DRAFT, {"attempt": 1, "characters": 6, "abstained": False}),
    )
    async with aclosing(await follow(world, session)) as events:
        await anext(events)
        reply = await ask(world, session)
        worker = asyncio.create_task(answer_message(world.work(Scripted(act, ended)), reply))
        told: list[Any] = []
        async with asyncio.timeout(10):
            async for event in events:
                told.append(event)
                if [e.kind for e in told].count(StudyEventKind.STEP) == 2:
                    break
        assert (await message(world, reply)).state == "GENERATING"
        assert [kind for _, kind, _ in await steps_of(world, reply)] == ["PLAN", "DRAFT"]
        go.set()
        await worker
        async with asyncio.timeout(10):
            async for event in events:
                told.append(event)
                if event.seq == 9:  # QUEUED, four stages, three steps, COMPLETE
                    break
    steps = [event.step for event in told if event.kind is StudyEventKind.STEP]
    assert [(s.ordinal, s.kind) for s in steps] == [(0, "PLAN"), (1, "DRAFT"), (2, "DRAFT")]
    assert steps[0].detail["reason"] == "a\ufffdb"
    seqs = [e.seq for e in told if e.kind is not StudyEventKind.CHUNK]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_the_steps_of_a_dead_try_are_not_written_again(study_world: StudyWorld) -> None:
    world = study_world
    reply = await ask(world, await session_of(world, world.ann))
    written = asyncio.Event()

    async def dies(_brief: StudyBrief, *, steps: Any, ledger: Any, **_: Any) -> None:
        await ledger.record("planner", paid("h"))
        steps.happened("PLAN", {"n": 1})
        while len(await steps_of(world, reply)) < 2:  # noqa: ASYNC110 - the worker's own doing
            await asyncio.sleep(0.02)
        written.set()
        await asyncio.Event().wait()

    async def goes_on(_brief: StudyBrief, *, steps: Any, ledger: Any, **_: Any) -> None:
        assert await ledger.recall("planner", "h" * 64) == "{}"
        steps.happened("PLAN", {"n": 1})
        await ledger.record("tutor:0", paid("i"))
        steps.happened("DRAFT", {"n": 2})

    async with answering(world, reply, Scripted(dies)):
        await written.wait()
    await sql(world, "UPDATE message SET lease_until = now() - interval '1 s'")
    await sweep_messages(world.work())
    ended = (StudyStep(StepKind.PLAN, {"n": 1}), StudyStep(StepKind.DRAFT, {"n": 2}))
    await answer_message(world.work(Scripted(goes_on, ended)), reply)
    found = await steps_of(world, reply)
    assert sorted(kind for _, kind, _ in found) == ["DRAFT", "PLAN", "SPENT", "SPENT"]
    assert [ordinal for ordinal, _, _ in found] == [0, 1, 2, 3]
    assert await usage_of(world, reply) == (2, 200, 14, 60)


async def test_a_cancelled_reply_says_what_was_spent(study_world: StudyWorld) -> None:
    world = study_world
    started = asyncio.Event()

    async def act(_brief: StudyBrief, *, ledger: Any, cancellation: Any, **_: Any) -> None:
        await ledger.record("retrieval", paid("r", provider="search"))
        await ledger.record("planner", paid("h"))
        forever = asyncio.get_running_loop().create_future()
        cancellation.link_future(forever)
        started.set()
        try:
            await forever
        except asyncio.CancelledError:  # a call that had returned when the cancel came is paid
            await ledger.record("tutor:0", paid("i"))
            raise AgentCancelled("cancelled") from None

    reply = await ask(world, await session_of(world, world.ann))
    async with answering(world, reply, Team(act)) as worker:
        await started.wait()
        assert await usage_of(world, reply) == (1, 200, 14, 60)
        await cancel(world, world.ann, reply)
        await asyncio.wait_for(worker, 5)
    assert (await message(world, reply)).state == "CANCELLED"
    assert await usage_of(world, reply) == (2, 300, 21, 90)
    assert [d["step"] for _, k, d in await steps_of(world, reply) if k == "SPENT"] == [
        "retrieval",
        "planner",
        "tutor:0",
    ]


async def test_nothing_is_begun_while_a_reply_is_coming(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    first = await ask(world, session)
    await answer_message(world.work(Team(nothing)), first)
    question = (await message(world, first)).parent_id
    assert question is not None
    waiting = await turn(
        world, study_turns.regenerate_message, message_id=global_id("Message", first)
    )
    mine = {"session_id": global_id("StudySession", session), "text": "Two?"}
    for work, values in (
        (study_turns.ask_question, mine),
        (study_turns.ask_question, mine | {"parent_id": global_id("Message", first)}),
        (study_turns.regenerate_message, {"message_id": global_id("Message", first)}),
        (
            study_turns.edit_question,
            {"message_id": global_id("Message", question), "text": "Other?"},
        ),
    ):
        assert await refusal(turn(world, work, **values)) is RefusalCode.INVALID_STATE
    with pytest.raises(IntegrityError, match="uq_message_open"):
        await sql(world, "UPDATE message SET state = 'QUEUED' WHERE id = :id", id=first)
    await cancel(world, world.ann, waiting)
    assert await turn(world, study_turns.ask_question, **mine) != waiting


async def test_the_tutor_is_told_its_branch_alone(study_world: StudyWorld) -> None:
    world = study_world
    briefs: list[StudyBrief] = []

    async def act(brief: StudyBrief, **_: Any) -> None:
        briefs.append(brief)

    session = await session_of(world, world.ann)
    replies = []
    for question in ("One?", "Two?", "Three?"):
        replies.append(await ask(world, session, question))
        await answer_message(world.work(Team(act)), replies[-1])
    two = (await message(world, replies[1])).parent_id
    assert two is not None
    edited = await turn(
        world,
        study_turns.edit_question,
        message_id=global_id("Message", two),
        text="Another two?",
    )
    await answer_message(world.work(Team(act)), edited)
    last = await ask(world, session, "Four?")
    await answer_message(world.work(Team(act)), last)
    asked = [t.text for t in briefs[-1].history if t.speaker == "STUDENT"]
    assert asked == ["One?", "Another two?"]
    await turn(world, study_turns.select_branch, message_id=global_id("Message", replies[2]))
    again = await turn(
        world, study_turns.regenerate_message, message_id=global_id("Message", replies[2])
    )
    await answer_message(world.work(Team(act)), again)
    assert briefs[-1].question == "Three?"
    assert [t.text for t in briefs[-1].history if t.speaker == "STUDENT"] == ["One?", "Two?"]


async def test_facts_are_told_once_accepted_and_proposals_are_bounded(
    study_world: StudyWorld,
) -> None:
    world = study_world
    briefs: list[StudyBrief] = []

    async def act(brief: StudyBrief, **_: Any) -> None:
        briefs.append(brief)

    session = await session_of(world, world.ann)
    proposals = [
        "I prepare for the\nexam in May.",
        "i prepare for the exam in may.",
        " ",
        "x" * 900,
    ]
    reply = await ask(world, session)
    team = Scripted(act, remember=[*proposals, "Three.", "Four.", "Five."])
    await answer_message(world.work(team), reply)
    context = await world.context(world.ann)
    facts = (await study_memory.list_facts(context, None, 10, None)).rows
    assert {f.text for f in facts} >= {"I prepare for the exam in May.", "x" * 500}
    assert (len(facts), {f.state for f in facts}) == (3, {"PROPOSED"})
    for other in (world.bob, world.instructor):
        theirs = await study_memory.list_facts(await world.context(other), None, 10, None)
        assert theirs.rows == []

    (exam,) = [f for f in facts if f.text.startswith("I prepare")]
    await answer_message(world.work(Scripted(act)), await ask(world, session))
    assert briefs[-1].facts == ()
    await turn(
        world, study_memory.accept_memory_fact, memory_fact_id=global_id("MemoryFact", exam.id)
    )
    await answer_message(
        world.work(Scripted(act, remember=proposals[:1])), await ask(world, session)
    )
    assert briefs[-1].facts == (exam.text,)
    assert len((await study_memory.list_facts(context, None, 10, None)).rows) == 3


async def test_a_session_deleted_under_a_worker_leaves_nothing_behind(
    study_world: StudyWorld,
) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    started, stopped = asyncio.Event(), asyncio.Event()

    async def act(_brief: StudyBrief, *, ledger: Any, cancellation: Any, **_: Any) -> None:
        await ledger.record("planner", paid("h", "quokka"))
        forever = asyncio.get_running_loop().create_future()
        cancellation.link_future(forever)
        started.set()
        try:
            await forever
        except asyncio.CancelledError:
            await ledger.record("tutor:0", paid("i", "quokka"))
            stopped.set()
            raise AgentCancelled("cancelled") from None

    async with answering(world, reply, Team(act)) as worker:
        await started.wait()
        await turn(
            world,
            study_sessions.delete_study_session,
            session_id=global_id("StudySession", session),
        )
        async with asyncio.timeout(2):
            await stopped.wait()
        await worker
    async with world.database.read() as connection:
        for table in ("study_session", "message", "agent_step", "citation", "stream_event"):
            found = await connection.execute(text(f"SELECT count(*) FROM {table}"))
            assert found.scalar_one() == 0, table
        rows = (
            await connection.execute(text("SELECT response, cost_micros FROM model_call"))
        ).all()
    assert sorted(rows) == [("", 30), ("", 30)]


@pytest.mark.parametrize("end", ["unshare_study_session", "delete_study_session"])
async def test_a_share_ends_at_once_for_who_follows(study_world: StudyWorld, end: str) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    mine = {"session_id": global_id("StudySession", session)}
    await turn(world, study_sessions.share_study_session, until=None, **mine)
    async with open_followers(world.database, world.bus, poll_seconds=3_600) as idle:
        followed = replace(world, followers=idle)
        async with aclosing(await follow(followed, session, None, world.instructor)) as events:
            assert (await anext(events)).kind is StudyEventKind.SNAPSHOT
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            await turn(world, getattr(study_sessions, end), **mine)
            with pytest.raises(Refusal) as refused:
                await asyncio.wait_for(waiting, 10)
    assert refused.value.code is RefusalCode.NOT_FOUND
