"""PDFs, page by page, by PDFium. Nothing in them is run: the build has no JavaScript, and neither
forms nor attachments are opened."""

import re
from typing import IO, Any

import pypdfium2
import pypdfium2.raw as pdfium

from agents.documents.blocks import plain_blocks
from agents.documents.canonical import Composer, canonical, has_content, ranges
from agents.documents.extracted import (
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    LocationKind,
    Note,
    NoteCode,
)
from agents.documents.media_types import PDF

_HYPHEN = re.compile("[\ufffe\x02](?:\r?\n)?")
"""What PDFium puts in the place of a hyphen at the end of a line."""

_SCANNED = (
    "Run text recognition (OCR) over it, for example with OCRmyPDF or Acrobat, and upload that."
)


def read_pdf(file: IO[bytes], limits: Limits) -> ExtractedText:
    """Raises ExtractionFailure: ENCRYPTED, DAMAGED, TOO_MANY_PAGES, TOO_MUCH_TEXT, NO_TEXT."""
    document = _opened(file)
    if len(document) > limits.max_pages:
        raise ExtractionFailure(
            ExtractionCode.TOO_MANY_PAGES,
            f"The PDF has {len(document):,} pages; the limit is {limits.max_pages:,}.",
            "Split the document, for example by chapter.",
        )
    composer = Composer(limits)
    silent: list[int] = []
    broken = 0
    for number in range(1, len(document) + 1):
        try:
            text, shows = _page(document, number)
        except pypdfium2.PdfiumError:
            text, shows, broken = "", True, broken + 1
        if text:
            _add(composer, text, number)
        elif shows:
            silent.append(number)
    if not composer.length:
        raise _damaged() if broken == len(document) else _without_text(len(document), silent)
    notes = []
    if silent:
        message = f"No text could be read of page {ranges(silent)} (scanned or damaged). {_SCANNED}"
        notes.append(Note(NoteCode.PAGES_WITHOUT_TEXT, message))
    return composer.finish(PDF, notes)


def _opened(file: IO[bytes]) -> Any:
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if error.err_code in {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}:
            raise ExtractionFailure(
                ExtractionCode.ENCRYPTED,
                "The PDF is protected by a password.",
                "Remove the password and upload it again.",
            ) from error
        raise _damaged() from error
    if not len(document):
        raise _damaged()
    return document


def _page(document: Any, number: int) -> tuple[str, bool]:
    """The page's canonical text, and whether it shows anything."""
    page = document[number - 1]
    words = page.get_textpage()
    text = canonical(_HYPHEN.sub("", words.get_text_range())).replace("\f", "\n")
    shows = next(iter(page.get_objects(max_depth=1)), None) is not None
    words.close()
    page.close()
    return (text if has_content(text) else ""), shows


def _add(composer: Composer, text: str, number: int) -> None:
    start = composer.append(text, "\n")
    composer.open()
    for block in plain_blocks(text, 0, len(text)):
        composer.block(block._replace(start=start + block.start, end=start + block.end))
    composer.anchor(LocationKind.PAGE, start, number)


def _without_text(pages: int, silent: list[int]) -> ExtractionFailure:
    if not silent:
        return ExtractionFailure(
            ExtractionCode.EMPTY, "The PDF's pages are blank.", "Upload a file with some text."
        )
    return ExtractionFailure(
        ExtractionCode.NO_TEXT,
        f"None of the PDF's {pages} pages holds text; they are pictures of pages.",
        _SCANNED,
    )


def _damaged() -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.DAMAGED,
        "The PDF is damaged.",
        "Save or export it again from the program that made it, and upload that.",
    )
