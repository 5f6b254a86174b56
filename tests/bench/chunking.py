"""What a chunk's length and an overlap do to finding the right passage in long documents.

Run: python -m tests.bench.chunking [folder with documents.jsonl and queries.jsonl ...]

Twenty documents of the collection, one after another, make one long document, cut as the product
cuts it. A chunk counts for the document it holds most of; a document's score is its best chunk's
cosine. The baseline is the product's own length without overlap.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path

import numpy as np

from agents.documents.chunking import TextChunk, chunk
from agents.documents.extracted import ExtractedText
from agents.documents.sentences import sentence_spans
from agents.models.embedding import MiniLM
from tests.agents.documents.written import read
from tests.bench.embedding import ndcg, rows

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TOGETHER = 20
OWN = signature(chunk).parameters["target_tokens"].default
LENGTHS = (96, 128, 160, 200, 240)


def long_documents(folder: Path) -> Iterator[tuple[ExtractedText, list[tuple[int, int, object]]]]:
    """(text, its parts as start, end, identifier)."""
    documents = [row for row in rows(folder / "documents.jsonl") if str(row["text"]).strip()]
    for first in range(0, len(documents), TOGETHER):
        parts, text = [], ""
        for row in documents[first : first + TOGETHER]:
            start = len(text)
            text += str(row["text"]).strip() + "\n\n"
            parts.append((start, len(text), row["id"]))
        yield read(text.encode()), parts


def texts(source: ExtractedText, chunks: Sequence[TextChunk], *, overlap: bool) -> Iterator[str]:
    """Each chunk's text, with the last sentence of the one before it where that is wanted."""
    start = 0
    for number, it in enumerate(chunks):
        if overlap and number:
            before = chunks[number - 1]
            start = before.start + sentence_spans(before.text)[-1][0]
        yield source.text[start if overlap else it.start : it.end]


def owner(parts: list[tuple[int, int, object]], it: TextChunk) -> object:
    """The part that the chunk holds most of."""
    return max(parts, key=lambda part: min(part[1], it.end) - max(part[0], it.start))[2]


async def measure(model: MiniLM, folder: Path, length: int, *, overlap: bool) -> tuple[float, int]:
    """nDCG@10 and the number of chunks."""
    owners, found = [], []
    for source, parts in long_documents(folder):
        cut = chunk(source, count_tokens=model.count_tokens, target_tokens=length)
        owners += [owner(parts, it) for it in cut]
        found += list(texts(source, cut, overlap=overlap))
    vectors = await model.embed(found)
    queries = rows(folder / "queries.jsonl")
    asked = await model.embed([str(row["text"]) for row in queries])
    scores = []
    for row, similarities in zip(queries, asked @ vectors.T, strict=True):
        ranked = dict.fromkeys(owners[at] for at in np.argsort(-similarities)[:200])
        scores.append(ndcg(list(ranked), set(row["relevant"])))  # type: ignore[call-overload]  # JSON
    return float(np.mean(scores)), len(found)


async def run(folders: Sequence[Path]) -> None:
    model = MiniLM()
    for folder in folders:
        own, _ = await measure(model, folder, OWN, overlap=False)
        for length in LENGTHS:
            for overlap in (False, True):
                score, count = await measure(model, folder, length, overlap=overlap)
                told = "with the sentence before" if overlap else "no overlap"
                sys.stdout.write(
                    f"{folder.name}: {length:3} tokens, {told:24}: {count:5} chunks,"
                    f" nDCG@10 {score:.4f}, {score / own:.3f}x of the product's\n"
                )
                sys.stdout.flush()
    model.close()


if __name__ == "__main__":
    given = [Path(it) for it in sys.argv[1:]]
    asyncio.run(run(given or [SHARED / "cranfield", SHARED / "medline1033"]))
