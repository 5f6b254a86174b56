"""Content terms of English text: what lexical overlap is counted in.

Lower-case words without function words, with plural and verb endings taken off so that
"retransmits" meets "retransmission". Other languages pass through unstemmed, so overlap rules
built on this are weaker there.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_STOP_WORDS: Final = """\
    a about above after again all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each either else ever few
    for from further give given had has have having he her here hers him his how i if in into is
    it its itself just kind let like made make many may me might mine more most much must my no
    nor not now of off on once one only or other our out over own per please really same say says
    she should show since so some such tell than that the their them then there these they thing
    things this those through to too under until up us use used uses using very want was way we
    well were what when where whether which while who whom whose why will with within without
    would yes yet you your explain describe define discuss mean means meaning question answer
    work works working happen happens know understand
    compare
    difference differences different differ distinguish"""
_STOP: Final = frozenset(_STOP_WORDS.split())
_LIGHT_WORDS: Final = """\
    actually anybody anyone become becomes call called calls came come comes everybody everyone
    exactly gave get gets getting gives giving go goes going gone got keep keeps kept let lets makes
    making people put puts really somebody someone take taken takes taking took versus vs went whats
    arent cant didnt doesnt dont isnt wont
    big far fast large long often old tall
    first second third two three four five six seven eight nine ten"""
_SAYS_LITTLE: Final = _STOP | frozenset(_LIGHT_WORDS.split())
_NOWHERE: Final = math.log(2)
_ENDINGS: Final = (
    "izations", "ization", "ations", "ation", "missions", "mission", "ments", "ment", "ingly",
    "edly", "ings", "ing", "ions", "ion", "ers", "er", "ies", "ied", "es", "ed", "ly", "s", "e",
)  # fmt: skip


def terms(text: str) -> list[str]:
    """The stems of the content words of `text`, in order, with repeats."""
    words = (match.group().lower() for match in _WORD.finditer(text))
    return [stem(word) for word in words if word not in _STOP]


def topic_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of `text` are that say what it is about: without function words, contracted
    ones, light verbs and numerals."""
    return [match.span() for match in _WORD.finditer(text) if not says_little(match.group())]


def says_little(word: str) -> bool:
    """Whether `word`, in any case, can stand in a question about anything."""
    said, apostrophe, _ = word.lower().replace("\u2019", "'").partition("'")
    contracted = bool(apostrophe) and said.removesuffix("n") in _STOP
    return contracted or said in _SAYS_LITTLE


def stem(word: str) -> str:
    """`word` without its ending, at least four letters long; "-mit-" and "-miss-" meet."""
    word = word.replace("\u2019", "'").partition("'")[0]
    if not word.isascii() or not word.isalpha():
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)] + ("mit" if ending.startswith("miss") else "")
            break
    # "controlled" and "control", "transmitted" and "transmit"
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


def inverse_frequency(texts: Iterable[Collection[str]]) -> dict[str, float]:
    """log(1 + N/n) of each term over N term collections, n of which hold it."""
    sets = [frozenset(found) for found in texts]
    counts = Counter(term for found in sets for term in found)
    return {term: math.log1p(len(sets) / count) for term, count in counts.items()}


def coverage(asked: Collection[str], found: Collection[str], weights: Mapping[str, float]) -> float:
    """The weighted share of distinct asked terms that occur in `found`, from 0 to 1.

    A term without a weight occurs nowhere: it weighs more than the rarest. 0 when nothing is
    asked.
    """
    heaviest = max(weights.values(), default=1.0) + _NOWHERE
    total = {term: weights.get(term, heaviest) for term in set(asked)}
    if not total:
        return 0.0
    held = set(found)
    return sum(weight for term, weight in total.items() if term in held) / sum(total.values())
