"""What the team itself costs: a model that answers at once, 100 answers in one process.

Run: python -m tests.bench.answering
Prints the time to the first text at the sink, CPU per streamed chunk against reading the same
stream without the team, and the longest time the loop stood still.
"""

import asyncio
import sys
import time
from typing import Any

from autogen_core import CancellationToken

from agents.models.embedding import MiniLM
from agents.ports import Passage
from agents.study.brief import StudyBrief
from agents.study.members import model_members
from agents.study.messages import CriticVerdict, Quotation, Route, StudyPlan, TutorAnswer, Verdict
from agents.study.outcome import StudyState
from agents.study.team import StudyTeam
from tests.agents.study.conftest import MemoryLedger, RecordingSink, RecordingStages
from tests.agents.study.test_model_members import ReplayingClient

QUOTE = "it retransmits the missing segment at once without waiting"
ANSWER = TutorAnswer(
    text=" ".join(f"In case {n} {QUOTE}. [1]" for n in range(24)),
    quotations=[Quotation(marker=1, passage=1, quote=QUOTE)],
)
CHUNKS = -(-len(ANSWER.model_dump_json()) // 7)
ANSWERS = 100


class Search:
    """One passage."""

    async def search(self, query: str, limit: int) -> list[Passage]:  # noqa: ARG002 - the protocol
        text = f"When three duplicates arrive, {QUOTE}. " * 4
        return [Passage("c", "d", "TCP", "Loss", None, 0, len(text), text, 1.0)]


class TimedSink(RecordingSink):
    """Notes when the first text came."""

    first: float | None = None

    async def write(self, offset: int, text: str) -> None:
        self.first = self.first or time.perf_counter()
        await super().write(offset, text)


def client() -> ReplayingClient:
    plan = StudyPlan(route=Route.DOCUMENTS, queries=["loss"])
    return ReplayingClient(plan, ANSWER, CriticVerdict(verdict=Verdict.APPROVE))


async def answered(embedder: Any) -> float:
    """Seconds to the first text."""
    sink, started = TimedSink(), time.perf_counter()
    members = model_members(client(), provider="test", model="at-once")
    outcome = await StudyTeam(members, Search(), embedder).answer(
        StudyBrief("What happens after a loss?"),
        generation=1,
        ledger=MemoryLedger(),
        stages=RecordingStages(),
        sink=sink,
        cancellation=CancellationToken(),
    )
    assert outcome.state is StudyState.COMPLETE
    assert sink.first is not None
    return sink.first - started


async def read() -> None:
    async for _ in client().create_stream([], json_output=TutorAnswer):
        pass


async def longest_stall(stop: asyncio.Event) -> float:
    longest, last = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, last = max(longest, now - last - 0.005), now
    return longest


async def main() -> None:
    """Prints three lines."""
    embedder = MiniLM()
    alone = sorted([await answered(embedder) for _ in range(11)])
    cpu = time.process_time()
    for _ in range(20):
        await answered(embedder)
    team = (time.process_time() - cpu) / 20
    cpu = time.process_time()
    for _ in range(20):
        await read()
    bare = (time.process_time() - cpu) / 20
    stop = asyncio.Event()
    watch = asyncio.create_task(longest_stall(stop))
    firsts = sorted(await asyncio.gather(*(answered(embedder) for _ in range(ANSWERS))))
    stop.set()
    stall = await watch
    embedder.close()
    sys.stdout.write(
        f"first text p50 {1_000 * alone[5]:.0f} ms alone, {1_000 * firsts[50]:.0f} ms of 100\n"
        f"{1_000 * team / CHUNKS:.3f} ms CPU a chunk of {CHUNKS}, {team / bare:.1f} x the stream\n"
        f"{ANSWERS} answers at once: the loop stood still {1_000 * stall:.0f} ms at most\n"
    )


if __name__ == "__main__":
    asyncio.run(main())
