"""Pictures as they come, and as a model is shown them."""

import asyncio
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from agents.documents.extracted import (
    ExtractionCode,
    ExtractionFailure,
    Limits,
    NoteCode,
    Picture,
)
from agents.documents.reading import read_file
from tests.agents.documents.test_pictures import Reader
from tests.agents.documents.written import draw

GPS = 0x8825
ORIENTATION = 0x0112


async def shown(tmp_path: Path, data: bytes, name: str = "x", **limits: int) -> list[Picture]:
    """What a model is shown of a file."""
    path, reader = tmp_path / "x", Reader("Words.")
    await asyncio.to_thread(path.write_bytes, data)
    await read_file(path, file_name=name, pictures=reader, limits=Limits(**limits))
    return reader.seen


def opened(picture: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(picture.data))
    assert image.get_format_mimetype() == picture.media_type
    image.load()
    return image


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "1", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "L", {"compression": "tiff_lzw"}),
        ("TIFF", "1", {"compression": "group4"}),
    ],
)
async def test_each_format_is_shown_in_grey_or_colour(
    tmp_path: Path, form: str, mode: str, options: dict[str, str]
) -> None:
    base = Image.new("L", (40, 30), 255)
    base.paste(0, (0, 0, 20, 15))
    if mode == "I;16":
        base = base.convert("I").point(lambda value: value * 257)
    out = io.BytesIO()
    base.convert(mode).save(out, form, **options)
    (picture,) = await shown(tmp_path, out.getvalue())
    image = opened(picture).convert("L")
    assert image.size == (40, 30)
    assert (image.getpixel((2, 2)), image.getpixel((35, 25))) == (
        pytest.approx(0, abs=40),
        pytest.approx(255, abs=40),
    )


async def test_what_is_transparent_is_shown_on_white(tmp_path: Path) -> None:
    drawn = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    drawn.paste((0, 0, 0, 255), (0, 0, 20, 15))
    out = io.BytesIO()
    drawn.save(out, "PNG")
    (picture,) = await shown(tmp_path, out.getvalue())
    image = opened(picture)
    assert (image.getpixel((2, 2)), image.getpixel((35, 25))) == ((0, 0, 0), (255, 255, 255))


async def test_nothing_but_the_pixels_leaves_upright(tmp_path: Path) -> None:
    """A photograph says where it was taken, and which way it was held."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[2] = (47.0, 22.0, 11.0)
    exif[0x010E] = "secret words"
    (picture,) = await shown(tmp_path, draw("JPEG", exif=exif, comment=b"secret words"))
    image = opened(picture)
    assert image.size == (30, 40)
    assert not image.getexif()
    assert b"secret" not in picture.data
    text = draw("PNG", dpi=(300, 300), icc_profile=b"secret profile")
    assert b"iCCP" in text
    (picture,) = await shown(tmp_path, text)
    assert b"iCCP" not in picture.data


async def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    noise = Image.effect_noise((3_000, 2_000), 100)
    out = io.BytesIO()
    noise.save(out, "PNG")
    (picture,) = await shown(tmp_path, out.getvalue())
    assert opened(picture).size == (2_000, 1_333)
    assert picture.media_type == "image/jpeg"
    assert len(picture.data) < 5_000_000


async def test_the_pages_of_a_tiff_are_pages(tmp_path: Path) -> None:
    page = Image.new("L", (40, 30), 200)
    out = io.BytesIO()
    page.save(out, "TIFF", save_all=True, append_images=[page, page])
    path = tmp_path / "fax"
    await asyncio.to_thread(path.write_bytes, out.getvalue())
    reader = Reader("Words.")
    limits = Limits(max_pictures=2)
    found = await read_file(path, file_name="fax.tif", pictures=reader, limits=limits)
    assert [p.number for p in reader.seen] == [1, 2]
    assert [a.number for a in found.anchors] == [1, 2]
    unread, read = found.notes
    assert (unread.code, read.code) == (NoteCode.PAGES_WITHOUT_TEXT, NoteCode.READ_BY_MODEL)
    assert "page 3 (more pictures" in unread.message


async def test_an_animation_shows_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("L", (40, 30), shade) for shade in (0, 255)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    (picture,) = await shown(tmp_path, out.getvalue())
    assert opened(picture).convert("L").getpixel((1, 1)) == 0


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG that says it is so large, whatever its data are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in parts
    )


def endless_tiff() -> bytes:
    """Its one directory names itself as the next."""
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 0) + struct.pack("<I", 8)


BOMB = png(60_000, 60_000, zlib.compress(bytes(60_001) * 2_000, 9))
HOSTILE = {
    "nothing": (b"", "x.png", ExtractionCode.EMPTY),
    "zeros": (bytes(500), "x.png", ExtractionCode.EMPTY),
    "a text": (b"Not a picture at all.", "x.png", ExtractionCode.WRONG_TYPE),
    "a bomb": (BOMB, "x.png", ExtractionCode.TOO_LARGE),
    "a bomb named .jpg": (BOMB, "x.jpg", ExtractionCode.TOO_LARGE),
    "no pixels": (png(0, 0, b""), "x.png", ExtractionCode.DAMAGED),
    "a head alone": (b"\x89PNG\r\n\x1a\n" + bytes(99), "x.png", ExtractionCode.DAMAGED),
    "the half of it": (draw("JPEG", (900, 900))[:4_000], "x.jpg", ExtractionCode.DAMAGED),
    "garbage for data": (png(50, 50, b"garbage" * 9), "x.png", ExtractionCode.DAMAGED),
    "a tiff in circles": (endless_tiff(), "x.tif", ExtractionCode.DAMAGED),
    "a webp head": (b"RIFF\xff\xff\xff\x7fWEBPVP8X" + bytes(40), "x.webp", ExtractionCode.DAMAGED),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_picture_is_shown_to_nobody(tmp_path: Path, case: str) -> None:
    data, name, code = HOSTILE[case]
    path, reader = tmp_path / "x", Reader("Words.")
    await asyncio.to_thread(path.write_bytes, data)
    with pytest.raises(ExtractionFailure) as failed:
        await read_file(path, file_name=name, pictures=reader)
    assert failed.value.code is code
    assert reader.seen == []
    assert failed.value.advice


async def test_a_picture_is_read_as_what_it_is(tmp_path: Path) -> None:
    (picture,) = await shown(tmp_path, draw("JPEG"), "scan.png")
    assert opened(picture).size == (40, 30)
    (picture,) = await shown(tmp_path, draw("PNG"), "paper.pdf")
    assert opened(picture).size == (40, 30)
