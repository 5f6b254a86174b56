"""Excel workbooks: the filled cells of visible sheets, row by row, as they were last calculated."""

import sys
from typing import IO, Any

from agents.documents.canonical import Composer, canonical, one_line
from agents.documents.extracted import BlockKind, ExtractedText, Limits, LocationKind
from agents.documents.media_types import XLSX

# openpyxl asks for numpy only to know its number types, and loading it takes longer than the rest.
sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]

from openpyxl import load_workbook  # noqa: E402

LONGEST_NAME = 31
"""Characters kept of a sheet's name, Excel's own limit; every passage repeats it."""


def read_workbook(file: IO[bytes], limits: Limits) -> ExtractedText:
    """Raises ExtractionFailure(EMPTY, TOO_MUCH_TEXT), and what the library raises."""
    workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    composer = Composer(limits)
    for sheet in workbook.worksheets:
        if sheet.sheet_state == "visible":
            _add(composer, sheet)
    return composer.finish(XLSX)


def _add(composer: Composer, sheet: Any) -> None:
    name = one_line(canonical(sheet.title))[:LONGEST_NAME] or "Sheet"
    sheet.reset_dimensions()  # a file may declare a million rows and hold one
    named = False
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = [(at, text) for at, value in enumerate(row, start=1) if (text := _shown(value))]
        if not cells:
            continue
        if not named:
            composer.open()
            start = composer.add(BlockKind.HEADING, name, level=1)
            composer.anchor(LocationKind.CELL_RANGE, start, 0, name)
            named = True
        line = " | ".join(text for _, text in cells)
        start = composer.add(BlockKind.ROW, line, separator="\n")
        columns = (cells[0][0], cells[-1][0])
        composer.anchor(LocationKind.CELL_RANGE, start, number, name, columns)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return one_line(str(value))
