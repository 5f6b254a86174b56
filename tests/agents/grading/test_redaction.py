"""Names are gone in every way they are written, the rest stays, and every span finds its way."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.grading.naming import Identity
from agents.grading.redaction import redact
from tests.agents.grading.planted_likenesses import STILL_MISSED, likenesses
from tests.agents.grading.planted_names import ORDINARY_TEXT, PEOPLE, planted

ANN = Identity("Ann Lee", "ann.lee@example.edu")
PIECES = st.lists(
    st.sampled_from(["Ann", "Lee", "ann.lee@example.edu", " ", "\n", "-", "router", "e\u0301", "x"])
    | st.text(max_size=5)
).map(lambda pieces: unicodedata.normalize("NFC", "".join(pieces)))


def test_every_planted_variant_is_gone() -> None:
    missed = Counter(
        kind
        for kind, text, start, end, identity in planted()
        if not any(c.start <= start and c.end >= end for c in redact(text, identity).cuts)
    )
    assert missed == {}


def test_what_nearly_names_a_student_is_gone_but_for_what_is_known() -> None:
    missed = []
    for text, spans, identity in likenesses():
        gone = {i for c in redact(text, identity).cuts for i in range(c.start, c.end)}
        missed += [
            text[start:end]
            for start, end in spans
            if any(text[i].isalnum() for i in range(start, end) if i not in gone)
        ]
    assert sorted(missed) == sorted(STILL_MISSED)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Robert Singh", "Alice sends Bob a key, and Bob answers. Rob the cache of its line."),
        ("Maya Iyer", "May I add that the window halves? As a rule, May is warm."),
        ("Kate Morgenstern", "The Katz index; a kernel, a kit, the Morgue, and Keynes."),
        ("Thomas Andersson", "Tomography and the sun; an and-gate. TCP, ACK\nTom and Jerry race."),
    ],
)
def test_what_only_looks_alike_stays(name: str, text: str) -> None:
    assert redact(text, Identity(name, "x1@example.edu")).text == text


def test_only_what_was_planted_is_gone() -> None:
    wrong = [
        (kind, text, redact(text, identity).text)
        for kind, text, start, end, identity in planted()
        if not all(start <= c.start and c.end <= end for c in redact(text, identity).cuts)
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "email"), [p for p in PEOPLE if p[0] != "Ann Lee"])
def test_ordinary_text_stays(name: str, email: str) -> None:
    shown = redact(ORDINARY_TEXT, Identity(name, email)).text
    expected = ORDINARY_TEXT
    if name == "William Baker":
        expected = ORDINARY_TEXT.replace("William", "[name]")
    assert shown == expected


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Will Rose", "I will see a rose. Will is late.", "I will see a rose. Will is late."),
        ("Will Rose", "As Will said, the net is up.", "As [name] said, the net is up."),
        ("Will Rose", "By Will Rose.", "By [name]."),
        ("Ann Lee", "The end.\nA.L.\n", "The end.\n[name]\n"),
        ("Ann Lee", "Call +44 20 7946 0958 now", "Call [number] now"),
        ("Ann Lee", "Student no. 12345678: TCP", "Student no. [number]: TCP"),
        ("Ann Lee", "Mail ann (at) example.edu", "Mail [e-mail]"),
        ("Ann Lee", "annual leeway", "annual leeway"),
        ("李 明", "我是李明。", "我是[name]。"),
    ],
)
def test_what_a_reader_would_take_for_the_name(name: str, text: str, shown: str) -> None:
    assert redact(text, Identity(name, "x1@example.edu")).text == shown


@given(PIECES, st.data())
def test_spans_find_their_way_and_keep_their_order(text: str, data: st.DataObject) -> None:
    redacted = redact(text, ANN)
    assert unicodedata.is_normalized("NFC", redacted.text)
    start = data.draw(st.integers(0, len(redacted.text)))
    end = data.draw(st.integers(start, len(redacted.text)))
    low, high = redacted.to_original(start, end)
    assert 0 <= low <= high <= len(text)
    again = redacted.to_redacted(low, high)
    assert again[0] <= start
    if not any(c.at < end and start < c.at_end for c in redacted.cuts):
        assert text[low:high] == redacted.text[start:end]
    whole = redacted.to_original(0, len(redacted.text))
    assert whole == (0, len(text))
    rebuilt = redacted.text
    for cut in reversed(redacted.cuts):
        rebuilt = rebuilt[: cut.at] + text[cut.start : cut.end] + rebuilt[cut.at_end :]
    assert rebuilt == text


@given(PIECES)
def test_nothing_of_the_name_is_left(text: str) -> None:
    shown = redact(text, ANN).text
    words = "".join(c if c.isalnum() else " " for c in shown.casefold()).split()
    assert "lee" not in words
    assert "example.edu" not in shown
