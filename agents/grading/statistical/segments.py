"""A text in pieces: segments (sentences, list items) with offsets, and documents for embedding."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agents.documents.sentences import sentence_spans, trimmed

MAX_SEGMENTS: Final = 200
"""Segments of a text that are compared one by one; a longer text is compared as a whole too."""
_MAX_SEGMENT: Final = 400
_MAX_PIECE: Final = 1_000
_MAX_PIECES: Final = 40
_BULLET: Final = re.compile(r"(?:[-*\u2022\u25cf\u25cb\u25aa\u2013+]|\(?\d{1,2}[.)]|\(?[a-z]\))\s*")


@dataclass(frozen=True, slots=True)
class Segment:
    """`text` is `source[start:end]`, code points."""

    start: int
    end: int
    text: str


def segments(source: str, limit: int = MAX_SEGMENTS) -> tuple[Segment, ...]:
    """The first `limit` sentences or list items that hold a letter or digit, bullets left out.

    A run without an end of at least 400 code points is cut at a space.
    """
    found: list[Segment] = []
    for start, end in _spans(source):
        bullet = _BULLET.match(source, start, end)
        begin, finish = trimmed(source, bullet.end() if bullet else start, end)
        if begin == finish:
            begin, finish = start, end
        text = source[begin:finish]
        if any(map(str.isalnum, text)):
            found.append(Segment(begin, finish, text))
            if len(found) == limit:
                break
    return tuple(found)


def pieces(source: str) -> tuple[str, ...]:
    """Consecutive segments joined to at most about 1,000 code points each, at most 40 of them.

    A text of one piece is returned whole. Never empty.
    """
    if len(source) <= _MAX_PIECE:
        return (source,)
    joined: list[str] = []
    current = ""
    for segment in segments(source, limit=_MAX_PIECES * 10):
        if current and len(current) + len(segment.text) > _MAX_PIECE:
            joined.append(current)
            current = ""
        current = f"{current} {segment.text}".strip()
    return tuple([*joined, current][:_MAX_PIECES])


def _spans(source: str) -> Iterator[tuple[int, int]]:
    position = 0
    for line in source.splitlines(keepends=True):
        spans = sentence_spans(line)
        if len(spans) > 1 and _BULLET.fullmatch(line, *spans[0]):
            del spans[0]  # the number of a list item, not the answer "42."
        for start, end in spans:
            yield from _cut(source, position + start, position + end)
        position += len(line)


def _cut(source: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > _MAX_SEGMENT:
        space = source.rfind(" ", start + _MAX_SEGMENT // 2, start + _MAX_SEGMENT)
        stop = space if space > 0 else start + _MAX_SEGMENT
        yield trimmed(source, start, stop)
        start = stop
    yield trimmed(source, start, end)
