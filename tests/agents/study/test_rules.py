"""Rules without a model: planning, criticism, graded work, terms, extraction of sentences."""

import pytest

from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief, Turn
from agents.study.graded_work import match_graded_work
from agents.study.messages import (
    CheckedClaim,
    CriticRequest,
    CriticTask,
    PlanRequest,
    Route,
    Verdict,
)
from agents.study.planner import planned, questions
from agents.study.retrieval import retrieved
from agents.study.support import Support, support, unknown_names
from agents.study.terms import coverage, inverse_frequency, terms, topic_spans


def plan(question: str, *history: Turn):
    return planned(
        PlanRequest(
            question=question,
            history=history,
            open_work=(),
            sources=(Route.DOCUMENTS,),
            language="en",
            max_queries=3,
        )
    )


@pytest.mark.parametrize("question", ["hi", "Hello there!", "Thank you very much.", "Who are you?"])
def test_small_talk(question):
    assert plan(question).route is Route.DIRECT


@pytest.mark.parametrize(
    "question", ["Hello, what is UDP?", "What is slow start?", "UDP", "什么是路由"]
)
def test_topics_are_searched(question):
    assert plan(question).route is Route.DOCUMENTS
    assert plan(question).queries[0] == question


def test_follow_up_without_a_conversation_is_asked_back():
    assert plan("why is that so?").route is Route.CLARIFY
    before = Turn(Speaker.STUDENT, "What is congestion control?")
    assert plan("why is that so?", before).queries[0].startswith("What is congestion control?")


def test_queries_are_bounded():
    assert len(plan("What is TCP? What is UDP? What is IP? What is ARP?").queries) == 3


def test_a_pasted_list_with_one_question_is_one_question():
    assert len(questions("1. a\n2. b\n3. c\n4. d\n5. e\nWhich of these is wrong?")) == 1


@pytest.mark.parametrize(
    ("claim", "quote", "verdict"),
    [
        ("UDP has a header of 8 bytes. [1]", "The UDP header takes 8 bytes", Verdict.APPROVE),
        ("UDP has a header of 12 bytes. [1]", "The UDP header takes 8 bytes", Verdict.REVISE),
        ("UDP does not add ports. [1]", "UDP adds ports", Verdict.REVISE),
        ("Cookies track each visitor. [1]", "UDP adds ports", Verdict.REVISE),
    ],
)
async def test_critic(study, claim, quote, verdict):
    request = CriticRequest(
        question="UDP?",
        answer=claim,
        claims=(CheckedClaim(claim=claim, quotes=(quote,), supported=True),),
        language="en",
    )
    reply = await study.members.critic.make().on_messages(
        [CriticTask(content=request, source="test")], study.cancellation
    )
    assert reply.chat_message.content.verdict is verdict


async def test_members_refuse_tasks_of_others(study):
    request = CriticRequest(question="", answer="", claims=(), language="en")
    for seat in (study.members.planner, study.members.tutor):
        with pytest.raises(TypeError):
            await seat.make().on_messages(
                [CriticTask(content=request, source="test")], study.cancellation
            )


SAME = (
    "What is the difference between flow control and congestion control?",
    "compare flow control with congestion control please",
    "How can TCP guarantee that every byte is delivered although the network loses packets?",
    "Please do Essay 1 on reliable delivery for me",
)
OTHER = (
    "What does a DNS resolver do with a record whose time to live is over?",
    "What is TCP?",
    "How many bytes is the UDP header?",
    "How do I write a good essay?",
    "What is packet switching?",
)


@pytest.mark.parametrize("question", [*SAME, *OTHER])
async def test_graded_work_is_told_from_its_neighbours(study, embedder, question):
    brief = StudyBrief(question, open_assignments=(study.essay(AiPolicy.HINTS),))
    assert (await match_graded_work(brief, embedder) is not None) == (question in SAME)


async def test_the_strictest_policy_wins_and_open_work_restricts_nothing(study, embedder):
    works = tuple(
        OpenAssignment(policy, "Essay", study.prompt, policy)
        for policy in (AiPolicy.OPEN, AiPolicy.HINTS, AiPolicy.CLOSED)
    )
    brief = StudyBrief(study.prompt, open_assignments=works)
    assert (await match_graded_work(brief, embedder)).assignment.id == "CLOSED"
    brief = StudyBrief(study.prompt, open_assignments=works[:1])
    assert await match_graded_work(brief, embedder) is None


async def test_the_rung_counts_earlier_tries(study, embedder):
    tries = [Turn(Speaker.STUDENT, SAME[0]), Turn(Speaker.STUDENT, "What is ARP?")]
    rungs = []
    for history in ((), tries[:1], tries, tries * 3):
        brief = StudyBrief(SAME[1], tuple(history), (study.essay(AiPolicy.HINTS),))
        rungs.append((await match_graded_work(brief, embedder)).rung)
    assert rungs == [1, 2, 2, 3]


async def test_retrieval_prefers_what_several_queries_find(corpus):
    class Fixed:
        async def search(self, query, limit):
            return {"a": corpus[:3], "b": (corpus[4], corpus[2])}[query][:limit]

    found = await retrieved(Fixed(), ("a", "b"), 3)
    assert [it.chunk_id for it in found] == ["c2", "c0", "c4"]


def test_terms_meet_across_endings():
    assert terms("retransmits") == terms("retransmission") == terms("retransmitted")
    assert terms("What is the network's controlling protocol?") == terms(
        "network control protocols"
    )


def test_a_term_that_occurs_nowhere_weighs_most():
    weights = inverse_frequency([["tcp"], ["tcp", "udp"]])
    assert coverage(["tcp", "udp"], ["tcp"], weights) < 0.5
    assert coverage(["udp"], ["udp"], weights) == 1
    assert coverage([], ["udp"], weights) == 0


async def test_a_neighbouring_topic_is_no_answer(embedder):
    """What authentication is does not answer what Kerberos is."""
    passage = "Authentication means that the client knows which server it is talking to."
    for question, answers in (
        ("What is Kerberos authentication?", False),
        ("what is kerberos authentication", False),
        ("What does authentication mean for the client?", True),
    ):
        asked, read = await embedder.read([question, passage])
        found = support(question, asked, [[read], []], [passage, "Other."])
        assert found.answers == answers


async def test_a_long_message_about_something_else_is_no_answer(embedder):
    """Length makes up for what a long question loses in likeness, up to a point."""
    passage = "Authentication means that the client knows which server it is talking to."
    question = "My bread never gets a crisp crust although the oven is hot when it goes in. " * 20
    asked, read = await embedder.read([question, passage])
    assert not support(question, asked, [[read]], [passage]).answers


def test_each_measure_counts():
    fair = Support(closeness=0.55, matched=0.6, length=12)
    assert fair.answers
    assert Support(0.65, 0.6, 12).probability > fair.probability
    assert Support(0.55, 0.7, 12).probability > fair.probability
    assert not Support(0.55, 0.6, 12, unknown=0.5).answers
    assert Support(0.0, 0.0, 10_000).probability == Support(0.0, 0.0, 100).probability


async def test_passages_without_sentences_support_nothing(embedder):
    (asked,) = await embedder.read(["What is a port?"])
    for sentences in ([], [[]]):
        assert not support("What is a port?", asked, sentences, ["| port |"]).answers


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("How does SLAAC differ from DHCP?", {"SLAAC"}),
        ("Compare OSPF-style and RIP-style routing", set()),
        ("How does IS-IS differ from OSPF?", {"IS-IS"}),
        ("How do routers use Linux?", {"Linux"}),
        ("Routers forward. Switches too?", set()),
        ("How long takes a 10 Mbit/s link?", set()),
        ("What are RIPs?", set()),
        ("what does nagle do", set()),
    ],
)
def test_names_that_no_passage_has(question, unknown):
    passages = ["OSPF and RIP are routing protocols; OSPF is link-state.", "DHCP is a protocol."]
    assert unknown_names(question, passages) == unknown


def test_words_that_say_what_a_question_is_about():
    for question, topic in (
        ("What are the three things that TLS guarantees?", ["TLS", "guarantees"]),
        ("Why isn\u2019t my router\u2019s table used?", ["router\u2019s", "table"]),
        ("How far?", []),
    ):
        assert [question[start:end] for start, end in topic_spans(question)] == topic
