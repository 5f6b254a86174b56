"""Is this question open graded work? A classifier in code, before any model is asked.

`work_likeness` gives a probability from cosines, terms in common and the question's form; a
question that leans on what was asked before it is judged together with that, so that a task asked
for piece by piece is found at the piece that completes it. Where the question is not English,
neither terms, form nor the built-in embedder can tell: unless it is near-verbatim or near-certain
the match says `supported` False, and the student gets hints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agents.ports import Embedder
from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief
from agents.study.graded_work_weights import INTERCEPT, WEIGHTS
from agents.study.languages import is_english
from agents.study.question_form import leans
from agents.study.terms import terms
from agents.study.work_likeness import (
    Asked,
    Work,
    features,
    guarded_work,
    probability,
    read,
    surely,
    to_prompt,
)

FOUND: Final = 0.5
"""From this probability on. With .35 it finds 8 more of 332 questions on work left out of the fit,
and blocks 12 more of 438 harmless ones; one blocked by mistake gets places to read."""
FOUND_IN_OTHER_LANGUAGES: Final = 0.9

MAX_RUNG: Final = 3
_TURNS: Final = 5
_FOLLOW_UP_TERMS: Final = 3


@dataclass(frozen=True, slots=True)
class GradedWorkMatch:
    """The open work a question is about. `rung` (1..3) grows each time the student asks again.

    `similarity` and `overlap` are to the prompt alone: closeness to a reference answer would tell
    of it. `supported` is False where nobody can tell whether it is about the work.
    """

    assignment: OpenAssignment
    similarity: float
    overlap: float
    rung: int
    supported: bool = True


async def match_graded_work(
    brief: StudyBrief, embedder: Embedder, *, any_language: bool = False
) -> GradedWorkMatch | None:
    """The assignment with the strictest policy that the question asks for, or None.

    Work whose policy is OPEN restricts nothing. With `any_language` the planner judges what this
    can't, so that other languages than English are left to it.
    """
    guarded = [work for work in brief.open_assignments if work.ai_policy is not AiPolicy.OPEN]
    if not guarded:
        return None
    before = [turn.text for turn in brief.history if turn.speaker is Speaker.STUDENT]
    turns = await read([*before[-_TURNS:], brief.question], embedder)
    works = await guarded_work(guarded, embedder)
    found = [_found(turn, works) for turn in turns]
    current, asked = found[-1], turns[-1]
    if not current and len(found) > 1 and _says_nothing_new(brief.question):
        current, asked = found[-2], turns[-2]
    if current:
        work, _ = min(current, key=lambda it: (_strictness(it[0].text.assignment), -it[1]))
        earlier = sum(any(match[0] is work for match in matches) for matches in found[:-1])
        return GradedWorkMatch(
            work.text.assignment, *to_prompt(asked, work), min(MAX_RUNG, earlier + 1)
        )
    if any_language or is_english(brief.question):
        return None
    nearest = max(works, key=lambda work: to_prompt(asked, work)[0])
    return GradedWorkMatch(nearest.text.assignment, 0.0, 0.0, 1, supported=False)


def likelihood(asked: Asked, work: Work) -> float:
    """How likely the question asks for this work, from 0 to 1."""
    if surely(asked, work):
        return 1.0
    return probability(features(asked, work), WEIGHTS, INTERCEPT)


def _found(asked: Asked, works: Sequence[Work]) -> list[tuple[Work, float]]:
    """The work this question is about, with its likelihood."""
    least = FOUND if is_english(asked.question) else FOUND_IN_OTHER_LANGUAGES
    scored = [(work, likelihood(asked, work)) for work in works]
    return [(work, score) for work, score in scored if score >= least]


def _strictness(work: OpenAssignment) -> int:
    return 0 if work.ai_policy is AiPolicy.CLOSED else 1


def _says_nothing_new(question: str) -> bool:
    """A short follow-up ("just tell me") stands for the question before it."""
    few = len(set(terms(question))) <= _FOLLOW_UP_TERMS
    return few and is_english(question) and (leans(question) or not terms(question))
