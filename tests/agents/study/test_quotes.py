"""A quote is found where it stands, and only there."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.study.quotes import locate, normalised

TEXT = (
    "The sender **never** has more\n  data “in flight”—see `cwnd` — than the "
    "window\u2019s size: 2*3."
)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("never has more data", "never** has more\n  data"),
        ('data "in flight"-see cwnd - than', "data “in flight”—see `cwnd` — than"),
        ("the window's size: 2*3.", "the window\u2019s size: 2*3."),
        ('"The sender never has more"', "The sender **never** has more"),
        ("The\u00a0sender ne\u00advver".replace("vv", "v"), "The sender **never"),
    ],
)
def test_found_up_to_spelling(quote, found):
    start, end = locate(quote, TEXT)
    assert TEXT[start:end] == found


@pytest.mark.parametrize(
    "quote",
    [
        "the sender never has more data",  # case
        "The sender has more data",  # a left-out word
        "he sender never has more data",  # not a whole word
        "the window's size: 23.",  # another number
        "never has",  # too short to say anything
        "", "   ", "\u200b\u200b", "the receiver always knows",
    ],
)  # fmt: skip
def test_not_found(quote):
    assert locate(quote, TEXT) is None


characters = st.sampled_from("ab B1 *`\n\t\u00a0“”\"‘’'—–-\u200b\u00adé.e\u0301")  # noqa: RUF001 - the subject
sources = st.text(characters, min_size=1, max_size=60).map(
    lambda text: unicodedata.normalize("NFC", text)
)


@given(sources, st.data())
def test_a_found_span_normalises_to_the_quote(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    quote = text[start:end]
    found = locate(quote, text)
    if found is not None:
        wanted = normalised(unicodedata.normalize("NFC", quote))
        assert normalised(text[slice(*found)]) in {wanted, wanted.strip("\"'").strip()}


@given(sources, sources, sources)
def test_a_passage_of_whole_words_is_always_found(before, inside, after):
    words = f"lorem {inside} ipsum dolor"
    text = f"{before} {words} {after}"
    respelled = words.replace("“", '"').replace("—", "-").replace(" ", "\n  ").replace("*", "*")
    start, end = locate(respelled, text)
    assert normalised(text[start:end]) == normalised(words)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_survived(quote, text):
    found = locate(quote, text)
    assert found is None or 0 <= found[0] < found[1] <= len(text)
