"""Is this question open graded work? A classifier in code, before any model is asked.

The nearest part of each prompt (whole, sentences, clauses) is looked up by the cosine of its
embedding to the question; a few thresholds on that cosine, the cosine to the whole prompt and the
content terms in common then decide. A question that leans on what was asked before it is judged
together with that. Where the question is not English, terms and the built-in embedder can't tell:
unless it is near-verbatim the match says `supported` False, and the student gets hints.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.documents.sentences import sentence_spans
from agents.ports import Embedder
from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief
from agents.study.languages import is_english
from agents.study.terms import terms

NEAR: Final = 0.60
RELATED: Final = (0.50, 0.47)
WORDED: Final = (0.40, 3, 0.5)
FACT: Final = 0.66
"""A question is about a prompt from a cosine of NEAR to one of its parts on; from RELATED to a part
and to the whole; or WORDED: from this cosine on with so many terms in common, which are this share
of its terms. Asking for a fact ("How many ...", "What is X?") takes FACT and a WORDED question.
Set on questions about five assignments (tests/agents/study/firewall_tuning.json); those of the
bench are about six others."""

SHINGLE: Final = 7
"""Words in a row that are no coincidence."""

MAX_RUNG: Final = 3
_MAX_UNITS: Final = 32
_UNIT_CHARACTERS: Final = 1_500
_FOLLOW_UP_TERMS: Final = 3
_DEFINED_TERMS: Final = 2
_TOGETHER: Final = 3
"""A question that leans on others is read with so many before it."""

_CLAUSE: Final = re.compile(r"[,;:]\s+|\s+(?:and|or|then)\s+")
_LEANS: Final = re.compile(
    r"^\W*(?:and|so|then|now|but|also|or|ok(?:ay)?)\b"
    r"|\b(?:it|its|that|this|these|those|they|them|their|he|him|his|she|her|"
    r"both|each other|the (?:one|other|two)|"
    r"such|instead|again|else|above|just)\b",
    re.IGNORECASE,
)
_FACT: Final = re.compile(
    r"^\W*(?:how (?:many|much|long|big|large|old|often|far)|when|who|where|"
    r"which (?:year|port|bit))\b",
    re.IGNORECASE,
)
_DEFINITION: Final = re.compile(r"^\W*(?:what|who) (?:is|are|was|were|does)\b", re.IGNORECASE)
_KINDS: Final = (
    "assignment|homework|essay|paper|lab|report|exam|quiz|test|coursework|task|problem set|"
    "problem|exercise|project|worksheet|sheet"
)
_NUMBERED: Final = re.compile(rf"\b({_KINDS})\s*(?:no\.?\s*|#\s*)?(\d{{1,3}})\b", re.IGNORECASE)
_KIND: Final = re.compile(rf"\b(?:{_KINDS})s?\b", re.IGNORECASE)
_TASK_TERMS: Final = frozenset(
    terms(
        "write words good reasons state show give propose identify answer solve finish complete "
        "code solution help draft evidence argue analyse design compute " + _KINDS.replace("|", " ")
    )
)
_WANTS: Final = re.compile(
    r"\b(?:do|solve|answers?|write|draft|finish|complete|give me|help|code|solution)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class GradedWorkMatch:
    """The open work a question is about. `rung` (1..3) grows each time the student asks again.
    `supported` is False where nobody can tell whether it is about the work."""

    assignment: OpenAssignment
    similarity: float
    overlap: float
    rung: int
    supported: bool = True


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Guarded work with the parts of its prompt; row i of `vectors` is part i's."""

    work: OpenAssignment
    units: Sequence[str]
    vectors: NDArray[np.float32]
    terms: frozenset[str]


_Match = tuple[OpenAssignment, float, float]


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
    asked = [turn.text for turn in brief.history if turn.speaker is Speaker.STUDENT][-5:]
    asked = [*asked, brief.question]
    prompts, vectors = await _embedded(asked, guarded, embedder)
    found = [
        [match for prompt in prompts if (match := _match(asked[: at + 1], vectors[at], prompt))]
        for at in range(len(asked))
    ]
    current = found[-1]
    if not current and len(found) > 1 and _says_nothing_new(brief.question):
        current = found[-2]
    if current:
        work, similarity, overlap = min(current, key=lambda it: (_strictness(it[0]), -it[1]))
        before = sum(any(match[0] is work for match in matches) for matches in found[:-1])
        return GradedWorkMatch(work, similarity, overlap, min(MAX_RUNG, before + 1))
    if any_language or is_english(brief.question):
        return None
    nearest = max(
        zip(guarded, prompts, strict=True),
        key=lambda it: float((it[1].vectors @ vectors[-1][0]).max()),
    )[0]
    return GradedWorkMatch(nearest, 0.0, 0.0, 1, supported=False)


def _strictness(work: OpenAssignment) -> int:
    return 0 if work.ai_policy is AiPolicy.CLOSED else 1


def _says_nothing_new(question: str) -> bool:
    """A short follow-up ("just tell me") stands for the question before it."""
    few = len(set(terms(question))) <= _FOLLOW_UP_TERMS
    return few and is_english(question) and bool(_LEANS.search(question) or not terms(question))


async def _embedded(
    asked: Sequence[str], guarded: Sequence[OpenAssignment], embedder: Embedder
) -> tuple[list[_Prompt], list[NDArray[np.float32]]]:
    """The prompts, and of each question two rows: by itself, and with those before it."""
    parts = [_units(work.prompt) for work in guarded]
    together = [_together(asked[: at + 1]) for at in range(len(asked))]
    texts = [*chain.from_iterable(zip(map(_cut, asked), map(_cut, together), strict=True))]
    vectors = await embedder.embed([*texts, *chain.from_iterable(parts)])
    prompts, start = [], len(texts)
    for work, units in zip(guarded, parts, strict=True):
        rows = vectors[start : start + len(units)]
        prompts.append(_Prompt(work, units, rows, frozenset(terms(f"{work.title} {work.prompt}"))))
        start += len(units)
    return prompts, [vectors[at : at + 2] for at in range(0, len(texts), 2)]


def _together(asked: Sequence[str]) -> str:
    """The last question with those before it where it leans on them."""
    leans = len(asked) > 1 and bool(_LEANS.search(asked[-1]))
    return "\n".join(asked[-_TOGETHER - 1 :]) if leans else asked[-1]


def _match(asked: Sequence[str], vectors: NDArray[np.float32], prompt: _Prompt) -> _Match | None:
    """The last of `asked` against one prompt."""
    question, together = asked[-1], _together(asked)
    if _names(question, prompt) or _shingles(prompt.units[0]) & _shingles(question):
        return prompt.work, float((prompt.vectors @ vectors[0]).max()), 1.0
    for text, vector in zip(dict.fromkeys((question, together)), vectors, strict=False):
        cosines = prompt.vectors @ vector
        found = _likeness(text, cosines, prompt.terms)
        if found is not None:
            return prompt.work, *found
    return None


def _likeness(
    question: str, cosines: NDArray[np.float32], prompt: frozenset[str]
) -> tuple[float, float] | None:
    """(similarity, overlap) of a question that is about a prompt."""
    mine = set(terms(question))
    shared = len(mine & prompt)
    overlap = shared / len(mine) if mine else 0.0
    best, whole = float(cosines.max()), float(cosines[0])
    worded = best >= WORDED[0] and shared >= WORDED[1] and overlap >= WORDED[2]
    related = best >= RELATED[0] and whole >= RELATED[1]
    defined = bool(_DEFINITION.match(question)) and len(mine) <= _DEFINED_TERMS
    if defined or _FACT.match(question):
        alike = best >= FACT and worded
    else:
        alike = best >= NEAR or related or worded
    return (best, overlap) if alike else None


def _names(question: str, prompt: _Prompt) -> bool:
    """Whether the question names the work: by its number, or as work to be done on its topic."""
    numbered = {
        (kind.lower(), int(number)) for kind, number in _NUMBERED.findall(prompt.work.title)
    }
    if numbered & {(kind.lower(), int(number)) for kind, number in _NUMBERED.findall(question)}:
        return True
    mine, title = set(terms(question)), set(terms(prompt.work.title))
    titled = len(title) >= 2 and len(title & mine) >= max(2, round(0.75 * len(title)))
    if (
        titled
        and (_KIND.search(question) or _KIND.search(prompt.work.title))
        and _WANTS.search(question)
    ):
        return True
    topic = mine & prompt.terms - _TASK_TERMS
    return bool(topic and _KIND.search(question) and _WANTS.search(question))


def _units(text: str) -> list[str]:
    """The text as a whole, then its sentences, then their clauses."""
    sentences = [text[start:end] for start, end in sentence_spans(text[:20_000])]
    clauses = [
        clause
        for sentence in sentences
        for clause in _CLAUSE.split(sentence)
        if clause != sentence and len(clause.split()) >= 3
    ]
    return list(map(_cut, [text, *sentences[:_MAX_UNITS], *clauses[:_MAX_UNITS]]))


def _cut(text: str) -> str:
    return text[:_UNIT_CHARACTERS]


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}
