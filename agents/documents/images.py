"""Pictures as a model is shown them: decoded in the reader's process, bounded, and encoded anew.

So nothing of a picture leaves but its pixels: not where it was taken, nor what else a file hides.
"""

import io
from collections.abc import Iterator
from typing import IO, Any, Final

from PIL import Image, ImageOps

from agents.documents.extracted import (
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    Picture,
)

LONGEST_SIDE: Final = 2_000
"""Pixels; a page of A4 at 170 dots an inch. Providers scale larger ones down."""

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF")
_SMALL_BYTES = 1_000_000

Image.MAX_IMAGE_PIXELS = None  # `_bounded` refuses before anything is decoded


def read_image(file: IO[bytes], media_type: str, limits: Limits) -> ExtractedText:
    """A picture without its text; each of several in a TIFF is a page, of an animation the first
    one is shown. Raises ExtractionFailure (TOO_LARGE, TOO_MANY_PAGES), and what the library raises.
    """
    image = Image.open(file, formats=_FORMATS)
    frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if frames > limits.max_pages:
        raise ExtractionFailure(
            ExtractionCode.TOO_MANY_PAGES,
            f"The picture has {frames:,} pages; the limit is {limits.max_pages:,}.",
            "Split it.",
        )
    if frames == 1:
        shown = Picture(0, *encoded(_shown(image, limits)))
        return ExtractedText("", media_type, pictures=(shown,))
    pictures = within(limits, _pages(image, min(frames, limits.max_pictures), limits))
    silent = tuple(range(1, frames + 1))
    return ExtractedText("", media_type, pictures=tuple(pictures), silent=silent)


def encoded(image: Image.Image) -> tuple[str, bytes]:
    """The picture's type and bytes: a PNG where that is small, else a JPEG of at most some 5 MB."""
    image.info.clear()
    jpeg, png = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=85)
    if jpeg.tell() <= _SMALL_BYTES:  # where it is not, a PNG is larger, and takes ten times as long
        image.save(png, "PNG")
        if png.tell() <= _SMALL_BYTES:
            return "image/png", png.getvalue()
    return "image/jpeg", jpeg.getvalue()


def within(limits: Limits, pictures: Iterator[Picture]) -> Iterator[Picture]:
    """As many as one file may have, in bytes."""
    left = limits.max_picture_bytes
    for picture in pictures:
        left -= len(picture.data)
        if left < 0:
            return
        yield picture


def _pages(image: Any, frames: int, limits: Limits) -> Iterator[Picture]:
    for at in range(frames):
        image.seek(at)
        yield Picture(at + 1, *encoded(_shown(image, limits)))


def _shown(image: Image.Image, limits: Limits) -> Image.Image:
    """As it is looked at: upright, on white, in grey or colour, not larger than it helps."""
    if image.width * image.height > limits.max_pixels:
        raise ExtractionFailure(
            ExtractionCode.TOO_LARGE,
            f"The picture has {image.width:,} by {image.height:,} pixels; the limit is "
            f"{limits.max_pixels:,} in all.",
            "Make it smaller, or split it.",
        )
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits a pixel
        upright = upright.convert("I").point(lambda value: value / 256)
    transparent = upright.has_transparency_data
    grey = upright.mode in {"1", "L", "I"} and not transparent
    seen = upright.convert("RGBA" if transparent else "L" if grey else "RGB")
    seen.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if not transparent:
        return seen
    paper = Image.new("RGBA", seen.size, "white")
    paper.alpha_composite(seen)
    return paper.convert("RGB")
