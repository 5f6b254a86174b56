"""The summary without a model: bounded, the same each time, made of what was said."""

from autogen_core import CancellationToken
from hypothesis import given
from hypothesis import strategies as st

from agents.study.brief import Speaker, Turn
from agents.study.summary import ExtractiveSummariser, SummaryRequest, estimated_tokens

TEXT = st.text(max_size=400)
TURNS = st.lists(
    st.builds(Turn, st.sampled_from([Speaker.STUDENT, Speaker.TUTOR]), TEXT), max_size=30
)


async def summary(previous: str, turns: list[Turn], most: int = 200) -> str:
    request = SummaryRequest(previous=previous, turns=tuple(turns), most_tokens=most, language="en")
    called = await ExtractiveSummariser().summarise(request, CancellationToken())
    return called.response.text


@given(TEXT, TURNS, st.integers(0, 300))
async def test_a_summary_is_bounded_and_repeatable(
    previous: str, turns: list[Turn], most: int
) -> None:
    made = await summary(previous, turns, most)
    assert estimated_tokens(made) <= most
    assert made == await summary(previous, turns, most)


async def test_what_the_conversation_comes_back_to_stays() -> None:
    turns = []
    for n in range(40):
        turns.append(Turn(Speaker.STUDENT, f"How does routing with prefixes treat case {n}?"))
        turns.append(Turn(Speaker.TUTOR, "Routing takes the longest prefix. More follows."))
    turns.insert(20, Turn(Speaker.STUDENT, "By the way, gardening zucchini marmalade?"))
    made = await summary("Asked: What is routing? Answered: It finds the way.", turns, 150)
    assert made.splitlines()[0].startswith("Asked: ")
    assert "prefix" in made
    assert "zucchini" not in made
    assert "More follows" not in made


async def test_all_of_a_short_conversation_stays_in_order() -> None:
    turns = [
        Turn(Speaker.STUDENT, "What is a router?"),
        Turn(Speaker.TUTOR, "It forwards packets. It has a table."),
        Turn(Speaker.STUDENT, "And a switch?"),
        Turn(Speaker.TUTOR, "It forwards frames."),
    ]
    made = await summary("Asked: Hello?", turns)
    assert made.splitlines() == [
        "Asked: Hello?",
        "Asked: What is a router? Answered: It forwards packets.",
        "Asked: And a switch? Answered: It forwards frames.",
    ]
