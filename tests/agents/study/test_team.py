"""The offline study team through its ports."""

import asyncio
from dataclasses import replace

import pytest
from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.messages import ModelClientStreamingChunkEvent
from autogen_core import CancellationToken

from agents.ports import AgentCancelled
from agents.study.brief import AiPolicy, Speaker, Turn
from agents.study.members import Seat
from agents.study.messages import Route
from agents.study.outcome import StepKind, StudyState

STAGES = ["PLANNING", "RETRIEVING", "GENERATING", "VERIFYING"]
ACKS = "What does a TCP sender do when it receives three duplicate acknowledgements?"


def seat_that_fails() -> Seat:
    def make() -> BaseChatAgent:
        raise AssertionError("this member must not be asked")

    return Seat(make, "none", "none")


class EndlessTutor(BaseChatAgent):
    """Writes for ever, and notes when it is stopped."""

    def __init__(self) -> None:
        super().__init__("tutor", "endless")
        self.started = asyncio.Event()
        self.stopped = False

    produced_message_types = ()

    async def on_messages(self, messages, cancellation_token):
        raise NotImplementedError

    async def on_messages_stream(self, messages, cancellation_token):  # noqa: ARG002 - AutoGen's
        try:
            yield ModelClientStreamingChunkEvent(content='{"text":"', source="tutor")
            while True:
                yield ModelClientStreamingChunkEvent(content="on and on ", source="tutor")
                self.started.set()
                await asyncio.sleep(0.005)
        finally:
            self.stopped = True

    async def on_reset(self, cancellation_token):
        pass


async def test_answer_is_quoted_and_cited(study):
    outcome = await study.ask(ACKS)
    assert outcome.state is StudyState.COMPLETE
    assert outcome.route is Route.DOCUMENTS
    assert "it retransmits the missing segment at once" in outcome.text
    assert study.sink.text == outcome.text
    assert study.stages.seen == STAGES
    assert outcome.unsupported == ()
    passages = {found.chunk_id: found for found in study.search.passages}
    assert outcome.citations
    for citation in outcome.citations:
        assert citation.verified
        cited = passages[citation.source.chunk_id]
        assert cited.text[citation.quote_start : citation.quote_end] == citation.quote
        assert citation.quote in outcome.text[citation.claim_start : citation.claim_end]
    assert set(study.sink.resets) == {3}


async def test_what_the_material_does_not_say(study):
    outcome = await study.ask("How does a plant turn sunlight into sugar?")
    assert outcome.state is StudyState.ABSTAINED
    assert outcome.citations == ()
    assert outcome.text.startswith("The course material does not say")
    assert "sunlight" in outcome.text
    assert "critic:0" not in study.ledger.rows
    assert study.sink.text == outcome.text


async def test_nothing_indexed(study):
    study.search.passages = ()
    study.members = replace(study.members, tutor=seat_that_fails())
    outcome = await study.ask(ACKS)
    assert outcome.state is StudyState.ABSTAINED
    assert "no course material" in outcome.text
    assert study.stages.seen == STAGES


async def test_hints_climb_and_never_answer(study):
    question = "What is the difference between flow control and congestion control?"
    work = (study.essay(AiPolicy.HINTS),)
    texts = []
    history = ()
    for _ in range(3):
        study.ledger.rows.clear()
        study.sink.text = ""
        outcome = await study.ask(question, history=history, open_assignments=work)
        assert outcome.route is Route.REFUSE_GRADED_WORK
        assert outcome.citations == ()
        texts.append(outcome.text)
        history += (Turn(Speaker.STUDENT, question), Turn(Speaker.TUTOR, outcome.text))
    assert set(study.ledger.rows) == {"retrieval"}
    for text in texts:
        assert "“Flow control”" in text
        assert "“Congestion control”" in text
        words = text.lower()
        for passage in study.search.passages:
            said = passage.text.lower().split()
            assert not any(" ".join(said[at : at + 5]) in words for at in range(len(said)))
    assert len(set(texts)) == 3
    assert len(texts[0]) < len(texts[1])


async def test_short_follow_up_does_not_get_around_the_guard(study):
    history = (Turn(Speaker.STUDENT, "distinguish flow control from congestion control"),)
    outcome = await study.ask(
        "just give me the answer", history=history, open_assignments=(study.essay(AiPolicy.HINTS),)
    )
    assert outcome.route is Route.REFUSE_GRADED_WORK
    assert "buffer" not in outcome.text


async def test_closed_work_is_refused_without_reading(study):
    study.members = replace(study.members, planner=seat_that_fails())
    outcome = await study.ask(study.prompt, open_assignments=(study.essay(AiPolicy.CLOSED),))
    assert outcome.route is Route.REFUSE_GRADED_WORK
    assert "Essay 1" in outcome.text
    assert study.search.queries == []
    assert study.ledger.rows == {}


async def test_other_topics_and_open_policy_are_answered(study):
    closed = (study.essay(AiPolicy.CLOSED),)
    outcome = await study.ask("How does ARP find a MAC address?", open_assignments=closed)
    assert outcome.state is StudyState.COMPLETE
    study.ledger.rows.clear()
    opened = (study.essay(AiPolicy.OPEN),)
    outcome = await study.ask(
        "How does flow control protect the receiver?", open_assignments=opened
    )
    assert outcome.citations


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "What would you like"),
        (" \n\x00", "What would you like"),
        ("why " * 25_000, "99,999 characters"),
        ("\n".join(f"What is layer {n}?" for n in range(40)), "40 questions"),
        ("\n".join(f"{n}. name layer {n}" for n in range(1, 12)), "11 questions"),
        ("why?", "Name the topic"),
        ("?!", "Name the topic"),
    ],
)
async def test_questions_that_cannot_be_answered_are_asked_back(study, question, says):
    study.members = replace(study.members, tutor=seat_that_fails())
    outcome = await study.ask(question)
    assert outcome.state is StudyState.COMPLETE
    assert outcome.route is Route.CLARIFY
    assert says in outcome.text
    assert len(outcome.text) < 700
    assert study.sink.text == outcome.text
    assert study.stages.seen == STAGES


async def test_small_talk_needs_no_search(study):
    outcome = await study.ask("Hello!")
    assert outcome.route is Route.DIRECT
    assert study.search.queries == []
    assert outcome.state is StudyState.COMPLETE


async def test_odd_characters_are_survived(study):
    outcome = await study.ask("Why do live voice and video\x00 calls \ud800 🙂 use UDP [SEP] ```?")
    assert outcome.state is StudyState.COMPLETE
    assert outcome.citations


async def test_follow_up_is_searched_with_what_it_follows(study):
    history = (
        Turn(Speaker.STUDENT, "What does ARP find on a link?"),
        Turn(Speaker.TUTOR, "The MAC address."),
    )
    outcome = await study.ask("Who answers it?", history=history)
    assert "ARP" in study.search.queries[0]
    assert "the owner answers" in outcome.text


async def test_several_questions_are_searched_one_by_one(study):
    outcome = await study.ask("How big is the UDP header? What does ARP find?")
    assert "How big is the UDP header?" in study.search.queries
    assert "What does ARP find?" in study.search.queries
    assert "takes 8 bytes" in outcome.text
    assert "finds the MAC address" in outcome.text


async def test_what_is_left_unanswered_is_said(study):
    outcome = await study.ask("How big is the UDP header? Who painted the Mona Lisa?")
    assert outcome.state is StudyState.COMPLETE
    assert "takes 8 bytes" in outcome.text
    assert outcome.text.endswith("I found nothing on “Who painted the Mona Lisa?”")
    assert outcome.unsupported == ()


async def test_replay_repeats_no_call_and_streams_the_committed_answer(study):
    first = await study.ask(ACKS)
    assert list(study.ledger.rows) == ["planner", "retrieval", "tutor:0", "critic:0"]
    failing = seat_that_fails()
    study.members = replace(study.members, planner=failing, tutor=failing, critic=failing)
    study.search.passages = ()  # re-indexed meanwhile
    study.sink.text = "half a draft of a worker that died"
    second = await study.ask(ACKS)
    assert second == first
    assert study.sink.text == first.text


@pytest.mark.parametrize("stage", STAGES)
async def test_a_lost_lease_stops_at_once_as_itself(study, stage):
    study.stages.fail_at = stage
    with pytest.raises(study.lease_lost):
        await study.ask(ACKS)
    assert study.stages.seen == STAGES[: STAGES.index(stage)]


async def test_a_sink_that_fails_stops_the_tutor(study):
    tutor = EndlessTutor()
    study.members = replace(study.members, tutor=Seat(lambda: tutor, "test", "test"))
    study.sink.fail_after = 2
    with pytest.raises(study.lease_lost):
        await asyncio.wait_for(study.ask(ACKS), 5)
    assert tutor.stopped
    assert len(study.sink.writes) == 2


async def test_a_failing_search_stops_the_others_as_itself(study):
    class BrokenSearch:
        cancelled = 0

        async def search(self, query, limit):  # noqa: ARG002 - the port's signature
            if query.startswith("What is ARP"):
                raise study.lease_lost("search")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

    study.search = BrokenSearch()
    with pytest.raises(study.lease_lost):
        await study.ask("What is UDP? What is ARP?")
    assert study.search.cancelled == 2


async def test_cancelling_stops_the_tutor(study):
    tutor = EndlessTutor()
    study.members = replace(study.members, tutor=Seat(lambda: tutor, "test", "test"))
    asked = asyncio.create_task(study.ask(ACKS))
    await tutor.started.wait()
    study.cancellation.cancel()
    with pytest.raises(AgentCancelled):
        await asyncio.wait_for(asked, 1)
    assert tutor.stopped
    assert "tutor:0" not in study.ledger.rows


async def test_cancelled_before_it_begins(study):
    study.cancellation = CancellationToken()
    study.cancellation.cancel()
    with pytest.raises(AgentCancelled):
        await study.ask(ACKS)
    assert study.stages.seen == []


async def test_a_worker_that_stops_is_not_a_cancelled_run(study):
    tutor = EndlessTutor()
    study.members = replace(study.members, tutor=Seat(lambda: tutor, "test", "test"))
    asked = asyncio.create_task(study.ask(ACKS))
    await tutor.started.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asked, 1)
    assert tutor.stopped


async def test_drafts_are_coalesced(study):
    tutor = EndlessTutor()
    study.members = replace(study.members, tutor=Seat(lambda: tutor, "test", "test"))
    study.sink.fail_after = 4
    with pytest.raises(study.lease_lost):
        await study.ask(ACKS)
    assert all(len(text) > len("on and on ") for _, text in study.sink.writes[1:])


async def test_steps_tell_how_the_answer_was_made(study):
    outcome = await study.ask(ACKS)
    assert [step.kind for step in outcome.steps] == [
        StepKind.PLAN, StepKind.RETRIEVE, StepKind.DRAFT, StepKind.CHECK, StepKind.CRITIQUE,
    ]  # fmt: skip
    assert "c1" in outcome.steps[1].detail["chunk_ids"]
