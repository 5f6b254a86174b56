"""The grading team: guard, passages, two graders, verification, arbiter, totals, feedback.

The members are AutoGen agents; the wiring between them is plain structured concurrency, because
AutoGen's teams lose exception types and keep spending after a cancel.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial

from autogen_core import CancellationToken

from agents.grading import policy
from agents.grading.brief import AttemptText, Criterion, GradingBrief, Role
from agents.grading.calls import MemberCalls, both, until_cancelled
from agents.grading.guard import Guarded, guarded, is_blank
from agents.grading.members import FeedbackTask, GradeTask, GradingMembers
from agents.grading.result import (
    Assessment,
    CriterionScore,
    GradingResult,
    ReviewCode,
    ReviewReason,
)
from agents.grading.verdict import (
    CriterionOutcome,
    CriterionPassages,
    FeedbackRequest,
    FeedbackText,
    GradeRequest,
    GradeVerdict,
    Repair,
)
from agents.grading.verification import Attempt, Checked, checked, repaired
from agents.ports import Ledger, PassageSearch, Stages

EMPTY_FEEDBACK = "No answer was found in this submission."


class GradingTeam:
    """Grades one attempt at a time; holds nothing between attempts and may be shared."""

    def __init__(
        self,
        members: GradingMembers,
        search: PassageSearch,
        *,
        passages_per_criterion: int = 3,
        call_timeout: timedelta = timedelta(minutes=3),
    ) -> None:
        self._members = members
        self._search = search
        self._passages_per_criterion = passages_per_criterion
        self._call_timeout = call_timeout

    async def grade(
        self,
        brief: GradingBrief,
        attempt: AttemptText,
        *,
        ledger: Ledger,
        stages: Stages,
        cancellation: CancellationToken,
    ) -> GradingResult:
        """A proposal, or what a person must decide.

        Enters PREPARING, GRADING, CROSS_CHECKING and, where opinions diverge, ARBITRATING. Ledger
        steps: `grader:A`, `grader:B`, `repair:<slot>`, `arbiter`, `feedback`.

        Raises AgentFailure when a member fails, AgentCancelled within a second of the token's
        cancellation, and what `ledger`, `stages` or the search raise.
        """
        calls = MemberCalls(self._members, ledger, cancellation, self._call_timeout)
        session = _Session(self._members, calls, brief)
        return await until_cancelled(self._run(session, attempt, stages), cancellation)

    async def _run(
        self, session: "_Session", attempt: AttemptText, stages: Stages
    ) -> GradingResult:
        brief = session.brief
        await stages.entered("PREPARING")
        guard = await asyncio.to_thread(guarded, attempt.text, brief.policy.max_characters)
        blank = is_blank(attempt.text)
        passages = () if blank else await self._passages(brief)
        await stages.entered("GRADING")
        if blank:
            await stages.entered("CROSS_CHECKING")
            return _empty_result(brief, attempt, guard)
        request = partial(session.request, guard, attempt.language, passages)
        verdicts = await both(
            session.verdict(request(Role.GRADER_A)), session.verdict(request(Role.GRADER_B))
        )
        await stages.entered("CROSS_CHECKING")
        original = await asyncio.to_thread(Attempt.of, attempt.text)
        checks = await both(
            session.verified(request(Role.GRADER_A), verdicts[0], original),
            session.verified(request(Role.GRADER_B), verdicts[1], original),
        )
        assessments = [
            session.assessment(role, verdict, check)
            for role, verdict, check in zip(
                (Role.GRADER_A, Role.GRADER_B), verdicts, checks, strict=True
            )
        ]
        problems = [problem for check in checks for problem in check.problems]
        contested = policy.disputed(brief.criteria, assessments[0], assessments[1], brief.policy)
        if contested:
            await stages.entered("ARBITRATING")
            arbitration = request(Role.ARBITER, contested)
            verdict = await session.verdict(arbitration)
            check = await session.verified(arbitration, verdict, original)
            assessments.append(session.assessment(Role.ARBITER, verdict, check))
            problems.extend(check.problems)
        return await session.concluded(attempt, guard, assessments, problems)

    async def _passages(self, brief: GradingBrief) -> tuple[CriterionPassages, ...]:
        found = []
        for criterion in brief.criteria:
            query = "\n".join(
                filter(None, (criterion.title, criterion.guidelines, brief.assignment_prompt))
            )[:1_000]
            passages = (
                await self._search.search(query, self._passages_per_criterion)
                if query.strip() and self._passages_per_criterion
                else ()
            )
            found.append(CriterionPassages(criterion_id=criterion.id, passages=tuple(passages)))
        return tuple(found)


class _Session:
    """The steps of one attempt."""

    def __init__(self, members: GradingMembers, calls: MemberCalls, brief: GradingBrief) -> None:
        self.brief = brief
        self._members = members
        self._calls = calls

    def request(
        self,
        guard: Guarded,
        language: str | None,
        passages: tuple[CriterionPassages, ...],
        role: Role,
        criteria: tuple[Criterion, ...] | None = None,
    ) -> GradeRequest:
        """What the seat is asked; `criteria` limits it to those in dispute."""
        chosen = criteria or self.brief.criteria
        ids = {criterion.id for criterion in chosen}
        identity = self._members.identity(role)
        return GradeRequest(
            role=role,
            model=f"{identity.provider}:{identity.model}",
            prompt_version=identity.prompt_version,
            assignment_prompt=self.brief.assignment_prompt,
            reference_answer=self.brief.reference_answer,
            criteria=chosen,
            exemplars=self.brief.exemplars,
            passages=tuple(found for found in passages if found.criterion_id in ids),
            text=guard.text,
            language=language,
            datamarked=guard.datamarked,
        )

    async def verdict(self, request: GradeRequest) -> GradeVerdict:
        """The seat's verdict, or its repair. Passages are left out of the ledger's hash: a
        re-indexed course must not make a paid call again.
        """
        role = request.role
        if request.repair:
            step_key = f"repair:{role}"
        else:
            step_key = "arbiter" if role is Role.ARBITER else f"grader:{role}"
        make = (
            self._members.arbiter if role is Role.ARBITER else partial(self._members.grader, role)
        )
        return await self._calls.ask(
            role,
            step_key,
            make,
            GradeTask(content=request, source="team"),
            request.model_copy(update={"passages": ()}),
            GradeVerdict,
        )

    async def verified(
        self, request: GradeRequest, verdict: GradeVerdict, original: Attempt
    ) -> Checked:
        """The verdict checked in code, after one repair where something did not hold."""
        first = checked(verdict, request.criteria, original)
        if not first.problems:
            return first
        problems = tuple(f"{problem.criterion_id}: {problem.detail}" for problem in first.problems)
        again = request.model_copy(update={"repair": Repair(verdict=verdict, problems=problems)})
        second = checked(await self.verdict(again), request.criteria, original)
        return repaired(first, second, request.criteria)

    def assessment(self, role: Role, verdict: GradeVerdict, check: Checked) -> Assessment:
        """The seat's judgement after verification."""
        identity = self._members.identity(role)
        return Assessment(
            slot=role,
            provider=identity.provider,
            model=identity.model,
            prompt_version=identity.prompt_version,
            criteria=check.criteria,
            off_topic=verdict.off_topic,
        )

    async def concluded(
        self,
        attempt: AttemptText,
        guard: Guarded,
        assessments: Sequence[Assessment],
        problems: Sequence[ReviewReason],
    ) -> GradingResult:
        """Totals, then feedback that cannot change them, then the outcome."""
        brief = self.brief
        scores, reasons = _decided(brief, assessments)
        reasons = [*_guard_reasons(brief, guard), *problems, *reasons]
        if sum(assessment.off_topic for assessment in assessments) * 2 > len(assessments):
            detail = "The text does not seem to address the assignment."
            reasons.append(ReviewReason(ReviewCode.OFF_TOPIC, None, detail))
        score = policy.total(
            {item.criterion_id: item.points for item in scores},
            brief.criteria,
            brief.points_possible,
        )
        penalty = policy.late_penalty(
            score, brief.points_possible, brief.late_by, brief.late_policy
        )
        feedback = await self._feedback(scores, assessments, score, penalty)
        outcome, distinct = policy.outcome(reasons, attempt.id, brief.policy)
        return GradingResult(
            outcome=outcome,
            reasons=distinct,
            assessments=tuple(assessments),
            criteria=scores,
            score=score,
            penalty=penalty,
            feedback=feedback,
            findings=guard.findings,
        )

    async def _feedback(
        self,
        scores: Sequence[CriterionScore],
        assessments: Sequence[Assessment],
        score: Decimal,
        penalty: Decimal,
    ) -> str:
        brief = self.brief
        identity = self._members.identity(Role.FEEDBACK)
        request = FeedbackRequest(
            model=f"{identity.provider}:{identity.model}",
            prompt_version=identity.prompt_version,
            assignment_prompt=brief.assignment_prompt,
            language=brief.language,
            criteria=_outcomes(brief, scores, assessments),
            score=score,
            penalty=penalty,
            points_possible=brief.points_possible,
        )
        feedback = await self._calls.ask(
            Role.FEEDBACK,
            "feedback",
            self._members.feedback_writer,
            FeedbackTask(content=request, source="team"),
            request,
            FeedbackText,
        )
        return feedback.text.strip()


def _decided(
    brief: GradingBrief, assessments: Sequence[Assessment]
) -> tuple[tuple[CriterionScore, ...], list[ReviewReason]]:
    scores, reasons = [], []
    for criterion in brief.criteria:
        opinions = [assessment.of(criterion.id) for assessment in assessments]
        score, doubt = policy.decide(
            criterion, [opinion for opinion in opinions if opinion], brief.policy
        )
        scores.append(score)
        if doubt:
            reasons.append(doubt)
    return tuple(scores), [*reasons, *policy.confidence_reasons(scores, brief.policy)]


def _guard_reasons(brief: GradingBrief, guard: Guarded) -> list[ReviewReason]:
    reasons = [ReviewReason(finding.code, None, finding.detail) for finding in guard.findings]
    if guard.truncated:
        detail = f"Only the first {brief.policy.max_characters} characters were read."
        reasons.append(ReviewReason(ReviewCode.TOO_LONG, None, detail))
    return reasons


def _outcomes(
    brief: GradingBrief, scores: Sequence[CriterionScore], assessments: Sequence[Assessment]
) -> tuple[CriterionOutcome, ...]:
    outcomes = []
    for criterion, score in zip(brief.criteria, scores, strict=True):
        given = [assessment.of(criterion.id) for assessment in assessments]
        opinions = [opinion for opinion in given if opinion]
        titles = {level.id: level.title for level in criterion.levels}
        quotes = (span.quote for opinion in opinions for span in opinion.evidence if span.verified)
        outcomes.append(
            CriterionOutcome(
                criterion_id=criterion.id,
                title=criterion.title,
                points=score.points,
                highest=criterion.points,
                level_title=titles.get(score.level_id or ""),
                rationales=tuple(opinion.rationale for opinion in opinions),
                quotes=tuple(dict.fromkeys(quotes)),
            )
        )
    return tuple(outcomes)


def _empty_result(brief: GradingBrief, attempt: AttemptText, guard: Guarded) -> GradingResult:
    """Nothing to grade: no call is made, the lowest points are suggested, a person decides."""
    scores = tuple(policy.decide(criterion, [], brief.policy)[0] for criterion in brief.criteria)
    detail = "The submission holds no answer."
    reasons = [
        ReviewReason(ReviewCode.EMPTY_SUBMISSION, None, detail),
        *_guard_reasons(brief, guard),
    ]
    outcome, distinct = policy.outcome(reasons, attempt.id, brief.policy)
    points = {item.criterion_id: item.points for item in scores}
    score = policy.total(points, brief.criteria, brief.points_possible)
    return GradingResult(
        outcome=outcome,
        reasons=distinct,
        assessments=(),
        criteria=scores,
        score=score,
        penalty=policy.late_penalty(score, brief.points_possible, brief.late_by, brief.late_policy),
        feedback=EMPTY_FEEDBACK,
        findings=guard.findings,
    )
