"""The blocks of a text: headings, fenced code and runs of lines between empty lines.

Not a CommonMark parser: it finds where a text may be cut and which headings stand above a place,
in one pass over the lines. Nested structure (lists in quotes, setext headings of several lines)
stays inside one block, which is harmless to both.
"""

import re
from collections.abc import Iterator

from agents.documents.extracted import Block, BlockKind
from agents.documents.sentences import each_sentence, trimmed

Span = tuple[int, int]

MAX_TITLE = 200
"""Characters kept of a heading in a chunk's heading path."""

MAX_LEVELS = 9
"""Levels of headings that are told apart, as many as Word has; every passage repeats its path."""

MAX_RECORD_LINES = 50

_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)")
_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=++|-++)[ \t]*+$")
_ITEM = re.compile(r"[ \t]*+(?:[-*+]|\d{1,9}[.)]|\|)(?:[ \t]|$|(?<=\|))")


def plain_blocks(
    text: str, start: int, end: int, kind: BlockKind = BlockKind.PROSE
) -> Iterator[Block]:
    """Paragraphs of plain text between `start` and `end`: runs of lines that are not blank."""
    first: int | None = None
    last = start
    for line_start, line_end in lines(text, start, end):
        if text[line_start:line_end].isspace() or line_start == line_end:
            if first is not None:
                yield _block(text, kind, first, last)
            first = None
        else:
            first, last = (line_start if first is None else first), line_end
    if first is not None:
        yield _block(text, kind, first, last)


def record_blocks(text: str) -> Iterator[Block]:
    """The records of comma- or tab-separated text: a line, or more while a quote stands open.

    A quote that is not closed within `MAX_RECORD_LINES` lines opens nothing.
    """
    held: list[Span] = []
    open_quote = False
    for span in lines(text, 0, len(text)):
        held.append(span)
        open_quote ^= text.count('"', *span) % 2 == 1
        if open_quote and len(held) < MAX_RECORD_LINES:
            continue
        if open_quote:
            yield from _rows(text, held)
        else:
            yield from _rows(text, [(held[0][0], held[-1][1])])
        held, open_quote = [], False
    yield from _rows(text, held)


def _rows(text: str, spans: list[Span]) -> Iterator[Block]:
    for span in spans:
        start, end = trimmed(text, *span)
        if start < end:
            yield Block(BlockKind.ROW, start, end)


def markdown_blocks(text: str, begin: int, stop: int) -> Iterator[Block]:
    """The blocks of Markdown between two places, in order; they hold every non-space character."""
    first: int | None = None
    last = begin
    fence: tuple[str, int] | None = None
    body = _front_matter_end(text, begin, stop)
    if body > begin:
        yield _block(text, BlockKind.PROSE, begin, body)
    for start, end in lines(text, body, stop):
        line = text[start:end]
        if fence is not None:
            last = end
            if _closes(line, fence[0]):
                yield _block(text, BlockKind.CODE, fence[1], end)
                fence = None
            continue
        opening = _FENCE.match(line)
        heading = _HEADING.match(line)
        blank = not line or line.isspace()
        underline = _UNDERLINE.match(line) if first is not None else None
        if underline and first is not None and "\n" not in text[first:last]:
            level = 1 if underline.group(1)[0] == "=" else 2
            yield _heading(text, (first, end), level, (first, last))
            first = None
            continue
        if first is not None and (opening or heading or blank):
            yield _block(text, BlockKind.PROSE, first, last)
            first = None
        if opening:
            fence, last = (opening.group(1), start), end
        elif heading:
            title = start + heading.end(), start + len(line.rstrip().rstrip("#"))
            yield _heading(text, (start, end), len(heading.group(1)), title)
        elif not blank:
            first, last = (start if first is None else first), end
    if fence is not None:
        yield _block(text, BlockKind.CODE, fence[1], last)
    elif first is not None:
        yield _block(text, BlockKind.PROSE, first, last)


def units(text: str, block: Block) -> Iterator[Span]:
    """Where a block that is too long may be cut: lines of code, list items, rows, sentences."""
    if block.kind == BlockKind.CODE:
        for line in lines(text, block.start, block.end):
            start, end = trimmed(text, *line)
            if start < end:
                yield start, end
        return
    begin = block.start
    for at, end in lines(text, block.start, block.end):
        if at > begin and _ITEM.match(text, at, end):
            yield from _sentences(text, begin, at)
            begin = at
    yield from _sentences(text, begin, block.end)


def _sentences(text: str, begin: int, stop: int) -> Iterator[Span]:
    for start, end in each_sentence(text[begin:stop]):
        yield begin + start, begin + end


class Outline:
    """The headings above a place of the text."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []
        self.path: tuple[str, ...] = ()

    def close(self) -> None:
        """No heading reaches further: a page, slide or sheet ends."""
        self._levels, self.path = [], ()

    def enter(self, level: int, title: str) -> None:
        """The title closes those of its level and deeper."""
        level = min(level, MAX_LEVELS)
        while self._levels and self._levels[-1][0] >= level:
            self._levels.pop()
        self._levels.append((level, " ".join(title[: 2 * MAX_TITLE].split())[:MAX_TITLE]))
        self.path = tuple(title for _, title in self._levels if title)


def _heading(text: str, span: Span, level: int, title: Span) -> Block:
    start, end = trimmed(text, *span)
    title_start, title_end = trimmed(text, title[0], max(title))
    return Block(BlockKind.HEADING, start, end, level, title_start, title_end)


def _block(text: str, kind: BlockKind, start: int, end: int) -> Block:
    return Block(kind, *trimmed(text, start, end))


def lines(text: str, start: int, end: int) -> Iterator[Span]:
    """Each line between two places, without its newline."""
    while start < end:
        newline = text.find("\n", start, end)
        stop = end if newline < 0 else newline
        yield start, stop
        start = stop + 1


def _front_matter_end(text: str, start: int, end: int) -> int:
    """Where YAML front matter ends, or `start`: its closing dashes underline no heading."""
    if not text.startswith("---\n", start, end):
        return start
    closing = text.find("\n---\n", start + 3, end)
    return start if closing < 0 else closing + 5


def _closes(line: str, opening: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(opening) and not stripped.strip(opening[0])
