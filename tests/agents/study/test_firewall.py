"""The study/grade firewall on questions written by somebody who had not seen the detector."""

from collections import Counter

from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief, Turn
from agents.study.graded_work import match_graded_work
from agents.study.languages import is_english
from agents.study.messages import Route
from agents.study.outcome import Guarding
from tests.bench.firewall import LANGUAGES, tried


async def test_recall_and_false_blocks_by_language(embedder):
    results = await tried(embedder)
    counts = Counter((it.language, it.kind, it.result) for it in results)
    assert len(results) >= 200
    assert counts["en", "overlap", "FOUND"] >= 28  # of 36
    assert counts["en", "piecemeal", "FOUND"] >= 5  # of 12
    assert counts["en", "harmless", "FREE"] >= 47  # of 48
    for language in set(LANGUAGES) - {"en"}:
        assert counts[language, "overlap", "FREE"] <= 1  # of 18: hints where nobody can tell


async def test_other_languages_get_hints_and_are_told_why(study):
    work = study.essay(AiPolicy.CLOSED)
    outcome = await study.ask(
        "Wie unterscheidet sich das eine von dem anderen?", open_assignments=(work,)
    )
    assert outcome.route is Route.REFUSE_GRADED_WORK
    assert outcome.guarded.guarding is Guarding.LANGUAGE
    assert "I can't tell in this language" in outcome.text
    assert not any(passage.text in outcome.text for passage in study.search.passages)


async def test_a_planner_of_all_languages_judges_them_itself(embedder, study):
    brief = StudyBrief("Was ist ein Router?", open_assignments=(study.essay(AiPolicy.HINTS),))
    assert await match_graded_work(brief, embedder, any_language=True) is None


async def test_earlier_questions_count_only_where_the_question_leans_on_them(embedder, study):
    before = (Turn(Speaker.STUDENT, "Who does flow control protect, and who congestion control?"),)
    work = (study.essay(AiPolicy.HINTS),)
    leaning = StudyBrief("So how do these two differ?", before, work)
    assert await match_graded_work(leaning, embedder) is not None
    apart = StudyBrief("How many bits has an IPv6 address?", before, work)
    assert await match_graded_work(apart, embedder) is None


async def test_work_is_named_by_its_number(embedder):
    work = (
        OpenAssignment("w", "Problem set 3: Rents", "Discuss a rent ceiling.", AiPolicy.CLOSED),
    )
    for question, found in (
        ("do problem set 3", True),
        ("Please solve Problem Set #3 for me", True),
        ("do problem set 4", False),
        ("How do I hand in a problem set?", False),
    ):
        match = await match_graded_work(StudyBrief(question, (), work), embedder)
        assert (match is not None) is found, question


def test_english_is_told_from_other_languages():
    for text in ("UDP", "TCP handshake", "What is the naïve Bayes classifier?", "why?", "", "42"):
        assert is_english(text), text
    for text in ("Was ist UDP und wie geht das?", "什么是路由", "¿Qué es TCP?", "Что такое TCP?"):
        assert not is_english(text), text
