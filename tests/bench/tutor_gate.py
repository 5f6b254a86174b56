"""Fits what the offline tutor's Support weighs, on the questions a change may look at.

Run: python -m tests.bench.tutor_gate

A logistic regression of "the material answers this" on Support's measures, with an L2 penalty of 1
on standardised weights. Questions with a false premise are left out: to abstain and to quote what
contradicts them are both right. Printed are the weights for agents/study/support.py, and answers at
its threshold when fitted on one writer's questions and judged on the other's, and when each tenth
is judged by the rest. `without` are the answerable questions again, over the material without the
sections that answer them; nothing is fitted to them.
"""

import asyncio
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.models.embedding import MiniLM
from agents.ports import Passage
from agents.study.brief import StudyLimits
from agents.study.extractive import read_material
from agents.study.messages import NumberedPassage
from agents.study.retrieval import retrieved
from agents.study.support import ANSWERED, Support
from ops.embedded_postgres import embedded_postgres
from persistence.database import open_database
from persistence.migrations import migrate
from resolvers.retrieval import CourseSearch
from tests.bench.tutor import demo_search, halves, relevant

PENALTY: Final = 1.0
DRAWS: Final = 20
LIMIT: Final = StudyLimits().passages
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A question, what speaks for an answer, and that without the sections that answer it."""

    question: dict[str, Any]
    support: Support
    without: Support | None

    @property
    def answerable(self) -> bool:
        return self.without is not None


async def case(question: dict[str, Any], search: CourseSearch, model: MiniLM) -> Case:
    """A question with its measures."""
    asked = question["question"]
    found = await retrieved(search, [asked], LIMIT)
    if "unanswerable" in question:
        return Case(question, await _support(asked, found, model), None)
    more = await search.search(asked, 4 * LIMIT)
    rest = [passage for passage in more if not relevant(question, passage)][:LIMIT]
    return Case(question, await _support(asked, found, model), await _support(asked, rest, model))


async def _support(question: str, passages: Sequence[Passage], model: MiniLM) -> Support:
    numbered = [
        NumberedPassage(
            number=number,
            document_title=passage.document_title,
            heading=passage.heading,
            page=passage.page,
            text=passage.text,
        )
        for number, passage in enumerate(passages, start=1)
    ]
    (reading,), material = await read_material(model, [question], numbered)
    return material.support(question, reading)


def fitted(cases: Sequence[Case]) -> Floats:
    """The weights of the measures, then the bias (Newton's method)."""
    measures = np.array([it.support.measures for it in cases])
    truth = np.array([it.answerable for it in cases], float)
    mean, spread = measures.mean(axis=0), measures.std(axis=0)
    rows = np.c_[(measures - mean) / spread, np.ones(len(cases))]
    penalty = np.diag([PENALTY] * measures.shape[1] + [0.0])
    weights = np.zeros(rows.shape[1])
    for _ in range(30):
        said = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (said - truth) + penalty @ weights
        curve = (rows * (said * (1 - said))[:, None]).T @ rows + penalty
        weights -= np.linalg.solve(curve, slope)
    scaled = weights[:-1] / spread
    return np.append(scaled, weights[-1] - scaled @ mean)


def answered(weights: Floats, supports: Sequence[Support]) -> int:
    """How many are answered with these weights."""
    least = math.log(ANSWERED / (1 - ANSWERED))
    evidence = np.array([it.measures for it in supports]) @ weights[:-1] + weights[-1]
    return int((evidence >= least).sum())


def judged(name: str, weights: Floats, cases: Sequence[Case]) -> str:
    """A line of what is answered."""
    right = [it.support for it in cases if it.answerable]
    wrong = [it.support for it in cases if not it.answerable]
    without = [it.without for it in cases if it.without is not None]
    return (
        f"{name:16} answers {answered(weights, right)} of {len(right)} answerable, "
        f"{answered(weights, wrong)} of {len(wrong)} unanswerable, "
        f"{answered(weights, without)} of {len(without)} without"
    )


def report(cases: Sequence[Case]) -> str:
    """The weights and how they hold."""
    weights = fitted(cases)
    names = ("CLOSENESS", "MATCHED", "LENGTH", "UNKNOWN", "BIAS")
    lines = [f"{name} = {weight:.3f}" for name, weight in zip(names, weights, strict=True)]
    lines.append(judged("all", weights, cases))
    for fit, judge in ((1, 2), (2, 1)):
        mine, others = (
            [it for it in cases if it.question["writer"] == writer] for writer in (fit, judge)
        )
        lines.append(judged(f"writer {fit} on {judge}", fitted(mine), others))
    lines.append(f"{'tenths':16} answers {', '.join(map(str, tenths(cases)))} on average")
    return "\n".join(lines)


def tenths(cases: Sequence[Case]) -> list[float]:
    """Answerable, unanswerable and `without` answered, each tenth judged by the rest, on average
    over draws of the tenths."""
    generator = np.random.default_rng(0)
    counts = np.zeros(3)
    for _ in range(DRAWS):
        order = generator.permutation(len(cases)) % 10
        for tenth in range(10):
            weights = fitted([it for it, at in zip(cases, order, strict=True) if at != tenth])
            held = [it for it, at in zip(cases, order, strict=True) if at == tenth]
            groups = (
                [it.support for it in held if it.answerable],
                [it.support for it in held if not it.answerable],
                [it.without for it in held if it.without is not None],
            )
            counts += [answered(weights, group) if group else 0 for group in groups]
    return [round(float(count), 1) for count in counts / DRAWS]


async def run() -> None:
    """Reads every question of `tune` but false premises, in a database of its own making."""
    model = MiniLM()
    with tempfile.TemporaryDirectory() as directory:
        async with embedded_postgres(Path(directory) / "postgres", durable=False) as server:
            dsn = server.dsn("postgres")
            await migrate(dsn)
            async with open_database(dsn) as database, demo_search(database, model) as search:
                cases = [
                    await case(question, search, model)
                    for question in halves("tune")
                    if question.get("unanswerable") != "false premise"
                ]
    model.close()
    sys.stdout.write(f"{report(cases)}\n")


if __name__ == "__main__":
    asyncio.run(run())
