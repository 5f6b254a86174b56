"""Files that are text themselves: plain text, Markdown, source code, CSV, and notebooks."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from agents.documents.blocks import markdown_blocks, plain_blocks, record_blocks
from agents.documents.canonical import Composer, canonical, too_much_text
from agents.documents.encodings import decode
from agents.documents.extracted import (
    Block,
    BlockKind,
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    LocationKind,
    Note,
)
from agents.documents.media_types import CSV, MARKDOWN, NOTEBOOK, PLAIN, SOURCE, TSV


def read_lines(file: IO[bytes], media_type: str, limits: Limits) -> ExtractedText:
    """A text as it stands. Raises ExtractionFailure."""
    text, note = _decoded(file, limits)
    composer = Composer(limits)
    paged = media_type == PLAIN and "\f" in text
    if not paged:
        text = text.replace("\f", " ")
        composer.append(text)
        _note(composer, _blocks(text, media_type))
    for number, (start, end) in enumerate(_pages(text) if paged else (), start=1):
        composer.append(text[start:end].replace("\f", "\n"), "")
        composer.open()
        _note(composer, plain_blocks(text, start, end))
        composer.anchor(LocationKind.PAGE, start, number)
    found = composer.finish(media_type, [note] if note else [])
    return ExtractedText(
        found.text, media_type, found.blocks, found.anchors, by_line=not paged, notes=found.notes
    )


def read_notebook(file: IO[bytes], limits: Limits) -> ExtractedText:
    """The cells' sources. Outputs are not read: most are pictures, and all can be made again.

    Raises ExtractionFailure.
    """
    text, note = decode(file.read(limits.max_bytes + 1))
    composer = Composer(limits)
    for number, cell in enumerate(_cells(text), start=1):
        source = cell.get("source", "")
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        source = canonical(source).replace("\f", "\n").strip("\n")
        if not source.strip():
            continue
        start = composer.append(source)
        if cell.get("cell_type") == "markdown":
            blocks = markdown_blocks(source, 0, len(source))
        else:
            blocks = plain_blocks(source, 0, len(source), BlockKind.CODE)
        _note(composer, blocks, start)
        composer.anchor(LocationKind.NOTEBOOK_CELL, start, number)
    return composer.finish(NOTEBOOK, [note] if note else [])


def _decoded(file: IO[bytes], limits: Limits) -> tuple[str, Note | None]:
    data = file.read(4 * limits.max_characters + 1)
    if len(data) > 4 * limits.max_characters:
        raise too_much_text(limits)
    text, note = decode(data)
    del data
    return canonical(text), note


def _blocks(text: str, media_type: str) -> Iterator[Block]:
    if media_type == MARKDOWN:
        return markdown_blocks(text, 0, len(text))
    if media_type in {CSV, TSV}:
        return record_blocks(text)
    kind = BlockKind.CODE if media_type == SOURCE else BlockKind.PROSE
    return plain_blocks(text, 0, len(text), kind)


def _note(composer: Composer, blocks: Iterable[Block], shift: int = 0) -> None:
    for block in blocks:
        heading = block.kind == BlockKind.HEADING
        composer.block(
            block._replace(
                start=block.start + shift,
                end=block.end + shift,
                title_start=block.title_start + shift if heading else 0,
                title_end=block.title_end + shift if heading else 0,
            )
            if shift
            else block
        )


def _pages(text: str) -> Iterator[tuple[int, int]]:
    """Pages end at form feeds, which belong to the page they end."""
    start = 0
    for match in re.finditer("\f", text):
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _cells(text: str) -> list[dict[str, Any]]:
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged() from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise _damaged()
    return [cell for cell in cells if isinstance(cell, dict)]


def _damaged() -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.DAMAGED,
        "The file is not a Jupyter notebook of format 4.",
        "Open it in Jupyter, save it again and upload that.",
    )
