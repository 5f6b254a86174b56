"""A PDF's bookmarks as the headings of its chunks."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.documents.bookmarks import Bookmark, sectioned
from agents.documents.chunking import TextChunk, chunk
from agents.documents.extracted import ExtractedText
from agents.documents.reading import read_file
from tests.agents.documents.test_pictures import Reader
from tests.agents.documents.written import read, write_pdf

PAGES = [
    ["Networks", "A preface nobody asked for."],
    ["Chapter 1", "Routing", "A router forwards packets.", "It reads a table.", "1.1 Tables"],
    ["A table has prefixes.", "1.2 Time to", "live", "It is lowered by one.", "2 Transport"],
    ["TCP acknowledges."],
]
MARKS = [
    (2, 0, "Chapter 1: Routing"),
    (2, 1, "Tables"),
    (3, 1, "1.2  Time to live"),
    (3, 0, "Transport"),
]


def cut(found: ExtractedText) -> list[TextChunk]:
    chunks = list(chunk(found, count_tokens=lambda text: len(text.split())))
    assert all(found.text[c.start : c.end] == c.text for c in chunks)
    assert "".join("".join(c.text for c in chunks).split()) == "".join(found.text.split())
    return chunks


def paths(found: ExtractedText) -> list[tuple[int | None, str, tuple[str, ...]]]:
    return [(c.page, c.text.split("\n")[-1], c.heading_path) for c in cut(found)]


def test_a_bookmark_is_the_heading_of_what_follows_across_pages() -> None:
    found = read(write_pdf(PAGES, bookmarks=MARKS).data, "x.pdf")
    routing = "Chapter 1: Routing"
    assert paths(found) == [
        (1, "A preface nobody asked for.", ()),
        (2, "It reads a table.", (routing,)),
        (2, "1.1 Tables", (routing, "Tables")),
        (3, "A table has prefixes.", (routing, "Tables")),
        (3, "It is lowered by one.", (routing, "1.2 Time to live")),
        (3, "2 Transport", ("Transport",)),
        (4, "TCP acknowledges.", ("Transport",)),
    ]
    assert found.text == read(write_pdf(PAGES).data, "x.pdf").text


def test_a_title_that_is_not_on_its_page_begins_with_it() -> None:
    marks = [(2, 0, "Drawn as a picture"), (3, 1, "Nowhere"), (4, 0, "TCP acknowledges")]
    found = read(write_pdf(PAGES, bookmarks=marks).data, "x.pdf")
    assert [(page, path) for page, _, path in paths(found)] == [
        (1, ()),
        (2, ("Drawn as a picture",)),
        (3, ("Drawn as a picture", "Nowhere")),
        (4, ("TCP acknowledges",)),
    ]


def test_without_bookmarks_there_are_no_headings() -> None:
    found = read(write_pdf(PAGES).data, "x.pdf")
    assert found.headings == ()
    assert {path for _, _, path in paths(found)} == {()}


def test_a_word_of_a_sentence_is_no_title() -> None:
    marks = [(2, 0, "Routing"), (2, 0, "a table")]
    found = read(write_pdf(PAGES, bookmarks=marks).data, "x.pdf")
    assert [(text, path) for page, text, path in paths(found) if page == 2] == [
        ("Chapter 1", ()),
        ("Routing", ("Routing",)),
        ("1.1 Tables", ("a table",)),
    ]


@pytest.mark.parametrize(
    "title", ["\x00\x01\x02", " \u200b ", "e" + "\u0301" * 500, "\ud800", "x" * 50_000, "Zu\u0301g"]
)
async def test_a_hostile_title_does_not_cost_the_text(tmp_path: Path, title: str) -> None:
    path = tmp_path / "x"
    marks = [(1, 0, title), (2, 0, "Fine")] if title != "\ud800" else [(2, 0, "Fine")]
    pdf = write_pdf([["One."], ["Two."]], bookmarks=marks)
    await asyncio.to_thread(path.write_bytes, pdf.data)
    found = await read_file(path, file_name="x.pdf")
    assert found.text == "One.\nTwo."
    assert cut(found)[-1].heading_path == ("Fine",)
    assert all(len(heading.title) <= 200 for heading in found.headings)


async def test_scanned_pages_stand_under_the_bookmarks_too(tmp_path: Path) -> None:
    path = tmp_path / "x"
    pdf = write_pdf(
        [[], ["Text."], [], []],
        pictures=(1, 3, 4),
        bookmarks=[(1, 0, "One"), (2, 1, "Two"), (3, 1, "Three"), (4, 0, "Four")],
    )
    await asyncio.to_thread(path.write_bytes, pdf.data)
    reader = Reader("THREE\nWords.")
    found = await read_file(path, file_name="x.pdf", pictures=reader)
    assert [(c.page, c.text, c.heading_path) for c in cut(found)] == [
        (1, "THREE\nWords.", ("One",)),
        (2, "Text.", ("One", "Two")),
        (3, "THREE\nWords.", ("One", "Three")),
        (4, "THREE\nWords.", ("Four",)),
    ]
    unread = await read_file(path, file_name="x.pdf")
    assert paths(unread) == [(2, "Text.", ("One", "Two"))]


words = st.text("ab 1.\n\u00df", max_size=20)


@given(
    text=st.text("ab 1.\n\u00df", min_size=1, max_size=200).filter(str.strip),
    marks=st.lists(st.tuples(st.integers(1, 4), words.filter(str.strip)), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_blocks_hold_every_character_whatever_the_bookmarks(
    text: str, marks: list[tuple[int, str]]
) -> None:
    blocks, headings = sectioned(text, 1, [Bookmark(*mark) for mark in marks])
    ends = [0, *(end for block in blocks for end in (block.start, block.end)), len(text)]
    assert ends == sorted(ends)
    assert all(block.start < block.end for block in blocks)
    assert all(text[b.start : b.end] == text[b.start : b.end].strip() for b in blocks)
    kept = "".join(text[b.start : b.end] for b in blocks)
    assert "".join(kept.split()) == "".join(text.split())
    assert len(headings) == len(marks)
    starts = [heading.start for heading in headings]
    assert starts == sorted(starts)
    assert all(0 <= start <= len(text) for start in starts)
