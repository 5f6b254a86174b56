"""The text of bytes that may not say how they are encoded.

UTF-8, or what a byte order mark or the file itself says. Anything else is guessed from a short list
of encodings and said so, or refused: a wrong guess would put errors into every quotation.
"""

import codecs
import re
from typing import Final

from agents.documents.extracted import ExtractionCode, ExtractionFailure, Note, NoteCode

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: Final = ["cp932", "euc_jp", "gb18030", "big5", "cp949"]
_NARROW: Final = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r",
]  # fmt: skip
_NO_CHARSETS: Final = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"}
"""What Python decodes besides, and no browser does."""

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
_MAX_CONTROL_SHARE = 0.01
_SAMPLE = 1_000_000
_WORDS_LIKE: Final = 0.3
_SAVE_AS_UTF8: Final = "Save the file as UTF-8 and upload it again."


def decode(data: bytes, *, declared: str | None = None) -> tuple[str, Note | None]:
    """The text, and a note when its encoding was guessed.

    `declared` is what the file itself says (an HTML page's `meta`). Raises ExtractionFailure:
    BAD_ENCODING, WRONG_TYPE for bytes that are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strict(data[len(mark) :], encoding), None
    if wide := utf16_without_mark(data):
        return _strict(data, wide), _guessed(wide)
    try:
        return _text(data.decode()), None
    except UnicodeDecodeError as error:
        refuse_binary(data.decode("latin-1"))
        if declared and (text := _declared(data, declared)) is not None:
            return _text(text), None
        return _guess(data, error)


def refuse_binary(text: str) -> None:
    """Raises ExtractionFailure(WRONG_TYPE) when too many control characters are among it."""
    controls = sum(1 for _ in _CONTROLS.finditer(text))
    if controls > _MAX_CONTROL_SHARE * len(text):
        raise ExtractionFailure(
            ExtractionCode.WRONG_TYPE,
            "The file's content is binary, not text.",
            "Upload it under its own name, or export its text and upload that.",
        )


def utf16_without_mark(body: bytes) -> str | None:
    """UTF-16 where nearly every second byte, and no other, is NUL: Latin text."""
    sample = body[:4096]
    if len(sample) < 4:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) > 0.4 * len(sample) and min(even, odd) < 0.05 * len(sample):
        return "utf-16-be" if even > odd else "utf-16-le"
    return None


def _text(text: str) -> str:
    refuse_binary(text)
    return text


def _strict(body: bytes, encoding: str) -> str:
    if encoding == "utf-32":
        raise _bad("The file is encoded as UTF-32.")
    try:
        return _text(body.decode(encoding))
    except UnicodeDecodeError as error:
        raise _invalid(body, encoding, error) from error


def _declared(data: bytes, declared: str) -> str | None:
    try:
        if codecs.lookup(declared).name in _NO_CHARSETS:
            return None
        return data.decode(declared)
    except (LookupError, UnicodeError):
        return None


def _guess(data: bytes, error: UnicodeDecodeError) -> tuple[str, Note]:
    if _mostly_utf8(data):
        raise _invalid(data, "utf-8", error) from error
    encoding = _likely(data[:_SAMPLE])
    if encoding is None:
        raise _invalid(data, "utf-8", error) from error
    try:
        return _text(data.decode(encoding)), _guessed(encoding)
    except UnicodeDecodeError:
        raise _invalid(data, "utf-8", error) from error


def _mostly_utf8(data: bytes) -> bool:
    """Whether much of what is not ASCII is UTF-8: a file of two encodings, or a damaged one.

    Of Chinese and Japanese text in other encodings up to a fifth of the characters are, by chance.
    """
    text = data[:_SAMPLE].decode(errors="surrogateescape")
    strange = sum(1 for c in text if "\udc80" <= c <= "\udcff")
    valid = sum(1 for c in text if not c.isascii()) - strange
    return 2 * valid > strange


def _likely(data: bytes) -> str | None:
    """The one encoding in which the bytes read like words of a language."""
    from charset_normalizer import from_bytes  # noqa: PLC0415 - only for texts that are not UTF-8

    matches = list(from_bytes(data, cp_isolation=[*_NARROW, *_WIDE]))
    if not matches or matches[0].chaos > 0.1:
        return None
    best = matches[0]
    if best.encoding in _WIDE and best.chaos == 0:
        return str(best.encoding)
    if best.coherence < _WORDS_LIKE:
        return None
    for match in matches:  # Western European where nothing speaks against it
        if match.encoding == "cp1252" and match.chaos <= best.chaos:
            return "cp1252"
    if "cp1252" in best.could_be_from_charset:
        return "cp1252"
    return str(best.encoding)


def _guessed(encoding: str) -> Note:
    return Note(
        NoteCode.ENCODING_GUESSED,
        f"The file does not say how it is encoded and was read as {encoding}. If letters are "
        "wrong, save it as UTF-8 and upload it again.",
    )


def _invalid(body: bytes, encoding: str, error: UnicodeDecodeError) -> ExtractionFailure:
    line = body.count(b"\n", 0, error.start) + 1
    return _bad(f"The file is not valid {encoding.upper()} (line {line}).")


def _bad(message: str) -> ExtractionFailure:
    return ExtractionFailure(ExtractionCode.BAD_ENCODING, message, _SAVE_AS_UTF8)
