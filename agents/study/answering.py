"""One question on its way through the team."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Final

from autogen_core import CancellationToken

from agents.ports import (
    AnswerSink,
    Called,
    Embedder,
    Ledger,
    Passage,
    PassageSearch,
    Stages,
    Steps,
    WebSearch,
    through_ledger,
)
from agents.study import team_text
from agents.study.brief import AiPolicy, Speaker, StudyBrief, StudyLimits, Turn
from agents.study.budget import Bound, Budget, BudgetReached
from agents.study.concurrency import first_failure
from agents.study.consulting import Consulting
from agents.study.drafting import TEAM, Drafting
from agents.study.graded_work import GradedWorkMatch, match_graded_work
from agents.study.members import StudyMembers
from agents.study.messages import (
    FoundPages,
    OpenWork,
    PlanRequest,
    PlanTask,
    RetrievedPassages,
    Route,
    SearchRequest,
    StudyPlan,
    WebRequest,
)
from agents.study.outcome import (
    GuardedWork,
    Guarding,
    Source,
    StepKind,
    StudyOutcome,
    StudyState,
    StudyStep,
)
from agents.study.planner import questions
from agents.study.retrieval import pages_found, retrieved
from agents.study.streaming import Draft

STAGES: Final = ("PLANNING", "RETRIEVING", "GENERATING", "VERIFYING")
_QUERY_CHARACTERS: Final = 1_000


@dataclass(kw_only=True, slots=True)
class Answering:
    """The state of one answer; `outcome()` is called once."""

    members: StudyMembers
    search: PassageSearch
    web: WebSearch
    embedder: Embedder
    limits: StudyLimits
    brief: StudyBrief
    generation: int
    ledger: Ledger
    stages: Stages
    sink: AnswerSink
    cancellation: CancellationToken
    told: Steps | None = None
    steps: list[StudyStep] = field(default_factory=list)
    remember: tuple[str, ...] = ()
    entered: int = 0
    budget: Budget = field(init=False)
    draft: Draft = field(init=False)

    def __post_init__(self) -> None:
        self.brief = _bounded(self.brief, self.limits)
        self.budget = Budget(self.limits)
        self.draft = Draft(self.sink, self.generation)

    async def outcome(self) -> StudyOutcome:
        """Route the question and answer, hint, refuse or ask back."""
        await self._enter("PLANNING")
        asked_back = self._unusable()
        if asked_back is not None:
            return await self._said(asked_back, Route.CLARIFY)
        match = await match_graded_work(
            self.brief, self.embedder, any_language=self.members.any_language
        )
        if match is not None:
            return await self._guarded(match)
        try:
            return await self._as_planned(await self._planned())
        except BudgetReached as reached:
            return await self._broke_off(reached.bound, Route.DOCUMENTS)

    async def _as_planned(self, plan: StudyPlan) -> StudyOutcome:
        if plan.route is Route.REFUSE_GRADED_WORK:
            match = self._named(plan.assignment_id)
            if match is not None:
                return await self._guarded(match)
        if plan.route is Route.CLARIFY:
            text = plan.clarification.strip() or team_text.which_one()
            return await self._said(text, Route.CLARIFY)
        await self._enter("RETRIEVING")
        if plan.route is Route.DIRECT:
            return await self._direct()
        return await self._from_sources(plan)

    def _unusable(self) -> str | None:
        """What to say to a question that no member should see."""
        question = self.brief.question
        if not question:
            return team_text.no_question()
        if len(question) > self.limits.question_characters:
            return team_text.too_long(len(question), self.limits)
        if not team_text.is_text(question):
            return team_text.no_text()
        asked = questions(question)
        if len(asked) > self.limits.questions_at_once:
            return team_text.too_many(len(asked), asked[:3], self.limits)
        return None

    def _consulting(self) -> Consulting:
        return Consulting(self.ledger, self.cancellation, self.budget)

    async def _planned(self) -> StudyPlan:
        web = () if self.web.problem else (Route.WEB, Route.BOTH)
        request = PlanRequest(
            question=self.brief.question,
            history=self.brief.history,
            open_work=tuple(
                OpenWork(id=work.id, title=work.title, prompt=work.prompt)
                for work in self.brief.open_assignments
                if work.ai_policy is not AiPolicy.OPEN
            ),
            sources=(Route.DOCUMENTS, *web),
            language=self.brief.language,
            max_queries=self.limits.queries,
        )
        plan = await self._consulting().ask(
            self.members.planner, PlanTask(content=request, source=TEAM), StudyPlan, "planner"
        )
        self._step(StepKind.PLAN, route=plan.route, queries=plan.queries, reason=plan.reason)
        return plan

    def _named(self, assignment_id: str) -> GradedWorkMatch | None:
        """The guarded work a planner recognised, with the first rung of hints."""
        for work in self.brief.open_assignments:
            if work.id == assignment_id and work.ai_policy is not AiPolicy.OPEN:
                return GradedWorkMatch(work, similarity=0.0, overlap=0.0, rung=1)
        return None

    async def _guarded(self, match: GradedWorkMatch) -> StudyOutcome:
        """Refuse or hint. No model writes here, so no answer can slip out."""
        work = match.assignment
        refused = match.supported and work.ai_policy is AiPolicy.CLOSED
        guarding = Guarding.REFUSED if refused else Guarding.HINTED
        guarded = GuardedWork(work.id, guarding if match.supported else Guarding.LANGUAGE)
        self._step(
            StepKind.GRADED_WORK,
            assignment_id=work.id,
            policy=work.ai_policy,
            similarity=round(match.similarity, 3),
            overlap=round(match.overlap, 3),
            rung=match.rung,
            language_supported=match.supported,
        )
        if refused:
            text = team_text.refusal(work)
        else:
            await self._enter("RETRIEVING")
            passages = await self._retrieved((self.brief.question, work.prompt))
            text = team_text.hints(match, self.brief.question, passages)
        said = await self._said(text, Route.REFUSE_GRADED_WORK)
        return replace(said, guarded=guarded)

    def _queries(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        cut = (" ".join(query.split())[:_QUERY_CHARACTERS] for query in wanted)
        return tuple(dict.fromkeys(filter(None, cut)))[: self.limits.queries]

    async def _retrieved(self, wanted: tuple[str, ...]) -> tuple[Passage, ...]:
        queries = self._queries(wanted)
        request = SearchRequest(queries=queries, limit=self.limits.passages)

        async def call() -> Called[RetrievedPassages]:
            found = await retrieved(self.search, queries, self.limits.passages)
            return Called(RetrievedPassages(passages=found), "search", "passages")

        found = await through_ledger(self.ledger, "retrieval", request, call, RetrievedPassages)
        chunk_ids = [passage.chunk_id for passage in found.passages]
        self._step(StepKind.RETRIEVE, queries=list(queries), chunk_ids=chunk_ids)
        return found.passages

    async def _browsed(self, wanted: tuple[str, ...]) -> FoundPages:
        """Pages of the web; a search that fails takes nothing from the rest of the answer."""
        if self.web.problem:
            return FoundPages(problem=self.web.problem)
        queries = self._queries(wanted)[: self.limits.web_queries]
        request = WebRequest(queries=queries, limit=self.limits.web_pages)

        async def call() -> Called[FoundPages]:
            found, cost = await pages_found(self.web, queries, self.limits.web_pages)
            return Called(found, "web", "search", cost_micros=cost)

        found = await through_ledger(self.ledger, "web", request, call, FoundPages)
        self._step(
            StepKind.WEB_SEARCH,
            queries=list(queries),
            urls=[page.url for page in found.pages],
            problem=found.problem,
        )
        return found

    async def _direct(self) -> StudyOutcome:
        await self._enter("GENERATING")
        drafting = self._drafting()
        text = await drafting.small_talk()
        self.remember = drafting.remember
        return await self._said(text or team_text.which_one(), Route.DIRECT)

    async def _from_sources(self, plan: StudyPlan) -> StudyOutcome:
        """Search, write and check. A route the web was to serve falls back to the material."""
        wanted = tuple(plan.queries) or (self.brief.question,)
        asks_web = plan.route in (Route.WEB, Route.BOTH)
        route = plan.route if asks_web and not self.web.problem else Route.DOCUMENTS
        passages: tuple[Passage, ...] = ()
        web = FoundPages(problem=self.web.problem)
        with first_failure():
            async with asyncio.TaskGroup() as group:
                browsing = group.create_task(self._browsed(wanted)) if asks_web else None
                if route is not Route.WEB:
                    passages = await self._retrieved(wanted)
        web = browsing.result() if browsing else web
        if route is Route.WEB and not web.pages:
            route, passages = Route.DOCUMENTS, await self._retrieved(wanted)
        await self._enter("GENERATING")
        sources: tuple[Source, ...] = (*passages, *web.pages)
        # what the student is told of a web search: nothing where nobody wanted one
        problem = web.problem if asks_web else None
        drafting = self._drafting()
        drafted = await drafting.from_sources(route, sources) if sources else None
        self.remember = drafting.remember
        if drafted is None or drafted.answer is None:
            if drafted is not None and drafted.bound is not None:
                return await self._broke_off(drafted.bound, route)
            text = team_text.abstention(self._queries(wanted), passages, web.pages, web.problem)
            return await self._said(text, route, state=StudyState.ABSTAINED)
        final = drafted.answer
        notes = (team_text.web_problem(problem), team_text.broke_off(drafted.bound))
        if drafted.bound is not None:
            self._step(StepKind.BUDGET, reached=drafted.bound, **self.budget.counted())
        said = await self._said("\n\n".join(filter(None, (final.text, *notes))), route)
        return replace(
            said,
            citations=final.citations,
            unsupported=final.unsupported,
            bound=drafted.bound,
        )

    def _drafting(self) -> Drafting:
        return Drafting(
            members=self.members,
            limits=self.limits,
            brief=self.brief,
            consulting=self._consulting(),
            draft=self.draft,
            report=self._step,
            verifying=lambda: self._enter("VERIFYING"),
        )

    async def _broke_off(self, bound: Bound, route: Route) -> StudyOutcome:
        """The budget is spent and nothing is verified."""
        self._step(StepKind.BUDGET, reached=bound, **self.budget.counted())
        text = team_text.nothing_verified(bound)
        return replace(await self._said(text, route, state=StudyState.ABSTAINED), bound=bound)

    async def _said(
        self, text: str, route: Route, *, state: StudyState = StudyState.COMPLETE
    ) -> StudyOutcome:
        """End with `text`, at the sink as well."""
        await self._enter("VERIFYING")
        if not self.draft.begun:
            await self.draft.restart()
        await self.draft.settle(text)
        return StudyOutcome(
            state=state,
            text=text,
            route=route,
            steps=tuple(self.steps),
            remember=self.remember,
        )

    async def _enter(self, stage: str) -> None:
        """Enter every stage up to `stage` that was not entered yet."""
        while self.entered <= STAGES.index(stage):
            await self.stages.entered(STAGES[self.entered])
            self.entered += 1

    def _step(self, kind: StepKind, **detail: Any) -> None:
        self.steps.append(StudyStep(kind, detail))
        if self.told is not None:
            self.told.happened(kind, detail)


def _bounded(brief: StudyBrief, limits: StudyLimits) -> StudyBrief:
    """The brief with the newest history only, and text that JSON can carry.

    A summary, which is first, stays and is not cut.
    """
    summary = tuple(t for t in brief.history[:1] if t.speaker is Speaker.SUMMARY)
    turns = brief.history[len(summary) :]
    recent = turns[-limits.history_turns :] if limits.history_turns else ()
    return replace(
        brief,
        question=_encodable(brief.question).strip(),
        history=(
            *(Turn(turn.speaker, _encodable(turn.text)) for turn in summary),
            *(
                Turn(turn.speaker, _encodable(turn.text[: limits.turn_characters]))
                for turn in recent
            ),
        ),
        facts=tuple(_encodable(fact) for fact in brief.facts),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
