"""What the team itself says: refusals, hints, questions back and honest abstentions.

Written here and not by a model, so that none of it can hold an answer, a made-up source or
another student's words. English.
"""

import re
from collections.abc import Sequence

from agents.ports import Passage
from agents.study.brief import OpenAssignment, StudyLimits
from agents.study.graded_work import GradedWorkMatch
from agents.study.terms import terms

_MAX_PLACES = 4
_MAX_TERMS = 6


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
        f"This is part of “{work.title}”, which is still open, so I give hints and no answer.",
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


def abstention(queries: Sequence[str], passages: Sequence[Passage]) -> str:
    """When the material does not answer: what was searched, and the nearest places."""
    searched = "; ".join(f"“{_shortened(query)}”" for query in queries[:4])
    if not passages:
        return (
            f"I found no course material that I may read on this. I searched for {searched}. "
            "If your course has documents, they may not be indexed yet."
        )
    places = "\n".join(f"- {place}" for place, _ in _places(passages))
    return (
        "The course material does not say, or I could not find it. "
        f"I searched for {searched}. The nearest sections, which do not answer it:\n\n{places}"
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
