"""nDCG@10 and speed of the built-in embedder on MEDLINE: cosine only, 30 queries.

Run: python -m tests.bench.embedding [folder with documents.jsonl and queries.jsonl]
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np

from agents.models.embedding import MiniLM

DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data" / "medline1033"


def rows(path: Path) -> list[dict[str, object]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ndcg(ranked: list[object], relevant: set[object], depth: int = 10) -> float:
    """Binary gain, log2 discount (Järvelin and Kekäläinen, 2002)."""
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    gains = np.array([identifier in relevant for identifier in ranked[:depth]], float)
    return float(gains @ discounts[: len(gains)] / discounts[: len(relevant)].sum())


async def measure(folder: Path) -> str:
    documents, queries = rows(folder / "documents.jsonl"), rows(folder / "queries.jsonl")
    model = MiniLM()
    await model.prepare()
    started = time.perf_counter()
    vectors = await model.embed([str(row["text"]) for row in documents])
    seconds = time.perf_counter() - started
    asked = await model.embed([str(row["text"]) for row in queries])
    scores = []
    for row, similarities in zip(queries, asked @ vectors.T, strict=True):
        ranked = [documents[at]["id"] for at in np.argsort(-similarities)[:10]]
        scores.append(ndcg(ranked, set(row["relevant"])))  # type: ignore[call-overload]  # JSON list
    model.close()
    return (
        f"{folder.name}: nDCG@10 {np.mean(scores):.3f} over {len(queries)} queries, "
        f"{len(documents)} documents embedded at {len(documents) / seconds:.0f}/s"
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    sys.stdout.write(asyncio.run(measure(folder)) + "\n")
