"""The offline members: what they measure, what they quote, how sure they say they are."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from autogen_agentchat.messages import TextMessage
from autogen_core import CancellationToken
from hypothesis import given
from hypothesis import strategies as st

from agents.grading.brief import AttemptText, Criterion, Exemplar, GradingBrief, GradingPolicy, Role
from agents.grading.result import GradingResult, Outcome, ReviewCode
from agents.grading.statistical.members import OfflineMembers
from agents.grading.statistical.process import ResidualProcess
from agents.grading.statistical.segments import pieces, segments
from agents.grading.statistical.terms import TermSpace, content_terms, with_bigrams
from agents.grading.team import GradingTeam
from agents.models.embedding import MiniLM
from agents.ports import Passage
from tests.agents.grading.conftest import MemoryLedger, Shelf, StageList, WordHash

SAF = Path(__file__).parents[4] / "shared" / "data" / "saf"
PROMPT = "How do honey bees find flowers?"
REFERENCE = (
    "Honey bees see ultraviolet patterns on petals. They smell the scent of nectar. "
    "Foragers dance to tell the hive the direction of a source."
)
GOOD = (
    "Bees have eyes for ultraviolet, so petals show them patterns.\n"
    "- They also smell the scent of the nectar.\n"
    "- Foragers dance in the hive to tell the direction of the source."
)
PARTIAL = "Bees smell nectar. I think that is how it works."
WRONG = "Plants make sugar from light and carbon dioxide in their leaves."


@pytest.fixture(scope="module")
async def minilm() -> AsyncIterator[MiniLM]:
    model = MiniLM()
    yield model
    model.close()


@pytest.fixture(scope="module")
def offline(minilm: MiniLM) -> OfflineMembers:
    return OfflineMembers(minilm)


def brief(reference: str | None = REFERENCE, **changes: object) -> GradingBrief:
    basic = GradingBrief(
        assignment_prompt=PROMPT,
        criteria=(Criterion("c", "Content", "Names the senses and the dance.", Decimal(5)),),
        points_possible=Decimal(5),
        reference_answer=reference,
        policy=GradingPolicy(sample_rate=Decimal(0)),
    )
    return replace(basic, **changes)  # type: ignore[arg-type]  # each test names real fields


async def grade(
    members: OfflineMembers, text: str, asked: GradingBrief, language: str | None = "en"
) -> GradingResult:
    return await GradingTeam(members, Shelf()).grade(
        asked,
        AttemptText("a", text, language),
        ledger=MemoryLedger(),
        stages=StageList(),
        cancellation=CancellationToken(),
    )


async def test_a_better_answer_scores_higher_with_every_grader(offline: OfflineMembers) -> None:
    results = [await grade(offline, text, brief()) for text in (GOOD, PARTIAL, WRONG)]
    for seat in (0, 1):
        points = [result.assessments[seat].criteria[0].points for result in results]
        assert points == sorted(points, reverse=True)
        assert len(set(points)) == 3
    assert results[0].score >= Decimal(4)
    assert results[2].score <= Decimal("2.5")
    assert [result.outcome for result in results] == [
        Outcome.PROPOSED,
        Outcome.PROPOSED,
        Outcome.NEEDS_HUMAN,
    ]


async def test_evidence_is_word_for_word_and_the_rationale_says_what_misses(
    offline: OfflineMembers,
) -> None:
    result = await grade(offline, PARTIAL, brief())
    for assessment in result.assessments:
        (criterion,) = assessment.criteria
        assert criterion.evidence
        for span in criterion.evidence:
            assert span.verified
            assert PARTIAL[span.start : span.end] == span.quote
        assert "of 3 points of the reference answer" in criterion.rationale
        assert "Foragers dance" in criterion.rationale
    assert "of 5 points" in result.feedback


async def test_the_two_graders_are_different_methods(offline: OfflineMembers) -> None:
    result = await grade(offline, PARTIAL, brief())
    one, other = result.assessments[:2]
    assert (one.model, other.model) == ("semantic", "lexical")
    assert one.criteria[0].points != other.criteria[0].points


async def test_without_reference_or_exemplars_confidence_is_low_and_a_person_decides(
    offline: OfflineMembers,
) -> None:
    result = await grade(offline, GOOD, brief(None))
    assert result.outcome is Outcome.NEEDS_HUMAN
    assert ReviewCode.LOW_CONFIDENCE in {reason.code for reason in result.reasons}
    known = await grade(offline, GOOD, brief())
    assert known.criteria[0].confidence > result.criteria[0].confidence


async def test_exemplars_move_the_score_towards_what_humans_gave(offline: OfflineMembers) -> None:
    strict = tuple(
        Exemplar(text, {"c": Decimal(points)})
        for text, points in (
            (GOOD, "2"),
            (GOOD.replace("also", "can"), "2"),
            (PARTIAL, "0.5"),
            (PARTIAL + " Really.", "0.5"),
            (WRONG, "0"),
        )
    )
    lenient = tuple(Exemplar(item.text, {"c": item.points["c"] * 2 + 1}) for item in strict)
    scores = [
        (await grade(offline, GOOD + " That is all.", brief(exemplars=exemplars))).score
        for exemplars in (strict, lenient)
    ]
    assert scores[0] < Decimal(3) < scores[1]


async def test_exemplars_alone_are_enough_to_rank(offline: OfflineMembers) -> None:
    exemplars = tuple(
        Exemplar(text, {"c": Decimal(points)})
        for text, points in ((GOOD, 5), (GOOD + " Yes.", 5), (PARTIAL, 2), (WRONG, 0), (WRONG, 0))
    )
    asked = brief(None, exemplars=exemplars)
    good = await grade(offline, GOOD.replace("Bees", "They"), asked)
    wrong = await grade(offline, WRONG.replace("Plants", "They"), asked)
    assert good.score - wrong.score > 2


async def test_a_criterion_is_measured_by_its_own_part_of_the_reference(
    offline: OfflineMembers,
) -> None:
    criteria = (
        Criterion("senses", "Senses", "Ultraviolet patterns, smell of scent.", Decimal(4)),
        Criterion("dance", "Dance", "Foragers dance the direction in the hive.", Decimal(4)),
    )
    asked = brief(criteria=criteria, points_possible=Decimal(8))
    text = "Foragers dance to tell the hive the direction of a source."
    senses, dance = (await grade(offline, text, asked)).criteria
    assert dance.points > senses.points + 1


async def test_levels_hold_the_points(offline: OfflineMembers, levelled: Criterion) -> None:
    result = await grade(
        offline, GOOD, brief(criteria=(levelled,), points_possible=levelled.points)
    )
    for assessment in result.assessments:
        (criterion,) = assessment.criteria
        level = next(item for item in levelled.levels if item.id == criterion.level_id)
        assert level.min_points <= criterion.points <= level.max_points
    assert not [reason for reason in result.reasons if reason.code is ReviewCode.INVALID_VERDICT]


async def test_something_else_is_off_topic(offline: OfflineMembers) -> None:
    text = "My grandmother bought a red bicycle in Lisbon."
    result = await grade(offline, text, brief())
    assert ReviewCode.OFF_TOPIC in {reason.code for reason in result.reasons}
    assert result.score < Decimal("1.5")
    on_topic = await grade(offline, PARTIAL, brief())
    assert ReviewCode.OFF_TOPIC not in {reason.code for reason in on_topic.reasons}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Bienen sehen Ultraviolett und riechen den Duft.", "de"),
        (
            "\u871c\u8702\u80fd\u770b\u5230\u7d2b\u5916\u7ebf\u3002\u5b83\u4eec\u95fb\u5230\u82b1\u9999\u3002",
            None,
        ),
    ],
)
async def test_another_language_is_graded_with_little_confidence(
    offline: OfflineMembers, text: str, language: str | None
) -> None:
    result = await grade(offline, text, brief(), language)
    assert result.criteria[0].confidence < 0.3
    assert result.outcome is Outcome.NEEDS_HUMAN
    assert "another language" in result.assessments[0].criteria[0].rationale


async def test_code_is_graded_and_quoted_line_by_line(offline: OfflineMembers) -> None:
    reference = "def area(r):\n    return math.pi * r ** 2"
    text = "import math\n\ndef area(radius):\n    return math.pi * radius ** 2\n"
    result = await grade(offline, text, brief(reference, assignment_prompt="Area of a circle."))
    assert result.score > Decimal("2.5")
    quotes = [span.quote for span in result.assessments[0].criteria[0].evidence]
    assert any("math.pi" in quote for quote in quotes)


async def test_a_very_long_text_is_graded(embedder: WordHash) -> None:
    text = (GOOD + "\n") * 2_000
    result = await grade(OfflineMembers(embedder), text, brief())
    assert ReviewCode.TOO_LONG in {reason.code for reason in result.reasons}
    assert embedder.embedded < 400


async def test_the_rubrics_side_is_embedded_once_for_many_attempts(embedder: WordHash) -> None:
    exemplars = tuple(Exemplar(f"{GOOD} {n}", {"c": Decimal(n % 5)}) for n in range(40))
    members = OfflineMembers(embedder)
    asked = brief(exemplars=exemplars)
    await asyncio.gather(*(grade(members, f"Bees see petals {n}", asked) for n in range(5)))
    first = embedder.embedded
    await grade(members, "Bees dance.", asked)
    assert embedder.embedded - first <= 2


async def test_the_same_attempt_gets_the_same_grade(embedder: WordHash) -> None:
    one = await grade(OfflineMembers(embedder), GOOD, brief())
    assert await grade(OfflineMembers(embedder), GOOD, brief()) == one


async def test_course_material_stands_in_for_a_missing_reference(embedder: WordHash) -> None:
    shelf = Shelf()
    shelf.passages = [Passage("c", "d", "Bees", "", 1, 0, 9, REFERENCE, 1.0)]
    result = await GradingTeam(OfflineMembers(embedder), shelf).grade(
        brief(None),
        AttemptText("a", GOOD, "en"),
        ledger=MemoryLedger(),
        stages=StageList(),
        cancellation=CancellationToken(),
    )
    assert "of the course material" in result.assessments[0].criteria[0].rationale


@pytest.mark.parametrize("role", [Role.GRADER_A, Role.GRADER_B])
async def test_a_grader_takes_only_a_grade_request(embedder: WordHash, role: Role) -> None:
    agent = OfflineMembers(embedder).grader(role)
    with pytest.raises(ValueError, match="GradeRequest"):
        await agent.on_messages([TextMessage(content="hi", source="x")], CancellationToken())


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_segments_are_spans_of_the_text_in_order(text: str) -> None:
    found = segments(text)
    for segment in found:
        assert text[segment.start : segment.end] == segment.text
    ends = [0, *(segment.end for segment in found)]
    assert all(end <= segment.start for end, segment in zip(ends, found, strict=False))
    letters = [char for char in text if char.isalpha() and char not in "abcdefghijklmnopqrstuvwxyz"]
    kept = "".join(segment.text for segment in found)
    assert all(char in kept for char in letters if not char.isascii())


def test_pieces_are_short_and_few() -> None:
    parts = pieces("One sentence of a number of words. " * 5_000)
    assert 10 < len(parts) <= 40
    assert max(map(len, parts)) <= 1_000
    assert pieces("short") == ("short",)


def test_list_marks_are_not_part_of_a_quote() -> None:
    assert [item.text for item in segments("1. One\n- two\n\u2022 three\n(b) four\n42.")] == [
        "One",
        "two",
        "three",
        "four",
        "42.",
    ]


def test_tf_idf_rows_are_at_most_of_length_one_and_know_their_document() -> None:
    documents = [with_bigrams(content_terms(text)) for text in (GOOD, PARTIAL, WRONG, REFERENCE)]
    vectors = TermSpace(documents).vectors(documents)
    lengths = np.linalg.norm(vectors, axis=1)
    assert (lengths <= 1 + 1e-9).all()
    likeness = vectors @ vectors.T
    assert likeness[0, 3] > likeness[1, 3] > likeness[2, 3]


def test_a_process_follows_its_exemplars_and_doubts_far_from_them() -> None:
    places = np.linspace(0, 1, 30)[:, None]
    residuals = 0.4 * places[:, 0] - 0.2
    process = ResidualProcess.fit(np.ones((30, 30)), places, np.array([0.2]), residuals, (None,))
    near = process.predict(np.ones(30), np.array([0.8]), 0.25)
    far = process.predict(np.zeros(30), np.array([9.0]), 0.25)
    assert near.mean == pytest.approx(0.12, abs=0.03)
    assert abs(far.mean) < abs(near.mean)
    assert far.deviation > near.deviation


@pytest.mark.skipif(not SAF.exists(), reason="the Short Answer Feedback data is not here")
async def test_agreement_with_humans_on_unseen_questions(minilm: MiniLM) -> None:
    """A fixed sample; the whole measurement is `python -m tests.bench.grading`."""
    lines = (SAF / "unseen_questions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines][::12]
    members = OfflineMembers(minilm)
    scores = []
    for row in rows:
        asked = brief(
            row["reference"],
            assignment_prompt=row["question"],
            criteria=(Criterion("c", "Correctness", "", Decimal(1)),),
            points_possible=Decimal(1),
        )
        scores.append(float((await grade(members, row["answer"], asked)).score))
    human = [row["score"] for row in rows]
    assert np.corrcoef(scores, human)[0, 1] > 0.75
