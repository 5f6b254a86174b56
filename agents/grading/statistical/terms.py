"""Words as features: stemmed content terms, TF-IDF vectors, overlaps."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_FUNCTION_WORDS: Final = (
    "a an the of to in on at for and or is are was were be been being it its this that these "
    "those with as by from which what how why when where who there their they them he she we you "
    "i our your if then than so such can could will would should may might must do does did has "
    "have had not no but into about also each any all some more most other only very just between "
    "through during because while both"
)
_STOP: Final = frozenset(_FUNCTION_WORDS.split())
_ENDINGS: Final = (
    "ational ization fulness iveness ations ation ments ment ings ing ness edly ies ied ers est "
    "ed es er ly s"
)
_SUFFIXES: Final = tuple(_ENDINGS.split())
_GRAM: Final = 4
_MAX_VOCABULARY: Final = 8_000


def content_terms(text: str) -> list[str]:
    """Lower-case stems of the words that are not English function words, in order.

    The stemmer strips one common English suffix and leaves at least four letters.
    """
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def with_bigrams(terms: Sequence[str]) -> list[str]:
    """The terms and each pair of neighbours."""
    return [*terms, *(f"{first} {second}" for first, second in pairwise(terms))]


def recall(found: set[str], wanted: set[str]) -> float:
    """The share of `wanted` in `found`; 0 where nothing is wanted."""
    return len(found & wanted) / len(wanted) if wanted else 0.0


def gram_cosine(first: str, second: str) -> float:
    """Cosine of the counts of character 4-grams, letters and digits only, lower case."""
    one, other = _grams(first), _grams(second)
    norm = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(n * other[gram] for gram, n in one.items()) / norm if norm else 0.0


class TermSpace:
    """TF-IDF vectors over terms and bigrams: (1 + ln tf) · ln(1 + N / (df + 0.5)), unit length.

    Terms which only one document of the collection has count in a vector's length alone.
    """

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._frequency = Counter(term for terms in documents for term in set(terms))
        self._size = len(documents)
        shared = [term for term, n in self._frequency.most_common(_MAX_VOCABULARY) if n > 1]
        self._place = {term: place for place, term in enumerate(shared)}

    def vectors(self, documents: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Shape (len(documents), vocabulary); rows of at most length 1."""
        matrix = np.zeros((len(documents), len(self._place)))
        for row, terms in enumerate(documents):
            squared = 0.0
            for term, count in Counter(terms).items():
                rarity = math.log(1 + self._size / (self._frequency[term] + 0.5))
                weight = (1 + math.log(count)) * rarity
                squared += weight * weight
                if term in self._place:
                    matrix[row, self._place[term]] = weight
            if squared:
                matrix[row] /= math.sqrt(squared)
        return matrix


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)] + ("y" if suffix in {"ies", "ied"} else "")
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _grams(text: str) -> Counter[str]:
    letters = " ".join(_WORD.findall(text.lower()))
    return Counter(letters[at : at + _GRAM] for at in range(len(letters) - _GRAM + 1))
