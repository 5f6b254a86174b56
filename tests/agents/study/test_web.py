"""The web in the team: routed, searched beside the material, cited, and missed honestly."""

from dataclasses import dataclass, field, replace

import pytest

from agents.ports import WebFound, WebPage, WebProblem, WebUnavailable
from agents.study.brief import StudyBrief
from agents.study.members import model_members
from agents.study.messages import (
    CriticVerdict,
    PlanRequest,
    Quotation,
    Route,
    StudyPlan,
    TutorAnswer,
    Verdict,
)
from agents.study.outcome import StepKind, StudyState
from agents.study.planner import planned
from agents.study.team import StudyTeam
from tests.agents.study.test_model_members import APPROVE, GOOD, QUESTION, ReplayingClient

PAGE = WebPage(
    "https://example.org/quic",
    "QUIC",
    "QUIC was standardised as RFC 9000 in May 2021 by the IETF.",
    "2026-01-01T00:00:00+00:00",
)


@dataclass
class Web:
    pages: tuple[WebPage, ...] = (PAGE,)
    fails: WebProblem | None = None
    problem: WebProblem | None = None
    queries: list[str] = field(default_factory=list)

    async def search(self, query: str, limit: int) -> WebFound:
        self.queries.append(query)
        if self.fails:
            raise WebUnavailable(self.fails)
        return WebFound(self.pages[:limit], 9)


def cited(passage: int) -> TutorAnswer:
    quote = "standardised as RFC 9000 in May 2021"
    return TutorAnswer(
        text="QUIC became a standard in May 2021. [1]",
        quotations=[Quotation(marker=1, passage=passage, quote=quote)],
    )


async def ask(study, web, *replies, question=QUESTION):
    client = ReplayingClient(*replies)
    study.members = model_members(client, provider="test", model="replay")
    outcome = await StudyTeam(study.members, study.search, study.embedder).answer(
        StudyBrief(question),
        generation=1,
        ledger=study.ledger,
        stages=study.stages,
        sink=study.sink,
        cancellation=study.cancellation,
        web=web,
    )
    assert study.sink.text == outcome.text
    return outcome, client


@pytest.mark.parametrize(("route", "passage"), [(Route.WEB, 1), (Route.BOTH, 9)])
async def test_a_page_is_cited(study, route, passage):
    web = Web()
    plan = StudyPlan(route=route, queries=["QUIC standard"])
    outcome, client = await ask(study, web, plan, cited(passage), APPROVE)
    assert (outcome.state, outcome.route) == (StudyState.COMPLETE, route)
    (citation,) = outcome.citations
    assert citation.source == PAGE
    assert PAGE.text[citation.quote_start : citation.quote_end] == citation.quote
    assert "WEB, BOTH" in client.prompts[0][1]
    assert study.ledger.costs["web"] == ("web", "search", study.ledger.costs["web"][2], 9)
    assert bool(study.search.queries) is (route is Route.BOTH)
    assert StepKind.WEB_SEARCH in [step.kind for step in outcome.steps]


async def test_a_quote_that_is_not_on_the_page_is_no_support(study):
    page = replace(PAGE, text="QUIC is a transport protocol.")
    plan = StudyPlan(route=Route.WEB, queries=["QUIC"])
    outcome, _ = await ask(study, Web((page,)), plan, cited(1), APPROVE, cited(1), APPROVE)
    assert outcome.state is StudyState.ABSTAINED
    assert PAGE.url in outcome.text
    assert outcome.citations == ()


async def test_without_a_key_the_planner_is_not_offered_the_web(study):
    web = Web(problem=WebProblem.NOT_CONFIGURED)
    plan = StudyPlan(route=Route.WEB, queries=["three duplicate acknowledgements retransmit"])
    outcome, client = await ask(study, web, plan, GOOD, APPROVE)
    assert "WEB" not in client.prompts[0][1].split("Routes that can be served")[1].split("##")[0]
    assert (outcome.state, outcome.route, web.queries) == (StudyState.COMPLETE, "DOCUMENTS", [])
    assert outcome.text.endswith("I did not search the web: no web search is set up here.")


@pytest.mark.parametrize("fails", [WebProblem.BUSY, WebProblem.QUOTA, WebProblem.UNREACHABLE])
async def test_a_web_that_fails_takes_nothing_from_the_answer(study, fails):
    plan = StudyPlan(route=Route.BOTH, queries=["three duplicate acknowledgements retransmit"])
    outcome, _ = await ask(study, Web(fails=fails), plan, GOOD, APPROVE)
    assert outcome.state is StudyState.COMPLETE
    assert outcome.text.startswith(GOOD.text)
    assert "I did not search the web" in outcome.text
    web_only = StudyPlan(route=Route.WEB, queries=["three duplicate acknowledgements retransmit"])
    study.ledger.rows.clear()
    outcome, _ = await ask(study, Web(fails=fails), web_only, GOOD, APPROVE)
    assert (outcome.state, outcome.route) == (StudyState.COMPLETE, "DOCUMENTS")


async def test_an_abstention_says_that_the_web_was_not_searched(study):
    abstain = CriticVerdict(verdict=Verdict.ABSTAIN)
    plan = StudyPlan(route=Route.DOCUMENTS, queries=["x"])
    web = Web(problem=WebProblem.SWITCHED_OFF)
    outcome, _ = await ask(study, web, plan, GOOD, abstain)
    assert outcome.state is StudyState.ABSTAINED
    assert "your course has switched it off" in outcome.text


def test_the_offline_planner_takes_the_web_when_asked_to():
    request = PlanRequest(
        question="Search the web for the newest version of QUIC",
        history=(),
        open_work=(),
        sources=(Route.DOCUMENTS, Route.WEB, Route.BOTH),
        language="en",
        max_queries=3,
    )
    assert planned(request).route is Route.BOTH
    plain = request.model_copy(update={"question": "How does the web work?"})
    assert planned(plain).route is Route.DOCUMENTS


@pytest.mark.parametrize("question", ["\x01\x02\x03\x7f\x1b" * 40, "\ufffd" * 500])
async def test_bytes_are_asked_back(study, question):
    outcome, client = await ask(study, Web(), question=question)
    assert outcome.route is Route.CLARIFY
    assert client.prompts == []
