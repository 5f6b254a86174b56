"""The offline members: agents of the team which need no model provider, no key, no network."""

import asyncio
import hashlib
from abc import abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken

from agents.grading.brief import Role
from agents.grading.members import MemberIdentity
from agents.grading.statistical.feedback import written_feedback
from agents.grading.statistical.lexical import LexicalModel
from agents.grading.statistical.nearest import NearestModel
from agents.grading.statistical.opinion import Estimate, criterion_verdict
from agents.grading.statistical.segments import Segment, segments
from agents.grading.statistical.semantic import SemanticModel, sentence_vectors
from agents.grading.statistical.target import (
    GradedText,
    Target,
    answer_text,
    graded_texts,
    targets,
)
from agents.grading.statistical.vectors import TextVectors
from agents.grading.verdict import FeedbackRequest, FeedbackText, GradeRequest, GradeVerdict
from agents.ports import Embedder, Usage

VERSION: Final = "1"
"""Of the offline methods; goes into each assessment where a prompt's version would."""
_MODELS: Final = {
    Role.GRADER_A: "semantic",
    Role.GRADER_B: "lexical",
    Role.ARBITER: "nearest",
    Role.FEEDBACK: "template",
}
_KEPT_MODELS: Final = 64

ModelT = TypeVar("ModelT")


class FittedModels:
    """Models of recent briefs, each fitted once however many attempts ask for it."""

    def __init__(self, vectors: TextVectors) -> None:
        self.vectors = vectors
        self._semantic = _Kept[SemanticModel]()
        self._lexical = _Kept[LexicalModel]()

    async def semantic(
        self, target: Target, prompt: str, graded: Sequence[GradedText]
    ) -> SemanticModel:
        """Fitted, or the one fitted before."""
        return await self._semantic.get(
            _key(target, prompt, graded),
            lambda: SemanticModel.fit(target, prompt, graded, self.vectors),
        )

    async def lexical(
        self, target: Target, prompt: str, graded: Sequence[GradedText]
    ) -> LexicalModel:
        """Fitted in a thread, or the one fitted before."""
        return await self._lexical.get(
            _key(target, prompt, graded),
            lambda: asyncio.to_thread(LexicalModel.fit, target, prompt, graded),
        )


class _Kept(Generic[ModelT]):
    """The models used last; those who want the same one at once wait for one fit."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelT] = OrderedDict()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, key: str, fit: Callable[[], Awaitable[ModelT]]) -> ModelT:
        if key not in self._models:
            turn = self._turns[key]
            async with turn:
                if key not in self._models:
                    self._models[key] = await fit()
            self._turns.pop(key, None)
        self._models.move_to_end(key)
        model = self._models[key]
        while len(self._models) > _KEPT_MODELS:
            self._models.popitem(last=False)
        return model


class OfflineGrader(BaseChatAgent):
    """Answers a grade request with a verdict that rests on measures alone."""

    def __init__(self, name: str, models: FittedModels) -> None:
        super().__init__(name, description="Grades by measuring; no language model.")
        self._models = models

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """A structured verdict."""
        return (StructuredMessage[GradeVerdict],)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """The last message is a structured GradeRequest; else ValueError."""
        request = messages[-1].content if isinstance(messages[-1], StructuredMessage) else None
        if not isinstance(request, GradeRequest):
            raise ValueError("an offline grader needs a structured GradeRequest")  # noqa: TRY004 - callers of an agent pass values, and autogen's own agents raise ValueError
        text = answer_text(request)
        answer = segments(text)
        caveat = _caveat(request, text)
        verdicts, off_topic = [], []
        for target in await asyncio.to_thread(targets, request):
            if cancellation_token.is_cancelled():
                raise asyncio.CancelledError
            graded = graded_texts(request, target.criterion)
            estimated, unrelated = await self.estimate(request, target, graded, text, answer)
            verdicts.append(criterion_verdict(estimated, target, answer, caveat=caveat))
            off_topic.append(unrelated)
        verdict = GradeVerdict(criteria=verdicts, off_topic=all(off_topic) and not caveat)
        return Response(
            chat_message=StructuredMessage[GradeVerdict](content=verdict, source=self.name)
        )

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Nothing is kept between messages."""

    @abstractmethod
    async def estimate(
        self,
        request: GradeRequest,
        target: Target,
        graded: Sequence[GradedText],
        text: str,
        answer: Sequence[Segment],
    ) -> tuple[Estimate, bool]:
        """The estimate for one criterion, and whether the text is about something else."""


class SemanticGrader(OfflineGrader):
    """Grader A: closeness in meaning."""

    async def estimate(
        self,
        request: GradeRequest,
        target: Target,
        graded: Sequence[GradedText],
        text: str,
        answer: Sequence[Segment],  # noqa: ARG002 - the base class's signature
    ) -> tuple[Estimate, bool]:
        """By embeddings."""
        model = await self._models.semantic(target, request.assignment_prompt, graded)
        vectors = self._models.vectors
        whole = (await vectors.documents([text]))[0]
        sentences = await sentence_vectors(text, vectors)
        estimated = await asyncio.to_thread(model.estimate, whole, text, sentences)
        return estimated, model.is_off_topic(whole)


class LexicalGrader(OfflineGrader):
    """Grader B: shared terms and extent."""

    async def estimate(
        self,
        request: GradeRequest,
        target: Target,
        graded: Sequence[GradedText],
        text: str,
        answer: Sequence[Segment],
    ) -> tuple[Estimate, bool]:
        """By terms."""
        model = await self._models.lexical(target, request.assignment_prompt, graded)
        estimated = await asyncio.to_thread(model.estimate, text, answer)
        return estimated, model.is_off_topic(text)


class NearestArbiter(OfflineGrader):
    """Third reader: alignment and nearest exemplars."""

    async def estimate(
        self,
        request: GradeRequest,
        target: Target,
        graded: Sequence[GradedText],
        text: str,
        answer: Sequence[Segment],
    ) -> tuple[Estimate, bool]:
        """By both kinds of likeness, sentence by sentence."""
        semantic = await self._models.semantic(target, request.assignment_prompt, graded)
        lexical = await self._models.lexical(target, request.assignment_prompt, graded)
        vectors = self._models.vectors
        whole = (await vectors.documents([text]))[0]
        sentences = await sentence_vectors(text, vectors)
        model = NearestModel(semantic, lexical, graded)
        estimated = await asyncio.to_thread(model.estimate, whole, text, sentences, answer)
        return estimated, semantic.is_off_topic(whole) and lexical.is_off_topic(text)


class OfflineFeedbackWriter(BaseChatAgent):
    """Puts the decided assessment into sentences."""

    def __init__(self) -> None:
        super().__init__("offline_feedback", description="Writes feedback from an assessment.")

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Structured feedback."""
        return (StructuredMessage[FeedbackText],)

    async def on_messages(
        self,
        messages: Sequence[BaseChatMessage],
        cancellation_token: CancellationToken,  # noqa: ARG002 - the base class's signature
    ) -> Response:
        """The last message is a structured FeedbackRequest; else ValueError."""
        request = messages[-1].content if isinstance(messages[-1], StructuredMessage) else None
        if not isinstance(request, FeedbackRequest):
            raise ValueError("the feedback writer needs a structured FeedbackRequest")  # noqa: TRY004 - as above
        feedback = FeedbackText(text=written_feedback(request))
        return Response(
            chat_message=StructuredMessage[FeedbackText](content=feedback, source=self.name)
        )

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Nothing is kept between messages."""


class OfflineMembers:
    """GradingMembers which measure. One for a process: agents are fresh, fitted models shared."""

    def __init__(self, embedder: Embedder) -> None:
        self._models = FittedModels(TextVectors(embedder))

    def grader(self, slot: Role) -> BaseChatAgent:
        """A: by meaning. B: by terms."""
        if slot is Role.GRADER_A:
            return SemanticGrader("offline_semantic", self._models)
        return LexicalGrader("offline_lexical", self._models)

    def arbiter(self) -> BaseChatAgent:
        """By alignment and neighbours."""
        return NearestArbiter("offline_nearest", self._models)

    def feedback_writer(self) -> BaseChatAgent:
        """By template."""
        return OfflineFeedbackWriter()

    def identity(self, role: Role) -> MemberIdentity:
        """Provider `offline`; the model is the method."""
        return MemberIdentity("offline", _MODELS[role], VERSION)

    def cost_micros(self, role: Role, usage: Usage) -> int:  # noqa: ARG002 - free whatever it is
        """Nothing."""
        return 0


def _caveat(request: GradeRequest, text: str) -> str:
    """Why these measures say little here, or an empty string."""
    letters = [char for char in text[:5_000] if char.isalpha()]
    latin = sum(char.isascii() for char in letters)
    language = (request.language or "en").lower()
    if language.startswith("en") and latin >= 0.5 * len(letters):
        return ""
    return "The measures are made for English; this text is in another language"


def _key(target: Target, prompt: str, graded: Sequence[GradedText]) -> str:
    digest = hashlib.sha256(repr((target, prompt, tuple(graded))).encode("utf-8", "replace"))
    return digest.hexdigest()
