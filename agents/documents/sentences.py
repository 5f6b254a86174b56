"""Where sentences begin and end: rules for English prose, and CJK full stops.

Every rule is linear in the text: no pattern can start twice inside one run of characters.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]

_END = re.compile(
    r"""(?<![.!?])[.!?]++["'\u2019\u201d)\]]*+(?:\[\d{1,3}\])*+(?=\s)"""  # prose, then a space
    r"|[\u3002\uff01\uff1f]++[\u300d\u300f\u201d]*+"  # CJK full stops need no space
    r"|(?<!\n)\n[ \t]*+(?=\n)"  # an empty line
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|fig|figs|eq|eqs|vol|pp?|ch|sec|approx|resp|ca|"
    r"dr|mr|mrs|ms|prof|st|jr|sr|inc|ltd|dept|ed|eds|viz|incl)|(?:^|[\s(])[A-Z])\.$",
    re.IGNORECASE,
)
_NEXT = re.compile(r"\s*+")


def sentence_spans(text: str) -> list[Span]:
    """(start, end) in code points of each sentence, in order, without surrounding whitespace.

    Together the spans hold every non-space character of `text`. A full stop after a known
    abbreviation or an initial, or before a lower-case letter, does not end a sentence.
    """
    return list(each_sentence(text))


def each_sentence(text: str) -> Iterator[Span]:
    """As `sentence_spans`, one by one: a text of ten million characters has millions."""
    start = 0
    for match in _END.finditer(text):
        if not _abbreviates(text, match):
            yield from _unless_empty(trimmed(text, start, match.end()))
            start = match.end()
    yield from _unless_empty(trimmed(text, start, len(text)))


def _unless_empty(span: Span) -> Iterator[Span]:
    if span[0] < span[1]:
        yield span


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without whitespace at either end; empty (start == end) when it holds only that."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _abbreviates(text: str, match: re.Match[str]) -> bool:
    if match.group()[0] != "." or text[match.start() - 1 : match.start()].isspace():
        return False
    return _next_character(text, match.end()).islower() or bool(
        _ABBREVIATION.search(text[max(0, match.end() - 12) : match.end()])
    )


def _next_character(text: str, position: int) -> str:
    match = _NEXT.match(text, position)
    after = match.end() if match else position
    return text[after : after + 1]
