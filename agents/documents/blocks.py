"""The blocks of a text: headings, fenced code and runs of lines between empty lines.

Not a CommonMark parser: it finds where a text may be cut and which headings stand above a place,
in one pass over the lines. Nested structure (lists in quotes, setext headings of several lines)
stays inside one block, which is harmless to both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from agents.documents.sentences import sentence_spans, trimmed

Span = tuple[int, int]

MAX_TITLE = 200
"""Characters kept of a heading in a chunk's heading path."""

_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)")
_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=++|-++)[ \t]*+$")
_ITEM = re.compile(r"[ \t]*+(?:[-*+]|\d{1,9}[.)]|\|)(?:[ \t]|$|(?<=\|))")


class BlockKind(Enum):
    """What a block is; code is kept whole where it fits."""

    HEADING = auto()
    CODE = auto()
    PROSE = auto()


@dataclass(frozen=True, slots=True)
class Block:
    """Half-open code points [start, end), without surrounding whitespace, never empty.

    `headings` is the path of titles above it, its own included for a heading.
    """

    kind: BlockKind
    start: int
    end: int
    headings: tuple[str, ...]


def plain_blocks(text: str, start: int, end: int) -> Iterator[Block]:
    """Paragraphs of plain text between `start` and `end`: runs of lines that are not blank."""
    first: int | None = None
    last = start
    for line_start, line_end in _lines(text, start, end):
        if text[line_start:line_end].isspace() or line_start == line_end:
            if first is not None:
                yield _block(text, BlockKind.PROSE, first, last, ())
            first = None
        else:
            first, last = (line_start if first is None else first), line_end
    if first is not None:
        yield _block(text, BlockKind.PROSE, first, last, ())


def markdown_blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, in order; they hold every non-space character."""
    outline = _Outline()
    first: int | None = None
    last = 0
    fence: tuple[str, int] | None = None
    body = _front_matter_end(text)
    if body:
        yield _block(text, BlockKind.PROSE, 0, body, ())
    for start, end in _lines(text, body, len(text)):
        line = text[start:end]
        if fence is not None:
            last = end
            if _closes(line, fence[0]):
                yield _block(text, BlockKind.CODE, fence[1], end, outline.path)
                fence = None
            continue
        opening = _FENCE.match(line)
        heading = _HEADING.match(line)
        blank = not line or line.isspace()
        underline = _UNDERLINE.match(line) if first is not None else None
        if underline and first is not None and "\n" not in text[first:last]:
            outline.enter(1 if underline.group(1)[0] == "=" else 2, text[first:last])
            yield _block(text, BlockKind.HEADING, first, end, outline.path)
            first = None
            continue
        if first is not None and (opening or heading or blank):
            yield _block(text, BlockKind.PROSE, first, last, outline.path)
            first = None
        if opening:
            fence, last = (opening.group(1), start), end
        elif heading:
            outline.enter(len(heading.group(1)), line[heading.end() :].strip().rstrip("#"))
            yield _block(text, BlockKind.HEADING, start, end, outline.path)
        elif not blank:
            first, last = (start if first is None else first), end
    if fence is not None:
        yield _block(text, BlockKind.CODE, fence[1], last, outline.path)
    elif first is not None:
        yield _block(text, BlockKind.PROSE, first, last, outline.path)


def units(text: str, block: Block) -> list[Span]:
    """Where a block that is too long may be cut: lines of code, list items, rows, sentences."""
    lines = _lines(text, block.start, block.end)
    if block.kind is BlockKind.CODE:
        spans = [trimmed(text, start, end) for start, end in lines]
        return [span for span in spans if span[0] < span[1]]
    starts = [block.start]
    starts += [at for at, end in lines if at > block.start and _ITEM.match(text[at:end])]
    found: list[Span] = []
    for start, end in zip(starts, [*starts[1:], block.end], strict=True):
        found += [(start + a, start + b) for a, b in sentence_spans(text[start:end])]
    return found


class _Outline:
    """The headings above the current line."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []
        self.path: tuple[str, ...] = ()

    def enter(self, level: int, title: str) -> None:
        while self._levels and self._levels[-1][0] >= level:
            self._levels.pop()
        self._levels.append((level, " ".join(title[: 2 * MAX_TITLE].split())[:MAX_TITLE]))
        self.path = tuple(title for _, title in self._levels if title)


def _block(text: str, kind: BlockKind, start: int, end: int, path: tuple[str, ...]) -> Block:
    return Block(kind, *trimmed(text, start, end), path)


def _lines(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end:
        newline = text.find("\n", start, end)
        stop = end if newline < 0 else newline
        yield start, stop
        start = stop + 1


def _front_matter_end(text: str) -> int:
    """Where YAML front matter ends, or 0: its closing dashes underline no heading."""
    if not text.startswith("---\n"):
        return 0
    closing = text.find("\n---\n", 3)
    return 0 if closing < 0 else closing + 5


def _closes(line: str, opening: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(opening) and not stripped.strip(opening[0])
