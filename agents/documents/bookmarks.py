"""A PDF's bookmarks (its outline) as headings: each begins where its title stands on its page.

A title that is not found there, such as one drawn as a picture, begins behind the one before it on
the page, or with the page.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, Final, NamedTuple

from agents.documents.blocks import MAX_TITLE, lines, plain_blocks
from agents.documents.canonical import canonical, one_line
from agents.documents.extracted import Block, BlockKind, ExtractionFailure, Heading
from agents.documents.sentences import trimmed

MOST_BOOKMARKS: Final = 10_000
_DEEPEST = 8
_TITLE_LINES = 4
_TITLE_WORDS = 40

_WORD = re.compile(r"\w+")
_NUMBER = re.compile("[0-9]+|[ivxlc]{1,5}")

_Span = tuple[int, int]


class Bookmark(NamedTuple):
    """A title for what follows; `level` counts from 1."""

    level: int
    title: str


def bookmarks(document: Any) -> Mapping[int, Sequence[Bookmark]]:
    """The bookmarks of an open PDF by the number of the page they point to, in their order."""
    found: dict[int, list[Bookmark]] = defaultdict(list)
    for entry in islice(document.get_toc(max_depth=_DEEPEST), MOST_BOOKMARKS):
        place = entry.get_dest()
        page = None if place is None else place.get_index()
        try:
            title = one_line(canonical(entry.get_title()[: 4 * MAX_TITLE]))[:MAX_TITLE].strip()
        except (ValueError, ExtractionFailure):
            continue
        if title and page is not None:
            found[page + 1].append(Bookmark(entry.level + 1, title))
    return found


def by_page(headings: Sequence[Heading]) -> Mapping[int, Sequence[Bookmark]]:
    """The bookmarks that these headings were."""
    found: dict[int, list[Bookmark]] = defaultdict(list)
    for heading in headings:
        found[heading.page].append(Bookmark(heading.level, heading.title))
    return found


def sectioned(
    text: str, number: int, marks: Sequence[Bookmark]
) -> tuple[list[Block], list[Heading]]:
    """The blocks of a page, cut where its bookmarks begin, and these as headings."""
    places = _places(text, marks) if marks else {}
    headings: list[Heading] = []
    spans: set[_Span] = set()
    at = 0
    for mark in marks:
        span = places.get(_key(mark.title))
        if span is not None:
            at = span[0]
            spans.add(span)
        headings.append(Heading(at, mark.level, number, mark.title))
        at = at if span is None else span[1]
    headings.sort(key=lambda heading: heading.start)
    return list(_cut(text, sorted(spans), [heading.start for heading in headings])), headings


def _cut(text: str, titles: Sequence[_Span], starts: Sequence[int]) -> Iterator[Block]:
    ends = dict(titles)
    cuts = sorted({0, len(text), *starts, *(end for _, end in titles)})
    for start, end in pairwise(cuts):
        if ends.get(start) == end:
            yield Block(BlockKind.HEADING, *trimmed(text, start, end))
        else:
            yield from plain_blocks(text, start, end)


def _places(text: str, marks: Sequence[Bookmark]) -> Mapping[tuple[str, ...], _Span]:
    """Where each title stands first, as whole lines."""
    wanted = {_key(mark.title) for mark in marks}
    found: dict[tuple[str, ...], _Span] = {}
    last: list[tuple[int, list[str]]] = []
    taken = 0
    for start, end in lines(text, 0, len(text)):
        words = _words(text[start : min(end, start + 4 * MAX_TITLE)])
        if not words:
            continue
        last = [*last[1 - _TITLE_LINES :], (start, words)]
        for back in range(1, len(last) + 1):
            first, together = last[-back][0], [w for _, line in last[-back:] for w in line]
            key = _bare(together)
            if len(together) <= _TITLE_WORDS and key in wanted and first >= taken:
                found[key] = first, end
                wanted.discard(key)
                taken, last = end, []
                break
    return found


def _key(title: str) -> tuple[str, ...]:
    return _bare(_words(title))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _bare(words: Sequence[str]) -> tuple[str, ...]:
    """Without the numbers before it, which only one of bookmark and page may have."""
    at = next((at for at, word in enumerate(words) if not _NUMBER.fullmatch(word)), 0)
    return tuple(words[at:])
