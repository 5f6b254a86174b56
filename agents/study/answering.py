"""One question on its way through the team."""

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
    through_ledger,
)
from agents.study import team_text
from agents.study.brief import AiPolicy, StudyBrief, StudyLimits, Turn
from agents.study.claims import CheckedAnswer, checked, marked
from agents.study.graded_work import GradedWorkMatch, match_graded_work
from agents.study.members import StudyMembers, consult
from agents.study.messages import (
    CriticRequest,
    CriticTask,
    CriticVerdict,
    NumberedPassage,
    OpenWork,
    PlanRequest,
    PlanTask,
    RetrievedPassages,
    Route,
    SearchRequest,
    StudyPlan,
    TutorAnswer,
    TutorRequest,
    TutorTask,
    Verdict,
)
from agents.study.outcome import StepKind, StudyOutcome, StudyState, StudyStep
from agents.study.planner import questions
from agents.study.retrieval import retrieved
from agents.study.streaming import Draft, TextField

STAGES: Final = ("PLANNING", "RETRIEVING", "GENERATING", "VERIFYING")
_QUERY_CHARACTERS: Final = 1_000
_TEAM: Final = "study_team"


@dataclass(kw_only=True, slots=True)
class Answering:
    """The state of one answer; `outcome()` is called once."""

    members: StudyMembers
    search: PassageSearch
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

    async def outcome(self) -> StudyOutcome:
        """Route the question and answer, hint, refuse or ask back."""
        self.brief = _bounded(self.brief, self.limits)
        await self._enter("PLANNING")
        asked_back = self._unusable()
        if asked_back is not None:
            return await self._said(asked_back, Route.CLARIFY)
        match = await match_graded_work(self.brief, self.embedder)
        plan = StudyPlan(route=Route.REFUSE_GRADED_WORK) if match else await self._planned()
        if match is None and plan.route is Route.REFUSE_GRADED_WORK:
            match = self._named(plan.assignment_id)
        if match is not None:
            return await self._guarded(match)
        if plan.route is Route.CLARIFY:
            text = plan.clarification.strip() or team_text.which_one()
            return await self._said(text, Route.CLARIFY)
        # No web search is wired, and a refusal that names no guarded work refuses nothing.
        route = Route.DIRECT if plan.route is Route.DIRECT else Route.DOCUMENTS
        await self._enter("RETRIEVING")
        if route is Route.DIRECT:
            return await self._direct()
        queries, passages = await self._retrieved(tuple(plan.queries) or (self.brief.question,))
        return await self._documented(queries, passages)

    def _unusable(self) -> str | None:
        """What to say to a question that no member should see."""
        question = self.brief.question
        if not question:
            return team_text.no_question()
        if len(question) > self.limits.question_characters:
            return team_text.too_long(len(question), self.limits)
        asked = questions(question)
        if len(asked) > self.limits.questions_at_once:
            return team_text.too_many(len(asked), asked[:3], self.limits)
        return None

    async def _planned(self) -> StudyPlan:
        request = PlanRequest(
            question=self.brief.question,
            history=self.brief.history,
            open_work=tuple(
                OpenWork(id=work.id, title=work.title, prompt=work.prompt)
                for work in self.brief.open_assignments
                if work.ai_policy is not AiPolicy.OPEN
            ),
            sources=(Route.DOCUMENTS,),
            language=self.brief.language,
            max_queries=self.limits.queries,
        )

        async def call() -> Called[StudyPlan]:
            return await consult(
                self.members.planner,
                PlanTask(content=request, source=_TEAM),
                StudyPlan,
                step_key="planner",
                cancellation=self.cancellation,
                seconds=self.limits.member_seconds,
            )

        plan = await through_ledger(self.ledger, "planner", request, call, StudyPlan)
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
        self._step(
            StepKind.GRADED_WORK,
            assignment_id=work.id,
            policy=work.ai_policy,
            similarity=round(match.similarity, 3),
            overlap=round(match.overlap, 3),
            rung=match.rung,
        )
        if work.ai_policy is AiPolicy.CLOSED:
            return await self._said(team_text.refusal(work), Route.REFUSE_GRADED_WORK)
        await self._enter("RETRIEVING")
        _, passages = await self._retrieved((self.brief.question, work.prompt))
        text = team_text.hints(match, self.brief.question, passages)
        return await self._said(text, Route.REFUSE_GRADED_WORK)

    async def _retrieved(
        self, wanted: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[Passage, ...]]:
        cut = (" ".join(query.split())[:_QUERY_CHARACTERS] for query in wanted)
        queries = tuple(dict.fromkeys(filter(None, cut)))[: self.limits.queries]
        request = SearchRequest(queries=queries, limit=self.limits.passages)

        async def call() -> Called[RetrievedPassages]:
            found = await retrieved(self.search, queries, self.limits.passages)
            return Called(RetrievedPassages(passages=found), "search", "passages")

        found = await through_ledger(self.ledger, "retrieval", request, call, RetrievedPassages)
        chunk_ids = [passage.chunk_id for passage in found.passages]
        self._step(StepKind.RETRIEVE, queries=list(queries), chunk_ids=chunk_ids)
        return queries, found.passages

    async def _direct(self) -> StudyOutcome:
        """Small talk: no passages, so nothing to cite or check."""
        await self._enter("GENERATING")
        draft = Draft(self.sink, self.generation)
        answer = await self._drafted(draft, 0, Route.DIRECT, (), ())
        return await self._said(answer.text.strip() or team_text.which_one(), Route.DIRECT, draft)

    async def _documented(
        self, queries: tuple[str, ...], passages: tuple[Passage, ...]
    ) -> StudyOutcome:
        await self._enter("GENERATING")
        draft = Draft(self.sink, self.generation)
        best = await self._checked_draft(draft, passages) if passages else None
        unsupported = len(best.unsupported) if best else 0
        if best is None or best.verified == 0 or unsupported > best.verified:
            return await self._said(
                team_text.abstention(queries, passages),
                Route.DOCUMENTS,
                draft,
                state=StudyState.ABSTAINED,
            )
        final = marked(best)
        said = await self._said(final.text, Route.DOCUMENTS, draft)
        return replace(said, citations=final.citations, unsupported=final.unsupported)

    async def _checked_draft(
        self, draft: Draft, passages: tuple[Passage, ...]
    ) -> CheckedAnswer | None:
        """The draft with the fewest problems, or None where tutor or critic abstain."""
        drafts: list[tuple[int, CheckedAnswer]] = []
        problems: tuple[str, ...] = ()
        previous: TutorAnswer | None = None
        for attempt in range(self.limits.revisions + 1):
            answer = await self._drafted(draft, attempt, Route.DOCUMENTS, passages, problems)
            await self._enter("VERIFYING")
            if answer.abstained or not answer.text.strip():
                return None
            if answer == previous:
                break
            found = checked(answer, passages)
            self._step(
                StepKind.CHECK,
                attempt=attempt,
                verified=found.verified,
                unsupported=len(found.unsupported),
            )
            verdict = await self._criticised(attempt, found)
            if verdict.verdict is Verdict.ABSTAIN:
                return None
            issues = verdict.issues if verdict.verdict is Verdict.REVISE else []
            problems = (*found.problems(), *issues)
            drafts.append((len(problems), found))
            if not problems:
                break
            previous = answer
        return min(drafts, key=lambda scored: scored[0])[1]

    async def _drafted(
        self,
        draft: Draft,
        attempt: int,
        route: Route,
        passages: tuple[Passage, ...],
        problems: tuple[str, ...],
    ) -> TutorAnswer:
        """A draft, streamed to the sink while it is written, or from the ledger."""
        request = TutorRequest(
            question=self.brief.question,
            history=self.brief.history,
            passages=tuple(_numbered(number, it) for number, it in enumerate(passages, start=1)),
            route=route,
            language=self.brief.language,
            problems=problems,
            facts=self.brief.facts,
        )
        key = f"tutor:{attempt}"

        async def call() -> Called[TutorAnswer]:
            text = TextField()
            return await consult(
                self.members.tutor,
                TutorTask(content=request, source=_TEAM),
                TutorAnswer,
                step_key=key,
                cancellation=self.cancellation,
                seconds=self.limits.member_seconds,
                on_chunk=lambda chunk: draft.feed(text.feed(chunk)),
            )

        await draft.restart()
        async with draft.flowing(self.limits.coalesce_seconds):
            answer = await through_ledger(self.ledger, key, request, call, TutorAnswer)
        await draft.settle(answer.text)
        self.remember = tuple(answer.remember)
        self._step(
            StepKind.DRAFT,
            attempt=attempt,
            characters=len(answer.text),
            abstained=answer.abstained,
        )
        return answer

    async def _criticised(self, attempt: int, found: CheckedAnswer) -> CriticVerdict:
        request = CriticRequest(
            question=self.brief.question,
            answer=found.text,
            claims=found.for_critic(),
            language=self.brief.language,
        )
        key = f"critic:{attempt}"

        async def call() -> Called[CriticVerdict]:
            return await consult(
                self.members.critic,
                CriticTask(content=request, source=_TEAM),
                CriticVerdict,
                step_key=key,
                cancellation=self.cancellation,
                seconds=self.limits.member_seconds,
            )

        verdict = await through_ledger(self.ledger, key, request, call, CriticVerdict)
        self._step(
            StepKind.CRITIQUE, attempt=attempt, verdict=verdict.verdict, issues=verdict.issues
        )
        return verdict

    async def _said(
        self,
        text: str,
        route: Route,
        draft: Draft | None = None,
        *,
        state: StudyState = StudyState.COMPLETE,
    ) -> StudyOutcome:
        """End with `text`, at the sink as well."""
        await self._enter("VERIFYING")
        if draft is None:
            draft = Draft(self.sink, self.generation)
            await draft.restart()
        await draft.settle(text)
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
    """The brief with the newest history only, and text that JSON can carry."""
    recent = brief.history[-limits.history_turns :] if limits.history_turns else ()
    return replace(
        brief,
        question=_encodable(brief.question).strip(),
        history=tuple(
            Turn(turn.speaker, _encodable(turn.text[: limits.turn_characters])) for turn in recent
        ),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def _numbered(number: int, passage: Passage) -> NumberedPassage:
    return NumberedPassage(
        number=number,
        document_title=passage.document_title,
        heading=passage.heading,
        page=passage.page,
        text=passage.text,
    )
