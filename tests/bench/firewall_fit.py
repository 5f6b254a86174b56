"""Fits the weights of the study/grade firewall, and says how they do on assignments not fitted on.

Run: python -m tests.bench.firewall_fit [--write]

A logistic regression with an L2 penalty on standardised features, by Newton's method (Hastie,
Tibshirani and Friedman, "The Elements of Statistical Learning", 4.4), over the English questions of
tests/agents/study/firewall_tuning.json. Each is taken with the reference answer and the criteria,
with the criteria only, and with neither. Harmless questions count again after pieces of the work
and after other harmless ones, and questions for the work after harmless ones, each half: else all
that has a history would be piecemeal. With --write the weights go to
agents/study/graded_work_weights.py.
"""

import asyncio
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import agents.study
from agents.models.embedding import MiniLM
from agents.ports import Embedder
from agents.study.graded_work import FOUND
from agents.study.work_likeness import features, guarded_work, probability, read, surely
from tests.bench.firewall import KINDS, TUNING, Assignment, assignments, open_assignment

WEIGHTS_FILE: Final = Path(agents.study.__path__[0]) / "graded_work_weights.py"
PENALTY: Final = 10.0
REPEATED: Final = 0.5
KNOWN: Final = {
    "all": {"reference": True, "criteria": True},
    "criteria": {"reference": False, "criteria": True},
    "prompt": {"reference": False, "criteria": False},
}
"""What is known of an assignment besides its prompt."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A question with its history. `repeated` where it counts again after other questions."""

    assignment: str
    kind: str
    written: str
    turns: tuple[str, ...]
    repeated: bool = False
    known: str = "all"
    found: dict[str, float] | None = None
    sure: bool = False

    @property
    def asks(self) -> bool:
        """Whether it asks for the work."""
        return self.kind != "harmless"


@dataclass(frozen=True)
class Fitted:
    """Weights of the features as they are, by name."""

    weights: dict[str, float]
    intercept: float

    def likelihood(self, example: Example) -> float:
        """As `graded_work.likelihood`."""
        if example.sure:
            return 1.0
        return probability(example.found or {}, self.weights, self.intercept)


def examples(work: Assignment) -> Iterator[Example]:
    """The English questions of one assignment, and again with others before them."""
    mine = [
        Example(work["key"], it["kind"], it["written"], tuple(it["turns"]))
        for it in work["questions"]
        if it["language"] == "en"
    ]
    yield from mine
    harmless, overlap, pieces = (
        [it for it in mine if it.kind == kind] for kind in ("harmless", "overlap", "piecemeal")
    )
    for at, it in enumerate(harmless):
        piece = pieces[at % len(pieces)].turns[:-1]
        other = harmless[at - 1].turns + harmless[at - 2].turns
        for before in (piece, other):
            yield replace(it, turns=before + it.turns, repeated=True)
    for at, it in enumerate(overlap):
        before = harmless[at % len(harmless)].turns
        yield replace(it, turns=before + it.turns, repeated=True)


class Kept:
    """Embeds each text once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, NDArray[np.float32]] = {}

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if missing:
            made = await self._embedder.embed(missing)
            self._vectors |= dict(zip(missing, made, strict=True))
        return np.stack([self._vectors[text] for text in texts])


async def featured(embedder: Embedder, path: Path = TUNING) -> list[Example]:
    """Every example with its features, under each of KNOWN."""
    kept = Kept(embedder)
    done = []
    for work in assignments(path):
        mine = [(it, (await read(it.turns, kept))[-1]) for it in examples(work)]
        for known, which in KNOWN.items():
            (guarded,) = await guarded_work([open_assignment(work, **which)], kept)
            done += [
                replace(
                    it, known=known, found=features(asked, guarded), sure=surely(asked, guarded)
                )
                for it, asked in mine
            ]
    return done


def fit(done: Sequence[Example]) -> Fitted:
    """The weights that fit `done` best."""
    names = list(done[0].found or {})
    rows = np.array([[(it.found or {})[name] for name in names] for it in done])
    asks = np.array([float(it.asks) for it in done])
    counts = np.array([REPEATED if it.repeated else 1.0 for it in done]) / len(KNOWN)
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    found = _newton(np.c_[(rows - mean) / spread, np.ones(len(rows))], asks, counts)
    weights = found[:-1] / spread
    return Fitted(
        dict(zip(names, map(float, weights), strict=True)), float(found[-1] - weights @ mean)
    )


def _newton(rows: Array, asks: Array, counts: Array) -> Array:
    penalty = np.full(rows.shape[1], PENALTY)
    penalty[-1] = 0.0
    found = np.zeros(rows.shape[1])
    for _ in range(50):
        expected = 1 / (1 + np.exp(-rows @ found))
        slope = rows.T @ (counts * (expected - asks)) + penalty * found
        curve = (rows.T * (counts * expected * (1 - expected))) @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return found


def leave_one_out(done: Sequence[Example]) -> list[tuple[Example, float]]:
    """Each example with its likelihood by the weights fitted on the other assignments."""
    scored = []
    for key in dict.fromkeys(it.assignment for it in done):
        others = fit([it for it in done if it.assignment != key])
        scored += [(it, others.likelihood(it)) for it in done if it.assignment == key]
    return scored


def share(
    scored: Sequence[tuple[Example, float]], kind: str, written: str, known: str = "all"
) -> tuple[int, int]:
    """(found, of how many) of the questions as they were written."""
    mine = [
        score >= FOUND
        for it, score in scored
        if (it.kind, it.written, it.known, it.repeated) == (kind, written, known, False)
    ]
    return sum(mine), len(mine)


def table(scored: Sequence[tuple[Example, float]]) -> str:
    """By who wrote the questions, what is known of the work, and kind: found of how many."""
    lines = [f"{'written':9}{'known':10}" + "".join(f"{kind:>16}" for kind in KINDS)]
    for written in ("before", "after"):
        for known in KNOWN:
            cells = [share(scored, kind, written, known) for kind in KINDS]
            shown = "".join(f"{f'{n} of {of} {n / of:4.0%}':>16}" for n, of in cells)
            lines.append(f"{written:9}{known:10}{shown}")
    for it_kind, name in (("harmless", "harmless after others"), ("overlap", "overlap after ...")):
        mine = [s >= FOUND for it, s in scored if it.repeated and it.kind == it_kind]
        lines.append(f"{name}: {sum(mine) / len(mine):.0%}")
    return "\n".join(lines)


def source(fitted: Fitted, done: Sequence[Example]) -> str:
    """The module of the weights."""
    digest = hashlib.sha256(TUNING.read_bytes()).hexdigest()[:12]
    plain = sum(it.known == "all" and not it.repeated for it in done)
    weights = "\n".join(f'    "{name}": {value:.4f},' for name, value in fitted.weights.items())
    return (
        '"""Weights of `work_likeness.features`. Written by tests/bench/firewall_fit.py, which\n'
        f"fitted them on {plain} English questions about "
        f"{len({it.assignment for it in done})} assignments\n"
        f'(firewall_tuning.json, SHA-256 {digest}...) with {MiniLM.name}."""\n\n'
        "from collections.abc import Mapping\nfrom typing import Final\n\n"
        f"INTERCEPT: Final = {fitted.intercept:.4f}\n"
        f"WEIGHTS: Final[Mapping[str, float]] = {{\n{weights}\n}}\n"
    )


async def main() -> None:
    """Prints the table of leave-one-out and its mistakes, and the weights."""
    embedder = MiniLM()
    try:
        done = await featured(embedder)
    finally:
        embedder.close()
    scored = leave_one_out(done)
    sys.stdout.write(f"{table(scored)}\n")
    for it, score in sorted(scored, key=lambda one: one[1]):
        if it.known == "all" and not it.repeated and it.asks != (score >= FOUND):
            turns = " >> ".join(it.turns)
            sys.stdout.write(f"{score:.2f} {it.kind:10}{it.written:7}{it.assignment}: {turns}\n")
    made = source(fit(done), done)
    if "--write" in sys.argv:
        WEIGHTS_FILE.write_text(made, encoding="utf-8")
    else:
        sys.stdout.write(made)


if __name__ == "__main__":
    asyncio.run(main())
