"""Verdicts checked in code: every quote is in the attempt, every score is in its range."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from agents.grading.brief import Criterion, Level
from agents.grading.invisible import Seen, seen
from agents.grading.policy import nearest_level
from agents.grading.result import CriterionAssessment, EvidenceSpan, ReviewCode, ReviewReason
from agents.grading.verdict import CriterionVerdict, GradeVerdict

_MAX_QUOTES: Final = 12
_MAX_RATIONALE: Final = 2_000
_STEP: Final = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Attempt:
    """The original text of an attempt and how it looks, made once for all its quotes."""

    text: str
    view: Seen

    @classmethod
    def of(cls, text: str) -> "Attempt":
        """`text` is NFC."""
        return cls(text, seen(text))


@dataclass(frozen=True, slots=True)
class Checked:
    """What of a verdict holds, and what does not (UNVERIFIED_EVIDENCE or INVALID_VERDICT)."""

    criteria: tuple[CriterionAssessment, ...]
    problems: tuple[ReviewReason, ...]


def checked(verdict: GradeVerdict, criteria: Sequence[Criterion], attempt: Attempt) -> Checked:
    """The verdict with points inside their ranges and quotes as spans of the attempt.

    Points outside are brought to the nearer bound, the level is the one the points lie in, and
    each such change is a problem; so is a quote that is not there, credit without any quote, a
    criterion left out or judged twice (the first counts). Criteria not asked for are ignored.
    """
    given: dict[str, CriterionVerdict] = {}
    problems: list[ReviewReason] = []
    known = {criterion.id for criterion in criteria}
    for item in verdict.criteria:
        if item.criterion_id in given:
            problems.append(_invalid(item.criterion_id, "The verdict judges it twice."))
        elif item.criterion_id in known:
            given[item.criterion_id] = item
    assessed: list[CriterionAssessment] = []
    for criterion in criteria:
        if criterion.id not in given:
            problems.append(_invalid(criterion.id, "The verdict leaves this criterion out."))
            continue
        assessment = _assessment(given[criterion.id], criterion, attempt)
        problems.extend(_score_problems(given[criterion.id], criterion))
        problems.extend(_evidence_problems(assessment, criterion))
        assessed.append(assessment)
    return Checked(tuple(assessed), tuple(problems))


def repaired(first: Checked, second: Checked, criteria: Sequence[Criterion]) -> Checked:
    """`second`'s judgement of the criteria that had problems in `first`, else `first`'s."""
    broken = {problem.criterion_id for problem in first.problems}
    before = {item.criterion_id: item for item in first.criteria}
    after = {item.criterion_id: item for item in second.criteria}
    chosen = [
        after.get(criterion.id, before.get(criterion.id))
        if criterion.id in broken
        else before.get(criterion.id)
        for criterion in criteria
    ]
    problems = [problem for problem in second.problems if problem.criterion_id in broken]
    return Checked(tuple(item for item in chosen if item is not None), tuple(problems))


def located(quotes: Sequence[str], attempt: Attempt) -> tuple[EvidenceSpan, ...]:
    """Each distinct quote as a span of the original text, or unverified.

    Compared as they look: compatibility forms, spelling of quotes and dashes, whitespace and
    invisible characters do not matter; letters, case, digits and order do. A quote without a
    letter or digit is not evidence.
    """
    spans: dict[tuple[int, int, str], EvidenceSpan] = {}
    for quote in quotes[:_MAX_QUOTES]:
        needle = seen(unicodedata.normalize("NFC", quote)).text.strip(' "')
        found = attempt.view.find(needle) if any(map(str.isalnum, needle)) else None
        if found is None:
            span = EvidenceSpan(0, 0, quote, verified=False)
        else:
            span = EvidenceSpan(*found, attempt.text[slice(*found)], verified=True)
        spans.setdefault((span.start, span.end, span.quote), span)
    return tuple(spans.values())


def _assessment(
    item: CriterionVerdict, criterion: Criterion, attempt: Attempt
) -> CriterionAssessment:
    points = _within(item.points, criterion)
    level = nearest_level(criterion, points)
    named = _level(item.level_id, criterion)
    if named is not None and named.min_points <= points <= named.max_points:
        level = named
    return CriterionAssessment(
        criterion_id=criterion.id,
        level_id=level.id if level else None,
        points=points,
        confidence=item.confidence,
        rationale=item.rationale.strip()[:_MAX_RATIONALE],
        evidence=located(item.quotes, attempt),
    )


def _score_problems(item: CriterionVerdict, criterion: Criterion) -> Iterator[ReviewReason]:
    if not criterion.lowest <= item.points <= criterion.points:
        yield _invalid(
            criterion.id,
            f"{item.points} points are outside {criterion.lowest} to {criterion.points}.",
        )
        return
    level = _level(item.level_id, criterion)
    if criterion.levels and level is None:
        yield _invalid(criterion.id, "The verdict names no level of the rubric.")
    elif level is not None and not level.min_points <= item.points <= level.max_points:
        yield _invalid(
            criterion.id,
            f"{item.points} points do not lie in the level {level.title!r} "
            f"({level.min_points} to {level.max_points}).",
        )


def _evidence_problems(
    assessment: CriterionAssessment, criterion: Criterion
) -> Iterator[ReviewReason]:
    missing = sum(not span.verified for span in assessment.evidence)
    if missing:
        detail = f"{missing} of {len(assessment.evidence)} quotes are not in the text."
    elif not assessment.evidence and assessment.points > criterion.lowest:
        detail = "Points were given without a quote from the text."
    else:
        return
    yield ReviewReason(ReviewCode.UNVERIFIED_EVIDENCE, criterion.id, detail)


def _within(points: Decimal, criterion: Criterion) -> Decimal:
    """Inside the criterion's range; a member's digits beyond the fourth are dropped."""
    bounded = min(max(points, criterion.lowest), criterion.points)
    exponent = bounded.as_tuple().exponent
    return bounded.quantize(_STEP) if isinstance(exponent, int) and exponent < -4 else bounded


def _level(level_id: str | None, criterion: Criterion) -> Level | None:
    return next((level for level in criterion.levels if level.id == level_id), None)


def _invalid(criterion_id: str, detail: str) -> ReviewReason:
    return ReviewReason(ReviewCode.INVALID_VERDICT, criterion_id, detail)
