"""Small ports for the study team, and a corpus of eight passages."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from autogen_core import CancellationToken

from agents.models.embedding import MiniLM
from agents.ports import Paid, Passage, Usage
from agents.study.brief import AiPolicy, OpenAssignment, StudyBrief
from agents.study.members import StudyMembers, offline_members
from agents.study.outcome import StudyOutcome
from agents.study.team import StudyTeam

CORPUS = (
    (
        "UDP",
        (
            "UDP adds ports and a checksum to IP and little else. Its header has four fields and "
            "takes 8 bytes. Live voice and video calls use UDP because a packet that arrives after "
            "its moment of playback is useless."
        ),
    ),
    (
        "Retransmission",
        (
            "When a sender receives three duplicate acknowledgements, it retransmits the missing "
            "segment at once without waiting for the timer. This is called fast retransmit. The "
            "timeout is computed from measured round-trip times."
        ),
    ),
    (
        "Flow control",
        (
            "Flow control protects the receiver. The receiver advertises the free space of its "
            "buffer as the receive window, and the sender never has more unacknowledged data out."
        ),
    ),
    (
        "Congestion control",
        (
            "Congestion control protects the network. The sender keeps a congestion window, which "
            "grows while acknowledgements arrive and is halved after a loss."
        ),
    ),
    (
        "Slow start",
        (
            "A new connection begins with slow start: the congestion window doubles in each round "
            "trip until it reaches a threshold. The name is misleading: growth is exponential."
        ),
    ),
    (
        "ARP",
        (
            "The Address Resolution Protocol, ARP, finds the MAC address that belongs to an IPv4 "
            "address on the same link. A host broadcasts a request and the owner answers."
        ),
    ),
    (
        "DNS caching",
        (
            "Each DNS record carries a time to live in seconds. A resolver may keep the record in "
            "its cache only until that time has passed."
        ),
    ),
    (
        "Cookies",
        (
            "HTTP is stateless. A site that wants to recognise a visitor sends a cookie, which the "
            "browser returns with each later request."
        ),
    ),
)
PROMPT = (
    "A file is sent across a network that loses packets. Explain how TCP still delivers every "
    "byte. Then distinguish flow control from congestion control."
)


def passage(number: int, heading: str, text: str) -> Passage:
    return Passage(f"c{number}", f"d{number % 2}", "Networks", heading, None, 0, len(text), text, 1)


@dataclass
class VectorSearch:
    embedder: MiniLM
    passages: Sequence[Passage]
    queries: list[str] = field(default_factory=list)

    async def search(self, query: str, limit: int) -> Sequence[Passage]:
        self.queries.append(query)
        if not self.passages:
            return ()
        vectors = await self.embedder.embed([query, *(it.text for it in self.passages)])
        order = (-(vectors[1:] @ vectors[0])).argsort()[:limit]
        return [self.passages[at] for at in order]


@dataclass
class MemoryLedger:
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    costs: dict[str, tuple[str, str, Usage, int]] = field(default_factory=dict)

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        found = self.rows.get(step_key)
        return found[1] if found and found[0] == request_hash else None

    async def record(self, step_key: str, paid: Paid) -> None:
        assert step_key not in self.rows
        self.rows[step_key] = (paid.request_hash, paid.response)
        self.costs[step_key] = (paid.provider, paid.model, paid.usage, paid.cost_micros)


@dataclass
class RecordingStages:
    fail_at: str = ""
    seen: list[str] = field(default_factory=list)

    async def entered(self, stage: str) -> None:
        if stage == self.fail_at:
            raise LeaseLost(stage)
        self.seen.append(stage)


@dataclass
class RecordingSink:
    """Puts the answer together as a client would: by offset, from the last reset on."""

    fail_after: int = 1_000_000
    text: str = ""
    writes: list[tuple[int, str]] = field(default_factory=list)
    resets: list[int] = field(default_factory=list)

    async def write(self, offset: int, text: str) -> None:
        if len(self.writes) >= self.fail_after:
            raise LeaseLost("sink")
        assert offset == len(self.text)
        self.writes.append((offset, text))
        self.text = self.text[:offset] + text

    async def reset(self, generation: int) -> None:
        self.resets.append(generation)
        self.text = ""


class LeaseLost(Exception):
    """What the worker's ports raise when another worker has taken over."""


@dataclass
class Study:
    """One team with its ports; `ask` answers a question with it."""

    embedder: MiniLM
    search: VectorSearch
    members: StudyMembers
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    stages: RecordingStages = field(default_factory=RecordingStages)
    sink: RecordingSink = field(default_factory=RecordingSink)
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    lease_lost: type[Exception] = LeaseLost
    prompt: str = PROMPT

    async def ask(self, question: str, **brief: object) -> StudyOutcome:
        team = StudyTeam(self.members, self.search, self.embedder)
        return await team.answer(
            StudyBrief(question, **brief),
            generation=3,
            ledger=self.ledger,
            stages=self.stages,
            sink=self.sink,
            cancellation=self.cancellation,
        )

    def essay(self, policy: AiPolicy) -> OpenAssignment:
        return OpenAssignment("essay", "Essay 1: Reliable delivery", self.prompt, policy)


@pytest.fixture(scope="session")
def embedder():
    found = MiniLM()
    yield found
    found.close()


@pytest.fixture
def corpus() -> tuple[Passage, ...]:
    return tuple(passage(number, *row) for number, row in enumerate(CORPUS))


@pytest.fixture
def study(embedder, corpus) -> Study:
    return Study(embedder, VectorSearch(embedder, corpus), offline_members(embedder))
