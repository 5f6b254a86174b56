"""How likely a question asks for open graded work: a logistic regression over a few features.

The work is its prompt, its reference answer and what its rubric rewards, each as sentences; the
prompt also as a whole, as clauses and by its title. Features are cosines of a question's readings
to those units, content terms in common, and the question's form (`question_form`). The weights
were fitted by tests/bench/firewall_fit.py.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import chain, islice, zip_longest
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.documents.sentences import sentence_spans
from agents.ports import Embedder
from agents.study.brief import OpenAssignment
from agents.study.question_form import (
    QuestionForm,
    form_of,
    leans,
    numbered_work,
    readings,
    topic_terms,
)

Vectors = NDArray[np.float32]

SHINGLE: Final = 7
"""Words in a row that are no coincidence."""
TOP: Final = 4
"""A question on the work is near several of its units, one on a detail near one."""
TOGETHER: Final = 4
"""A question is read with three before it at most."""
MANY_TERMS: Final = 4
_MAX_SENTENCES: Final = 128
_MAX_CLAUSES: Final = 32
_MAX_GUARDED: Final = 96
_UNIT_CHARACTERS: Final = 1_500
_TEXT_CHARACTERS: Final = 20_000
_WORK_CHARACTERS: Final = 200_000
_EDGE: Final = 1_000
_CLAUSE: Final = re.compile(r"[,;:]\s+|\s+(?:and|or|then)\s+")
_LABEL: Final = re.compile(r"^[^:]*:\s+")


@dataclass(frozen=True, slots=True)
class WorkText:
    """The words of guarded work; of `units` the first `prompt_units` are the prompt's, which is
    the first as a whole."""

    assignment: OpenAssignment
    units: Sequence[str] = field(repr=False)
    prompt_units: int
    prompt_terms: frozenset[str]
    all_terms: frozenset[str] = field(repr=False)
    numbers: frozenset[tuple[str, int]]
    shingles: frozenset[int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Work:
    """Guarded work with the vectors of its units."""

    text: WorkText
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Reading:
    """A text a question is read as: its content terms, and the vectors of its `readings`."""

    terms: frozenset[str]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Asked:
    """A question by itself, and with those before it; None where it does not lean on them."""

    question: str
    form: QuestionForm
    numbers: frozenset[tuple[str, int]]
    shingles: frozenset[int]
    own: Reading
    together: Reading | None


async def read(turns: Sequence[str], embedder: Embedder) -> list[Asked]:
    """Each turn as asked after those before it."""
    texts = [_texts(turns[: at + 1]) for at in range(len(turns))]
    flat = [text for both in texts for text in both]
    parts = list(map(_readings, flat))
    rows = iter(_taken(await embedder.embed(list(chain.from_iterable(parts))), parts))
    asked = []
    for question, *both in texts:
        own, *together = (
            Reading(frozenset(topic_terms(text)), next(rows)) for text in (question, *both)
        )
        asked.append(
            Asked(
                question=question,
                form=form_of(_edges(question)),
                numbers=frozenset(numbered_work(_edges(question))),
                shingles=frozenset(_shingles(question)),
                own=own,
                together=together[0] if together else None,
            )
        )
    return asked


async def guarded_work(guarded: Sequence[OpenAssignment], embedder: Embedder) -> list[Work]:
    """What questions are compared with, of each assignment."""
    texts = await asyncio.to_thread(lambda: list(map(_work_text, guarded)))
    units = [text.units for text in texts]
    rows = _taken(await embedder.embed(list(chain.from_iterable(units))), units)
    return list(map(Work, texts, rows))


def _taken(rows: Vectors, parts: Sequence[Sequence[str]]) -> list[Vectors]:
    """The rows of each part."""
    ends = np.cumsum([len(part) for part in parts])
    return np.split(rows, ends[:-1])


def _texts(turns: Sequence[str]) -> list[str]:
    """The last turn; and, where it leans on those before it, all of them together."""
    last = turns[-1]
    return [last, joined(turns)] if len(turns) > 1 and leans(_edges(last)) else [last]


def joined(turns: Sequence[str]) -> str:
    """The last turn with those it leans on, each on the one before it."""
    first = len(turns) - 1
    while first > max(0, len(turns) - TOGETHER) and leans(_edges(turns[first])):
        first -= 1
    return "\n".join(turns[first:])


def _edges(text: str) -> str:
    """Where a question says what it asks for: before a text that is pasted into it, or after."""
    return text if len(text) <= 2 * _EDGE else f"{text[:_EDGE]}\n{text[-_EDGE:]}"


def _readings(text: str) -> list[str]:
    return list(map(_cut, readings(text[:_TEXT_CHARACTERS])))


@lru_cache(maxsize=256)
def _work_text(work: OpenAssignment) -> WorkText:
    """Of the prompt the whole, sentences, clauses and the title; of what is guarded, sentences."""
    sentences = _sentences(work.prompt)
    clauses = [
        clause
        for sentence in sentences
        for clause in _CLAUSE.split(sentence)
        if clause != sentence and len(clause.split()) >= 3
    ]
    title = _LABEL.sub("", work.title)
    whole = work.prompt.strip() or work.title
    prompt = [whole, *sentences[:_MAX_SENTENCES], *clauses[:_MAX_CLAUSES], *filter(None, [title])]
    in_turn = chain.from_iterable(zip_longest(*map(_sentences, work.guarded)))
    guarded = list(islice(filter(None, in_turn), _MAX_GUARDED))
    known = frozenset(topic_terms(f"{work.title} {work.prompt}"))
    return WorkText(
        assignment=work,
        units=tuple(map(_cut, (*prompt, *guarded))),
        prompt_units=len(prompt),
        prompt_terms=known,
        all_terms=known | topic_terms(" ".join(guarded)),
        numbers=frozenset(numbered_work(work.title)),
        shingles=frozenset().union(*map(_shingles, (work.prompt, *work.guarded))),
    )


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text[:_WORK_CHARACTERS])]


def _cut(text: str) -> str:
    return text[:_UNIT_CHARACTERS]


def _shingles(text: str) -> set[int]:
    words = text[:_WORK_CHARACTERS].lower().split()
    return {hash(tuple(words[at : at + SHINGLE])) for at in range(len(words) - SHINGLE + 1)}


def surely(asked: Asked, work: Work) -> bool:
    """Whether the question has words of the work in a row, or wants the work done by its number."""
    wanted = asked.form.wanted or asked.form.product
    named = wanted and not asked.form.rules and bool(work.text.numbers & asked.numbers)
    return named or not work.text.shingles.isdisjoint(asked.shingles)


def features(asked: Asked, work: Work) -> dict[str, float]:
    """What the regression looks at, by name: cosines, and shares or 0 and 1."""
    about = _closeness(asked.own, work)
    form = {name: float(value) for name, value in asdict(asked.form).items()}
    if asked.together is not None:
        both = _closeness(asked.together, work)
        about = {name: max(value, both[name]) for name, value in about.items()}
        # "what is its effect?" asks for no definition
        form |= {"definition": 0.0, "term": 0.0}
    if form["term"]:  # it is the course's before it is the work's
        about |= {"prompt_terms": 0.0, "all_terms": 0.0}
    named = bool(work.text.numbers & asked.numbers) and not asked.form.rules
    return {**about, **form, "named": float(named), "leans": float(asked.together is not None)}


def _closeness(reading: Reading, work: Work) -> dict[str, float]:
    cosines = (work.vectors @ reading.vectors.T).max(axis=1)
    known = len(reading.terms & work.text.all_terms)
    return {
        "nearest": float(cosines.max()),
        "whole": float(cosines[0]),
        "top": float(np.sort(cosines)[-TOP:].mean()),
        "prompt_terms": _share(len(reading.terms & work.text.prompt_terms), reading),
        "all_terms": _share(known, reading),
        "many_terms": min(known, MANY_TERMS) / MANY_TERMS,
    }


def _share(known: int, reading: Reading) -> float:
    return known / len(reading.terms) if reading.terms else 0.0


def to_prompt(asked: Asked, work: Work) -> tuple[float, float]:
    """(cosine, share of terms) to the prompt alone, which the student may see."""
    cosines = work.vectors[: work.text.prompt_units] @ asked.own.vectors.T
    return float(cosines.max()), _share(len(asked.own.terms & work.text.prompt_terms), asked.own)


def probability(
    found: Mapping[str, float], weights: Mapping[str, float], intercept: float
) -> float:
    """The logistic function of the weighted sum."""
    return 1 / (1 + exp(-intercept - sum(weights[name] * value for name, value in found.items())))
