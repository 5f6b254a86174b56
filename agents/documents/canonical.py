"""Pieces of a file's text put together into its canonical text."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby

from agents.documents.extracted import (
    LOCATION_KINDS,
    Anchor,
    Block,
    BlockKind,
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Heading,
    Limits,
    LocationKind,
    Note,
    Packed,
)
from agents.documents.normal_form import MAX_COMBINING_RUN, StackedMarks, nfc

# Noncharacters and lone surrogates mean nothing and no database takes the latter.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_NEWLINES = re.compile("\r\n|[\r\x0b\x85\u2028\u2029]")
_SPACES = re.compile(r"\s+")
_NO_CONTENT = {"Cf", "Mn", "Me"}


def canonical(text: str) -> str:
    """The text in canonical form, form feeds kept. Raises ExtractionFailure(DAMAGED)."""
    text = _DROPPED.sub("", _NEWLINES.sub("\n", text)).removeprefix("\ufeff")
    try:
        return nfc(text)
    except StackedMarks:
        raise ExtractionFailure(
            ExtractionCode.DAMAGED,
            f"The file has more than {MAX_COMBINING_RUN} combining marks in a row.",
            "Remove the stacked accents and upload it again.",
        ) from None


def one_line(text: str) -> str:
    """Its words with one space between them."""
    return _SPACES.sub(" ", text).strip()


def has_content(text: str) -> bool:
    """Whether it holds more than spaces, and marks that are invisible or on no letter."""
    return any(
        not character.isspace() and unicodedata.category(character) not in _NO_CONTENT
        for character in text
    )


def too_much_text(limits: Limits) -> ExtractionFailure:
    """What a file of too many characters or paragraphs is refused with."""
    return ExtractionFailure(
        ExtractionCode.TOO_MUCH_TEXT,
        f"The file holds more than {limits.max_characters:,} characters of text, or more than "
        f"{limits.max_blocks:,} paragraphs.",
        "Split the document, for example by chapter.",
    )


class Composer:
    """Builds the canonical text of a file piece by piece, with its blocks and anchors.

    Every method that adds text raises ExtractionFailure: TOO_MUCH_TEXT as soon as a limit is
    passed, DAMAGED for text that has no canonical form.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[str] = []
        self._opens = False
        self.length = 0
        self.blocks: Packed[Block] = Packed(Block)
        self.anchors: Packed[Anchor] = Packed(Anchor)
        self.names: list[str] = []
        self.headings: list[Heading] = []

    def open(self) -> None:
        """The next block begins a page, slide or sheet."""
        self._opens = True

    def add(self, kind: BlockKind, raw: str, *, level: int = 0, separator: str = "\n\n") -> int:
        """Appends one block after the separator; where it starts. Nothing but space is dropped."""
        text = canonical(raw).replace("\f", "\n").strip()
        if not text:
            return self.length
        start = self.append(text, separator)
        title = (start, self.length) if kind is BlockKind.HEADING else (0, 0)
        self.block(Block(kind, start, self.length, level, *title))
        return start

    def append(self, text: str, separator: str = "\n\n") -> int:
        """Appends canonical text without a block; where it starts."""
        if self.length:
            self._put(separator)
        start = self.length
        self._put(text)
        return start

    def add_page(
        self, text: str, number: int, opened: Iterable[Block], headings: Iterable[Heading] = ()
    ) -> None:
        """Appends a page's canonical text with its blocks, whose places are those in `text`.

        An empty one has no blocks; its headings are those of what follows.
        """
        start = self.append(text, "\n") if text else self.length
        self.headings += [one._replace(start=start + one.start) for one in headings]
        self._opens = self._opens or bool(text)
        for block in opened:
            self.block(block._replace(start=start + block.start, end=start + block.end))
        self.anchor(LocationKind.PAGE, start, number)

    def block(self, block: Block) -> None:
        """Notes a block of what was appended."""
        self.blocks.append(block._replace(opens=int(self._opens)) if self._opens else block)
        self._opens = False
        if len(self.blocks) > self._limits.max_blocks:
            raise too_much_text(self._limits)

    def anchor(
        self, kind: LocationKind, start: int, number: int, name: str = "", columns: object = None
    ) -> None:
        """Notes the place of everything from `start` on; nothing where nothing was appended."""
        if start >= self.length:
            return
        if name and (not self.names or self.names[-1] != name):
            self.names.append(name)
        first, last = columns if isinstance(columns, tuple) else (0, 0)
        at = max(0, len(self.names) - 1)
        index = LOCATION_KINDS.index(kind)
        self.anchors.append(Anchor(index, start, self.length, number, at, first, last))

    def finish(self, media_type: str, notes: Iterable[Note] = ()) -> ExtractedText:
        """The whole. Raises ExtractionFailure(EMPTY) when it holds nothing to read."""
        text = "".join(self._parts)
        if not has_content(text):
            raise empty()
        return ExtractedText(
            text,
            media_type,
            self.blocks,
            self.anchors,
            tuple(self.names),
            notes=tuple(notes),
            headings=tuple(self.headings),
        )

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)
        if self.length > self._limits.max_characters:
            raise too_much_text(self._limits)


def empty() -> ExtractionFailure:
    """What a file without any text is refused with."""
    return ExtractionFailure(
        ExtractionCode.EMPTY, "The file holds no text.", "Upload a file with some text in it."
    )


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as people write them: 1, 3-5."""
    found = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        found.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(found)
