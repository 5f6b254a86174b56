"""Bytes of an uploaded file to the canonical text its chunks and citations refer to.

Markdown and plain text. The canonical text is NFC, has "\\n" newlines, no NUL, no other control
character but the tab, and no byte order mark; every offset in the product counts its code points.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from agents.documents.normal_form import MAX_COMBINING_RUN, StackedMarks, nfc

MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"

MAX_BYTES: Final = 25_000_000
"""Default for the size of a file, as at the edge."""

_ALIASES = {"text/x-markdown": MARKDOWN, MARKDOWN: MARKDOWN, PLAIN: PLAIN}
_SUFFIXES = {".md": MARKDOWN, ".markdown": MARKDOWN, ".txt": PLAIN, ".text": PLAIN}
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP or Office file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b\x08", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"Rar!\x1a\x07", "a RAR file"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_NEWLINES = re.compile("\r\n|[\r\x0b\x85\u2028\u2029]")
_MAX_CONTROL_SHARE = 0.01
_SAVE_AS_UTF8 = "Save the file as UTF-8 and upload it again."


class ExtractionCode(StrEnum):
    """Why a file has no text we can use."""

    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    NOT_TEXT = "NOT_TEXT"
    EMPTY = "EMPTY"
    TOO_LARGE = "TOO_LARGE"
    BAD_ENCODING = "BAD_ENCODING"


class ExtractionFailure(Exception):
    """The file is refused: `code` for programs, `message` and `advice` for the person."""

    def __init__(self, code: ExtractionCode, message: str, advice: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A page, numbered from 1, as a half-open range of code points of the text."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """The canonical text. `pages` is empty where the format has none (Markdown, and plain text
    without form feeds); else the pages follow each other and cover the text."""

    text: str
    pages: tuple[PageSpan, ...]
    media_type: str


def media_type_of(filename: str, declared: str | None = None) -> str:
    """The supported media type a declared type or else the file name's suffix stands for.

    Browsers declare Markdown as nothing, `application/octet-stream` or `text/plain`; for these the
    suffix decides. Raises ExtractionFailure(UNSUPPORTED_TYPE).
    """
    base = (declared or "").partition(";")[0].strip().lower()
    by_suffix = _SUFFIXES.get(PurePath(filename).suffix.lower())
    if by_suffix and base in {"", "application/octet-stream", PLAIN}:
        return by_suffix
    if base in _ALIASES:
        return _ALIASES[base]
    shown = base or PurePath(filename).suffix or "unknown"
    raise ExtractionFailure(
        ExtractionCode.UNSUPPORTED_TYPE,
        f"Files of type {shown[:80]} are not read.",
        "Upload Markdown (.md) or plain text (.txt).",
    )


def extract(data: bytes, *, media_type: str, max_bytes: int = MAX_BYTES) -> ExtractedText:
    """The canonical text of a Markdown or plain-text file in UTF-8, or UTF-16 with its mark.

    CPU-bound and linear (about 20 ms for 1 MB); call it off the event loop. Raises
    ExtractionFailure.
    """
    kind = media_type_of("", media_type)
    if len(data) > max_bytes:
        raise ExtractionFailure(
            ExtractionCode.TOO_LARGE,
            f"The file has {len(data):,} bytes; the limit is {max_bytes:,}.",
            "Split the document, for example by chapter.",
        )
    _refuse_known_binary(data)
    text = _NEWLINES.sub("\n", _decode(data))
    text = _canonical(text)
    if not _has_content(text):
        raise ExtractionFailure(
            ExtractionCode.EMPTY, "The file holds no text.", "Upload a file with some text in it."
        )
    pages = _pages(text) if kind == PLAIN else ()
    return ExtractedText(text.replace("\f", "\n"), pages, kind)


def _refuse_known_binary(data: bytes) -> None:
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise ExtractionFailure(
                ExtractionCode.NOT_TEXT,
                f"The file's content is {what}, not text.",
                "Export its text as Markdown or plain text and upload that.",
            )


def _decode(data: bytes) -> str:
    encoding, body = "utf-8", data
    for mark, marked in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            encoding, body = marked, data[len(mark) :]
            break
    if encoding == "utf-32":
        raise ExtractionFailure(
            ExtractionCode.BAD_ENCODING, "The file is encoded as UTF-32.", _SAVE_AS_UTF8
        )
    if encoding == "utf-8" and _looks_like_utf16(body):
        raise ExtractionFailure(
            ExtractionCode.BAD_ENCODING,
            "The file looks like UTF-16 without a byte order mark.",
            _SAVE_AS_UTF8,
        )
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            _refuse_binary(body.decode("latin-1"))
        line = body.count(b"\n", 0, error.start) + 1
        raise ExtractionFailure(
            ExtractionCode.BAD_ENCODING,
            f"The file is not valid {encoding.upper()} (line {line}).",
            _SAVE_AS_UTF8,
        ) from error
    _refuse_binary(text)
    return text


def _looks_like_utf16(body: bytes) -> bool:
    """Whether nearly every second byte, and no other, is NUL: Latin text in UTF-16."""
    sample = body[:4096]
    if len(sample) < 4:
        return False
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    return max(even, odd) > 0.4 * len(sample) and min(even, odd) < 0.05 * len(sample)


def _refuse_binary(text: str) -> None:
    # C1 controls are letters in the encodings a failed UTF-8 text may be in, so they don't count.
    controls = sum(1 for match in _CONTROLS.finditer(text) if match.group() < "\x7f")
    if controls > _MAX_CONTROL_SHARE * len(text):
        raise ExtractionFailure(
            ExtractionCode.NOT_TEXT,
            "The file's content is binary, not text.",
            "Export its text as Markdown or plain text and upload that.",
        )


def _canonical(text: str) -> str:
    text = _CONTROLS.sub("", text)
    try:
        return nfc(text)
    except StackedMarks:
        raise ExtractionFailure(
            ExtractionCode.NOT_TEXT,
            f"The file has more than {MAX_COMBINING_RUN} combining marks in a row.",
            "Remove the stacked accents and upload it again.",
        ) from None


def _has_content(text: str) -> bool:
    return any(
        not character.isspace() and unicodedata.category(character) != "Cf" for character in text
    )


def _pages(text: str) -> tuple[PageSpan, ...]:
    """Pages end at form feeds, which belong to the page they end."""
    breaks = [match.end() for match in re.finditer("\f", text)]
    if not breaks:
        return ()
    if breaks[-1] < len(text):
        breaks.append(len(text))
    starts = [0, *breaks[:-1]]
    return tuple(
        PageSpan(number, start, end)
        for number, (start, end) in enumerate(zip(starts, breaks, strict=True), start=1)
    )
