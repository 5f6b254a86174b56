"""Sentences end where a reader says they do."""

from hypothesis import given
from hypothesis import strategies as st

from agents.documents.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def test_prose():
    assert sentences('Dr. Li says, e.g. this. "It works!" He left (see Fig. 3). Then? 3.5 MB.') == [
        "Dr. Li says, e.g. this.", '"It works!"', "He left (see Fig. 3).", "Then?", "3.5 MB.",
    ]  # fmt: skip
    assert sentences("第一句。第二句。") == ["第一句。", "第二句。"]
    assert sentences("A heading\n\nwith a paragraph") == ["A heading", "with a paragraph"]
    assert sentences("Wrapped\nlines. Marked.[1] So") == ["Wrapped\nlines.", "Marked.[1]", "So"]


@given(st.text(alphabet="aA .!?\n\"')。e", max_size=200))
def test_spans_hold_everything_in_order(text):
    position = 0
    for start, end in sentence_spans(text):
        assert position <= start < end
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()
