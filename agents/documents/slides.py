"""PowerPoint presentations: what the slides show. Hidden slides and speaker notes are not read."""

from collections.abc import Iterator
from typing import IO, Any

from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE

from agents.documents.canonical import Composer, one_line
from agents.documents.extracted import (
    BlockKind,
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
    LocationKind,
)
from agents.documents.media_types import PPTX


def read_slides(file: IO[bytes], limits: Limits) -> ExtractedText:
    """Raises ExtractionFailure, and what the library raises."""
    slides = Presentation(file).slides
    if len(slides) > limits.max_pages:
        raise ExtractionFailure(
            ExtractionCode.TOO_MANY_PAGES,
            f"The presentation has {len(slides):,} slides; the limit is {limits.max_pages:,}.",
            "Split the presentation.",
        )
    composer = Composer(limits)
    pictures = False
    for number, slide in enumerate(slides, start=1):
        if slide.element.get("show") == "0":
            continue
        start = composer.length
        composer.open()
        _add(composer, slide)
        pictures = pictures or any(
            shape.shape_type == MSO_SHAPE_TYPE.PICTURE for shape in _shapes(slide.shapes)
        )
        composer.anchor(LocationKind.SLIDE, start, number)
    if not composer.length and pictures:
        raise ExtractionFailure(
            ExtractionCode.NO_TEXT,
            "The slides hold pictures and no text.",
            "Upload a version with text, or add the text to the slides.",
        )
    return composer.finish(PPTX)


def _add(composer: Composer, slide: Any) -> None:
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        composer.add(BlockKind.HEADING, one_line(title.text_frame.text), level=1)
    for shape in _shapes(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame:
            for paragraph in shape.text_frame.paragraphs:
                composer.add(BlockKind.PROSE, paragraph.text, separator="\n")
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:
                cells = (one_line(cell.text_frame.text) for cell in row.cells)
                text = " | ".join(cell for cell in cells if cell)
                composer.add(BlockKind.ROW, text, separator="\n")


def _shapes(shapes: Any) -> Iterator[Any]:
    """Also those in groups, in order, without recursion."""
    stack = [iter(shapes)]
    while stack:
        for shape in stack[-1]:
            if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
                stack.append(iter(shape.shapes))
                break
            yield shape
        else:
            stack.pop()
