"""Scanned pages and pictures, where a model can read them."""

import asyncio
import io
from collections import deque
from pathlib import Path

import pytest
from PIL import Image

from agents.documents.chunking import chunk
from agents.documents.extracted import (
    ExtractionCode,
    ExtractionFailure,
    Limits,
    NoteCode,
    Picture,
)
from agents.documents.pictures import PictureUnread, UnreadReason
from agents.documents.reading import read_file
from agents.ports import AgentFailure
from tests.agents.documents.written import draw, write_pdf


class Reader:
    """Says what it is told to, and raises it where it is an exception."""

    def __init__(self, says: str = "A page.", *, seconds: float = 0) -> None:
        self.says, self.seconds = says, seconds
        self.script: deque[str | Exception] = deque()
        self.seen: list[Picture] = []
        self.at_once = self.most_at_once = 0

    async def read(self, picture: Picture) -> str:
        self.seen.append(picture)
        said = self.script.popleft() if self.script else self.says
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if isinstance(said, Exception):
            raise said
        return said


def shades(picture: Picture) -> int:
    """How many shades of grey it has."""
    image = Image.open(io.BytesIO(picture.data))
    assert image.get_format_mimetype() == picture.media_type
    assert image.mode == "L"
    assert max(image.size) <= 2_000
    return len(image.getcolors() or [])


async def scanned(path: Path, pages: int, text: str | None = None) -> Path:
    """A PDF of scanned pages, behind one of text where there is some."""
    first = [] if text is None else [[text]]
    shown = tuple(range(len(first) + 1, len(first) + pages + 1))
    pdf = write_pdf([*first, *([] for _ in shown)], pictures=shown)
    await asyncio.to_thread(path.write_bytes, pdf.data)
    return path


async def test_scanned_pages_are_read_at_their_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    pdf = write_pdf([["One."], [], ["Three."], []], pictures=(2, 4))
    await asyncio.to_thread(path.write_bytes, pdf.data)
    reader = Reader("Read\u0000 cafe\u0301.\r\nBy a model.")
    found = await read_file(path, file_name="x.pdf", pictures=reader)
    assert found.text == "One.\nRead café.\nBy a model.\nThree.\nRead café.\nBy a model."
    places = [(c.page, c.text[:5]) for c in chunk(found, count_tokens=len)]
    assert places == [(1, "One."), (2, "Read "), (3, "Three"), (4, "Read ")]
    assert [note.code for note in found.notes] == [NoteCode.READ_BY_MODEL]
    assert "page 2, 4;" in found.notes[0].message
    assert [(p.number, shades(p) > 1) for p in reader.seen] == [(2, True), (4, True)]


async def test_the_text_of_a_picture_has_no_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await asyncio.to_thread(path.write_bytes, draw("PNG"))
    found = await read_file(path, file_name="x.png", pictures=Reader("A whiteboard."))
    assert (found.text, found.media_type) == ("A whiteboard.", "image/png")
    assert [c.location for c in chunk(found, count_tokens=len)] == [None]


async def test_pages_the_model_does_not_read_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    pdf = write_pdf([["One."], []], pictures=(2,))
    await asyncio.to_thread(path.write_bytes, pdf.data)
    for reader, limits in (
        (Reader(" "), Limits()),
        (Reader("x", seconds=600), Limits(picture_seconds=0.5)),
    ):
        found = await read_file(path, file_name="x.pdf", pictures=reader, limits=limits)
        assert found.text == "One."
        assert [note.code for note in found.notes] == [NoteCode.PAGES_WITHOUT_TEXT]
        assert "page 2 " in found.notes[0].message


async def test_pictures_without_text_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await asyncio.to_thread(path.write_bytes, write_pdf([[]], pictures=(1,)).data)
    with pytest.raises(ExtractionFailure) as failed:
        await read_file(path, file_name="x.pdf", pictures=Reader(""))
    assert failed.value.code is ExtractionCode.NO_TEXT


@pytest.mark.parametrize("failure", [OSError("x"), AgentFailure("x", retryable=True)])
async def test_a_reader_that_fails_is_worth_another_try(tmp_path: Path, failure: Exception) -> None:
    reader = Reader(seconds=0.01)
    reader.script.append(failure)
    path = await scanned(tmp_path / "x", 9)
    with pytest.raises(type(failure), match="x"):
        await read_file(path, file_name="x.pdf", pictures=reader)
    assert len(reader.seen) < 9  # nothing more is asked than what had begun


async def test_calls_that_have_begun_are_heard_out_before_a_failure(tmp_path: Path) -> None:
    """They are paid, and what they answer is kept for the next try."""
    heard: list[int] = []

    class Slow(Reader):
        async def read(self, picture: Picture) -> str:
            if picture.number == 2:
                await asyncio.sleep(0.05)
                raise AgentFailure("down", retryable=True)
            await asyncio.sleep(0.2)
            heard.append(picture.number)
            return "A page."

    path = await scanned(tmp_path / "x", 9)
    with pytest.raises(AgentFailure):
        await read_file(path, file_name="x.pdf", pictures=Slow())
    assert heard == [1, 3, 4]


@pytest.mark.parametrize(
    ("reason", "code", "asked"),
    [
        (UnreadReason.NOT_APPROVED, ExtractionCode.PROVIDER_NOT_APPROVED, 1),
        (UnreadReason.UNAVAILABLE, ExtractionCode.MODEL_UNAVAILABLE, 1),
        (UnreadReason.REFUSED, ExtractionCode.MODEL_UNAVAILABLE, 1),
        (UnreadReason.BUDGET, ExtractionCode.MODEL_BUDGET, 2),
        (UnreadReason.DECLINED, ExtractionCode.NO_TEXT, 6),
        (UnreadReason.TOO_LONG, ExtractionCode.NO_TEXT, 6),
    ],
)
async def test_what_is_not_read_says_why(
    tmp_path: Path, reason: UnreadReason, code: ExtractionCode, asked: int
) -> None:
    """What is true of all pictures is not asked of each: one call, and those begun with it."""
    reader = Reader()
    reader.script.extend(PictureUnread(reason) for _ in range(50))
    path = await scanned(tmp_path / "x", 6)
    with pytest.raises(ExtractionFailure) as failed:
        await read_file(path, file_name="x.pdf", pictures=reader)
    assert failed.value.code is code
    assert asked <= len(reader.seen) <= asked + 4
    reader.seen.clear()
    path = await scanned(tmp_path / "x", 6, "Some text.")
    found = await read_file(path, file_name="x.pdf", pictures=reader)
    assert found.text == "Some text."
    (note,) = found.notes
    assert note.code is NoteCode.PAGES_WITHOUT_TEXT
    assert "page 2-7 (" in note.message
    assert failed.value.advice in note.message


async def test_a_budget_that_is_short_for_many_at_once_is_used_one_by_one(tmp_path: Path) -> None:
    class Purse(Reader):
        async def read(self, picture: Picture) -> str:
            if self.at_once or len(self.seen) == 5:
                raise PictureUnread(UnreadReason.BUDGET)
            return await super().read(picture)

    reader = Purse(seconds=0.01)
    path = await scanned(tmp_path / "x", 7)
    found = await read_file(path, file_name="x.pdf", pictures=reader)
    assert [a.number for a in found.anchors] == [1, 2, 3, 4, 5]
    unread, read = found.notes
    assert "page 6-7 (the budget" in unread.message
    assert "page 1-5;" in read.message


async def test_pages_beyond_those_that_are_drawn_are_noted(tmp_path: Path) -> None:
    path = await scanned(tmp_path / "x", 5)
    limits = Limits(max_pictures=3)
    reader = Reader()
    found = await read_file(path, file_name="x.pdf", pictures=reader, limits=limits)
    assert [p.number for p in reader.seen] == [1, 2, 3]
    assert "page 4-5 (more" in found.notes[0].message
    small = Limits(max_picture_bytes=len(reader.seen[0].data) + 10)
    found = await read_file(path, file_name="x.pdf", pictures=Reader(), limits=small)
    assert "page 2-5 (more" in found.notes[0].message


async def test_some_pictures_are_read_at_once_and_not_more(tmp_path: Path) -> None:
    reader = Reader(seconds=0.02)
    await read_file(await scanned(tmp_path / "x", 9), file_name="x.pdf", pictures=reader)
    assert reader.most_at_once == 4


async def test_an_answer_that_is_no_text_is_not_taken(tmp_path: Path) -> None:
    reader = Reader()
    reader.script.extend(["e" + "\u0301" * 500, "Fine."])
    path = await scanned(tmp_path / "x", 2)
    found = await read_file(path, file_name="x.pdf", pictures=reader)
    assert found.text == "Fine."


async def test_pages_that_cannot_be_drawn_in_time_do_not_cost_the_text(tmp_path: Path) -> None:
    """Drawing what a page is full of may take for ever; its neighbours' words do not."""
    stream = b"0 0 m " + b" ".join(b"%d %d l" % (n % 600, n * 7 % 800) for n in range(9_000))
    path = tmp_path / "x"
    pdf = write_pdf([["Some text."], []], strokes=(2, stream * 400 + b" S"))
    await asyncio.to_thread(path.write_bytes, pdf.data)
    limits = Limits(cpu_seconds=2, wall_seconds=20)
    found = await read_file(path, file_name="x.pdf", pictures=Reader(), limits=limits)
    assert found.text == "Some text."
    assert [note.code for note in found.notes] == [NoteCode.PAGES_WITHOUT_TEXT]
