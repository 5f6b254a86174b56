"""The same team with AssistantAgents as members, over a client that replays model replies."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from autogen_core.models import ChatCompletionClient, CreateResult, ModelInfo, RequestUsage
from pydantic import BaseModel

from agents.ports import AgentFailure, Usage
from agents.study.brief import AiPolicy
from agents.study.members import model_members
from agents.study.messages import CriticVerdict, Quotation, Route, StudyPlan, TutorAnswer, Verdict
from agents.study.outcome import StepKind, StudyState, UnsupportedReason

QUESTION = "What happens after three duplicate acknowledgements?"
QUOTE = "it retransmits the missing segment at once"
GOOD = TutorAnswer(
    text="The sender retransmits the missing segment at once. [1]",
    quotations=[Quotation(marker=1, passage=1, quote=QUOTE)],
)
FABRICATED = TutorAnswer(
    text="The sender closes the connection and reports an error. [1]",
    quotations=[Quotation(marker=1, passage=1, quote="the sender closes the connection")],
)
APPROVE = CriticVerdict(verdict=Verdict.APPROVE)


class ReplayingClient(ChatCompletionClient):
    """Replies by the type that is asked for, in order; streams in chunks of seven characters."""

    def __init__(self, *replies: BaseModel | str) -> None:
        self.replies: dict[type, list[str]] = defaultdict(list)
        for reply in replies:
            kind = TutorAnswer if isinstance(reply, str) else type(reply)
            self.replies[kind].append(reply if isinstance(reply, str) else reply.model_dump_json())
        self.prompts: list[tuple[type, str]] = []

    async def create(self, messages, *, json_output=None, **_options) -> CreateResult:
        self.prompts.append((json_output, "\n".join(str(it.content) for it in messages)))
        return CreateResult(
            finish_reason="stop",
            content=self.replies[json_output].pop(0),
            usage=RequestUsage(prompt_tokens=100, completion_tokens=10),
            cached=False,
        )

    async def create_stream(self, messages, *, json_output=None, **options):
        result = await self.create(messages, json_output=json_output, **options)
        for at in range(0, len(result.content), 7):
            await asyncio.sleep(0)  # as a network lets others run
            yield result.content[at : at + 7]
        yield result

    async def close(self) -> None:
        pass

    def actual_usage(self) -> RequestUsage:
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    total_usage = actual_usage

    def count_tokens(self, messages: Sequence[object], **_options: object) -> int:
        return len(messages)

    def remaining_tokens(self, messages: Sequence[object], **_options: object) -> int:
        return 1_000 - len(messages)

    @property
    def capabilities(self) -> Mapping[str, bool]:
        return self.model_info

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False,
            function_calling=True,
            json_output=True,
            structured_output=True,
            family="unknown",
        )


PLAN = StudyPlan(route=Route.DOCUMENTS, queries=["three duplicate acknowledgements retransmit"])


@pytest.fixture
def model_study(study):
    def seated(*replies: BaseModel | str):
        client = ReplayingClient(*replies)
        members = model_members(
            client, provider="test", model="replay", price=lambda used: 2 * used.input_tokens
        )
        return replace(study, members=members), client

    return seated


async def test_cited_answer(model_study):
    study, client = model_study(PLAN, GOOD, APPROVE)
    outcome = await study.ask(QUESTION)
    assert outcome.state is StudyState.COMPLETE
    assert outcome.text == GOOD.text == study.sink.text
    (citation,) = outcome.citations
    assert citation.source.chunk_id == "c1"
    assert citation.verified
    assert citation.quote == QUOTE
    assert outcome.text[citation.claim_start : citation.claim_end] == GOOD.text
    assert study.ledger.costs["tutor:0"] == ("test", "replay", Usage(100, 10), 200)
    tutor_prompt = next(prompt for kind, prompt in client.prompts if kind is TutorAnswer)
    assert "[passage 1]\n<data " in tutor_prompt
    assert "Networks, Retransmission" in tutor_prompt
    assert QUESTION in tutor_prompt


async def test_fabricated_quote_is_revised_away(model_study):
    study, client = model_study(PLAN, FABRICATED, APPROVE, GOOD, APPROVE)
    outcome = await study.ask(QUESTION)
    assert outcome.state is StudyState.COMPLETE
    assert study.sink.text == outcome.text == GOOD.text
    second = [prompt for kind, prompt in client.prompts if kind is TutorAnswer][1]
    assert "not in its passage" in second
    assert set(study.ledger.rows) >= {"tutor:0", "critic:0", "tutor:1", "critic:1"}


async def test_quotes_that_stay_fabricated_end_in_abstention(model_study):
    again = TutorAnswer(text="It reports an error. [1]", quotations=FABRICATED.quotations)
    study, _ = model_study(PLAN, FABRICATED, APPROVE, again, APPROVE, FABRICATED, APPROVE)
    outcome = await study.ask(QUESTION)
    assert outcome.state is StudyState.ABSTAINED
    assert outcome.citations == ()
    assert "closes the connection" not in outcome.text
    assert study.sink.text == outcome.text


async def test_partly_fabricated_answer_is_marked(model_study):
    mixed = TutorAnswer(
        text=f"{GOOD.text} It then informs the network operator. [2] Nobody doubts this mechanism.",
        quotations=[*GOOD.quotations, Quotation(marker=2, passage=9, quote="informs the operator")],
    )
    rest = GOOD.model_copy(update={"text": f"{GOOD.text} It then informs the operator. [3]"})
    study, _ = model_study(PLAN, mixed, APPROVE, rest, APPROVE, rest)
    outcome = await study.ask(QUESTION)
    assert outcome.state is StudyState.COMPLETE
    assert outcome.text == f"{GOOD.text} It then informs the operator. [unsupported]"
    assert study.sink.text == outcome.text
    (unsupported,) = outcome.unsupported
    assert unsupported.reason is UnsupportedReason.NO_QUOTE
    assert outcome.text[unsupported.start : unsupported.end].startswith("It then informs")
    assert [citation.verified for citation in outcome.citations] == [True]


async def test_mostly_unsupported_answer_is_not_given(model_study):
    padded = GOOD.model_copy(
        update={"text": f"{GOOD.text} Routers then agree quickly. Operators receive loud alarms."}
    )
    study, _ = model_study(PLAN, padded, APPROVE, padded)
    outcome = await study.ask(QUESTION)
    assert outcome.state is StudyState.ABSTAINED
    assert outcome.citations == ()


async def test_at_most_two_revisions(model_study):
    revise = CriticVerdict(verdict=Verdict.REVISE, issues=["Say which segment."])
    drafts = [
        GOOD.model_copy(update={"text": f"{start} the missing segment at once. [1]"})
        for start in ("It retransmits", "It sends again", "The sender retransmits", "Never:")
    ]
    study, client = model_study(PLAN, *drafts, revise, revise, revise, revise)
    outcome = await study.ask(QUESTION)
    assert outcome.text == drafts[0].text == study.sink.text
    assert sum(kind is TutorAnswer for kind, _ in client.prompts) == 3


async def test_critic_can_abstain(model_study):
    study, _ = model_study(PLAN, GOOD, CriticVerdict(verdict=Verdict.ABSTAIN))
    assert (await study.ask(QUESTION)).state is StudyState.ABSTAINED


@pytest.mark.parametrize("reply", ["I'd rather chat.", '{"text": 5}', '{"text": "\\ud800"}'])
async def test_a_reply_that_is_not_the_asked_json_may_be_tried_again(model_study, reply):
    study, _ = model_study(PLAN, reply)
    with pytest.raises(AgentFailure) as caught:
        await study.ask(QUESTION)
    assert caught.value.retryable
    assert caught.value.step_key == "tutor:0"
    assert "tutor:0" not in study.ledger.rows


async def test_planner_recognises_graded_work_that_the_rules_miss(model_study):
    refuse = StudyPlan(route=Route.REFUSE_GRADED_WORK, assignment_id="essay")
    study, client = model_study(refuse)
    outcome = await study.ask(
        "Was soll ich abgeben?", open_assignments=(study.essay(AiPolicy.HINTS),)
    )
    assert outcome.route is Route.REFUSE_GRADED_WORK
    assert "Essay 1" in outcome.text
    assert [kind for kind, _ in client.prompts] == [StudyPlan]
    assert study.prompt in client.prompts[0][1]


@pytest.mark.parametrize("route", [Route.WEB, Route.BOTH, Route.REFUSE_GRADED_WORK])
async def test_routes_that_cannot_be_served_become_documents(model_study, route):
    plan = StudyPlan(route=route, queries=["duplicate acknowledgements"], assignment_id="unknown")
    study, _ = model_study(plan, GOOD, APPROVE)
    outcome = await study.ask(QUESTION, open_assignments=(study.essay(AiPolicy.HINTS),))
    assert outcome.route is Route.DOCUMENTS
    assert outcome.citations


async def test_planner_may_ask_back(model_study):
    study, _ = model_study(StudyPlan(route=Route.CLARIFY, clarification="Which protocol?"))
    outcome = await study.ask("How does it work in the protocol?")
    assert (outcome.route, outcome.text) == (Route.CLARIFY, "Which protocol?")


async def test_mixed_members(model_study, study):
    with_model, _ = model_study(GOOD.model_copy(update={"text": "The sender waits 3 hours. [1]"}))
    members = replace(study.members, tutor=with_model.members.tutor)
    mixed = replace(study, members=members)
    with pytest.raises(IndexError):  # the client has one reply, and the offline critic wants more
        await mixed.ask(QUESTION)
    assert '"REVISE"' in study.ledger.rows["critic:0"][1]


async def test_text_from_a_model_is_storable(model_study):
    odd = GOOD.model_copy(update={"text": f"cafe\u0301 {GOOD.text}"})
    study, _ = model_study(PLAN, odd.model_dump_json().replace("caf", "\\u0000caf"), APPROVE)
    outcome = await study.ask(QUESTION)
    assert outcome.text.startswith("café")
    assert "\x00" not in study.sink.text
    assert study.sink.text == outcome.text


async def test_steps_hold_the_verdicts(model_study):
    study, _ = model_study(PLAN, FABRICATED, APPROVE, GOOD, APPROVE)
    outcome = await study.ask(QUESTION)
    checks = [step.detail for step in outcome.steps if step.kind is StepKind.CHECK]
    assert [(it["verified"], it["unsupported"]) for it in checks] == [(0, 1), (1, 0)]
