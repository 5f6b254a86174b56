"""Ingest by the embedded model on one core: chunks a second, and memory while the corpus grows.

Run: python -m tests.bench.ingest [--chunks 1000]
Text files through the product's own ingest, reading in a subprocess and the database included, all
held to one core. The baseline is the model alone on the same chunks.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np
from sqlalchemy import text

from ops.evaluation import Collection, ingest, open_evaluation
from ops.settings import Settings

WORDS = 1_200
"""Of a document: about 20 chunks."""

CHUNKS_A_DOCUMENT = 20


def documents(count: int) -> dict[str, str]:
    """Sentences of made-up words, as common as words are (Zipf)."""
    random = np.random.default_rng(11)
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(random.choice(syllables, random.integers(1, 4))) for _ in range(5_000)]
    made = {}
    for number in range(count):
        chosen = [words[at % len(words)] for at in random.zipf(1.3, WORDS)]
        lines = [" ".join(chosen[at : at + 15]).capitalize() + "." for at in range(0, WORDS, 15)]
        made[str(number)] = "\n\n".join(
            " ".join(lines[at : at + 8]) for at in range(0, len(lines), 8)
        )
    return made


def resident() -> float:
    """Megabytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def run(chunks: int) -> str:
    """Ingests about so many chunks; what to print."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    load = os.getloadavg()[0]
    seen: list[tuple[int, float]] = []
    async with open_evaluation(Settings(), threads=1) as work:
        await work.embedder.embed(["ready"])
        corpus = Collection(documents(max(6, chunks // CHUNKS_A_DOCUMENT)), [])
        started, worked = time.perf_counter(), time.process_time()
        await ingest(work, corpus, lambda done, _total: seen.append((done, resident())))
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
        async with work.database.read() as connection:
            rows = await connection.execute(text("SELECT text FROM chunk"))
            texts = [row.text for row in rows]
        started = time.perf_counter()
        await work.embedder.embed(texts)
        alone = time.perf_counter() - started
    quarter = seen[len(seen) // 4][1]
    return (
        f"ingest: {len(texts)} chunks at {len(texts) / seconds:.0f}/s on one core"
        f" ({len(texts) / cpu:.0f} a second of this process's CPU);"
        f" the model alone {len(texts) / alone:.0f}/s: {seconds / alone:.2f}x; load {load:.1f}\n"
        f"memory: {quarter:.0f} MB after a quarter, {seen[-1][1]:.0f} MB after all"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=1_000)
    sys.stdout.write(asyncio.run(run(parser.parse_args().chunks)) + "\n")
