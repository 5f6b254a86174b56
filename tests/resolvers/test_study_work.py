"""Questions from asking to a verified answer; cancelling, failing and taking over on the way."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.ports import AgentCancelled, AgentFailure, Paid, PassageSearch, Usage
from agents.study.brief import StudyBrief
from agents.study.members import offline_members
from agents.study.messages import Route
from agents.study.outcome import StepKind, StudyOutcome, StudyState, StudyStep
from agents.study.team import StudyTeam
from persistence.backends import open_bus
from persistence.jobs import outstanding
from persistence.lifecycle.study import MessageState
from persistence.tables.study import AgentStepKind, MessageRow
from resolvers import documents, study, study_sessions, study_steps, study_turns
from resolvers.access import Permission
from resolvers.global_ids import global_id
from resolvers.refusals import Refusal, RefusalCode
from resolvers.study import StudyRoute
from resolvers.study_work import answer_message, sweep_messages
from tests.persistence.test_followers import Silent
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

AT_ONCE = timedelta(0)
QUESTION = "What happens when the time to live of a packet reaches zero?"


class Team:
    """A team that does what a test tells it to."""

    def __init__(self, act: Callable[..., Awaitable[Any]]) -> None:
        self._act = act
        self.runs = 0

    def __call__(self, _search: PassageSearch) -> "Team":
        return self

    async def answer(self, brief: StudyBrief, **ports: Any) -> StudyOutcome:
        self.runs += 1
        for stage in ("PLANNING", "RETRIEVING", "GENERATING"):
            await ports["stages"].entered(stage)
        await self._act(brief, **ports)
        await ports["stages"].entered("VERIFYING")
        return StudyOutcome(
            StudyState.COMPLETE, "Done.", Route.DIRECT, steps=(StudyStep(StepKind.PLAN, {"a": 1}),)
        )


async def session_of(world: StudyWorld, user_id: UUID) -> UUID:
    return await world.change(
        user_id,
        study_sessions.create_study_session,
        Permission.STUDY_ASK,
        course_id=global_id("Course", world.course_id),
        title=None,
    )


async def ask(world: StudyWorld, session_id: UUID, question: str = QUESTION) -> UUID:
    return await world.change(
        world.ann,
        study_turns.ask_question,
        Permission.STUDY_ASK,
        session_id=global_id("StudySession", session_id),
        text=question,
    )


async def cancel(world: StudyWorld, user_id: UUID, message_id: UUID) -> None:
    await world.change(
        user_id,
        study_turns.cancel_message,
        Permission.STUDY_ASK,
        message_id=global_id("Message", message_id),
    )


async def message(world: StudyWorld, key: UUID) -> MessageRow:
    (row,) = await study.load_messages(await world.context(world.ann), [key])
    assert row is not None
    return row


async def refusal(work: Awaitable[Any]) -> RefusalCode:
    with pytest.raises(Refusal) as refused:
        await work
    return refused.value.code


def real_team(world: StudyWorld) -> Callable[[PassageSearch], StudyTeam]:
    return lambda search: StudyTeam(offline_members(world.embedder), search, world.embedder)


async def sql(world: StudyWorld, statement: str, **values: Any) -> Any:
    async with world.database.transaction() as connection:
        result = await connection.execute(text(statement), values)
        return result.scalar_one_or_none() if result.returns_rows else None


async def jobs_of(world: StudyWorld) -> frozenset[UUID]:
    async with world.database.read() as connection:
        return await outstanding(connection, study.ANSWER)


@asynccontextmanager
async def answering(world: StudyWorld, key: UUID, team: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(answer_message(world.work(team), key))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_question_gets_an_answer_with_verified_quotes(study_world: StudyWorld) -> None:
    world = study_world
    await world.ingest()
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    assert await jobs_of(world) == {reply}
    queued = await message(world, reply)
    assert (queued.state, queued.author, study.is_draft(queued)) == ("QUEUED", "TUTOR", True)

    await answer_message(world.work(real_team(world)), reply)

    row = await message(world, reply)
    assert (row.state, row.route, study.is_draft(row)) == ("COMPLETE", "DOCUMENTS", False)
    context = await world.context(world.ann)
    (cited,) = await study.list_citations([row], context)
    chunks = await documents.get_chunks(context, [c.chunk_id for c in cited])
    assert cited
    for citation, chunk in zip(cited, chunks, strict=True):
        assert chunk is not None
        assert citation.verified
        assert chunk.text[citation.quote_start : citation.quote_end] == citation.quote
        assert 0 <= citation.claim_start < citation.claim_end <= len(row.text)
        assert citation.document_id == chunk.document_id
    assert any("discarded" in c.quote for c in cited)
    (steps,) = await study.list_steps([row], context)
    assert [s.ordinal for s in steps] == list(range(len(steps)))
    assert {"PLAN", "RETRIEVE", "CHECK"} <= {s.kind for s in steps}
    assert None not in [study_steps.result_of(s) for s in steps]
    (question,) = await study.get_messages(context, [row.parent_id])
    assert question is not None
    assert (question.text, question.author, question.state) == (QUESTION, "STUDENT", "COMPLETE")


async def test_what_the_material_does_not_hold_is_not_answered(study_world: StudyWorld) -> None:
    reply = await ask(study_world, await session_of(study_world, study_world.ann))
    await answer_message(study_world.work(real_team(study_world)), reply)
    row = await message(study_world, reply)
    assert row.state == "ABSTAINED"
    assert row.text


def test_the_routes_and_steps_of_the_contract_are_the_teams() -> None:
    assert [r.value for r in StudyRoute] == [r.value for r in Route]
    assert {k.value for k in StepKind} < {k.value for k in AgentStepKind}


async def test_one_open_question_at_a_time(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    both = await asyncio.gather(ask(world, session), ask(world, session), return_exceptions=True)
    (reply,) = [r for r in both if isinstance(r, UUID)]
    (refused,) = [r for r in both if isinstance(r, Refusal)]
    assert refused.code is RefusalCode.INVALID_STATE
    await cancel(world, world.ann, reply)
    assert await ask(world, session) != reply


@pytest.mark.parametrize("question", ["", "  \n ", "x" * 8_001])
async def test_a_question_has_bounds(study_world: StudyWorld, question: str) -> None:
    session = await session_of(study_world, study_world.ann)
    assert await refusal(ask(study_world, session, question)) is RefusalCode.BAD_INPUT


async def test_a_session_is_its_owners_alone(study_world: StudyWorld) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    for other in (world.bob, world.instructor):
        context = await world.context(other)
        assert await study.load_sessions(context, [session]) == [None]
        assert await study.load_messages(context, [reply]) == [None]
        assert (await study.list_sessions(context, 10, None)).rows == []
        assert await refusal(cancel(world, other, reply)) is RefusalCode.NOT_FOUND
        assert (
            await refusal(
                world.change(
                    other,
                    study_turns.ask_question,
                    Permission.STUDY_ASK,
                    session_id=global_id("StudySession", session),
                    text="Mine now?",
                )
            )
            is RefusalCode.NOT_FOUND
        )
    assert len((await study.list_sessions(await world.context(world.ann), 10, None)).rows) == 1
    assert (await message(world, reply)).state == "QUEUED"


async def test_cancelling_stops_the_team(study_world: StudyWorld) -> None:
    world = study_world
    started, stopped = asyncio.Event(), asyncio.Event()

    async def act(_brief: StudyBrief, *, sink: Any, cancellation: Any, **_: Any) -> None:
        await sink.write(0, "So far")
        forever = asyncio.get_running_loop().create_future()
        cancellation.link_future(forever)
        started.set()
        try:
            await forever
        except asyncio.CancelledError:
            stopped.set()
            raise AgentCancelled("cancelled") from None

    reply = await ask(world, await session_of(world, world.ann))
    async with answering(world, reply, Team(act)) as worker:
        await started.wait()
        await cancel(world, world.ann, reply)
        async with asyncio.timeout(1):  # the renewal alone would come after lease_seconds / 3
            await stopped.wait()
        await worker
    row = await message(world, reply)
    assert (row.state, study.is_draft(row)) == ("CANCELLED", True)
    assert await refusal(cancel(world, world.ann, reply)) is RefusalCode.INVALID_STATE
    team = Team(act)
    await answer_message(world.work(team), reply)  # its job comes late
    assert team.runs == 0


async def test_a_cancel_is_noticed_without_its_hint(study_world: StudyWorld) -> None:
    world, started = study_world, asyncio.Event()

    async def act(_brief: StudyBrief, *, cancellation: Any, **_: Any) -> None:
        forever = asyncio.get_running_loop().create_future()
        cancellation.link_future(forever)
        started.set()
        try:
            await forever
        except asyncio.CancelledError:
            raise AgentCancelled("cancelled") from None

    reply = await ask(world, await session_of(world, world.ann))
    patient = replace(world.work(Team(act)), lease_seconds=120)
    worker = asyncio.create_task(answer_message(patient, reply))
    try:
        await started.wait()
        async with open_bus(world.database) as elsewhere:
            deaf = replace(world, bus=Silent(elsewhere))
            await cancel(deaf, world.ann, reply)
        done, _ = await asyncio.wait({worker}, timeout=10)  # a timeout's cancel would end it, too
        assert done
    finally:
        worker.cancel()
        await asyncio.wait({worker})
    assert (await message(world, reply)).state == "CANCELLED"


async def test_an_answer_after_the_cancel_is_not_written(study_world: StudyWorld) -> None:
    world = study_world

    async def act(_brief: StudyBrief, **_: Any) -> None:
        await cancel(world, world.ann, reply)  # and a team that does not listen

    reply = await ask(world, await session_of(world, world.ann))
    await answer_message(world.work(Team(act)), reply)
    row = await message(world, reply)
    assert (row.state, row.text) == ("CANCELLED", "")


async def test_a_dead_workers_answer_is_taken_over_and_nothing_is_paid_twice(
    study_world: StudyWorld,
) -> None:
    world = study_world
    session = await session_of(world, world.ann)
    reply = await ask(world, session)
    written = asyncio.Event()
    recalled: list[str | None] = []

    async def dies(_brief: StudyBrief, *, sink: Any, ledger: Any, **_: Any) -> None:
        await ledger.record("planner", Paid("hash", '"paid"', "p", "m", Usage(1, 2), 3))
        await sink.write(0, "Half an ans")
        written.set()
        await asyncio.Event().wait()

    async def goes_on(_brief: StudyBrief, *, sink: Any, ledger: Any, **_: Any) -> None:
        recalled.append(await ledger.recall("planner", "hash"))
        await sink.write(0, "Done.")

    async with answering(world, reply, Team(dies)):
        await written.wait()
    await sweep_messages(world.work())
    assert (await message(world, reply)).state == "GENERATING"  # its lease still runs
    await sql(
        world, "UPDATE message SET lease_until = now() - interval '1 s' WHERE id = :id", id=reply
    )
    await sweep_messages(world.work())
    row = await message(world, reply)
    assert (row.state, row.generation, row.text) == ("QUEUED", 2, "")
    assert await jobs_of(world) == {reply}

    await answer_message(world.work(Team(goes_on)), reply)
    row = await message(world, reply)
    assert (row.state, row.generation, row.text, row.tries) == ("COMPLETE", 2, "Done.", 2)
    assert recalled == ['"paid"']


async def test_a_stalled_worker_writes_nothing_after_the_takeover(study_world: StudyWorld) -> None:
    world = study_world
    reply = await ask(world, await session_of(world, world.ann))
    reached, go = asyncio.Event(), asyncio.Event()

    async def stalls(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        reached.set()
        await go.wait()
        await sink.write(0, "Stale")

    async def quick(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        await sink.write(0, "Done.")

    async with answering(world, reply, Team(stalls)) as stalled:
        await reached.wait()
        await sql(
            world,
            "UPDATE message SET lease_until = now() - interval '1 s' WHERE id = :id",
            id=reply,
        )
        await sweep_messages(world.work())
        await answer_message(world.work(Team(quick)), reply)
        go.set()
        await stalled
    row = await message(world, reply)
    assert (row.state, row.text) == ("COMPLETE", "Done.")


@pytest.mark.parametrize(
    ("error", "tries", "code"),
    [
        (AgentFailure("slow", retryable=True), 3, "TUTOR_UNAVAILABLE"),
        (AgentFailure("no key", retryable=False), 1, "TUTOR_UNAVAILABLE"),
        (ZeroDivisionError("the student said"), 3, "INTERNAL"),
    ],
)
async def test_failures_that_may_pass_are_tried_three_times(
    study_world: StudyWorld,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    tries: int,
    code: str,
) -> None:
    world = study_world

    async def act(_brief: StudyBrief, **_: Any) -> None:
        raise error

    team = Team(act)
    reply = await ask(world, await session_of(world, world.ann))
    for _ in range(5):
        await answer_message(world.work(team), reply)
    row = await message(world, reply)
    assert (team.runs, row.state, row.tries) == (tries, "FAILED", tries)
    failure = study.failure_of(row)
    assert failure is not None
    assert failure.code == code
    assert "student said" not in caplog.text


async def test_a_message_whose_worker_dies_every_time_fails(study_world: StudyWorld) -> None:
    world = study_world
    reply = await ask(world, await session_of(world, world.ann))
    for expected in ("QUEUED", "QUEUED", "FAILED"):
        started = asyncio.Event()

        async def dies(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
            started.set()  # noqa: B023 - this round's
            await asyncio.Event().wait()

        async with answering(world, reply, Team(dies)):
            await started.wait()
        await sql(
            world,
            "UPDATE message SET lease_until = now() - interval '1 s' WHERE id = :id",
            id=reply,
        )
        await sweep_messages(world.work())
        assert (await message(world, reply)).state == expected
    failure = study.failure_of(await message(world, reply))
    assert failure is not None
    assert failure.code == "INTERRUPTED"


async def test_a_question_whose_job_was_lost_is_enqueued_again(study_world: StudyWorld) -> None:
    world = study_world
    reply = await ask(world, await session_of(world, world.ann))
    await sql(world, "DELETE FROM pgqueuer")
    await sweep_messages(world.work())
    assert await jobs_of(world) == frozenset()  # too young to be missed
    for _ in range(2):
        await sweep_messages(world.work(), waiting_for=AT_ONCE)
    assert await jobs_of(world) == {reply}
    assert await sql(world, "SELECT count(*) FROM pgqueuer") == 1


async def test_the_team_is_told_history_and_open_work(study_world: StudyWorld) -> None:
    world = study_world
    briefs: list[StudyBrief] = []

    async def act(brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        briefs.append(brief)
        await sink.write(0, "Done.")

    await sql(
        world,
        """
        WITH a AS (
            INSERT INTO assignment (id, organization_id, course_id, title, kind, instructions,
                points, attempts_allowed, late_policy, anonymous, ai_policy, state, version,
                lock_at)
            SELECT gen_random_uuid(), :org, :course, t, 'ESSAY', 'Write.', 5, 1, '{}', false,
                'CLOSED', s, 1, l
            FROM (VALUES ('Open', 'PUBLISHED', NULL::timestamptz), ('Draft', 'DRAFT', NULL),
                ('Locked', 'PUBLISHED', now() - interval '1 h')) AS v (t, s, l)
            RETURNING id
        )
        INSERT INTO question (id, organization_id, course_id, assignment_id, position, prompt,
            points)
        SELECT gen_random_uuid(), :org, :course, id, p, 'Prompt ' || p, 1
        FROM a, generate_series(0, 1) AS p""",
        org=world.organization_id,
        course=world.course_id,
    )
    session = await session_of(world, world.ann)
    for question in ("One?", "Two?", "Three?"):
        reply = await ask(world, session, question)
        if question == "Two?":
            await cancel(world, world.ann, reply)
        else:
            await answer_message(world.work(Team(act)), reply)
    last = briefs[-1]
    assert last.question == "Three?"
    assert [(t.speaker.value, t.text) for t in last.history] == [
        ("STUDENT", "One?"),
        ("TUTOR", "Done."),
    ]
    (work,) = last.open_assignments
    assert (work.title, work.ai_policy.value) == ("Open", "CLOSED")
    assert work.prompt == "Write.\n\nPrompt 0\n\nPrompt 1"


async def test_no_connection_is_held_while_the_team_works(study_world: StudyWorld) -> None:
    world = study_world
    held: list[str] = []

    async def act(_brief: StudyBrief, *, sink: Any, **_: Any) -> None:
        held.append(world.database.engine.pool.status())
        await sink.write(0, "Done.")

    reply = await ask(world, await session_of(world, world.ann))
    await answer_message(world.work(Team(act)), reply)
    assert "Current Checked out connections: 0" in held[0]
    assert (await message(world, reply)).state == MessageState.COMPLETE
