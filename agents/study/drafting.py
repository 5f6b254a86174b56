"""Tutor, citation check and critic: drafts until one is good, two revisions at most."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agents.ports import Passage
from agents.study.brief import StudyBrief, StudyLimits, Unsupported
from agents.study.budget import Bound, BudgetReached
from agents.study.claims import CheckedAnswer, checked, marked, without_unsupported
from agents.study.consulting import Consulting
from agents.study.members import StudyMembers
from agents.study.messages import (
    CriticRequest,
    CriticTask,
    CriticVerdict,
    NumberedPassage,
    Route,
    TutorAnswer,
    TutorRequest,
    TutorTask,
    Verdict,
)
from agents.study.outcome import Source, StepKind
from agents.study.streaming import Draft, TextField

TEAM = "study_team"
Report = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Drafted:
    """The best draft as it may be shown, None where the sources don't answer or nothing of it is
    verified; what of the budget was reached on the way."""

    answer: CheckedAnswer | None
    bound: Bound | None = None


@dataclass(slots=True)
class Drafting:
    """Writes one answer from its sources."""

    members: StudyMembers
    limits: StudyLimits
    brief: StudyBrief
    consulting: Consulting
    draft: Draft
    report: Report
    verifying: Callable[[], Awaitable[None]]
    """Awaited when the first draft is to be checked."""
    remember: tuple[str, ...] = ()
    """Facts of the student that the last draft proposes to remember."""

    async def small_talk(self) -> str:
        """A reply without sources, so with nothing to cite or check."""
        answer = await self._drafted(0, Route.DIRECT, (), ())
        return answer.text.strip()

    async def from_sources(self, route: Route, sources: Sequence[Source]) -> Drafted:
        """The draft with the fewest problems, cut to what its quotes carry.

        When the budget ends, what was checked until then is what there is: a draft no critic has
        read loses each claim without a verified quote.
        """
        drafts: list[tuple[int, CheckedAnswer]] = []
        bound: Bound | None = None
        try:
            if await self._attempts(route, sources, drafts):
                return Drafted(None)
        except BudgetReached as reached:
            bound = reached.bound
        if not drafts:
            return Drafted(None, bound)
        best = min(drafts, key=lambda scored: scored[0])[1]
        if best.verified == 0 or (bound is None and len(best.unsupported) > best.verified):
            return Drafted(None, bound)
        removed = bound is not None or self.limits.unsupported is Unsupported.REMOVE
        shown = marked(best)
        return Drafted(without_unsupported(shown) if removed else shown, bound)

    async def _attempts(
        self, route: Route, sources: Sequence[Source], drafts: list[tuple[int, CheckedAnswer]]
    ) -> bool:
        """Fills `drafts` with (problems, draft); True where tutor or critic abstain."""
        problems: tuple[str, ...] = ()
        previous: TutorAnswer | None = None
        for attempt in range(self.limits.revisions + 1):
            answer = await self._drafted(attempt, route, sources, problems)
            await self.verifying()
            if answer.abstained or not answer.text.strip():
                return True
            if answer == previous:
                break
            found = await asyncio.to_thread(checked, answer, sources)
            self.report(
                StepKind.CHECK,
                attempt=attempt,
                verified=found.verified,
                unsupported=len(found.unsupported),
            )
            drafts.append((1 + len(found.problems()), found))
            verdict = await self._criticised(attempt, found)
            if verdict.verdict is Verdict.ABSTAIN:
                return True
            issues = verdict.issues if verdict.verdict is Verdict.REVISE else []
            problems = (*found.problems(), *issues)
            drafts[-1] = (len(problems), found)
            if not problems:
                break
            previous = answer
        return False

    async def _drafted(
        self, attempt: int, route: Route, sources: Sequence[Source], problems: tuple[str, ...]
    ) -> TutorAnswer:
        """A draft, streamed to the sink while it is written, or from the ledger."""
        request = TutorRequest(
            question=self.brief.question,
            history=self.brief.history,
            passages=tuple(_numbered(number, it) for number, it in enumerate(sources, start=1)),
            route=route,
            language=self.brief.language,
            problems=problems,
            facts=self.brief.facts,
        )
        text = TextField()
        await self.draft.restart()
        async with self.draft.flowing(self.limits.coalesce_seconds):
            answer = await self.consulting.ask(
                self.members.tutor,
                TutorTask(content=request, source=TEAM),
                TutorAnswer,
                f"tutor:{attempt}",
                on_chunk=lambda chunk: self.draft.feed(text.feed(chunk)),
            )
        await self.draft.settle(answer.text)
        self.remember = tuple(answer.remember)
        self.report(
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
        verdict = await self.consulting.ask(
            self.members.critic,
            CriticTask(content=request, source=TEAM),
            CriticVerdict,
            f"critic:{attempt}",
        )
        self.report(
            StepKind.CRITIQUE, attempt=attempt, verdict=verdict.verdict, issues=verdict.issues
        )
        return verdict


def _numbered(number: int, source: Source) -> NumberedPassage:
    if isinstance(source, Passage):
        return NumberedPassage(
            number=number,
            document_title=source.document_title,
            heading=source.heading,
            page=source.page,
            text=source.text,
        )
    return NumberedPassage(
        number=number,
        document_title=source.title,
        heading="",
        page=None,
        text=source.text,
        url=source.url,
    )
