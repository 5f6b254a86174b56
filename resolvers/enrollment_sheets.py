"""A CSV file of people to be enrolled: read whole, or refused with the line that is wrong."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from resolvers.refusals import Refusal, RefusalCode

MOST_BYTES = 4_000_000
MOST_ROWS = 10_000
MOST_COLUMNS = 100
EMAIL, NAME = "email", "name"
_NAMES = {"email": EMAIL, "e-mail": EMAIL, "email address": EMAIL, "name": NAME, "full name": NAME}
_DELIMITERS = (",", ";", "\t")
_PATH = ("input", "file")


@dataclass(frozen=True)
class SheetRow:
    """A line of the file, its cells as they stand there; `broken` says why they cannot be told."""

    line: int
    email: str
    name: str | None
    broken: str | None = None


def read_sheet(data: bytes) -> list[SheetRow]:
    """The rows below the header. Raises `Refusal` for what is no such file.

    UTF-8 with or without a mark; commas, semicolons or tabs; quotes as in RFC 4180. The header
    names the columns in any order and case; other columns are passed over, empty lines too.
    """
    text = _decoded(data)
    delimiter, columns = _columns(text)
    rows: list[SheetRow] = []
    records = _records(text, delimiter)
    next(records)
    for line, cells in records:
        if not any(cell.strip() for cell in cells):
            continue
        if len(rows) == MOST_ROWS:
            raise _refused(RefusalCode.TOO_LARGE, f"The file has more than {MOST_ROWS} rows.")
        rows.append(_row(line, cells, columns))
    if not rows:
        raise _refused(RefusalCode.BAD_INPUT, "The file has a header and no rows.")
    return rows


def _decoded(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _refused(RefusalCode.TOO_LARGE, f"The file is larger than {MOST_BYTES} bytes.")
    if b"\0" in data:
        raise _refused(
            RefusalCode.UNSUPPORTED_FILE, "This is no text in UTF-8: save the sheet as CSV UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise _refused(
            RefusalCode.UNSUPPORTED_FILE,
            f"Line {line} is not UTF-8: save the sheet as CSV UTF-8.",
        ) from None


def _columns(text: str) -> tuple[str, Mapping[str, int]]:
    """The delimiter under which the header names an e-mail column, and where the columns are."""
    for delimiter in _DELIMITERS:
        try:
            _, cells = next(_records(text, delimiter))
        except (StopIteration, Refusal):  # quoted cells are none under another delimiter
            continue
        found: dict[str, int] = {"width": len(cells)}
        for place, cell in enumerate(cells):
            name = _NAMES.get(" ".join(cell.lower().split()))
            if name is not None and name in found:
                raise _refused(RefusalCode.BAD_INPUT, f"The header has two columns for {name}.")
            if name is not None:
                found[name] = place
        if EMAIL in found:
            return delimiter, found
    raise _refused(
        RefusalCode.BAD_INPUT,
        "The first line names the columns: email, and name if people are to be made known.",
    )


def _records(text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Each record with the line it begins on. Raises `Refusal`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if len(cells) > MOST_COLUMNS:
                raise _refused(
                    RefusalCode.BAD_INPUT,
                    f"Line {line} has {len(cells)} cells; {MOST_COLUMNS} are allowed.",
                )
            yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        raise _refused(
            RefusalCode.BAD_INPUT,
            f"The record on line {line} cannot be read: a quote is not closed or stands in the "
            "middle of a cell, or a cell is far too long.",
        ) from None


def _row(line: int, cells: Sequence[str], columns: Mapping[str, int]) -> SheetRow:
    def cell(name: str) -> str | None:
        place = columns.get(name)
        return None if place is None or place >= len(cells) else cells[place].strip()

    broken = None
    if len(cells) > columns["width"]:
        broken = "The line has more cells than the header: quote a cell with a separator in it."
    return SheetRow(line, cell(EMAIL) or "", cell(NAME) or None, broken)


def _refused(code: RefusalCode, message: str) -> Refusal:
    return Refusal(code, message, _PATH)
