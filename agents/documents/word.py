"""Word documents: the paragraphs and table rows of the body, then its notes.

Read from the markup rather than from python-docx's paragraphs, which leave out what was inserted
with tracked changes and what stands in content controls. Deleted and hidden text is left out.
"""

from collections.abc import Iterator
from typing import IO, Any

from docx import Document
from docx.oxml.ns import qn

from agents.documents.canonical import Composer, one_line
from agents.documents.extracted import BlockKind, ExtractedText, Limits
from agents.documents.media_types import DOCX

_P, _TBL, _TR, _TC = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT = {qn("w:t"), qn("m:t")}
_SPACES = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_SKIPPED = {
    qn("w:del"), qn("w:moveFrom"), qn("w:instrText"), qn("w:rPr"), qn("w:pPr"),
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}  # fmt: skip
_NOTES = ("footnotes+xml", "endnotes+xml")
_TITLE_LEVEL = 1


def read_word(file: IO[bytes], limits: Limits) -> ExtractedText:
    """Raises ExtractionFailure(EMPTY, TOO_MUCH_TEXT), and what the library raises."""
    document = Document(file)
    levels = _heading_levels(document)
    composer = Composer(limits)
    _add(composer, document.element.body, levels)
    for part in document.part.package.iter_parts():
        if part.content_type.endswith(_NOTES):
            root = getattr(part, "element", None)
            _add(composer, _parsed(part.blob) if root is None else root, levels)
    return composer.finish(DOCX)


def _parsed(blob: bytes) -> Any:
    from docx.oxml.parser import parse_xml  # noqa: PLC0415 - only where there are notes

    return parse_xml(blob)


def _heading_levels(document: Any) -> dict[str, int]:
    """Style ids of headings: by their outline level, or their name, which is never translated."""
    levels: dict[str, int] = {}
    for style in document.styles.element.iterchildren(qn("w:style")):
        outline = style.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
        name = style.find(qn("w:name"))
        shown = ("" if name is None else name.get(qn("w:val"), "")).lower()
        key = style.get(qn("w:styleId"), "")
        if outline is not None and outline.get(qn("w:val"), "9") in set("012345678"):
            levels[key] = int(outline.get(qn("w:val"))) + 1
        elif shown.startswith("heading ") and shown[8:].isdecimal():
            levels[key] = int(shown[8:])
        elif shown == "title":
            levels[key] = _TITLE_LEVEL
    return levels


def _add(composer: Composer, root: Any, levels: dict[str, int]) -> None:
    for element in _blocks(root):
        if element.tag == _TR:
            cells = [one_line(_cell(cell)) for cell in element.iter(_TC) if _row_of(cell, element)]
            row = " | ".join(text for text in cells if text)
            composer.add(BlockKind.ROW, row, separator="\n")
            continue
        level = _level(element, levels)
        kind = BlockKind.HEADING if level else BlockKind.PROSE
        composer.add(kind, _paragraph(element), level=level)


def _blocks(root: Any) -> Iterator[Any]:
    """Paragraphs, and rows of outermost tables, in order, without recursion."""
    stack = [iter(root)]
    while stack:
        for element in stack[-1]:
            if element.tag in _SKIPPED:
                continue
            if element.tag in {_P, _TR}:
                yield element
                if element.tag == _P:
                    stack.append(iter(_boxes(element)))
                    break
                continue
            stack.append(iter(element))
            break
        else:
            stack.pop()


def _boxes(paragraph: Any) -> list[Any]:
    """Text boxes that hang on the paragraph; the copy for old programs is left out."""
    return [
        box
        for box in paragraph.iter(qn("w:txbxContent"))
        if next(box.iterancestors(_P)) is paragraph
        and not any(above.tag in _SKIPPED for above in box.iterancestors())
    ]


def _row_of(cell: Any, row: Any) -> bool:
    return next(cell.iterancestors(_TR)) is row


def _cell(cell: Any) -> str:
    return " ".join(_paragraph(paragraph) for paragraph in cell.iter(_P))


def _level(paragraph: Any, levels: dict[str, int]) -> int:
    properties = paragraph.find(qn("w:pPr"))
    if properties is None:
        return 0
    style = properties.find(qn("w:pStyle"))
    return 0 if style is None else levels.get(style.get(qn("w:val"), ""), 0)


def _paragraph(paragraph: Any) -> str:
    """Its visible text, without that of text boxes in it."""
    parts: list[str] = []
    stack = [iter(paragraph)]
    while stack:
        for element in stack[-1]:
            tag = element.tag
            if tag in _TEXT:
                parts.append(element.text or "")
            elif tag in _SPACES:
                parts.append(_SPACES[tag])
            elif tag not in _SKIPPED and tag != qn("w:txbxContent") and not _hidden(element):
                stack.append(iter(element))
                break
        else:
            stack.pop()
    return "".join(parts)


def _hidden(run: Any) -> bool:
    vanish = run.find(f"{qn('w:rPr')}/{qn('w:vanish')}")
    return vanish is not None and vanish.get(qn("w:val"), "1") not in {"0", "false"}
