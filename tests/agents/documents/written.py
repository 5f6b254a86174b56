"""Files as the programs people use write them, and where each put its text."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from PIL import Image
from pptx import Presentation
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

from agents.documents.extracted import ExtractedText, Limits
from agents.documents.extraction import extract


@dataclass(frozen=True)
class Written:
    """A file, and its texts in reading order, each with the label of its place (None: none)."""

    file_name: str
    data: bytes
    texts: list[tuple[str, str | None]]


def read(
    data: bytes, file_name: str = "x.txt", media_type: str | None = None, **limits: Any
) -> ExtractedText:
    """As the reader's process reads it, in this one."""
    return extract(
        io.BytesIO(data), file_name=file_name, media_type=media_type, limits=Limits(**limits)
    )


def draw(form: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: Any) -> bytes:
    """A picture of a dark square on light ground."""
    image = Image.new(mode, size, "white")
    image.paste(Image.new(mode, (size[0] // 2, size[1] // 2), "black"))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write_pdf(
    pages: list[list[str]],
    *,
    pictures: tuple[int, ...] = (),
    bookmarks: Sequence[tuple[int, int, str]] = (),
    strokes: tuple[int, bytes] = (0, b""),
) -> Written:
    """A page of lines each; those in `pictures` hold a filled bar besides, the higher the later.

    `bookmarks` are page, level (from 0) and title; `strokes` a page and what is drawn on it.
    """
    out = io.BytesIO()
    drawn = canvas.Canvas(out, pagesize=A4, invariant=True)
    texts = []
    for number, page in enumerate(pages, start=1):
        for row, line in enumerate(page):
            drawn.drawString(50, 800 - 14 * row, line)
            texts.append((line, f"page {number}"))
        if number in pictures:
            drawn.rect(100, 100, 200, 20 * number, fill=1)
        if number == strokes[0]:
            drawn._code.append(strokes[1].decode())  # noqa: SLF001 - the page's own operators
        for at, (to, _, _) in enumerate(bookmarks):
            if to == number:
                drawn.bookmarkPage(str(at))
        drawn.showPage()
    for at, (_, level, title) in enumerate(bookmarks):
        drawn.addOutlineEntry(title, str(at), level)
    drawn.save()
    return Written("x.pdf", out.getvalue(), texts)


def write_docx(paragraphs: list[list[str]]) -> Written:
    """A heading, then paragraphs, then a table of one row, for each list."""
    document = Document()
    texts: list[tuple[str, str | None]] = []
    for heading, *rest in paragraphs:
        document.add_heading(heading, level=2)
        texts.append((heading, None))
        for paragraph in rest:
            document.add_paragraph(paragraph)
            texts.append((paragraph, None))
        if rest:
            row = document.add_table(rows=1, cols=len(rest)).rows[0]
            for cell, text in zip(row.cells, rest, strict=True):
                cell.text = text
                texts.append((text, None))
    return Written("x.docx", saved(document), texts)


def write_pptx(slides: list[list[str]]) -> Written:
    """A title and a text for each list; every slide has notes, which are not read."""
    show = Presentation()
    texts: list[tuple[str, str | None]] = []
    for number, (title, *lines) in enumerate(slides, start=1):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(lines)
        slide.notes_slide.notes_text_frame.text = "speakernotes"
        texts += [(line, f"slide {number}") for line in (title, *lines)]
    return Written("x.pptx", saved(show), texts)


def write_xlsx(sheets: list[list[list[str]]]) -> Written:
    """Rows of cells for each sheet, from cell B2 on."""
    book = Workbook()
    book.remove(book.active)
    texts: list[tuple[str, str | None]] = []
    for number, rows in enumerate(sheets, start=1):
        sheet = book.create_sheet(f"Sheet no {number}")
        texts.append((sheet.title, sheet.title))
        for at, row in enumerate(rows, start=2):
            for column, value in enumerate(row, start=2):
                sheet.cell(at, column, value)
                place = f"{sheet.title}!{get_column_letter(column)}{at}"
                texts.append((value, place))
    return Written("x.xlsx", saved(book), texts)


def write_html(sections: list[list[str]]) -> Written:
    """A heading, paragraphs and a table of one row for each list, with hidden text between."""
    parts = ["<!doctype html><title>unseen</title><body>"]
    texts: list[tuple[str, str | None]] = []
    for heading, *rest in sections:
        parts.append(f"<h2>{escape(heading)}</h2><script>unseen()</script>")
        parts += [f"<p>{escape(text)}<span hidden>unseen</span></p>" for text in rest]
        parts.append("<div style='display: none'>unseen</div><table><tr>")
        parts += [f"<td>{escape(text)}</td>" for text in rest]
        parts.append("</tr></table>")
        texts += [(text, None) for text in (heading, *rest, *rest)]
    return Written("x.html", "".join(parts).encode(), texts)


def write_notebook(cells: list[list[str]]) -> Written:
    """Markdown and code cells in turn, with outputs, which are not read."""
    made = []
    texts: list[tuple[str, str | None]] = []
    for number, lines in enumerate(cells, start=1):
        source = [f"{line}\n" for line in lines]
        kind = "markdown" if number % 2 else "code"
        made.append({"cell_type": kind, "source": source, "outputs": [{"text": "unseen"}]})
        texts += [(line, f"cell {number}") for line in lines]
    data = json.dumps({"nbformat": 4, "metadata": {}, "cells": made}).encode()
    return Written("x.ipynb", data, texts)


def write_lines(file_name: str, paragraphs: list[list[str]]) -> Written:
    """Paragraphs of lines, as a text of any kind."""
    lines: list[str] = []
    texts: list[tuple[str, str | None]] = []
    for paragraph in paragraphs:
        for line in paragraph:
            lines.append(line)
            texts.append((line, f"line {len(lines)}"))
        lines.append("")
    return Written(file_name, "\r\n".join(lines).encode(), texts)


def write_csv(rows: list[list[str]]) -> Written:
    """A record a line."""
    lines = [",".join(row) for row in rows]
    texts: list[tuple[str, str | None]] = [(line, f"line {n}") for n, line in enumerate(lines, 1)]
    return Written("x.csv", "\n".join(lines).encode(), texts)


def saved(document: Any) -> bytes:
    """The bytes of a document with a `save` method."""
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()
