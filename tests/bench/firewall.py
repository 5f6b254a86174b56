"""Recall and false blocks of the study/grade firewall, by language, and what a question costs.

Run: python -m tests.bench.firewall [file]

Without a file it tries questions whose author had seen neither detector nor tuning questions, on
assignments of their own. The weights come of the tuning questions: tests.bench.firewall_fit says
how they do on an assignment left out. A file holds a list of assignments:

    {"key", "title", "prompt", "reference_answer" (or null), "criteria": [{"title", "description"}],
     "questions": [{"language", "kind": "overlap" | "piecemeal" | "harmless", "turns": [...]}]}

A piecemeal question is judged at its last turn, with the turns before it as the session's history.
What is measured is the detector in code; a planner that is a language model judges after it. Where
a language is not supported, every question gets hints.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.models.cached_embedding import CachedEmbedder
from agents.models.embedding import MiniLM
from agents.ports import Embedder
from agents.study.brief import AiPolicy, OpenAssignment, Speaker, StudyBrief, Turn
from agents.study.graded_work import match_graded_work
from persistence.cache import MemoryCache

TUNING = Path(__file__).parents[1] / "agents" / "study" / "firewall_tuning.json"
"""Questions whose `written` is "before" are of authors who had not read the detector; of the four
last assignments and of "after", its author's."""
HELD_OUT = TUNING.with_name("firewall_questions.json")
KINDS = ("overlap", "piecemeal", "harmless")

Assignment = dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """One question and what the detector made of it: FOUND, UNSUPPORTED or FREE."""

    assignment: str
    language: str
    kind: str
    text: str
    result: str
    seconds: float


def assignments(path: Path = TUNING) -> list[Assignment]:
    """What a file of questions holds."""
    found: list[Assignment] = json.loads(path.read_text(encoding="utf-8"))
    return found


def open_assignment(
    work: Assignment, *, reference: bool = True, criteria: bool = True
) -> OpenAssignment:
    """The work as the detector gets it, with or without its reference answer and criteria."""
    answer = work.get("reference_answer") if reference else None
    rewarded = (work.get("criteria") or ()) if criteria else ()
    return OpenAssignment(
        work.get("key", work["prompt"][:20]),
        work.get("title") or "Assignment",
        work["prompt"],
        AiPolicy.HINTS,
        tuple(
            filter(None, (answer, *(f"{one['title']}: {one['description']}" for one in rewarded)))
        ),
    )


def briefs(path: Path) -> Iterator[tuple[OpenAssignment, dict[str, Any], StudyBrief]]:
    """(assignment, question, brief) of each question."""
    for work in assignments(path):
        guarded = open_assignment(work)
        for question in work["questions"]:
            *before, last = question["turns"]
            history = tuple(
                turn
                for text in before
                for turn in (Turn(Speaker.STUDENT, text), Turn(Speaker.TUTOR, "From the material."))
            )
            yield guarded, question, StudyBrief(last, history, (guarded,))


async def tried(
    embedder: Embedder, path: Path = TUNING, languages: Container[str] | None = None
) -> list[Tried]:
    """Every question, tried; the work and the earlier turns are embedded before, as in use."""
    embedder = CachedEmbedder(embedder, "minilm", 384, MemoryCache())
    found = []
    for work, question, brief in briefs(path):
        if languages is not None and question["language"] not in languages:
            continue
        for at, turn in enumerate(brief.history[::2]):
            await match_graded_work(
                StudyBrief(turn.text, brief.history[: 2 * at], (work,)), embedder
            )
        await match_graded_work(StudyBrief("warm", (), (work,)), embedder)
        began = time.perf_counter()
        match = await match_graded_work(brief, embedder)
        seconds = time.perf_counter() - began
        result = "FREE" if match is None else "FOUND" if match.supported else "UNSUPPORTED"
        text = " >> ".join(question["turns"])
        found.append(Tried(work.id, question["language"], question["kind"], text, result, seconds))
    return found


def summary(results: Sequence[Tried]) -> str:
    """A table: of each language and kind, how many were found, given hints unasked, let through."""
    lines = [f"{'language':9}{'kind':11}{'n':>4}{'found':>7}{'hints':>7}{'free':>6}"]
    for language in dict.fromkeys(it.language for it in results):
        for kind in KINDS:
            mine = [it for it in results if (it.language, it.kind) == (language, kind)]
            if mine:
                counts = Counter(it.result for it in mine)
                lines.append(
                    f"{language:9}{kind:11}{len(mine):4}{counts['FOUND']:7}"
                    f"{counts['UNSUPPORTED']:7}{counts['FREE']:6}"
                )
    return "\n".join(lines)


async def main() -> None:
    """Prints the table, the mistakes in the supported language, and milliseconds a question."""
    embedder = MiniLM()
    try:
        results = await tried(embedder, Path(sys.argv[1]) if len(sys.argv) > 1 else HELD_OUT)
    finally:
        embedder.close()
    sys.stdout.write(f"{summary(results)}\n")
    for it in results:
        if it.language == "en" and (it.kind == "harmless") == (it.result != "FREE"):
            sys.stdout.write(f"{it.result:12}{it.kind:10} {it.assignment}: {it.text}\n")
    times = sorted(it.seconds * 1_000 for it in results)
    middle, most = times[len(times) // 2], times[len(times) * 95 // 100]
    sys.stdout.write(f"milliseconds a question: {middle:.1f} (95th percentile {most:.1f})\n")


if __name__ == "__main__":
    asyncio.run(main())
