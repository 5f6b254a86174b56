"""What a file becomes: a canonical text, where its blocks and places lie in it, or a failure.

The canonical text is NFC, has "\\n" newlines, no control character but the tab, and no byte order
mark; every offset in the product counts its code points.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Generic, NamedTuple, TypeVar


class ExtractionCode(StrEnum):
    """Why a file has no text we can use."""

    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    WRONG_TYPE = "WRONG_TYPE"
    EMPTY = "EMPTY"
    NO_TEXT = "NO_TEXT"
    ENCRYPTED = "ENCRYPTED"
    DAMAGED = "DAMAGED"
    BAD_ENCODING = "BAD_ENCODING"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PAGES = "TOO_MANY_PAGES"
    TOO_MUCH_TEXT = "TOO_MUCH_TEXT"
    TIME_LIMIT = "TIME_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    PROVIDER_NOT_APPROVED = "PROVIDER_NOT_APPROVED"
    MODEL_BUDGET = "MODEL_BUDGET"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    INTERNAL = "INTERNAL"


WITHOUT_TEXT = frozenset(
    {ExtractionCode.EMPTY, ExtractionCode.NO_TEXT, ExtractionCode.PROVIDER_NOT_APPROVED}
)
"""The file was read and holds no text, or none but in pictures that nobody may be shown; everything
else is a file that was not read."""


class ExtractionFailure(Exception):
    """The file is refused: `code` for programs, `message` and `advice` for the person."""

    def __init__(self, code: ExtractionCode, message: str, advice: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice


class NoteCode(StrEnum):
    """What a reader of a document that was read should know."""

    PAGES_WITHOUT_TEXT = "PAGES_WITHOUT_TEXT"
    ENCODING_GUESSED = "ENCODING_GUESSED"
    TYPE_RECOGNISED = "TYPE_RECOGNISED"
    READ_BY_MODEL = "READ_BY_MODEL"


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a file that was read all the same."""

    code: NoteCode
    message: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. Times in seconds; sizes in bytes, code points and blocks.

    `max_pixels` are one picture's, `max_picture_bytes` those of all pictures of a file together.
    """

    max_bytes: int = 100_000_000
    max_unpacked: int = 400_000_000
    max_pages: int = 5_000
    max_characters: int = 10_000_000
    max_pictures: int = 50
    max_pixels: int = 50_000_000
    max_picture_bytes: int = 100_000_000
    max_blocks: int = 1_000_000
    cpu_seconds: int = 60
    wall_seconds: float = 150.0
    picture_seconds: float = 900.0
    memory_bytes: int = 768 * 1024 * 1024


class BlockKind(IntEnum):
    """What a block is; code and rows of tables are kept whole where they fit."""

    HEADING = 0
    CODE = 1
    PROSE = 2
    ROW = 3


class Block(NamedTuple):
    """Half-open code points [start, end), without surrounding whitespace, never empty.

    A heading has a `level` from 1 and its title's own span. `opens` is 1 where a page, slide or
    sheet begins, which no chunk crosses.
    """

    kind: int
    start: int
    end: int
    level: int = 0
    title_start: int = 0
    title_end: int = 0
    opens: int = 0


class LocationKind(StrEnum):
    """What a place in the original is counted in."""

    PAGE = "PAGE"
    SLIDE = "SLIDE"
    CELL_RANGE = "CELL_RANGE"
    NOTEBOOK_CELL = "NOTEBOOK_CELL"
    LINE_RANGE = "LINE_RANGE"


LOCATION_KINDS = tuple(LocationKind)


class Anchor(NamedTuple):
    """A place of the original as code points [start, end).

    `kind` is an index of `LOCATION_KINDS`. `number` counts from 1: the page, slide, notebook cell,
    or the row of a sheet (0: the sheet itself), whose name is `names[name]` and whose filled
    columns are `first_column` to `last_column`.
    """

    kind: int
    start: int
    end: int
    number: int
    name: int = 0
    first_column: int = 0
    last_column: int = 0


Record = TypeVar("Record", Block, Anchor)


class Packed(Generic[Record]):
    """Many blocks or anchors, as 28 bytes each: a text may have a million."""

    def __init__(self, record: type[Record], data: "array[int] | None" = None) -> None:
        self._record: type[Record] = record
        self.width = len(record._fields)
        self.data: array[int] = array("I") if data is None else data

    def append(self, record: Record) -> None:
        """Adds it at the end; they stand in the order of the text."""
        self.data.extend(record)

    def __len__(self) -> int:
        return len(self.data) // self.width

    def __iter__(self) -> Iterator[Record]:
        for at in range(0, len(self.data), self.width):
            yield self._record(*self.data[at : at + self.width])


def _no_blocks() -> Packed[Block]:
    return Packed(Block)


def _no_anchors() -> Packed[Anchor]:
    return Packed(Anchor)


@dataclass(frozen=True, slots=True)
class Picture:
    """What shows text that could not be read: the page `number`, or the whole file (0).

    A PNG or JPEG that was made here, of the pixels alone.
    """

    number: int
    media_type: str
    data: bytes


class Heading(NamedTuple):
    """A title from outside of the text, such as a PDF's bookmark, for what stands from `start` on.

    It closes the titles of its `level` (from 1) and deeper. `page` is where it points to.
    """

    start: int
    level: int
    page: int
    title: str


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """The canonical text, with its blocks in order, which hold every non-space character.

    It is empty only where there are `pictures`, which are made only if they are asked for; `silent`
    are the pages without text, drawn or not. With `headings`, a heading block of level 0 is the
    place where one of them stands in the text, and pages do not end what they announce.

    `anchors` is empty where the format has no places (Word, web pages) and where `by_line` says
    that the text's own lines are its places.
    """

    text: str
    media_type: str
    blocks: Packed[Block] = field(default_factory=_no_blocks)
    anchors: Packed[Anchor] = field(default_factory=_no_anchors)
    names: tuple[str, ...] = ()
    by_line: bool = False
    notes: tuple[Note, ...] = ()
    pictures: tuple[Picture, ...] = ()
    silent: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
