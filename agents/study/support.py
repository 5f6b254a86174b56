"""Whether passages answer a question, or are only about the same things.

Three measures and the question's length, which lowers the first two, are weighed by a logistic
regression. `closeness`: the cosine of the question and the best sentence. `matched`: late
interaction (Khattab and Zaharia, "ColBERT", 2020): for each topic word of the question the cosine
of the nearest word piece in a few sentences; of these the two lowest, since what material does not
say is a word or two that nothing in it is like. `unknown`: the share of topic words that are names
no passage has. tests/bench/tutor_gate.py fits the weights and tells how well they hold for others'
questions. They are for the built-in embedder and English.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.ports import Reading
from agents.study.terms import says_little, topic_spans

CLOSENESS: Final = 8.787
MATCHED: Final = 9.698
LENGTH: Final = 0.262
UNKNOWN: Final = -11.011
BIAS: Final = -11.625

ANSWERED: Final = 0.6
"""The least probability to answer at: two wrong answers are as bad as three wrong abstentions."""

LONGEST: Final = 20
"""Word pieces from which on a question counts as no longer: else any long message is answered."""

NEARBY: Final = 3
"""Sentences in a row that may match a question together."""

LOWEST: Final = 2

_NAME: Final = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")
_QUANTITY: Final = re.compile(r"\d\s*\Z")


@dataclass(frozen=True, slots=True)
class Support:
    """What speaks for an answer, and against one: `unknown`, from 0 to 1. `length` counts the
    question's word pieces."""

    closeness: float
    matched: float
    length: int
    unknown: float = 0.0

    @property
    def measures(self) -> tuple[float, float, float, float]:
        """What is weighed: closeness, matched, length, unknown."""
        return self.closeness, self.matched, float(min(self.length, LONGEST)), self.unknown

    @property
    def probability(self) -> float:
        """That the passages answer the question, from 0 to 1."""
        weighed = np.dot((CLOSENESS, MATCHED, LENGTH, UNKNOWN), self.measures)
        return 1 / (1 + math.exp(-(float(weighed) + BIAS)))

    @property
    def answers(self) -> bool:
        """Whether to answer."""
        return self.probability >= ANSWERED


def support(
    question: str, asked: Reading, sentences: Sequence[Sequence[Reading]], passages: Sequence[str]
) -> Support:
    """The support that passages lend: their text with its headings, and readings of the sentences
    of each, which may be none."""
    read = [found for found in sentences if found]
    closeness = max(
        (float(one.vector @ asked.vector) for found in read for one in found), default=0.0
    )
    words = _topic_words(question, asked)
    matched = max((_matched(words, asked.pieces, found) for found in read), default=0.0)
    unknown = min(1.0, len(unknown_names(question, passages)) / len(words))
    return Support(closeness, matched, len(asked.pieces), unknown)


def _topic_words(question: str, asked: Reading) -> list[NDArray[np.intp]]:
    """The word pieces of each topic word; of the whole question where there is none."""
    starts, ends = asked.spans[:, 0], asked.spans[:, 1]
    words = [
        np.flatnonzero((starts < end) & (ends > start)) for start, end in topic_spans(question)
    ]
    return [word for word in words if len(word)] or [np.arange(len(starts))]


def _matched(
    words: Sequence[NDArray[np.intp]], pieces: NDArray[np.float32], sentences: Sequence[Reading]
) -> float:
    """The mean of the lowest words' cosines where a few sentences in a row make it highest."""
    if not len(pieces):
        return 0.0
    best = np.stack([(pieces @ one.pieces.T).max(axis=1, initial=-1.0) for one in sentences])
    highest = -1.0
    for row in range(max(1, len(best) - NEARBY + 1)):
        nearest = best[row : row + NEARBY].max(axis=0)
        lowest = sorted(float(nearest[word].mean()) for word in words)[:LOWEST]
        highest = max(highest, fmean(lowest))
    return highest


def unknown_names(question: str, passages: Sequence[str]) -> frozenset[str]:
    """Acronyms and other names of a question that no passage has: words with a capital that does
    not begin a sentence. "OSPF-like" is known by its name; a unit after a number is no name."""
    known = {
        _singular(word)
        for match in _NAME.finditer(" ".join(passages))
        for word in (match.group(), *re.split("[-.]", match.group()))
    }
    return frozenset(
        name
        for name in _names(question)
        if _singular(name) not in known and not _named_by_part(name, known)
    )


def _named_by_part(name: str, known: set[str]) -> bool:
    parts = re.split("[-.]", name)
    names = [it for it in parts if len(it) > 1 and _capital(it) and not says_little(it)]
    return 0 < len(names) < len(parts) and all(_singular(it) in known for it in names)


def _names(question: str) -> list[str]:
    found: list[str] = []
    for match in _NAME.finditer(question):
        word, before = match.group(), question[: match.start()]
        if len(word) < 2 or not _capital(word) or _QUANTITY.search(before):
            continue
        text = before.rstrip(" \t\n\"'(\u201c\u2018")
        begins = not text or text.endswith((".", "?", "!", ":"))
        if not begins or any(map(str.isupper, word[1:])):
            found.append(word)
    return found


def _capital(word: str) -> bool:
    return any(map(str.isupper, word))


def _singular(word: str) -> str:
    return word.lower().removesuffix("s")
