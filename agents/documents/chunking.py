"""Cut a text into chunks along its structure, each small enough for the embedder.

A chunk is a slice of the text: text == source[start:end], in code points. Chunks are in order, do
not overlap, hold every non-space character, and none has more than `max_tokens`. Cuts are made
at pages, slides, sheets and headings first, then between blocks, list items, lines of code and
sentences, then between words, and inside a word only when it alone is too long. A row of a table
and a piece of code are cut only when they alone are too long. Work is linear in the text.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from agents.documents.blocks import Outline, Span, units
from agents.documents.extracted import Block, BlockKind, ExtractedText, Heading, LocationKind
from agents.documents.locations import Location, Locator
from agents.documents.sentences import trimmed

CountTokens = Callable[[str], int]
_Section = tuple[int, int, tuple[str, ...]]

MAX_CHARACTERS: Final = 2_000
"""Longest chunk in characters, whatever its tokens: a word piece may stand for a very long word."""

_SLICE = 4_096
_SHORT = 200


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A slice of the text, the headings above it, and where it stands in the original."""

    ordinal: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    location: Location | None
    tokens: int

    @property
    def page(self) -> int | None:
        """The page it stands on, where the format has pages."""
        place = self.location
        return place.first if place and place.kind is LocationKind.PAGE else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut unless it alone is too long."""

    start: int
    end: int
    tokens: float
    heading: bool
    opens: bool
    headings: tuple[str, ...]


def chunk(
    source: ExtractedText,
    *,
    count_tokens: CountTokens,
    target_tokens: int = 200,
    max_tokens: int = 256,
) -> tuple[TextChunk, ...]:
    """The chunks of a text. CPU-bound (about a second for 1 MB); call it off the event loop.

    `count_tokens` is the embedder's own. A single character of more than `max_tokens` is the one
    thing that cannot be helped. Raises ValueError when `target_tokens` > `max_tokens` or < 1.
    """
    if not 1 <= target_tokens <= max_tokens:
        raise ValueError("target_tokens must be between 1 and max_tokens")
    text, locator = source.text, Locator(source)
    cutter = _Cutter(text, count_tokens, target_tokens, max_tokens)
    return tuple(
        TextChunk(
            ordinal,
            start,
            end,
            text[start:end],
            path,
            locator.locate(start, end),
            count_tokens(text[start:end]),
        )
        for ordinal, (start, end, path) in enumerate(cutter.spans(source))
    )


class _Cutter:
    def __init__(self, text: str, count_tokens: CountTokens, target: int, limit: int) -> None:
        self._text = text
        self._count = count_tokens
        self._target = target
        self._limit = limit
        self._overhead = count_tokens("")
        self._densities: dict[int, float] = {}

    def spans(self, source: ExtractedText) -> Iterator[_Section]:
        """(start, end, heading path) of each chunk: neighbouring pieces of a section together."""
        current: list[_Piece] = []
        tokens = float(self._overhead)
        for piece in self._all_pieces(source):
            new_section = piece.opens or (piece.heading and current and not current[-1].heading)
            if new_section or (current and not self._joins(current, tokens, piece)):
                yield from self._close(current)
                current, tokens = [], float(self._overhead)
            current.append(piece)
            tokens += piece.tokens
        yield from self._close(current)

    def _joins(self, current: list[_Piece], tokens: float, piece: _Piece) -> bool:
        """A heading stays with what it announces, even if the chunk then passes the target."""
        announced = all(held.heading for held in current)
        return (
            tokens + piece.tokens <= (self._limit if announced else self._target)
            and piece.end - current[0].start <= MAX_CHARACTERS
        )

    def _all_pieces(self, source: ExtractedText) -> Iterator[_Piece]:
        outline, coming = Outline(), deque[Heading](source.headings)
        for block in source.blocks:
            if block.opens and not source.headings:
                outline.close()
            entered = False
            while coming and coming[0].start <= block.start:
                heading = coming.popleft()
                outline.enter(heading.level, heading.title)
                entered = True
            opens = bool(block.opens) or (entered and block.kind != BlockKind.HEADING)
            yield from self._pieces(block, outline, opens=opens)

    def _pieces(self, block: Block, outline: Outline, *, opens: bool) -> Iterator[_Piece]:
        heading = block.kind == BlockKind.HEADING
        if heading and block.level:
            outline.enter(block.level, self._text[block.title_start : block.title_end])
        kept = block.kind in {BlockKind.CODE, BlockKind.ROW}
        whole = self._fits(block.start, block.end, self._limit if kept else self._target)
        for start, end in [(block.start, block.end)] if whole else units(self._text, block):
            for part in self._parts(start, end):
                yield _Piece(*part, self._tokens(*part), heading, opens, outline.path)
                opens = False

    def _fits(self, start: int, end: int, limit: int) -> bool:
        return end - start <= MAX_CHARACTERS and self._tokens(start, end) + self._overhead <= limit

    def _tokens(self, start: int, end: int) -> float:
        """Tokens without the embedder's own marks: exact, or by density where it is short.

        Counting each of a million one-letter lines would take longer than all the rest; what is
        estimated here is counted when the chunk is closed.
        """
        if end - start > _SHORT:
            return self._count(self._text[start:end]) - self._overhead
        at = start // _SLICE
        if at not in self._densities:
            slice_ = self._text[at * _SLICE : (at + 1) * _SLICE]
            self._densities[at] = (self._count(slice_) - self._overhead) / len(slice_)
        return self._densities[at] * (end - start)

    def _parts(self, start: int, end: int) -> Iterator[Span]:
        """The span, cut between words (else anywhere) into parts of at most MAX_CHARACTERS."""
        while start < end:
            stop = end
            if end - start > MAX_CHARACTERS:
                stop = self._cut(start, start + MAX_CHARACTERS)
            part = trimmed(self._text, start, stop)
            if part[0] < part[1]:
                yield part
            start = stop

    def _halves(self, start: int, end: int) -> Iterator[Span]:
        """The span, cut in the middle until each part fits."""
        if start == end:
            return
        if end - start == 1 or self._count(self._text[start:end]) <= self._limit:
            yield start, end
            return
        middle = self._cut(start, (start + end) // 2)
        yield from self._halves(*trimmed(self._text, start, middle))
        yield from self._halves(*trimmed(self._text, middle, end))

    def _cut(self, start: int, at: int) -> int:
        """The last place after whitespace in the second half of start..at, else `at`."""
        for position in range(at, (start + at) // 2, -1):
            if self._text[position - 1].isspace():
                return position
        return at

    def _close(self, pieces: list[_Piece]) -> Iterator[_Section]:
        if not pieces:
            return
        start, end, headings = pieces[0].start, pieces[-1].end, pieces[-1].headings
        if len(pieces) == 1:
            for part in self._halves(start, end):
                yield *part, headings
        elif self._count(self._text[start:end]) <= self._limit:
            yield start, end, headings
        else:
            half = len(pieces) // 2
            yield from self._close(pieces[:half])
            yield from self._close(pieces[half:])
