"""Long conversations: rebuilt from rows, summarised within a bound, the last turns always whole."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.ports import AgentFailure, Called, Usage
from agents.study.brief import Speaker, StudyBrief, StudyLimits
from agents.study.summary import Summary, SummaryRequest, estimated_tokens
from resolvers import study_turns
from resolvers.global_ids import global_id
from resolvers.study_history import HISTORY_TOKENS, MOST_EXCHANGES, SUMMARY_TOKENS
from resolvers.study_work import answer_message
from tests.resolvers.test_study_turns import turn, usage_of
from tests.resolvers.test_study_work import Team, ask, message, session_of, sql
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

TURNS = 200
FILL = """
WITH RECURSIVE said AS (
    SELECT 0 AS n, gen_random_uuid() AS id, NULL::uuid AS parent
    UNION ALL SELECT n + 1, gen_random_uuid(), id FROM said WHERE n < :most
), made AS (
    INSERT INTO message (id, organization_id, course_id, session_id, ordinal, author, parent_id,
        text, state, generation, tries, fence)
    SELECT said.id, s.organization_id, s.course_id, s.id, n,
        CASE n % 2 WHEN 0 THEN 'STUDENT' ELSE 'TUTOR' END, parent,
        CASE n % 2 WHEN 0 THEN 'Question ' || n / 2 || ' about routing?'
            ELSE 'Answer ' || n / 2 || ' on routing. ' || repeat('It goes on. ', 40) END,
        'COMPLETE', 1, 0, 0
    FROM said, study_session s WHERE s.id = :session ORDER BY n RETURNING id, ordinal
)
UPDATE study_session SET active_leaf_id = (SELECT id FROM made ORDER BY ordinal DESC LIMIT 1)
WHERE id = :session"""


class Records(Team):
    """Keeps the briefs it is given."""

    def __init__(self) -> None:
        super().__init__(self._keep)
        self.briefs: list[StudyBrief] = []

    async def _keep(self, brief: StudyBrief, **_: Any) -> None:
        self.briefs.append(brief)


async def long_session(world: StudyWorld) -> UUID:
    session = await session_of(world, world.ann)
    await sql(world, FILL, most=2 * TURNS - 1, session=session)
    return session


def check_bounds(brief: StudyBrief) -> None:
    summary, *turns = brief.history
    assert summary.speaker is Speaker.SUMMARY
    assert 0 < estimated_tokens(summary.text) <= SUMMARY_TOKENS
    assert len(turns) <= 2 * MOST_EXCHANGES
    assert len(brief.history) <= StudyLimits().history_turns
    assert sum(estimated_tokens(t.text) for t in turns) <= HISTORY_TOKENS


async def test_two_hundred_turns_are_bounded_and_the_last_are_whole(
    study_world: StudyWorld,
) -> None:
    world, team = study_world, Records()
    session = await long_session(world)
    for n in range(7):
        reply = await ask(world, session, f"Now {n}?")
        await answer_message(world.work(team), reply)
        assert (await message(world, reply)).state == "COMPLETE"
        check_bounds(team.briefs[-1])
    first = team.briefs[0].history
    assert [t.text for t in first[-4::2]] == [
        "Question 198 about routing?",
        "Question 199 about routing?",
    ]
    assert first[-1].text.startswith("Answer 199 on routing. It goes on.")
    assert first[-1].text.endswith("It goes on. ")
    lines = first[0].text.splitlines()
    assert all(line.startswith("Asked: Question ") for line in lines)
    assert len(lines) > 5
    said = [t.text for t in team.briefs[-1].history if t.speaker is Speaker.STUDENT]
    assert said[-2:] == ["Now 4?", "Now 5?"]
    async with world.database.read() as connection:
        summed = await connection.execute(
            text("SELECT ordinal FROM message WHERE summary IS NOT NULL ORDER BY ordinal")
        )
        places = list(summed.scalars())
    assert places[0] == 2 * TURNS - 5  # the reply before the last two exchanges
    assert 1 < len(places) <= 3  # it rolls on, not with each turn


async def test_a_branch_from_before_the_summary_is_told_its_own_turns(
    study_world: StudyWorld,
) -> None:
    world, team = study_world, Records()
    session = await long_session(world)
    await answer_message(world.work(team), await ask(world, session, "Now?"))
    early = await sql(world, "SELECT id FROM message WHERE ordinal = 3")
    aside = await turn(
        world,
        study_turns.ask_question,
        session_id=global_id("StudySession", session),
        text="Aside?",
        parent_id=global_id("Message", early),
    )
    await answer_message(world.work(team), aside)
    told = team.briefs[-1].history
    assert [t.text for t in told if t.speaker is Speaker.STUDENT] == [
        "Question 0 about routing?",
        "Question 1 about routing?",
    ]
    assert len(told) == 4


class Writes:
    """A summariser that counts as a model's does."""

    def __init__(self, failures: int = 0) -> None:
        self.asked: list[SummaryRequest] = []
        self._failures = failures

    async def summarise(self, request: SummaryRequest, _cancellation: Any) -> Called[Summary]:
        self.asked.append(request)
        if len(self.asked) <= self._failures:
            raise AgentFailure("away", retryable=True)
        said = Summary(text=f"{len(self.asked)}" + "\0\u4e2d" * 9_000)
        return Called(said, "p", "m", Usage(10, 5), 2)


async def test_a_models_summary_rolls_is_cut_and_is_paid_once(study_world: StudyWorld) -> None:
    world, team = study_world, Records()
    session = await long_session(world)
    writes = Writes(failures=1)
    reply = await ask(world, session)
    work = replace(world.work(team), summariser=lambda _: writes)
    await answer_message(work, reply)
    assert (await message(world, reply)).state == "QUEUED"  # tried again, nothing lost
    await answer_message(work, reply)
    check_bounds(team.briefs[-1])
    assert writes.asked[0] == writes.asked[1]
    assert len(writes.asked) > 3
    assert [r.previous[:1] for r in writes.asked[2:]] == [
        str(n) for n in range(2, len(writes.asked))
    ]
    told = sum(len(r.turns) for r in writes.asked[1:])
    assert told == 2 * (TURNS - 2)  # each old turn once
    calls, tokens, _, cost = await usage_of(world, reply)
    assert (calls, tokens, cost) == (len(writes.asked) - 1, 10 * calls, 2 * calls)
    assert writes.asked[-1].language == "en"


@pytest.mark.parametrize("long", ["x" * 8_000, "\u4e2d" * 8_000])
async def test_the_last_turns_are_told_however_long_they_are(
    study_world: StudyWorld, long: str
) -> None:
    world, team = study_world, Records()
    session = await long_session(world)
    await sql(world, "UPDATE message SET text = :long", long=long)
    await answer_message(world.work(team), await ask(world, session))
    _, *turns = team.briefs[-1].history
    assert [t.text for t in turns] == [long] * 4
