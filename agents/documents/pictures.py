"""Text that is only shown: pictures, and pages of PDFs that were scanned, read by a model.

None of the built-in models reads pictures; a provider's that does is passed as `PictureReader`.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Final, NamedTuple, Protocol

from agents.documents.blocks import plain_blocks
from agents.documents.bookmarks import by_page, sectioned
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
from agents.ports import AgentFailure

SCANNED: Final = (
    "Run text recognition (OCR) over it, for example with OCRmyPDF or Acrobat, and upload that."
)
_AT_ONCE: Final = 4


class UnreadReason(StrEnum):
    """Why the text of a picture is not known; what concerns the whole document stands first."""

    NOT_APPROVED = "NOT_APPROVED"
    BUDGET = "BUDGET"
    UNAVAILABLE = "UNAVAILABLE"
    REFUSED = "REFUSED"
    TIME = "TIME"
    LIMIT = "LIMIT"
    TOO_LONG = "TOO_LONG"
    DECLINED = "DECLINED"
    NO_TEXT = "NO_TEXT"


class _Said(NamedTuple):
    """How a reason is told: the code of a document all of whose pictures it is true of, the words
    in brackets, what to do, and whether it is true of all other pictures, too."""

    code: ExtractionCode
    why: str
    advice: str
    of_all: bool = False


_OTHERWISE = "Or run text recognition (OCR) over it and upload that."
_SAID: Final[Mapping[UnreadReason, _Said]] = {
    UnreadReason.NOT_APPROVED: _Said(
        ExtractionCode.PROVIDER_NOT_APPROVED,
        "this organization has not approved the provider whose model reads pictures",
        "Upload it again once an admin has approved the provider with approveProvider. "
        + _OTHERWISE,
        of_all=True,
    ),
    UnreadReason.BUDGET: _Said(
        ExtractionCode.MODEL_BUDGET,
        "the budget for models has no room for it",
        "Upload it again with a higher budget, next month, or in parts. " + _OTHERWISE,
        of_all=True,
    ),
    UnreadReason.UNAVAILABLE: _Said(
        ExtractionCode.MODEL_UNAVAILABLE,
        "the model that reads pictures did not answer, again and again",
        "Upload it again later. " + _OTHERWISE,
        of_all=True,
    ),
    UnreadReason.REFUSED: _Said(
        ExtractionCode.MODEL_UNAVAILABLE,
        "the provider of the model that reads pictures does not let this server in",
        "Tell the people who run this server, and upload it again then. " + _OTHERWISE,
        of_all=True,
    ),
    UnreadReason.TIME: _Said(
        ExtractionCode.MODEL_UNAVAILABLE,
        "the model that reads pictures took too long",
        "Upload it again later, or in parts. " + _OTHERWISE,
    ),
    UnreadReason.LIMIT: _Said(
        ExtractionCode.NO_TEXT,
        "more pictures than are read of one document",
        "Upload it in parts. " + _OTHERWISE,
    ),
    UnreadReason.TOO_LONG: _Said(
        ExtractionCode.NO_TEXT, "more text than the model may write", SCANNED
    ),
    UnreadReason.DECLINED: _Said(
        ExtractionCode.NO_TEXT, "the model could not read it, or declined to", SCANNED
    ),
    UnreadReason.NO_TEXT: _Said(ExtractionCode.NO_TEXT, "scanned or damaged", SCANNED),
}


class PictureUnread(Exception):
    """One picture was not read, and another try at it would not help."""

    def __init__(self, reason: UnreadReason) -> None:
        super().__init__(reason)
        self.reason = reason


class PictureReader(Protocol):
    """A model that reads the text in a picture."""

    async def read(self, picture: Picture) -> str:
        """The text in reading order, empty where there is none. Raises PictureUnread, and
        AgentFailure where the document is worth another try."""
        ...


def unread_pages(numbers: Sequence[int], reason: UnreadReason = UnreadReason.NO_TEXT) -> Note:
    """The note of pages whose text could not be read."""
    said = _SAID[reason]
    return Note(
        NoteCode.PAGES_WITHOUT_TEXT,
        f"No text could be read of page {ranges(numbers)} ({said.why}). {said.advice}",
    )


async def with_pictures(
    found: ExtractedText, reader: PictureReader, limits: Limits
) -> ExtractedText:
    """The text with that of its pictures, each at its page.

    What was not read is noted with the reason. Raises ExtractionFailure when no picture was read
    and there is no other text (NO_TEXT, PROVIDER_NOT_APPROVED, MODEL_BUDGET, MODEL_UNAVAILABLE),
    and what the reader raises, once the calls that had begun are over.
    """
    reading = _Reading(reader, limits)
    await reading.all(found.pictures)
    read, unread = reading.texts, reading.unread
    drawn = {picture.number for picture in found.pictures}
    unread |= {number: UnreadReason.LIMIT for number in found.silent if number not in drawn}
    if not read and not found.text:
        raise _nothing_read(set(unread.values()))
    notes = [note for note in found.notes if note.code is not NoteCode.PAGES_WITHOUT_TEXT]
    notes += _notes(read, unread)
    return _composed(found, read, limits, notes)


def _composed(
    found: ExtractedText, read: Mapping[int, str], limits: Limits, notes: Sequence[Note]
) -> ExtractedText:
    composer = Composer(limits)
    if 0 in read:
        composer.append(read[0])
        for block in plain_blocks(read[0], 0, len(read[0])):
            composer.block(block)
        return composer.finish(found.media_type, notes)
    pages = {a.number: found.text[a.start : a.end].strip() for a in found.anchors} | dict(read)
    marks = by_page(found.headings)
    for number in sorted(pages.keys() | marks.keys()):
        text = pages.get(number, "")
        composer.add_page(text, number, *sectioned(text, number, marks.get(number, ())))
    return composer.finish(found.media_type, notes)


def _notes(read: Mapping[int, str], unread: Mapping[int, UnreadReason]) -> Iterator[Note]:
    order = list(UnreadReason)
    pages = sorted((order.index(unread[number]), number) for number in unread if number)
    for index, group in groupby(pages, lambda page: page[0]):
        yield unread_pages([number for _, number in group], order[index])
    if read:
        where = f"page {ranges(sorted(read))}" if 0 not in read else "the picture"
        message = f"A model read the text of {where}; compare before you rely on its words."
        yield Note(NoteCode.READ_BY_MODEL, message)


def _nothing_read(reasons: set[UnreadReason]) -> ExtractionFailure:
    reason = next(reason for reason in UnreadReason if reason in reasons)
    if reason is UnreadReason.NO_TEXT:
        return ExtractionFailure(
            ExtractionCode.NO_TEXT, "The model found no text in its pictures.", SCANNED
        )
    said = _SAID[reason]
    return ExtractionFailure(said.code, f"Its pictures were not read: {said.why}.", said.advice)


class _Reading:
    """The pictures of one document, some at once. `unread` has a reason for each other one."""

    def __init__(self, reader: PictureReader, limits: Limits) -> None:
        self._reader, self._limits = reader, limits
        self._failure: AgentFailure | None = None
        self._stopped: UnreadReason | None = None
        self.texts: dict[int, str] = {}
        self.unread: dict[int, UnreadReason] = {}

    async def all(self, pictures: Sequence[Picture]) -> None:
        """Reads what can be read in `picture_seconds`. Raises what the reader raises."""
        self.unread = {picture.number: UnreadReason.TIME for picture in pictures}
        try:
            async with asyncio.timeout(self._limits.picture_seconds):
                await self._pass(pictures, _AT_ONCE)
                if self._stopped is UnreadReason.BUDGET and self._failure is None:
                    # what several calls at once could cost may have room for one after the other
                    self._stopped = None
                    again = UnreadReason.BUDGET
                    left = [p for p in pictures if self.unread.get(p.number) is again]
                    await self._pass(left, 1)
        except TimeoutError:
            return
        if self._failure is not None:
            raise self._failure

    async def _pass(self, pictures: Sequence[Picture], at_once: int) -> None:
        waiting = iter(pictures)

        async def work() -> None:
            for picture in waiting:
                await self._one(picture)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(work())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _one(self, picture: Picture) -> None:
        number = picture.number
        if self._stopped is not None or self._failure is not None:
            self.unread[number] = self._stopped or UnreadReason.UNAVAILABLE
            return
        try:
            text = canonical(await self._reader.read(picture)).replace("\f", "\n").strip()
        except PictureUnread as unread:
            self.unread[number] = unread.reason
            if _SAID[unread.reason].of_all:
                self._stopped = unread.reason
        except AgentFailure as failure:
            self._failure = failure
        except ExtractionFailure:  # of the answer, which has no canonical form
            self.unread[number] = UnreadReason.DECLINED
        else:
            if has_content(text):
                self.texts[number] = text
                del self.unread[number]
            else:
                self.unread[number] = UnreadReason.NO_TEXT
