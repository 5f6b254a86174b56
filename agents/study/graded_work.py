"""Is this question open graded work? A classifier in code, before any model is asked.

A question is compared with each prompt, whole and by sentences, in two ways: cosine of their
embeddings, and the weighted share of content terms. Terms and the built-in embedder know English;
in other languages only near-verbatim questions are recognised here, and the planner's own
judgement is all there is beyond that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.documents.sentences import sentence_spans
from agents.ports import Embedder
from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief
from agents.study.terms import terms

ALIKE: Final = ((0.60, 0.55), (0.72, 0.25))
"""(cosine, share of terms) from which on a question and a part of a prompt are the same thing.
Calibrated on paraphrases of an essay prompt against other questions on its subject, and on the
questions of a networks course against each other."""

SHINGLE: Final = 7
"""Words in a row that are no coincidence."""

MAX_RUNG: Final = 3
_MAX_UNITS: Final = 24
_UNIT_CHARACTERS: Final = 1_500
_FOLLOW_UP_TERMS: Final = 3
_MIN_TERMS: Final = 3
_REQUEST = frozenset(terms("assignment homework essay lab exam quiz test coursework task solution"))


@dataclass(frozen=True, slots=True)
class GradedWorkMatch:
    """The open work a question is about. `rung` (1..3) grows each time the student asks again."""

    assignment: OpenAssignment
    similarity: float
    overlap: float
    rung: int


async def match_graded_work(brief: StudyBrief, embedder: Embedder) -> GradedWorkMatch | None:
    """The assignment with the strictest policy that the question asks for, or None.

    Work whose policy is OPEN restricts nothing. A short follow-up ("just tell me") stands for the
    student's question before it.
    """
    guarded = [work for work in brief.open_assignments if work.ai_policy is not AiPolicy.OPEN]
    if not guarded:
        return None
    earlier = [turn.text for turn in brief.history if turn.speaker is Speaker.STUDENT]
    asked = [*earlier[-5:], brief.question]
    found = await _matches(asked, guarded, embedder)
    current = found[-1]
    if not current and len(set(terms(brief.question))) <= _FOLLOW_UP_TERMS and len(found) > 1:
        current = found[-2]
    if not current:
        return None
    work, similarity, overlap = min(
        current, key=lambda match: (match[0].ai_policy is not AiPolicy.CLOSED, -match[1])
    )
    before = sum(any(match[0] is work for match in matches) for matches in found[:-1])
    return GradedWorkMatch(work, similarity, overlap, min(MAX_RUNG, before + 1))


_Match = tuple[OpenAssignment, float, float]


async def _matches(
    questions: Sequence[str], guarded: Sequence[OpenAssignment], embedder: Embedder
) -> list[list[_Match]]:
    asked = [_units(question) for question in questions]
    set_work = [_units(work.prompt) for work in guarded]
    texts = [text for units in (*asked, *set_work) for text in units]
    vectors = await embedder.embed(texts)
    bounds = np.cumsum([len(units) for units in (*asked, *set_work)])[:-1]
    groups = np.split(vectors, bounds)
    found: list[list[_Match]] = []
    for units, rows in zip(asked, groups, strict=False):
        matches: list[_Match] = []
        for work, prompt, columns in zip(guarded, set_work, groups[len(asked) :], strict=True):
            similarity, overlap = _likeness(units, prompt, rows @ columns.T)
            if similarity or _names(units[0], work):
                matches.append((work, similarity, overlap))
        found.append(matches)
    return found


def _likeness(
    asked: Sequence[str], prompt: Sequence[str], cosines: np.ndarray
) -> tuple[float, float]:
    """(similarity, overlap) of the best matching pair of units, zeros when none matches."""
    best = (0.0, 0.0)
    asked_terms = [set(terms(unit)) for unit in asked]
    prompt_terms = [set(terms(unit)) for unit in prompt]
    prompt_shingles = _shingles(prompt[0])
    for row, mine in enumerate(asked_terms):
        for column, theirs in enumerate(prompt_terms):
            cosine = float(cosines[row, column])
            smaller = min(len(mine), len(theirs))
            overlap = len(mine & theirs) / smaller if smaller >= _MIN_TERMS else 0.0
            if any(cosine >= least and overlap >= share for least, share in ALIKE):
                best = max(best, (cosine, overlap))
    if not best[0] and prompt_shingles & _shingles(asked[0]):
        best = (float(cosines.max()), 1.0)
    return best


def _names(question: str, work: OpenAssignment) -> bool:
    """Whether the question names the work by its title, or as work to be done."""
    asked = set(terms(question))
    title = set(terms(work.title))
    named = len(title) >= 2 and len(title & asked) >= max(2, round(0.75 * len(title)))
    return named and bool(_REQUEST & (asked | title))


def _units(text: str) -> list[str]:
    """The text as a whole, then its sentences."""
    sentences = [text[start:end][:_UNIT_CHARACTERS] for start, end in sentence_spans(text[:20_000])]
    return [text[:_UNIT_CHARACTERS], *sentences[:_MAX_UNITS]]


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}
