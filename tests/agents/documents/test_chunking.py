"""Chunks are slices of their source, in order, complete and small enough."""

import re
import tracemalloc

import pytest
from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from hypothesis import given
from hypothesis import strategies as st

from agents.documents.chunking import MAX_CHARACTERS, TextChunk, chunk
from agents.documents.extracted import ExtractedText, ExtractionFailure
from agents.documents.media_types import MARKDOWN, PLAIN
from agents.models.embedding import MiniLM
from tests.agents.documents.written import read, saved


def words(text: str) -> int:
    """A tokenizer for rules: words and punctuation marks, as two marks more."""
    return len(re.findall(r"\w+|[^\w\s]", text)) + 2


def characters(text: str) -> int:
    return 2 * len(text)


def source_of(text: str, kind: str = MARKDOWN) -> ExtractedText:
    return read(text.encode("utf-8", "replace"), "x.md" if kind == MARKDOWN else "x.txt")


def assert_faithful(source: ExtractedText, chunks: tuple[TextChunk, ...]) -> None:
    position = 0
    for number, found in enumerate(chunks):
        assert found.ordinal == number
        assert found.text == source.text[found.start : found.end]
        assert found.text
        assert found.text.strip() == found.text
        assert not source.text[position : found.start].strip()
        assert found.start >= position
        assert len(found.text) <= MAX_CHARACTERS
        position = found.end
    assert not source.text[position:].strip()


fragments = st.sampled_from(
    [
        "# A heading", "## Another", "Setext\n===", "- item one", "1. first", "```", "~~~~", "---",
        "A sentence. Another one, e.g. this. And a last!", "x" * 40, "\n", "\n\n", " ", "\t",
        "| a | b |", "\u3002\u6587\u5b57", "é", "🙂", "    code = 1", "wörd " * 30, "> quote", "\f",
    ]
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=400),
    st.lists(fragments, max_size=40).map("\n".join),
    st.lists(fragments).map("".join),
)


@given(text=texts, markdown=st.booleans(), count=st.sampled_from([words, characters]))
def test_chunks_are_slices_in_order_that_hold_everything(text, markdown, count):
    kind = MARKDOWN if markdown else PLAIN
    try:
        source = source_of(text, kind)
    except ExtractionFailure:  # the other file's subject
        return
    chunks = chunk(source, count_tokens=count, target_tokens=20, max_tokens=30)
    assert_faithful(source, chunks)
    for found in chunks:
        assert found.tokens == count(found.text)
        assert found.tokens <= 30


def test_sections_are_not_mixed_and_know_their_headings():
    text = (
        "# Course\n\nIntro.\n\n## TCP\n\n### Windows\n\nThe window slides.\n\n## UDP\n\nNo window."
    )
    chunks = chunk(source_of(text, MARKDOWN), count_tokens=words)
    assert [found.heading_path for found in chunks] == [
        ("Course",), ("Course", "TCP", "Windows"), ("Course", "UDP"),
    ]  # fmt: skip
    assert chunks[1].text == "## TCP\n\n### Windows\n\nThe window slides."


def test_code_that_fits_is_whole_and_its_comments_are_no_headings():
    code = "```python\n" + "\n".join(f"# step {n}\nx = {n}" for n in range(20)) + "\n```"
    text = "# Code\n\n" + "Some words before it. " * 20 + "\n\n" + code + "\n\nAfter."
    chunks = chunk(source_of(text, MARKDOWN), count_tokens=words)
    assert any(code in found.text for found in chunks)
    assert {found.heading_path for found in chunks} == {("Code",)}


def test_front_matter_is_no_heading():
    text = "---\ntitle: Layers\n---\n\n# Layers\n\nText."
    chunks = chunk(source_of(text, MARKDOWN), count_tokens=words)
    assert chunks[-1].heading_path == ("Layers",)


def test_long_paragraph_is_cut_between_sentences():
    text = "This is a sentence of a paragraph. " * 100
    chunks = chunk(source_of(text, PLAIN), count_tokens=words, target_tokens=50)
    assert len(chunks) > 10
    assert all(found.text.startswith("This") and found.text.endswith(".") for found in chunks)


def test_pages_of_plain_text_are_not_mixed():
    source = source_of("first page\f\nsecond page\n\nmore\f", PLAIN)
    chunks = chunk(source, count_tokens=words)
    assert [(found.page, found.text) for found in chunks] == [
        (1, "first page"), (2, "second page\n\nmore"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "word " * 20000, "x" * 100000, ". " * 50000, "a\n\n" * 30000, "#" * 100000,
        "`" * 100000, "```\n" + "y\n" * 40000, "- \n" * 30000, "!" * 100000,
        "A.\n" * 30000, "# h\n" * 20000, "文。" * 30000, "a" + " " * 100000 + "b",
    ],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_work_is_linear_in_any_text(text):
    counted = 0

    def count(part: str) -> int:
        nonlocal counted
        counted += len(part) + 1
        return len(part)

    source = source_of(text, MARKDOWN)
    assert_faithful(source, chunk(source, count_tokens=count))
    assert counted < 12 * len(text)


def test_the_embedders_own_tokenizer_bounds_every_chunk():
    model = MiniLM(threads=1)
    text = "\n\n".join(
        f"# Part {n}\n\n" + "Congestion control halves the window, see RFC 5681. " * 30
        for n in range(5)
    ) + "\n\n" + "0123456789abcdef" * 500  # fmt: skip
    source = source_of(text, MARKDOWN)
    chunks = chunk(source, count_tokens=model.count_tokens)
    assert_faithful(source, chunks)
    assert max(found.tokens for found in chunks) <= model.max_tokens
    assert sum(found.tokens > 120 for found in chunks) > 5
    model.close()


def test_limits_must_be_possible():
    with pytest.raises(ValueError, match="target_tokens"):
        chunk(source_of("a", PLAIN), count_tokens=len, target_tokens=9, max_tokens=8)


@pytest.mark.parametrize(
    ("name", "piece"), [("x.py", "a\n"), ("x.txt", "- a\n"), ("x.txt", "Xy. ")]
)
def test_a_long_block_is_cut_as_it_is_read(name, piece):
    """It is cut in the worker, whose memory no file may fill: only the chunks are kept."""
    source = read((piece * 100_000).encode(), name)
    tracemalloc.start()
    chunks = chunk(source, count_tokens=lambda text: 2 + len(text) // 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(chunks) > 100
    assert peak < 4_000_000


def test_no_passage_repeats_more_headings_than_word_has():
    """Styles are called what a file likes: heading 500 is one."""
    document = Document()
    for level in range(1, 60):
        name = f"Heading {level}"
        if level > 9:
            document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        document.add_paragraph(f"Title {level}", style=name)
    document.add_paragraph("Words below them.")
    *_, last = chunk(read(saved(document), "x.docx"), count_tokens=words)
    assert len(last.heading_path) == 9
    assert last.heading_path[0] == "Title 1"
    assert last.heading_path[-1] == "Title 59"
