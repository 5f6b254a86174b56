"""Every format: chunks are exact slices in order that hold everything, at the place they say."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.documents.chunking import TextChunk, chunk
from agents.documents.extracted import LocationKind
from agents.documents.locations import column_letters
from tests.agents.documents.test_chunking import assert_faithful, words
from tests.agents.documents.written import (
    Written,
    read,
    write_csv,
    write_docx,
    write_html,
    write_lines,
    write_notebook,
    write_pdf,
    write_pptx,
    write_xlsx,
)

ASCII = "abcdefghijklmnopqrstuvwxyz"
ANY = ASCII + "éßøñçЖהعあ漢한ω&<>'"
numbers = st.integers(10_000, 99_999)


def sentences(alphabet: str) -> st.SearchStrategy[str]:
    """Words that are long enough to be told apart, ended by a number."""
    word = st.text(alphabet, min_size=1, max_size=9)
    return st.builds(
        lambda parts, number: f"{' '.join(parts)} q{number}",
        st.lists(word, min_size=1, max_size=12),
        numbers,
    )


def pages(alphabet: str = ANY, most: int = 6, least: int = 1) -> st.SearchStrategy[Any]:
    """Lists of lists of sentences."""
    return st.lists(
        st.lists(sentences(alphabet), min_size=least, max_size=most), min_size=1, max_size=6
    )


FORMATS: dict[str, st.SearchStrategy[Written]] = {
    "pdf": pages(ASCII).map(write_pdf),
    "docx": pages().map(write_docx),
    "pptx": pages(least=2).map(write_pptx),
    "xlsx": st.lists(pages(), min_size=1, max_size=3).map(write_xlsx),
    "html": pages().map(write_html),
    "ipynb": pages().map(write_notebook),
    "txt": pages().map(lambda p: write_lines("x.txt", p)),
    "md": pages().map(lambda p: write_lines("x.md", p)),
    "py": pages().map(lambda p: write_lines("x.py", p)),
    "csv": pages(ANY.replace("'", "")).map(write_csv),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(data=st.data())
def test_chunks_hold_the_text_where_the_program_put_it(name: str, data: st.DataObject) -> None:
    written = data.draw(FORMATS[name])
    source = read(written.data, written.file_name)
    chunks = chunk(source, count_tokens=words, target_tokens=18, max_tokens=30)
    assert_faithful(source, chunks)
    assert all(found.tokens <= 30 for found in chunks)
    assert "unseen" not in source.text
    assert "speakernotes" not in source.text
    position = 0
    for text, place in written.texts:
        at = found_at(source.text, text, position)
        assert at >= position, (text, source.text[position:])
        position = at + 1
        holders = [c for c in chunks if c.start < at + len(text) and at < c.end]
        assert holders
        assert all(holds(holder, place) for holder in holders), (text, place, holders)


def found_at(text: str, wanted: str, position: int) -> int:
    match = re.compile(r"\s+".join(map(re.escape, wanted.split()))).search(text, position)
    return -1 if match is None else match.start()


def holds(found: TextChunk, place: str | None) -> bool:
    """Whether the chunk's place includes the one the text was put at."""
    if place is None or found.location is None:
        return place is None and found.location is None
    where = found.location
    if where.kind is not LocationKind.CELL_RANGE:
        number = int(place.split()[-1])
        return bool(where.first and where.last and where.first <= number <= where.last)
    sheet, _, cell = place.partition("!")
    if not where.label.startswith(sheet) or not cell:
        return where.label.startswith(sheet)
    row, column = int(re.sub(r"\D", "", cell)), re.sub(r"\d", "", cell)
    left, _, right = where.label.partition("!")[2].partition(":")
    columns = [re.sub(r"\d", "", edge) for edge in (left, right or left)]
    key: Callable[[str], tuple[int, str]] = lambda c: (len(c), c)  # noqa: E731
    assert where.first
    assert where.last
    return where.first <= row <= where.last and key(columns[0]) <= key(column) <= key(columns[1])


def test_a_chunk_does_not_cross_a_page_a_slide_or_a_sheet() -> None:
    for written in (
        write_pdf([["one q10000"], ["two q10001"]]),
        write_pptx([["one", "q10000"], ["two", "q10001"]]),
        write_xlsx([[["q10000"]], [["q10001"]]]),
    ):
        chunks = chunk(read(written.data, written.file_name), count_tokens=words)
        assert len(chunks) == 2, written.file_name
        assert ["q1000" in found.text for found in chunks] == [True, True]


def test_headings_are_the_path_of_what_stands_below_them() -> None:
    for written in (
        write_docx([["One", "first words"], ["Two", "second words"]]),
        write_html([["One", "first words"], ["Two", "second words"]]),
        write_pptx([["One", "first words"], ["Two", "second words"]]),
    ):
        chunks = chunk(read(written.data, written.file_name), count_tokens=words)
        assert [found.heading_path for found in chunks] == [("One",), ("Two",)], written.file_name


def test_a_row_that_fits_is_never_torn() -> None:
    rows = [[f"cell {n} of row {r}" for n in range(3)] for r in range(30)]
    for written in (write_xlsx([rows]), write_docx([["Table", *rows[0]]]), write_csv(rows)):
        source = read(written.data, written.file_name)
        chunks = chunk(source, count_tokens=words, target_tokens=25, max_tokens=40)
        lines = [line for found in chunks for line in found.text.splitlines()]
        assert all(line.count("cell") in {0, 1, 3} for line in lines)
        whole = sum(line.count("cell") == 3 for line in lines)
        assert whole == (1 if written.file_name.endswith("docx") else 30)


@pytest.mark.parametrize(
    ("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (702, "ZZ"), (703, "AAA")]
)
def test_columns_are_named_as_in_excel(number: int, letters: str) -> None:
    assert column_letters(number) == letters
