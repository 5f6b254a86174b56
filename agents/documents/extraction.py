"""The canonical text of a file. Runs in the reader's process; in the product, `reading` calls it.

Each format's library is imported when a file of it comes.
"""

from dataclasses import replace
from typing import IO

from agents.documents.canonical import empty
from agents.documents.extracted import (
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    Note,
    NoteCode,
)
from agents.documents.media_types import (
    DOCX,
    HTML,
    IMAGE,
    NOTEBOOK,
    OFFICE,
    PDF,
    PPTX,
    SHOWN,
    recognise,
)

_HEAD = 65_536


def extract(
    file: IO[bytes],
    *,
    file_name: str,
    media_type: str | None,
    limits: Limits,
    pictures: bool = False,
) -> ExtractedText:
    """The text of a file opened for reading, which is read as what its content is.

    `media_type` is what was declared; `pictures` asks for what holds no text. Raises
    ExtractionFailure, and what a format's library raises over a file it cannot read.
    """
    size = file.seek(0, 2)
    if size > limits.max_bytes:
        raise ExtractionFailure(
            ExtractionCode.TOO_LARGE,
            f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}.",
            "Split the document, for example by chapter.",
        )
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if not head.strip(b"\x00 \t\r\n"):
        raise empty()
    kind = recognise(file_name, media_type, head)
    found = _read(file, kind, limits, pictures=pictures)
    named = _named(file_name)
    if named is not None and named != found.media_type:
        note = Note(
            NoteCode.TYPE_RECOGNISED,
            f"The file is named as {SHOWN.get(named, 'text')} and was read as "
            f"{SHOWN.get(found.media_type, found.media_type)}, which is what it holds.",
        )
        return replace(found, notes=(*found.notes, note))
    return found


def _named(file_name: str) -> str | None:
    try:
        return recognise(file_name, None, b"")
    except ExtractionFailure:
        return None


def _read(file: IO[bytes], kind: str, limits: Limits, *, pictures: bool) -> ExtractedText:
    # ruff: noqa: PLC0415
    if kind.startswith(IMAGE):
        if pictures:
            from agents.documents.images import read_image

            return read_image(file, kind, limits)
        raise ExtractionFailure(
            ExtractionCode.NO_TEXT,
            "The file is a picture, and no model that reads pictures is set up.",
            "Run text recognition (OCR) over it and upload the text.",
        )
    if kind == PDF:
        from agents.documents.pdf import read_pdf

        return read_pdf(file, limits, pictures=pictures)
    if kind in OFFICE:
        return _read_office(file, limits)
    if kind == HTML:
        from agents.documents.web_pages import read_web_page

        return read_web_page(file, limits)
    from agents.documents.plain import read_lines, read_notebook

    return read_notebook(file, limits) if kind == NOTEBOOK else read_lines(file, kind, limits)


def _read_office(file: IO[bytes], limits: Limits) -> ExtractedText:
    from agents.documents.office_packages import package_type

    kind = package_type(file, limits)
    if kind == DOCX:
        from agents.documents.word import read_word

        return read_word(file, limits)
    if kind == PPTX:
        from agents.documents.slides import read_slides

        return read_slides(file, limits)
    from agents.documents.workbooks import read_workbook

    return read_workbook(file, limits)
