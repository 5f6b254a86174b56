"""Recall and false blocks of the study/grade firewall, by language.

Run: python -m tests.bench.firewall

The questions (tests/agents/study/firewall_questions.json) were written before their author had
read the detector. A piecemeal question is judged at its last turn, with the turns before it as
the session's history. What is measured is the detector in code; a planner that is a language model
judges after it. Where a language is not supported, every question gets hints.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.models.cached_embedding import CachedEmbedder
from agents.models.embedding import MiniLM
from agents.ports import Embedder
from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief, Turn
from agents.study.graded_work import match_graded_work
from persistence.cache import MemoryCache

QUESTIONS = Path(__file__).parents[1] / "agents" / "study" / "firewall_questions.json"
LANGUAGES = ("en", "de", "fr", "es", "tr", "zh")


@dataclass(frozen=True)
class Tried:
    """One question and what the detector made of it: FOUND, UNSUPPORTED or FREE."""

    assignment: str
    language: str
    kind: str
    text: str
    result: str


def briefs() -> Iterator[tuple[dict[str, Any], dict[str, Any], StudyBrief]]:
    """(assignment, question, brief) of each question."""
    for work in json.loads(QUESTIONS.read_text()):
        guarded = OpenAssignment(work["key"], work["title"], work["prompt"], AiPolicy.HINTS)
        for question in work["questions"]:
            *before, last = question["turns"]
            history = tuple(
                turn
                for text in before
                for turn in (Turn(Speaker.STUDENT, text), Turn(Speaker.TUTOR, "From the material."))
            )
            yield work, question, StudyBrief(last, history, (guarded,))


async def tried(embedder: Embedder) -> list[Tried]:
    """Every question, tried; each prompt is embedded once, as in the product."""
    embedder = CachedEmbedder(embedder, "minilm", 384, MemoryCache())
    found = []
    for work, question, brief in briefs():
        match = await match_graded_work(brief, embedder)
        result = "FREE" if match is None else "FOUND" if match.supported else "UNSUPPORTED"
        text = " >> ".join(question["turns"])
        found.append(Tried(work["key"], question["language"], question["kind"], text, result))
    return found


def summary(results: list[Tried]) -> str:
    """A table: of each language and kind, how many were found, given hints unasked, let through."""
    lines = [f"{'language':9}{'kind':11}{'n':>4}{'found':>7}{'hints':>7}{'free':>6}"]
    for language in LANGUAGES:
        for kind in ("overlap", "piecemeal", "harmless"):
            mine = [it for it in results if (it.language, it.kind) == (language, kind)]
            if mine:
                counts = Counter(it.result for it in mine)
                lines.append(
                    f"{language:9}{kind:11}{len(mine):4}{counts['FOUND']:7}"
                    f"{counts['UNSUPPORTED']:7}{counts['FREE']:6}"
                )
    return "\n".join(lines)


async def main() -> None:
    """Prints the table, then the mistakes in the supported language."""
    embedder = MiniLM()
    try:
        results = await tried(embedder)
    finally:
        embedder.close()
    sys.stdout.write(f"{summary(results)}\n")
    for it in results:
        if it.language == "en" and (it.kind == "harmless") == (it.result != "FREE"):
            sys.stdout.write(f"{it.result:12}{it.kind:10} {it.assignment}: {it.text}\n")


if __name__ == "__main__":
    asyncio.run(main())
