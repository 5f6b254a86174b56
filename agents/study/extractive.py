"""The offline tutor: the best sentences of the best passages, quoted and cited.

It abstains where the passages don't support an answer (agents/study/support.py). Else sentences are
scored by the cosine of question and sentence, alone and under its heading, which says what "it" is,
by how much of the question's rare terms they and their passage hold and by the passage's rank, then
chosen by maximal marginal relevance (Carbonell and Goldstein, 1998). Thresholds hold for the
built-in embedder and English.
"""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
    StructuredMessage,
)
from autogen_core import CancellationToken
from numpy.typing import NDArray

from agents.documents.sentences import sentence_spans
from agents.ports import Reader, Reading
from agents.study.brief import Speaker, Turn
from agents.study.messages import NumberedPassage, Quotation, Route, TutorAnswer, TutorRequest
from agents.study.offline import request_in
from agents.study.planner import questions
from agents.study.support import Support, support
from agents.study.terms import coverage, inverse_frequency, terms

RELATIVE: Final = 0.8
"""A further sentence needs this share of the best one's score."""

MAX_SENTENCES: Final = 4
"""In all; two for each question where several are asked."""

DIVERSITY: Final = 0.3
SAME: Final = 0.95
"""Cosine from which on two sentences say the same."""

_MIN_WORDS: Final = 5
_MAX_WORDS: Final = 80
_MAX_SENTENCES_READ: Final = 120
_MAX_CANDIDATES: Final = 16
_LINES_BEFORE: Final = re.compile(r"(?:[ \t]*(?:#{1,6}|[-*+>]|\d{1,3}[.)])[ \t]+)+")
_NOT_PROSE: Final = re.compile(r"^(?:\s*(?:\||```|~~~|[-=]{3,})|\s*#{1,6}\s)", re.MULTILINE)
_PART: Final = re.compile(r"\S(?:[^.;]|[.;](?!\s))*+[.;]?")
_BRACKETED: Final = re.compile(r"\[(\d{1,3})\]")
_STREAMED: Final = 48

_ABOUT: Final = (
    "Hello! Ask me about your course material: I answer with sentences from it and say where they "
    "are. I don't solve graded work that is still open, but I can point you to what to read."
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence as it stands in its passage (`quote`)."""

    passage: NumberedPassage
    start: int
    quote: str


@dataclass(frozen=True, slots=True)
class Material:
    """Passages, sentences of them and how each of these reads under its heading."""

    passages: Sequence[NumberedPassage]
    sentences: Sequence[_Sentence]
    readings: Sequence[Reading]

    def support(self, question: str, asked: Reading) -> Support:
        """What speaks for an answer to a question."""
        read: dict[int, list[Reading]] = {passage.number: [] for passage in self.passages}
        for sentence, reading in zip(self.sentences, self.readings, strict=True):
            read[sentence.passage.number].append(reading)
        return support(question, asked, [*read.values()], [*map(_whole, self.passages)])

    def candidates(self, question: str, asked: Reading) -> list[tuple[_Sentence, float, float]]:
        """The sentences nearest to a question, each with its cosine and what else is scored."""
        held = {passage.number: terms(_whole(passage)) for passage in self.passages}
        weights = inverse_frequency(held.values())
        wanted = terms(question)
        cosines = np.array([float(reading.vector @ asked.vector) for reading in self.readings])
        found = []
        for at in (-cosines).argsort(kind="stable")[:_MAX_CANDIDATES]:
            sentence = self.sentences[at]
            own = coverage(wanted, terms(_with_heading(sentence)), weights)
            around = coverage(wanted, held[sentence.passage.number], weights)
            below = 0.02 * math.log2(1 + sentence.passage.number)
            found.append((sentence, float(cosines[at]), 0.2 * own + 0.1 * around - below))
        return found


async def read_material(
    reader: Reader, asked: Sequence[str], passages: Sequence[NumberedPassage]
) -> tuple[list[Reading], Material]:
    """Readings of what was asked, and of the first sentences of the passages."""
    sentences = [it for passage in passages for it in _sentences(passage)][:_MAX_SENTENCES_READ]
    readings = await reader.read([*asked, *map(_with_heading, sentences)])
    return readings[: len(asked)], Material(passages, sentences, readings[len(asked) :])


class ExtractiveTutor(BaseChatAgent):
    """Answers a TutorTask with StructuredMessage[TutorAnswer], streaming its JSON in chunks."""

    def __init__(self, reader: Reader) -> None:
        super().__init__("tutor", "Answers with quoted sentences of the course material.")
        self._reader = reader

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """A structured answer."""
        return (StructuredMessage[TutorAnswer],)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """The answer to the last message, which must hold a TutorRequest (else TypeError)."""
        request = request_in(messages, TutorRequest, cancellation_token)
        answer = await self._answered(request)
        return Response(
            chat_message=StructuredMessage[TutorAnswer](content=answer, source=self.name)
        )

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        """Chunks which together are the JSON of the answer, then the Response."""
        response = await self.on_messages(messages, cancellation_token)
        message = response.chat_message
        if isinstance(message, StructuredMessage):
            document = message.content.model_dump_json()
            for at in range(0, len(document), _STREAMED):
                yield ModelClientStreamingChunkEvent(
                    content=document[at : at + _STREAMED], source=self.name
                )
        yield response

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Nothing to forget."""

    async def _answered(self, request: TutorRequest) -> TutorAnswer:
        if request.route is Route.DIRECT:
            return TutorAnswer(text=_ABOUT)
        asked = [_in_context(part, request.history) for part in questions(request.question)]
        readings, material = await read_material(self._reader, asked, request.passages)
        if not material.sentences:
            return TutorAnswer(text="", abstained=True)
        most = max(2, MAX_SENTENCES // len(asked))
        chosen = [
            await self._chosen(question, reading, material, most)
            for question, reading in zip(asked, readings, strict=True)
        ]
        if not any(chosen):
            return TutorAnswer(text="", abstained=True)
        unanswered = [part for part, found in zip(asked, chosen, strict=True) if not found]
        return _composed(dict.fromkeys(it for found in chosen for it in found), unanswered)

    async def _chosen(
        self, question: str, asked: Reading, material: Material, most: int
    ) -> list[_Sentence]:
        """The sentences that answer one question; none where the material doesn't support that."""
        if not (await asyncio.to_thread(material.support, question, asked)).answers:
            return []
        found = material.candidates(question, asked)
        sentences = [sentence for sentence, _, _ in found]
        alone = await self._reader.embed([sentence.quote for sentence in sentences])
        scores = [
            0.6 * max(float(vector @ asked.vector), cosine) + shared
            for vector, (_, cosine, shared) in zip(alone, found, strict=True)
        ]
        return [sentences[at] for at in _picked(scores, alone, sentences, most)]


def _picked(
    scores: Sequence[float],
    vectors: NDArray[np.float32],
    sentences: Sequence[_Sentence],
    most: int,
) -> list[int]:
    """Places of at most `most` sentences, best first, those of a passage together."""
    best = max(scores)
    left = {at for at, score in enumerate(scores) if score >= RELATIVE * best}
    picked: list[int] = []
    while left and len(picked) < most:
        relevance = {at: scores[at] - DIVERSITY * _nearest(vectors, at, picked) for at in left}
        at = max(relevance, key=lambda at: (relevance[at], -at))
        left.discard(at)
        if _nearest(vectors, at, picked) < SAME:
            picked.append(at)
    first_of = {sentences[at].passage.number: rank for rank, at in reversed([*enumerate(picked)])}
    return sorted(
        picked, key=lambda at: (first_of[sentences[at].passage.number], sentences[at].start)
    )


def _nearest(vectors: NDArray[np.float32], at: int, picked: Sequence[int]) -> float:
    return max((float(vectors[at] @ vectors[it]) for it in picked), default=0.0)


def _composed(chosen: Iterable[_Sentence], unanswered: Sequence[str]) -> TutorAnswer:
    """Quoted sentences, grouped by the section they are from, each with its marker."""
    parts: list[str] = []
    quotations: list[Quotation] = []
    group: list[str] = []
    place = ""
    for marker, sentence in enumerate(chosen, start=1):
        here = _place(sentence.passage)
        if here != place:
            parts += [" ".join(group)] if group else []
            parts.append(f"{here}:")
            group, place = [], here
        shown = _BRACKETED.sub(r"(\1)", " ".join(sentence.quote.split()))
        group.append(f"“{shown}” [{marker}]")
        quotations.append(
            Quotation(marker=marker, passage=sentence.passage.number, quote=sentence.quote)
        )
    parts.append(" ".join(group))
    parts += [f"I found nothing on “{question}”" for question in unanswered]
    return TutorAnswer(text="\n\n".join(parts), quotations=quotations)


def _sentences(passage: NumberedPassage) -> list[_Sentence]:
    """Prose sentences of a passage: no headings, tables, code, fragments or questions."""
    found: list[_Sentence] = []
    for start, end in _sentence_spans(passage.text):
        lead = _LINES_BEFORE.match(passage.text, start, end)
        begin = lead.end() if lead else start
        quote = passage.text[begin:end]
        if _MIN_WORDS <= len(quote.split()) <= _MAX_WORDS and not quote.endswith((":", "?")):
            found.append(_Sentence(passage, begin, quote))
    return found


def _sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    for start, end in _prose_spans(text):
        for a, b in sentence_spans(text[start:end]):
            sentence = text[start + a : start + b]
            if len(sentence.split()) <= _MAX_WORDS:
                yield start + a, start + b
                continue
            # All in lower case, or a list in disguise: any full stop will do.
            for part in _PART.finditer(sentence):
                yield start + a + part.start(), start + a + part.end()


def _prose_spans(text: str) -> list[tuple[int, int]]:
    """Runs of lines without headings, tables and fenced code; a list item starts a run."""
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    fenced = False
    position = 0
    for line in text.splitlines(keepends=True):
        fence = line.lstrip().startswith(("```", "~~~"))
        if fence or fenced or _NOT_PROSE.match(line) or _LINES_BEFORE.match(line):
            if begin is not None:
                spans.append((begin, position))
            begin = None
        fenced ^= fence
        if begin is None and not (fence or fenced or _NOT_PROSE.match(line)):
            begin = position
        position += len(line)
    return [*spans, (begin, position)] if begin is not None else spans


def _with_heading(sentence: _Sentence) -> str:
    """The sentence after the heading right above it."""
    passage = sentence.passage
    return f"{passage.heading.split(' > ')[-1] or passage.document_title}: {sentence.quote}"


def _whole(passage: NumberedPassage) -> str:
    return f"{passage.document_title} {passage.heading} {passage.text}"


def _place(passage: NumberedPassage) -> str:
    page = f", page {passage.page}" if passage.page is not None else ""
    heading = f", section “{passage.heading}”" if passage.heading else ""
    return f"From “{passage.document_title}”{heading}{page}"


def _in_context(question: str, history: Sequence[Turn]) -> str:
    """The question, after the student's question before it where it has hardly a topic itself."""
    if len(set(terms(question))) > 1:
        return question
    for turn in reversed(history):
        if turn.speaker is Speaker.STUDENT and len(set(terms(turn.text))) >= 2:
            return f"{turn.text} {question}"
    return question
