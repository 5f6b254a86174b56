"""Small fakes for the ports and scripted members of the grading team."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken
from autogen_core.models import RequestUsage
from numpy.typing import NDArray

from agents.grading.brief import AttemptText, Criterion, GradingBrief, GradingPolicy, Level, Role
from agents.grading.members import MemberIdentity
from agents.grading.result import GradingResult
from agents.grading.team import GradingTeam
from agents.grading.verdict import (
    CriterionVerdict,
    FeedbackRequest,
    FeedbackText,
    GradeRequest,
    GradeVerdict,
)
from agents.ports import Paid, Passage, Usage

Answer = Callable[[GradeRequest], Awaitable[GradeVerdict]]


class MemoryLedger:
    """Keeps what was recorded, and what it was recorded with."""

    def __init__(self) -> None:
        self.responses: dict[tuple[str, str], str] = {}
        self.calls: list[tuple[str, str, str, Usage, int]] = []
        self.written = asyncio.Event()

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        return self.responses.get((step_key, request_hash))

    async def record(self, step_key: str, paid: Paid) -> None:
        self.responses[step_key, paid.request_hash] = paid.response
        self.calls.append((step_key, paid.provider, paid.model, paid.usage, paid.cost_micros))
        self.written.set()

    @property
    def steps(self) -> list[str]:
        """Step keys in the order of their commits."""
        return [call[0] for call in self.calls]


class StageList:
    """Notes the stages; raises `stop` at the one named `stop_at`."""

    def __init__(self) -> None:
        self.entered_stages: list[str] = []
        self.stop_at: str | None = None
        self.stop: Exception = RuntimeError("lease lost")

    async def entered(self, stage: str) -> None:
        if stage == self.stop_at:
            raise self.stop
        self.entered_stages.append(stage)


class Shelf:
    """A search that finds `passages` and notes its queries."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self.queries: list[tuple[str, int]] = []

    async def search(self, query: str, limit: int) -> Sequence[Passage]:
        self.queries.append((query, limit))
        return self.passages[:limit]


class WordHash:
    """An embedder whose cosine is the share of common words; counts the texts it was given."""

    def __init__(self) -> None:
        self.embedded = 0

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        vectors = np.zeros((len(texts), 512), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                place = sum(ord(char) * 31**at for at, char in enumerate(word.strip(".,;:")))
                vectors[row, place % 512] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


class ScriptedAgent(BaseChatAgent):
    """Answers by a function of the request."""

    def __init__(self, name: str, answer: Callable[[object], Awaitable[object]]) -> None:
        super().__init__(name, description="scripted")
        self._answer = answer

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (StructuredMessage,)

    async def on_messages(
        self,
        messages: Sequence[BaseChatMessage],
        cancellation_token: CancellationToken,  # noqa: ARG002 - the base class's signature
    ) -> Response:
        message = messages[0]
        assert isinstance(message, StructuredMessage)
        content = await self._answer(message.content)
        usage = RequestUsage(prompt_tokens=100, completion_tokens=10)
        if isinstance(content, FeedbackText):
            reply = StructuredMessage[FeedbackText](
                content=content, source=self.name, models_usage=usage
            )
            return Response(chat_message=reply)
        assert isinstance(content, GradeVerdict)
        verdict = StructuredMessage[GradeVerdict](
            content=content, source=self.name, models_usage=usage
        )
        return Response(chat_message=verdict)

    async def on_reset(self, _cancellation_token: CancellationToken) -> None:
        return None


@dataclass
class ScriptedMembers:
    """Members whose verdicts the test writes; notes every request."""

    answers: dict[Role, Answer] = field(default_factory=dict)
    requests: list[GradeRequest] = field(default_factory=list)
    feedback_requests: list[FeedbackRequest] = field(default_factory=list)
    made: list[BaseChatAgent] = field(default_factory=list)
    feedback: str = "Well argued."

    def says(self, role: Role, verdict: GradeVerdict, repair: GradeVerdict | None = None) -> None:
        """The seat answers with `verdict`, and with `repair` when asked to repair it."""

        async def answer(request: GradeRequest) -> GradeVerdict:
            return repair if request.repair and repair else verdict

        self.answers[role] = answer

    def grader(self, slot: Role) -> BaseChatAgent:
        return self._agent(slot)

    def arbiter(self) -> BaseChatAgent:
        return self._agent(Role.ARBITER)

    def feedback_writer(self) -> BaseChatAgent:
        async def write(request: object) -> object:
            assert isinstance(request, FeedbackRequest)
            self.feedback_requests.append(request)
            return FeedbackText(text=self.feedback)

        return ScriptedAgent("feedback", write)

    def identity(self, role: Role) -> MemberIdentity:
        return MemberIdentity("scripted", f"model-{role.value}", "7")

    def cost_micros(self, _role: Role, usage: Usage) -> int:
        return usage.input_tokens * 3 + usage.output_tokens * 5

    def _agent(self, role: Role) -> BaseChatAgent:
        async def answer(request: object) -> object:
            assert isinstance(request, GradeRequest)
            self.requests.append(request)
            return await self.answers[role](request)

        agent = ScriptedAgent(f"seat_{role.value.lower()}", answer)
        self.made.append(agent)
        return agent


VerdictMaker = Callable[..., GradeVerdict]


@pytest.fixture
def verdict() -> VerdictMaker:
    """Builds a verdict from `{criterion id: (points, [quotes])}`."""

    def make(
        scores: Mapping[str, tuple[object, list[str]]],
        *,
        confidence: float = 0.9,
        off_topic: bool = False,
        levels: Mapping[str, str] | None = None,
    ) -> GradeVerdict:
        return GradeVerdict(
            criteria=[
                CriterionVerdict(
                    criterion_id=criterion_id,
                    level_id=(levels or {}).get(criterion_id),
                    points=Decimal(str(points)),
                    confidence=confidence,
                    rationale=f"Because of {criterion_id}.",
                    quotes=quotes,
                )
                for criterion_id, (points, quotes) in scores.items()
            ],
            off_topic=off_topic,
        )

    return make


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def stages() -> StageList:
    return StageList()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def members() -> ScriptedMembers:
    return ScriptedMembers()


@pytest.fixture
def embedder() -> WordHash:
    return WordHash()


@pytest.fixture
def brief() -> GradingBrief:
    """Two criteria of 4 and 6 points, no levels, never sampled."""
    return GradingBrief(
        assignment_prompt="Explain how bees find flowers.",
        criteria=(
            Criterion("fact", "Facts", "Names colour and scent.", Decimal(4)),
            Criterion("reason", "Reasoning", "Explains why.", Decimal(6)),
        ),
        points_possible=Decimal(10),
        policy=GradingPolicy(sample_rate=Decimal(0)),
    )


@pytest.fixture
def levelled() -> Criterion:
    """Levels of 0, 1-2 and 3-4 points, given out of order."""
    return Criterion(
        "c",
        "Clarity",
        "Clear.",
        Decimal(4),
        (
            Level("high", "High", Decimal(3), Decimal(4)),
            Level("none", "None", Decimal(0), Decimal(0)),
            Level("some", "Some", Decimal(1), Decimal(2)),
        ),
    )


@pytest.fixture
def as_json() -> Callable[[GradeVerdict], str]:
    """A verdict as a model writes it: points as JSON numbers."""

    def dump(verdict: GradeVerdict) -> str:
        document = verdict.model_dump(mode="json")
        for item in document["criteria"]:
            item["points"] = float(item["points"])
        return json.dumps(document)

    return dump


TEXT = "Bees see ultraviolet. They smell scent. So they find nectar quickly."
SEES, SMELLS, SO = "Bees see ultraviolet.", "They smell scent.", "So they find nectar quickly."
Grade = Callable[..., Coroutine[Any, Any, GradingResult]]


@pytest.fixture
def grade(
    members: ScriptedMembers,
    shelf: Shelf,
    ledger: MemoryLedger,
    stages: StageList,
    brief: GradingBrief,
) -> Grade:
    async def run(
        text: str = TEXT,
        brief: GradingBrief = brief,
        token: CancellationToken | None = None,
        allowed: timedelta = timedelta(seconds=20),
    ) -> GradingResult:
        return await GradingTeam(members, shelf, call_timeout=allowed).grade(
            brief,
            AttemptText("attempt-1", text),
            ledger=ledger,
            stages=stages,
            cancellation=token or CancellationToken(),
        )

    return run


@pytest.fixture
def agreeing(members: ScriptedMembers, verdict: VerdictMaker) -> ScriptedMembers:
    """A: 3 and 5, B: 4 and 5."""
    members.says(Role.GRADER_A, verdict({"fact": (3, [SEES]), "reason": (5, [SO])}))
    members.says(Role.GRADER_B, verdict({"fact": (4, [SMELLS]), "reason": (5, [SO])}))
    return members
