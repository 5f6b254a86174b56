"""What the team itself says: refusals, hints, questions back and honest abstentions.

Written here and not by a model, so that none of it can hold an answer, a made-up source or
another student's words. English.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from agents.ports import Passage, WebPage, WebProblem
from agents.study.brief import OpenAssignment, StudyLimits
from agents.study.budget import Bound
from agents.study.graded_work import GradedWorkMatch
from agents.study.terms import terms

_MAX_PLACES = 4
_MAX_TERMS = 6
_UNREADABLE = frozenset({"Cc", "Co", "Cn", "Cs"})


def refusal(assignment: OpenAssignment) -> str:
    """For open work whose policy is CLOSED."""
    return (
        f"This is part of “{assignment.title}”, which is still open, and its instructor has "
        "asked that no AI help is given with it. I can explain other topics of the course, or "
        "talk about this one after the deadline."
    )


def hints(match: GradedWorkMatch, question: str, passages: Sequence[Passage]) -> str:
    """The hint ladder: where to read; then what to ask there; then which words to look for.

    Made of headings and of the student's and the assignment's own words only: no sentence of a
    passage is in it.
    """
    work = match.assignment
    lines = [
        f"This is part of “{work.title}”, which is still open, so I give hints and no answer."
        if match.supported
        else f"“{work.title}” is still open, and I can't tell in this language whether your "
        "question is about it, so I give hints and no answer. In English I can tell.",
    ]
    places = _places(passages)
    if not places:
        lines.append("I found no course material on it. Ask your instructor where to start.")
        return "\n\n".join(lines)
    lines.append(
        "Where to read:\n" + "\n".join(f"{n}. {place}" for n, (place, _) in enumerate(places, 1))
    )
    if match.rung >= 2:
        asked = [_guiding_question(n, found, question) for n, (_, found) in enumerate(places, 1)]
        lines.append("Ask yourself while reading:\n" + "\n".join(f"- {line}" for line in asked))
    if match.rung >= 3:
        wanted = _own_terms(f"{question} {work.prompt}", passages)
        if wanted:
            lines.append(
                "Words of the task that these sections use: "
                + ", ".join(wanted)
                + ". Find the sentence with each, and say in your own words what it claims."
            )
    if match.rung < 3:
        lines.append("Ask again after reading, and I'll give a closer hint.")
    else:
        lines.append("Write a first version. I can explain any single concept that stays unclear.")
    return "\n\n".join(lines)


def abstention(
    queries: Sequence[str],
    passages: Sequence[Passage],
    pages: Sequence[WebPage] = (),
    problem: WebProblem | None = None,
) -> str:
    """When the sources do not answer: what was searched, and the nearest places."""
    searched = "; ".join(f"“{_shortened(query)}”" for query in queries[:4])
    addresses = "\n".join(f"- {_shortened(page.title)}: {page.url}" for page in pages[:_MAX_PLACES])
    if passages:
        places = "\n".join(f"- {place}" for place, _ in _places(passages))
        said = "The course material does not say, or I could not find it. "
        said += f"I searched for {searched}. The nearest sections, which do not answer it:"
        parts = [said, places]
    elif pages:
        parts = [f"I could not find an answer on the web. I searched for {searched}."]
    else:
        said = f"I found no course material that I may read on this. I searched for {searched}. "
        parts = [said + "If your course has documents, they may not be indexed yet."]
    if addresses:
        parts += ["Pages I looked at, which do not answer it either:", addresses]
    elif problem is not None:
        parts.append(web_problem(problem))
    return "\n\n".join(parts)


_WEB_PROBLEMS: Final = {
    WebProblem.NOT_CONFIGURED: "no web search is set up here",
    WebProblem.SWITCHED_OFF: "your course has switched it off",
    WebProblem.NOT_APPROVED: "your organization has not approved the search service",
    WebProblem.QUOTA: "today's searches of your organization are used up; try again tomorrow",
    WebProblem.REFUSED: "the search service refuses our key; an operator has to look at it",
    WebProblem.BUSY: "the search service is busy; try again in a few minutes",
    WebProblem.SLOW: "the search service took too long; try again in a few minutes",
    WebProblem.UNREACHABLE: "the search service can't be reached; try again in a few minutes",
    WebProblem.MALFORMED: "the search service sent something unreadable",
    WebProblem.TOO_LARGE: "the search service sent too much",
}


def web_problem(problem: WebProblem | None) -> str:
    """Why the web is not in an answer; empty without a problem."""
    return f"I did not search the web: {_WEB_PROBLEMS[problem]}." if problem else ""


_BOUNDS: Final = {
    Bound.CALLS: "its number of model calls",
    Bound.TOKENS: "its number of tokens",
    Bound.SECONDS: "its time",
    Bound.MONEY: "its cost",
}


def broke_off(bound: Bound | None) -> str:
    """That the answer holds what was verified until the budget was reached; empty without one."""
    if bound is None:
        return ""
    return (
        f"I stopped here: the limit of one answer is reached ({_BOUNDS[bound]}). What is above is "
        "verified. Ask for a part of your question to get more."
    )


def nothing_verified(bound: Bound) -> str:
    """When the budget is reached with nothing to show."""
    return (
        f"I could not finish: the limit of one answer is reached ({_BOUNDS[bound]}), and nothing "
        "was verified until then. Ask again, for one thing at a time."
    )


def is_text(question: str) -> bool:
    """Whether this is something a person wrote, and not bytes: mostly characters one can see."""
    unreadable = sum(
        it == "\ufffd" or (unicodedata.category(it) in _UNREADABLE and not it.isspace())
        for it in question
    )
    return 10 * unreadable <= len(question)


def no_text() -> str:
    """For a message without words."""
    return (
        "I can't read your message as text. If it is a file, give it to your course as a document; "
        "here, write your question in words."
    )


def no_question() -> str:
    """For an empty question."""
    return "What would you like to know? Ask about a topic, a term or a section of your course."


def too_long(characters: int, limits: StudyLimits) -> str:
    """For a question beyond the limit."""
    return (
        f"Your message has {characters:,} characters; I read up to "
        f"{limits.question_characters:,}. Send the part you are asking about, with one question."
    )


def too_many(count: int, first: Sequence[str], limits: StudyLimits) -> str:
    """For a list of questions."""
    listed = "\n".join(f"{n}. {_shortened(it)}" for n, it in enumerate(first, 1))
    return (
        f"You asked {count} questions; I answer up to {limits.questions_at_once} at a time. "
        f"Which should come first? For example:\n\n{listed}"
    )


def which_one() -> str:
    """For a planner that asks back and gives no question."""
    return "Could you say more exactly what you would like to know?"


def _places(passages: Sequence[Passage]) -> list[tuple[str, Passage]]:
    """Distinct sections, best first, with the first passage found in each."""
    places: dict[str, Passage] = {}
    for passage in passages:
        page = f", page {passage.page}" if passage.page is not None else ""
        heading = f", section “{passage.heading}”" if passage.heading else ""
        places.setdefault(f"{passage.document_title}{heading}{page}", passage)
    return list(places.items())[:_MAX_PLACES]


def _guiding_question(number: int, passage: Passage, question: str) -> str:
    shared = _own_terms(question, [passage])[:3]
    about = ", ".join(shared) if shared else "your task"
    return f"In {number}: what does it say about {about}? Which reason does it give?"


def _own_terms(words: str, passages: Sequence[Passage]) -> list[str]:
    """Words of the student or the task, as written there, that the passages use too."""
    held = {term for passage in passages for term in terms(passage.text)}
    found: dict[str, str] = {}
    for word in re.findall(r"[\w-]+", words):
        for term in terms(word):
            if term in held and len(term) > 2:
                found.setdefault(term, word)
    return list(found.values())[:_MAX_TERMS]


def _shortened(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
