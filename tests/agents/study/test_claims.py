"""Claims, markers and quotes, in code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import Passage
from agents.study.claims import checked, marked
from agents.study.messages import Quotation, TutorAnswer
from agents.study.outcome import UnsupportedReason

TEXT = "The window slides forward. A checksum detects damaged segments."
PASSAGE = Passage("c", "d", "Title", "Heading", 7, 0, len(TEXT), TEXT, 1.0)


def answer(text: str, *quotes: tuple[int, int, str]) -> TutorAnswer:
    return TutorAnswer(
        text=text,
        quotations=[Quotation(marker=m, passage=p, quote=q) for m, p, q in quotes],
    )


def test_a_claim_spans_its_sentence_and_marker():
    found = checked(
        answer("Damage is detected. [1] So: what else?", (1, 1, "checksum detects damaged")),
        [PASSAGE],
    )
    (claim,) = found.claims
    assert found.text[claim.start : claim.end] == "Damage is detected. [1]"
    (citation,) = found.citations
    assert (citation.source.page, citation.verified) == (7, True)
    assert TEXT[citation.quote_start : citation.quote_end] == "checksum detects damaged"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (answer("Segments arrive in perfect order."), UnsupportedReason.NO_CITATION),
        (answer("Segments arrive in order. [4]"), UnsupportedReason.NO_QUOTE),
        (answer("In order. [1]", (1, 2, "The window slides")), UnsupportedReason.NO_SUCH_PASSAGE),
        (answer("In order. [1]", (1, 0, "The window slides")), UnsupportedReason.NO_SUCH_PASSAGE),
        (answer("In order. [1]", (1, 1, "arrives in order")), UnsupportedReason.QUOTE_NOT_FOUND),
        (answer("In order. [1]", (1, 1, "window")), UnsupportedReason.QUOTE_NOT_FOUND),
    ],
)
def test_unsupported(made, reason):
    found = checked(made, [PASSAGE])
    assert [claim.reason for claim in found.unsupported] == [reason]
    assert found.verified == 0
    assert len(found.problems()) == 1
    final = marked(found)
    assert final.text.endswith("[unsupported]")
    assert "[1]" not in final.text
    (claim,) = final.unsupported
    assert final.text[claim.start : claim.end] == final.text


def test_one_good_marker_carries_a_claim_and_the_bad_one_goes():
    made = answer(
        "It slides forward [1] [2].", (1, 1, "The window slides"), (2, 1, "made up words")
    )
    final = marked(checked(made, [PASSAGE]))
    assert final.text == "It slides forward [1]."
    assert final.unsupported == ()
    assert [citation.verified for citation in final.citations] == [True, False]
    assert final.citations[0].claim_end == len(final.text)


@given(st.lists(st.sampled_from(
    ["Windows slide forward here.", "[1]", "[2]", " ", "\n\n", "Say what?", "Fine.", "[9]", "😀"]
)))  # fmt: skip
def test_marking_keeps_spans_exact(parts):
    made = answer(" ".join(parts), (1, 1, "The window slides"), (2, 1, "never said at all"))
    before = checked(made, [PASSAGE])
    after = marked(before)
    assert len(after.claims) == len(before.claims)
    assert "[2]" not in after.text
    assert "[9]" not in after.text
    position = 0
    for claim in after.claims:
        assert position <= claim.start < claim.end <= len(after.text)
        assert after.text[claim.start : claim.end].endswith("[unsupported]") == (
            claim.problem is not None
        )
        position = claim.end
