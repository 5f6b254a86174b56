"""PDFs, page by page, by PDFium. Nothing in them is run: the build has no JavaScript, and neither
forms nor attachments are opened."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

import pypdfium2
import pypdfium2.raw as pdfium

from agents.documents.bookmarks import bookmarks, sectioned
from agents.documents.canonical import Composer, canonical, has_content
from agents.documents.extracted import (
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    Picture,
)
from agents.documents.media_types import PDF
from agents.documents.pictures import SCANNED, unread_pages

_HYPHEN = re.compile("[\ufffe\x02](?:\r?\n)?")
"""What PDFium puts in the place of a hyphen at the end of a line."""


def read_pdf(file: IO[bytes], limits: Limits, *, pictures: bool = False) -> ExtractedText:
    """Pages that show something and hold no text are drawn where `pictures` are asked for.

    Raises ExtractionFailure: ENCRYPTED, DAMAGED, TOO_MANY_PAGES, TOO_MUCH_TEXT, NO_TEXT."""
    document = _opened(file)
    if len(document) > limits.max_pages:
        raise ExtractionFailure(
            ExtractionCode.TOO_MANY_PAGES,
            f"The PDF has {len(document):,} pages; the limit is {limits.max_pages:,}.",
            "Split the document, for example by chapter.",
        )
    marks = bookmarks(document)
    composer = Composer(limits)
    silent: list[int] = []
    broken = 0
    for number in range(1, len(document) + 1):
        try:
            text, shows = _page(document, number)
        except pypdfium2.PdfiumError:
            text, shows, broken = "", True, broken + 1
        composer.add_page(text, number, *sectioned(text, number, marks.get(number, ())))
        if shows and not text:
            silent.append(number)
    if not composer.length and broken == len(document):
        raise _damaged()
    seen = tuple(_drawn(document, silent, limits)) if pictures else ()
    if not composer.length and not seen:
        raise _without_text(len(document), silent)
    notes = [unread_pages(silent)] if silent else []
    if not composer.length:
        headings = tuple(composer.headings)
        return ExtractedText("", PDF, pictures=seen, silent=tuple(silent), headings=headings)
    return replace(composer.finish(PDF, notes), pictures=seen, silent=tuple(silent))


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


def _drawn(document: Any, numbers: Sequence[int], limits: Limits) -> Iterator[Picture]:
    from agents.documents.images import within  # noqa: PLC0415 - its library is seldom needed

    return within(limits, _pictures(document, numbers, limits))


def _pictures(document: Any, numbers: Sequence[int], limits: Limits) -> Iterator[Picture]:
    """The first pages, in grey and about 150 dots an inch, while there is time to draw."""
    from agents.documents.images import LONGEST_SIDE, encoded  # noqa: PLC0415 - as above

    for number in numbers[: limits.max_pictures]:
        if time.process_time() > limits.cpu_seconds / 2:
            return
        try:
            page = document[number - 1]
            scale = min(150 / 72, LONGEST_SIDE / max(1.0, *page.get_size()))
            drawn = page.render(scale=scale, grayscale=True, may_draw_forms=False)
        except pypdfium2.PdfiumError:
            continue
        yield Picture(number, *encoded(drawn.to_pil()))
        drawn.close()
        page.close()


def _without_text(pages: int, silent: list[int]) -> ExtractionFailure:
    if not silent:
        return ExtractionFailure(
            ExtractionCode.EMPTY, "The PDF's pages are blank.", "Upload a file with some text."
        )
    return ExtractionFailure(
        ExtractionCode.NO_TEXT,
        f"None of the PDF's {pages} pages holds text; they are pictures of pages.",
        SCANNED,
    )


def _damaged() -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.DAMAGED,
        "The PDF is damaged.",
        "Save or export it again from the program that made it, and upload that.",
    )
