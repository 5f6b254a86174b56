"""Whether passages answer a question, or are only about the same things.

Three measures of what the embedder reads, and the question's length, which lowers the first two,
are weighed by a logistic regression. `closeness`: the cosine of the question and the best sentence.
`matched`: late interaction (Khattab and Zaharia, "ColBERT", 2020): for each word piece of the
question's content words the best cosine of a word piece nearby, on average. `unknown`: names that
no passage has. The weights were fitted by tests/bench/tutor_gate.py; they hold for the built-in
embedder and English.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.ports import Reading
from agents.study.terms import content_spans, is_function_word

CLOSENESS: Final = 6.46
MATCHED: Final = 8.54
LENGTH: Final = 1.82
UNKNOWN: Final = -3.50
BIAS: Final = -12.26

ANSWERED: Final = 0.7
"""The least probability to answer at: a wrong answer weighs as much as 2.3 wrong abstentions."""

NEARBY: Final = 3
"""Sentences in a row that may match a question together."""

_NAME: Final = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")
_QUANTITY: Final = re.compile(r"\d\s*\Z")
_Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Support:
    """What speaks for an answer. `length` counts the question's word pieces."""

    closeness: float
    matched: float
    length: int
    unknown: frozenset[str] = frozenset()

    @property
    def probability(self) -> float:
        """That the passages answer the question, from 0 to 1."""
        evidence = (
            CLOSENESS * self.closeness
            + MATCHED * self.matched
            + LENGTH * math.log(max(1, self.length))
            + UNKNOWN * bool(self.unknown)
            + BIAS
        )
        return 1 / (1 + math.exp(-evidence))

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
    pieces = asked.pieces[_content_pieces(question, asked)]
    matched = max((_matched(pieces, found) for found in read), default=0.0)
    return Support(closeness, matched, len(asked.pieces), unknown_names(question, passages))


def _content_pieces(question: str, asked: Reading) -> NDArray[np.intp]:
    """The word pieces of content words; all where there is none."""
    starts, ends = asked.spans[:, 0], asked.spans[:, 1]
    content = np.zeros(len(asked.spans), bool)
    for start, end in content_spans(question):
        content |= (starts < end) & (ends > start)
    return np.flatnonzero(content if content.any() else ~content)


def _matched(pieces: _Matrix, sentences: Sequence[Reading]) -> float:
    """The best mean over `pieces` that a few sentences in a row reach."""
    if not len(pieces):
        return 0.0
    best = np.stack([(pieces @ one.pieces.T).max(axis=1, initial=-1.0) for one in sentences])
    rows = range(max(1, len(best) - NEARBY + 1))
    return max(float(best[row : row + NEARBY].max(axis=0).mean()) for row in rows)


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
    names = [it for it in parts if len(it) > 1 and _capital(it) and not is_function_word(it)]
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
