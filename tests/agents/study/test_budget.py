"""What one answer may cost: calls, tokens, seconds, money; and what is left when it is reached."""

from dataclasses import replace

import pytest

from agents.ports import Usage
from agents.study.brief import StudyBrief, StudyLimits, Unsupported
from agents.study.budget import Bound, Budget, BudgetReached
from agents.study.members import model_members
from agents.study.messages import CriticVerdict, Quotation, Route, StudyPlan, TutorAnswer, Verdict
from agents.study.outcome import StepKind, StudyState
from agents.study.team import StudyTeam
from tests.agents.study.test_model_members import QUESTION, QUOTE, ReplayingClient

PLAN = StudyPlan(route=Route.DOCUMENTS, queries=["three duplicate acknowledgements retransmit"])
HALF = TutorAnswer(
    text="It retransmits the missing segment at once. [1] It also closes the connection for good.",
    quotations=[Quotation(marker=1, passage=1, quote=QUOTE)],
)
REVISE = CriticVerdict(verdict=Verdict.REVISE, issues=["Say more."])


async def ask(study, limits, *replies, price=lambda _used: 0):
    client = ReplayingClient(*replies)
    members = model_members(client, provider="test", model="replay", price=price)
    team = StudyTeam(members, study.search, study.embedder, limits)
    outcome = await team.answer(
        StudyBrief(QUESTION),
        generation=1,
        ledger=study.ledger,
        stages=study.stages,
        sink=study.sink,
        cancellation=study.cancellation,
    )
    assert study.sink.text == outcome.text
    return outcome, client


@pytest.mark.parametrize("calls", [0, 1])
async def test_nothing_verified_is_said_so(study, calls):
    outcome, client = await ask(study, StudyLimits(calls=calls), PLAN)
    assert (outcome.state, outcome.bound) == (StudyState.ABSTAINED, Bound.CALLS)
    assert "nothing was verified" in outcome.text
    assert len(client.prompts) == calls
    assert outcome.steps[-1].kind is StepKind.BUDGET
    assert outcome.steps[-1].detail["calls"] == calls


@pytest.mark.parametrize("calls", [2, 3])
async def test_what_was_verified_is_kept_and_nothing_else(study, calls):
    outcome, client = await ask(study, StudyLimits(calls=calls), PLAN, HALF, REVISE)
    assert (outcome.state, outcome.bound) == (StudyState.COMPLETE, Bound.CALLS)
    assert outcome.text.startswith("It retransmits the missing segment at once. [1]\n\nI stopped")
    assert "closes" not in outcome.text
    (citation,) = outcome.citations
    claim = outcome.text[citation.claim_start : citation.claim_end]
    assert claim == "It retransmits the missing segment at once. [1]"
    assert len(client.prompts) == calls


async def test_money_and_tokens_stop_before_the_call_that_would_exceed(study):
    dear = {"price": lambda used: used.output_tokens}
    limits = StudyLimits(cost_micros=1_495, reply_tokens=1_490)
    outcome, client = await ask(study, limits, PLAN, **dear)
    assert (outcome.bound, len(client.prompts)) == (Bound.MONEY, 1)
    study.ledger.rows.clear()
    outcome, client = await ask(study, StudyLimits(tokens=10), PLAN)
    assert (outcome.bound, len(client.prompts)) == (Bound.TOKENS, 0)


async def test_time_that_is_up_during_a_call_ends_the_answer(study):
    outcome, _ = await ask(study, StudyLimits(seconds=0.0), PLAN)
    assert (outcome.state, outcome.bound) == (StudyState.ABSTAINED, Bound.SECONDS)


def test_a_call_out_of_the_ledger_counts():
    budget = Budget(StudyLimits(calls=1))
    budget.spend(Usage(1, 1), 5)
    with pytest.raises(BudgetReached):
        budget.admit(0, lambda _used: 0)


async def test_unsupported_claims_are_removed_by_policy(study):
    approve = CriticVerdict(verdict=Verdict.APPROVE)
    replies = (PLAN, HALF, approve, HALF, approve)
    marking, _ = await ask(study, StudyLimits(), *replies)
    assert marking.text.endswith("closes the connection for good. [unsupported]")
    study.ledger = replace(study.ledger, rows={}, costs={})
    removing, _ = await ask(study, StudyLimits(unsupported=Unsupported.REMOVE), *replies)
    assert removing.text == "It retransmits the missing segment at once. [1]"
