"""Text that is only shown: pictures, and pages of PDFs that were scanned, read by a model.

None of the built-in models reads pictures; a provider's that does is passed as `PictureReader`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from agents.documents.blocks import plain_blocks
from agents.documents.canonical import Composer, canonical, has_content, ranges
from agents.documents.extracted import (
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    Note,
    NoteCode,
    Picture,
)

SCANNED: Final = (
    "Run text recognition (OCR) over it, for example with OCRmyPDF or Acrobat, and upload that."
)
_AT_ONCE: Final = 4


class PictureReader(Protocol):
    """A model that reads the text in a picture."""

    async def read(self, picture: bytes, media_type: str) -> str:
        """The text in reading order, empty where there is none. Raises AgentFailure."""
        ...


def unread_pages(numbers: Sequence[int]) -> Note:
    """The note of pages whose text could not be read."""
    return Note(
        NoteCode.PAGES_WITHOUT_TEXT,
        f"No text could be read of page {ranges(numbers)} (scanned or damaged). {SCANNED}",
    )


async def with_pictures(
    found: ExtractedText, reader: PictureReader, limits: Limits
) -> ExtractedText:
    """The text with that of its pictures, each at its page.

    What the model did not read in `picture_seconds` stays unread and is noted. Raises
    ExtractionFailure(NO_TEXT) when no picture holds text, and what the reader raises.
    """
    read = await _read(found.pictures, reader, limits)
    if not read and not found.text:
        raise ExtractionFailure(
            ExtractionCode.NO_TEXT, "The model found no text in its pictures.", SCANNED
        )
    pages = {a.number: found.text[a.start : a.end].strip() for a in found.anchors} | read
    composer = Composer(limits)
    for number in sorted(pages):
        if number:
            composer.add_page(
                pages[number], number, plain_blocks(pages[number], 0, len(pages[number]))
            )
        else:
            composer.append(pages[number])
            for block in plain_blocks(pages[number], 0, len(pages[number])):
                composer.block(block)
    notes = [note for note in found.notes if note.code is not NoteCode.PAGES_WITHOUT_TEXT]
    if unread := [p.number for p in found.pictures if p.number and p.number not in read]:
        notes.append(unread_pages(unread))
    if read:
        where = f"page {ranges(sorted(read))}" if 0 not in read else "the picture"
        message = f"A model read the text of {where}; compare before you rely on its words."
        notes.append(Note(NoteCode.READ_BY_MODEL, message))
    return replace(composer.finish(found.media_type, notes), pictures=())


async def _read(
    pictures: Sequence[Picture], reader: PictureReader, limits: Limits
) -> dict[int, str]:
    """The canonical text of each picture that holds some, by its page."""
    seats = asyncio.Semaphore(_AT_ONCE)
    read: dict[int, str] = {}

    async def one(picture: Picture) -> None:
        async with seats:
            text = await reader.read(picture.data, picture.media_type)
        text = canonical(text).replace("\f", "\n").strip()
        if has_content(text):
            read[picture.number] = text

    tasks = [asyncio.ensure_future(one(picture)) for picture in pictures]
    try:
        done, _ = await asyncio.wait(
            tasks, timeout=limits.picture_seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return read
