"""How well the offline grading team agrees with human graders: `python -m tests.bench.grading`.

Data: Short Answer Feedback (MIT), one criterion from 0 to 1 with a reference answer. Unseen answers
have the training answers to the same question as exemplars; unseen questions have none.
"""

import argparse
import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from autogen_core import CancellationToken
from numpy.typing import NDArray

from agents.grading.brief import AttemptText, Criterion, Exemplar, GradingBrief, GradingPolicy, Role
from agents.grading.result import Decision, GradingResult, Outcome
from agents.grading.statistical.members import OfflineMembers
from agents.grading.statistical.terms import content_terms
from agents.grading.team import GradingTeam
from agents.models.embedding import MiniLM
from agents.ports import Passage

SAF = Path(__file__).parents[3] / "shared" / "data" / "saf"
SCALE = 4
Vector = NDArray[np.float64]
Row = dict[str, Any]


class NoSearch:
    """A course without material."""

    async def search(self, *_query: object, **_limit: object) -> Sequence[Passage]:
        return ()


class NoLedger:
    """Remembers nothing: every call is made."""

    async def recall(self, *_step: object, **_hash: object) -> str | None:
        return None

    async def record(self, *_step: object, **_price: object) -> None:
        return None


class NoStages:
    """Nobody follows."""

    async def entered(self, *_stage: object, **_named: object) -> None:
        return None


@dataclass(frozen=True)
class Agreement:
    """Of predictions with human scores."""

    pearson: float
    rmse: float
    qwk: float

    @classmethod
    def of(cls, predicted: Vector, human: Vector) -> "Agreement":
        """Scores in 0..1; kappa on five steps."""
        return cls(
            float(np.corrcoef(predicted, human)[0, 1]),
            float(np.sqrt(np.mean((predicted - human) ** 2))),
            quadratic_weighted_kappa(predicted, human),
        )

    def __str__(self) -> str:
        return f"{self.pearson:6.3f} {self.rmse:6.3f} {self.qwk:6.3f}"


def quadratic_weighted_kappa(predicted: Vector, human: Vector) -> float:
    """Cohen (1968), quadratic weights, scores rounded to quarters."""
    steps = SCALE + 1
    one = np.clip(np.rint(predicted * SCALE), 0, SCALE).astype(int)
    other = np.rint(human * SCALE).astype(int)
    observed = np.zeros((steps, steps))
    np.add.at(observed, (one, other), 1)
    weights = np.subtract.outer(np.arange(steps), np.arange(steps)) ** 2
    expected = np.outer(observed.sum(1), observed.sum(0)) / len(human)
    return float(1 - (weights * observed).sum() / (weights * expected).sum())


def rows(name: str, sample: int | None) -> list[Row]:
    """A part of the data, or a fixed random sample of it."""
    lines = (SAF / f"{name}.jsonl").read_text("utf-8").splitlines()
    found: list[Row] = [json.loads(line) for line in lines]
    if sample and sample < len(found):
        found = random.Random(7).sample(found, sample)
    return found


def by_length(training: Sequence[Row], tested: Sequence[Row]) -> Vector:
    """The baseline: a line over ln(1 + content terms), fitted on the training part."""

    def lengths(items: Sequence[Row]) -> Vector:
        return np.log1p([len(content_terms(item["answer"])) for item in items])

    slope, base = np.polyfit(lengths(training), [item["score"] for item in training], 1)
    return np.asarray(np.clip(slope * lengths(tested) + base, 0, 1), np.float64)


def brief(row: Row, exemplars: Sequence[Row], *, reference: bool) -> GradingBrief:
    """The question as an assignment of one criterion."""
    return GradingBrief(
        assignment_prompt=row["question"],
        criteria=(Criterion("c", "Correctness", "", Decimal(1)),),
        points_possible=Decimal(1),
        reference_answer=row["reference"] if reference else None,
        exemplars=tuple(
            Exemplar(item["answer"], {"c": Decimal(str(item["score"]))}) for item in exemplars
        ),
        policy=GradingPolicy(sample_rate=Decimal(0)),
    )


async def graded(
    team: GradingTeam, tested: Sequence[Row], exemplars: dict[str, list[Row]], *, reference: bool
) -> list[GradingResult]:
    """The team's result for each row."""
    results = []
    for number, row in enumerate(tested):
        result = await team.grade(
            brief(row, exemplars.get(row["reference"], []), reference=reference),
            AttemptText(str(number), row["answer"], "en"),
            ledger=NoLedger(),
            stages=NoStages(),
            cancellation=CancellationToken(),
        )
        results.append(result)
    return results


def seat(results: Sequence[GradingResult], role: Role) -> Vector:
    """One seat's points; 0 where nothing was submitted and nobody was asked."""
    points = []
    for result in results:
        given = [item for item in result.assessments if item.slot is role]
        points.append(float(given[0].criteria[0].points) if given else 0.0)
    return np.array(points)


def report(title: str, results: Sequence[GradingResult], human: Vector, baseline: Vector) -> None:
    """The table of one part."""
    team = np.array([float(result.score) for result in results])
    methods = {
        "length only": baseline,
        "grader A": seat(results, Role.GRADER_A),
        "grader B": seat(results, Role.GRADER_B),
        "team": team,
    }
    answered = np.array([bool(result.assessments) for result in results])
    print(f"\n{title}: {len(human)} answers, {int((~answered).sum())} of them empty")  # noqa: T201 - a command's output
    print(f"{'':12}   all: r, RMSE, QWK        answered: r, RMSE, QWK")  # noqa: T201 - as above
    for name, predicted in methods.items():
        answers = Agreement.of(predicted[answered], human[answered])
        print(f"{name:12} {Agreement.of(predicted, human)}   {answers}")  # noqa: T201 - as above
    confidence = np.array([result.criteria[0].confidence for result in results])[answered]
    close = (np.abs(team - human) <= 0.15)[answered]
    arbitrated = sum(result.criteria[0].decision is Decision.MEDIAN for result in results)
    people = sum(result.outcome is Outcome.NEEDS_HUMAN for result in results)
    print(  # noqa: T201 - as above
        f"arbitrated {arbitrated}, to a person {people}; within 0.15: said {confidence.mean():.2f},"
        f" was {close.mean():.2f}; surer half: said {confidence[_surer(confidence)].mean():.2f},"
        f" was {close[_surer(confidence)].mean():.2f}"
    )


def _surer(confidence: Vector) -> NDArray[np.bool_]:
    return np.asarray(confidence >= np.median(confidence), np.bool_)


async def main(sample: int | None) -> None:
    """Both parts, and unseen answers with fewer exemplars or without the reference."""
    started = time.monotonic()
    training = rows("training", None)
    same: dict[str, list[Row]] = defaultdict(list)
    for row in random.Random(3).sample(training, len(training)):
        same[row["reference"]].append(row)
    few = {key: items[:10] for key, items in same.items()}
    embedder = MiniLM()
    team = GradingTeam(OfflineMembers(embedder), NoSearch())
    runs: tuple[tuple[str, str, dict[str, list[Row]], bool], ...] = (
        ("unseen_questions", "unseen questions, no exemplars", {}, True),
        ("unseen_answers", "unseen answers, all exemplars", same, True),
        ("unseen_answers", "unseen answers, 10 exemplars", few, True),
        ("unseen_answers", "unseen answers, all exemplars, no reference", same, False),
    )
    for name, title, exemplars, reference in runs:
        tested = rows(name, sample)
        results = await graded(team, tested, exemplars, reference=reference)
        human = np.array([row["score"] for row in tested], np.float64)
        report(title, results, human, by_length(training, tested))
    embedder.close()
    print(f"\n{time.monotonic() - started:.0f} s")  # noqa: T201 - as above


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="answers of each part; 0: all")
    asyncio.run(main(parser.parse_args().sample))
