"""What an answer is compared with, for each criterion, and the exemplars' scores for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agents.grading.brief import Criterion
from agents.grading.invisible import DATAMARK
from agents.grading.statistical.segments import segments
from agents.grading.statistical.terms import content_terms
from agents.grading.verdict import GradeRequest


class Source(StrEnum):
    """Where a target comes from, the best first."""

    REFERENCE = "the reference answer"
    MATERIAL = "the course material"
    CRITERION = "the rubric's wording"


@dataclass(frozen=True, slots=True)
class Target:
    """`points`: sentences an answer should cover; never empty."""

    criterion: Criterion
    points: tuple[str, ...]
    source: Source

    @property
    def text(self) -> str:
        """All points."""
        return "\n".join(self.points)


@dataclass(frozen=True, slots=True)
class GradedText:
    """An exemplar's text and its share of the criterion's range, 0..1."""

    text: str
    ratio: float


def answer_text(request: GradeRequest) -> str:
    """The attempt with datamarks as spaces; offsets are the same."""
    return request.text.replace(DATAMARK, " ")


def targets(request: GradeRequest) -> tuple[Target, ...]:
    """One for each criterion.

    Of a reference answer, a criterion among several gets the sentences which share most terms
    with it; a sentence that shares terms with none counts for all. Without a reference: course
    material that shares terms with the assignment, else the wording of the rubric.
    """
    reference = [segment.text for segment in segments(request.reference_answer or "")]
    shares = _shares(reference, request.criteria)
    found = {item.criterion_id: item.passages for item in request.passages}
    result = []
    for criterion in request.criteria:
        if reference:
            result.append(
                Target(criterion, tuple(shares[criterion.id] or reference), Source.REFERENCE)
            )
            continue
        wanted = set(content_terms(f"{request.assignment_prompt} {_wording(criterion)}"))
        material = [
            segment.text
            for passage in found.get(criterion.id, ())
            for segment in segments(passage.text)
            if len(wanted & set(content_terms(segment.text))) >= 2
        ]
        if material:
            result.append(Target(criterion, tuple(material[:12]), Source.MATERIAL))
        else:
            result.append(Target(criterion, (_wording(criterion),), Source.CRITERION))
    return tuple(result)


def graded_texts(request: GradeRequest, criterion: Criterion) -> tuple[GradedText, ...]:
    """The exemplars which have points for the criterion, at most 300."""
    graded = []
    for exemplar in request.exemplars[:300]:
        points = exemplar.points.get(criterion.id)
        if points is not None:
            ratio = float((points - criterion.lowest) / criterion.span)
            graded.append(GradedText(exemplar.text, min(1.0, max(0.0, ratio))))
    return tuple(graded)


def _wording(criterion: Criterion) -> str:
    best = criterion.ordered_levels[-1].description if criterion.levels else ""
    return " ".join(filter(None, (criterion.title, criterion.guidelines, best)))


def _shares(reference: Sequence[str], criteria: Sequence[Criterion]) -> dict[str, list[str]]:
    terms = {
        criterion.id: set(
            content_terms(
                " ".join([_wording(criterion), *(level.description for level in criterion.levels)])
            )
        )
        for criterion in criteria
    }
    shares: dict[str, list[str]] = {criterion.id: [] for criterion in criteria}
    for sentence in reference:
        words = set(content_terms(sentence))
        overlap = {criterion_id: len(words & wanted) for criterion_id, wanted in terms.items()}
        most = max(overlap.values())
        for criterion_id, count in overlap.items():
            if count == most:
                shares[criterion_id].append(sentence)
    return shares
