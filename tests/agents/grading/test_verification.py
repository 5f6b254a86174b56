"""Quotes become exact spans of the original text; what a verdict claims is checked."""

import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.grading.brief import AttemptText, Criterion
from agents.grading.invisible import DATAMARK, seen
from agents.grading.result import ReviewCode
from agents.grading.verdict import CriterionVerdict, GradeVerdict
from agents.grading.verification import Attempt, checked, located, repaired

TEXT = (
    "Bees\u00a0see  ultra\u00adviolet\nlight. \u201cThey don\u2019t see red\u201d \u2014 so the "
    "e\ufb03cient \U0001f41d picks blue.\u200b The caf\u00e9 is na\u00efve."
)


def criteria() -> tuple[Criterion, ...]:
    return (Criterion("a", "A", "", Decimal(4)), Criterion("b", "B", "", Decimal(2)))


def item(
    criterion_id: str, points: str, quotes: list[str], level: str | None = None
) -> CriterionVerdict:
    return CriterionVerdict(
        criterion_id=criterion_id,
        level_id=level,
        points=Decimal(points),
        confidence=0.7,
        rationale="r",
        quotes=quotes,
    )


@pytest.mark.parametrize(
    ("quote", "original"),
    [
        ("Bees see ultraviolet light.", "Bees\u00a0see  ultra\u00adviolet\nlight."),
        ("They don't see red", "They don\u2019t see red"),
        ('"They don\u2019t see red"', "They don\u2019t see red"),
        ('red" - so', "red\u201d \u2014 so"),
        ("efficient \U0001f41d picks", "e\ufb03cient \U0001f41d picks"),
        (f"picks{DATAMARK}blue.", "picks blue."),
        ("blue. The", "blue.\u200b The"),
        ("cafe\u0301 is", "caf\u00e9 is"),
    ],
)
def test_a_quote_is_found_however_it_is_typeset(quote: str, original: str) -> None:
    (span,) = located([quote], Attempt.of(TEXT))
    assert span.verified
    assert (TEXT[span.start : span.end], span.quote) == (original, original)


@pytest.mark.parametrize(
    "quote",
    ["Bees see infrared light", "bees see ultraviolet", "light so the", "", "  ", "\u2014", "..."],
)
def test_what_is_not_there_is_not_evidence(quote: str) -> None:
    (span,) = located([quote], Attempt.of(TEXT))
    assert not span.verified
    assert (span.start, span.end) == (0, 0)


def test_the_same_quote_counts_once() -> None:
    assert len(located(["picks blue", "picks  blue", "picks blue"], Attempt.of(TEXT))) == 1


@given(st.text(), st.data())
def test_any_visible_part_of_a_text_is_found_with_its_letters(
    raw: str, data: st.DataObject
) -> None:
    text = unicodedata.normalize("NFC", raw)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    quote = unicodedata.normalize("NFC", text[start:end])
    view = seen(quote).text.strip(' "')
    (span,) = located([quote], Attempt.of(text))
    if any(map(str.isalnum, view)) and quote == text[start:end]:
        assert span.verified
        assert span.quote == text[span.start : span.end]
        assert seen(span.quote).text.strip(' "') == view or view in seen(span.quote).text


@given(st.text())
def test_a_view_maps_every_character_to_its_source_in_order(text: str) -> None:
    view = seen(text)
    assert len(view.text) == len(view.origin)
    assert list(view.origin) == sorted(view.origin)
    assert "  " not in view.text
    assert view.text == view.text.strip(" ")


def test_a_text_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(ValueError, match="NFC"):
        AttemptText("1", "cafe\u0301")


def test_a_verdict_that_holds_has_no_problems() -> None:
    verdict = GradeVerdict(
        criteria=[item("a", "3.5", ["picks blue"]), item("z", "9", []), item("b", "0", [])],
        off_topic=False,
    )
    result = checked(verdict, criteria(), Attempt.of(TEXT))
    assert result.problems == ()
    assert [part.points for part in result.criteria] == [Decimal("3.5"), Decimal(0)]


@pytest.mark.parametrize(
    ("items", "code", "criterion_id"),
    [
        ([item("a", "1", ["nowhere"]), item("b", "0", [])], ReviewCode.UNVERIFIED_EVIDENCE, "a"),
        ([item("a", "1", []), item("b", "0", [])], ReviewCode.UNVERIFIED_EVIDENCE, "a"),
        ([item("a", "5", ["blue"]), item("b", "0", [])], ReviewCode.INVALID_VERDICT, "a"),
        ([item("a", "-1", []), item("b", "0", [])], ReviewCode.INVALID_VERDICT, "a"),
        ([item("a", "0", [])], ReviewCode.INVALID_VERDICT, "b"),
        (
            [item("a", "0", []), item("b", "0", []), item("a", "4", ["blue"])],
            ReviewCode.INVALID_VERDICT,
            "a",
        ),
    ],
)
def test_problems_are_named(
    items: list[CriterionVerdict], code: ReviewCode, criterion_id: str
) -> None:
    verdict = GradeVerdict(criteria=items, off_topic=False)
    result = checked(verdict, criteria(), Attempt.of(TEXT))
    assert [(found.code, found.criterion_id) for found in result.problems] == [(code, criterion_id)]
    for part in result.criteria:
        assert 0 <= part.points <= 4


@pytest.mark.parametrize(
    ("points", "level", "kept", "problem"),
    [("2", "some", "some", False), ("2", "high", "some", True), ("3", None, "high", True)],
)
def test_the_level_is_the_one_the_points_lie_in(
    levelled: Criterion, points: str, level: str | None, kept: str, problem: bool
) -> None:
    verdict = GradeVerdict(criteria=[item("c", points, ["blue"], level)], off_topic=False)
    result = checked(verdict, [levelled], Attempt.of(TEXT))
    assert result.criteria[0].level_id == kept
    assert bool(result.problems) == problem


def test_a_repair_changes_only_what_did_not_hold() -> None:
    attempt = Attempt.of(TEXT)
    first = GradeVerdict(
        criteria=[item("a", "1", ["nowhere"]), item("b", "1", ["picks blue"])], off_topic=False
    )
    second = GradeVerdict(
        criteria=[item("a", "2", ["picks blue"]), item("b", "2", ["invented"])], off_topic=False
    )
    result = repaired(
        checked(first, criteria(), attempt), checked(second, criteria(), attempt), criteria()
    )
    assert [part.points for part in result.criteria] == [Decimal(2), Decimal(1)]
    assert result.problems == ()
