"""Scanned pages and pictures, where a model can read them."""

import asyncio
import struct
import zlib
from pathlib import Path

import pytest

from agents.documents.chunking import chunk
from agents.documents.extracted import ExtractionCode, ExtractionFailure, Limits, NoteCode
from agents.documents.reading import read_file
from tests.agents.documents.written import write_pdf

PNG = b"\x89PNG\r\n\x1a\n"


class Reader:
    """Reads of each picture how dark it is, unless it is told what to say."""

    def __init__(self, says: str | None = None, *, seconds: float = 0) -> None:
        self.says, self.seconds = says, seconds
        self.seen: list[tuple[bytes, str]] = []

    async def read(self, picture: bytes, media_type: str) -> str:
        self.seen.append((picture, media_type))
        await asyncio.sleep(self.seconds)
        return f"A page of {grey(picture)} shades." if self.says is None else self.says


def grey(picture: bytes) -> int:
    """How many shades a grey PNG has, as a program reads it that knows the format."""
    assert picture.startswith(PNG)
    width, height = struct.unpack(">II", picture[16:24])
    size = struct.unpack(">I", picture[33:37])[0]
    rows = zlib.decompress(picture[41 : 41 + size])
    assert len(rows) == height * (width + 1)
    assert max(width, height) <= 2_000
    return len(set(rows[1 : width + 1] + rows[-(width + 1) * 300 :]))


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
    shades = Reader()
    await read_file(path, file_name="x.pdf", pictures=shades)
    assert [grey(picture) > 1 for picture, _ in shades.seen] == [True, True]


async def test_a_picture_is_handed_over_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await asyncio.to_thread(path.write_bytes, PNG + b"rest")
    reader = Reader("A whiteboard.")
    found = await read_file(path, file_name="x.png", pictures=reader)
    assert (found.text, found.media_type) == ("A whiteboard.", "image/png")
    assert reader.seen == [(PNG + b"rest", "image/png")]
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


async def test_a_reader_that_fails_is_worth_another_try(tmp_path: Path) -> None:
    class Failing(Reader):
        async def read(self, picture: bytes, media_type: str) -> str:  # noqa: ARG002 - the port's
            raise OSError("no connection")

    path = tmp_path / "x"
    await asyncio.to_thread(path.write_bytes, PNG)
    with pytest.raises(OSError, match="no connection"):
        await read_file(path, file_name="x.png", pictures=Failing())
