"""The offline tutor: the best sentences of the best passages, quoted and cited.

Sentences are scored by the cosine of question and sentence (with its heading, which says what
"it" is) and by how much of the question's rare terms they hold, then chosen by maximal marginal
relevance (Carbonell and Goldstein, 1998). It abstains when neither the sentences nor their terms
answer. Thresholds hold for the built-in embedder and English.
"""

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
from agents.ports import Embedder
from agents.study.brief import Speaker, Turn
from agents.study.messages import NumberedPassage, Quotation, Route, TutorAnswer, TutorRequest
from agents.study.offline import request_in
from agents.study.planner import questions
from agents.study.terms import coverage, inverse_frequency, terms

MIN_SUPPORT: Final = 0.46
MIN_CONTEXT: Final = 0.5
SHORT_QUESTION: Final = 4
"""Below these the tutor abstains; see Support. With them it answers 27 of MEDLINE's 30 questions
from MEDLINE, none of 60 of Cranfield's, and tells a course's topics from their neighbours."""

NAMED: Final = 0.9
"""The share of a question's other terms that a passage has which may do without its names."""

RELATIVE: Final = 0.8
"""A further sentence needs this share of the best one's score."""

MAX_SENTENCES: Final = 4
"""In all; two for each question where several are asked."""

DIVERSITY: Final = 0.3
SAME: Final = 0.95
"""Cosine from which on two sentences say the same."""

_MIN_WORDS: Final = 5
_MAX_WORDS: Final = 80
_MAX_CANDIDATES: Final = 120
_LINES_BEFORE: Final = re.compile(r"(?:[ \t]*(?:#{1,6}|[-*+>]|\d{1,3}[.)])[ \t]+)+")
_NOT_PROSE: Final = re.compile(r"^(?:\s*(?:\||```|~~~|[-=]{3,})|\s*#{1,6}\s)", re.MULTILINE)
_PART: Final = re.compile(r"\S(?:[^.;]|[.;](?!\s))*+[.;]?")
_NAME: Final = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*")
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


class ExtractiveTutor(BaseChatAgent):
    """Answers a TutorTask with StructuredMessage[TutorAnswer], streaming its JSON in chunks."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__("tutor", "Answers with quoted sentences of the course material.")
        self._embedder = embedder

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
        sentences = [it for passage in request.passages for it in _sentences(passage)]
        sentences = sentences[:_MAX_CANDIDATES]
        if not sentences:
            return TutorAnswer(text="", abstained=True)
        asked = [_in_context(part, request.history) for part in questions(request.question)]
        vectors = await self._embedder.embed(
            [*asked, *(it.quote for it in sentences), *map(_with_heading, sentences)]
        )
        most = max(2, MAX_SENTENCES // len(asked))
        chosen = [
            _chosen(question, vector, sentences, vectors[len(asked) :], request.passages, most)
            for question, vector in zip(asked, vectors, strict=False)
        ]
        if not any(chosen):
            return TutorAnswer(text="", abstained=True)
        unanswered = [part for part, found in zip(asked, chosen, strict=True) if not found]
        return _composed(dict.fromkeys(it for found in chosen for it in found), unanswered)


@dataclass(frozen=True, slots=True)
class Support:
    """How well sentences support an answer.

    `scores` are 0.6 cosine + 0.2 coverage of the question's terms by the sentence + 0.2 `context`,
    which is their coverage by the best passage. `asked` counts the question's distinct terms.
    `unknown` are names in the question that no passage has, `rest` the best passage's coverage of
    the other terms.
    """

    scores: NDArray[np.float64]
    context: float
    asked: int
    unknown: frozenset[str] = frozenset()
    rest: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether the best sentence is good enough; a short question must be about terms that
        occur, since "Kerberos authentication" is not answered by what authentication is. Nor is
        it where a name doesn't occur, unless one passage has nearly all of the rest."""
        if self.unknown and self.rest < NAMED:
            return False
        best = float(self.scores.max(initial=0.0))
        known = self.asked > SHORT_QUESTION or self.context >= MIN_CONTEXT
        return known and best >= MIN_SUPPORT


def support(
    question: str, sentences: Sequence[str], cosines: NDArray[np.float32], passages: Sequence[str]
) -> Support:
    """The support that sentences (their cosines to the question given) of passages lend."""
    passage_terms = [terms(passage) for passage in passages]
    weights = inverse_frequency(passage_terms)
    asked = terms(question)
    context = max((coverage(asked, held, weights) for held in passage_terms), default=0.0)
    own = np.array([coverage(asked, terms(sentence), weights) for sentence in sentences])
    unknown = _names(question) - _words(" ".join(passages))
    others = set(asked) - {term for name in unknown for term in terms(name)}
    rest = max((coverage(others, held, weights) for held in passage_terms), default=0.0)
    scores = 0.6 * cosines + 0.2 * own + 0.2 * context
    return Support(scores, context, len(set(asked)), unknown, rest)


def _names(question: str) -> frozenset[str]:
    """Acronyms and other names of a question, in lower case: words with a capital that does not
    begin a sentence."""
    found: set[str] = set()
    for match in _NAME.finditer(question):
        word = match.group()
        inner = any(map(str.isupper, word[1:]))
        before = question[: match.start()].rstrip(" \t\n\"'(\u201c\u2018")
        begins = not before or before.endswith((".", "?", "!", ":"))
        if len(word) > 1 and (inner or (word[0].isupper() and not begins)):
            found.add(_singular(word))
    return frozenset(found)


def _words(text: str) -> frozenset[str]:
    return frozenset(_singular(match.group()) for match in _NAME.finditer(text))


def _singular(word: str) -> str:
    return word.lower().removesuffix("s")


def _chosen(
    question: str,
    asked: NDArray[np.float32],
    sentences: Sequence[_Sentence],
    vectors: NDArray[np.float32],
    passages: Sequence[NumberedPassage],
    most: int,
) -> list[_Sentence]:
    count = len(sentences)
    alone, headed = vectors[:count], vectors[count:]
    cosines = np.maximum(alone @ asked, headed @ asked)
    found = support(
        question,
        [_with_heading(sentence) for sentence in sentences],
        cosines,
        [f"{passage.heading} {passage.text}" for passage in passages],
    )
    if not found.answers:
        return []
    scores, best = found.scores, float(found.scores.max())
    left = {at for at in range(count) if scores[at] >= RELATIVE * best}
    picked: list[int] = []
    while left and len(picked) < most:
        relevance = {
            at: scores[at] - DIVERSITY * _nearest(alone, at, picked)
            for at in left
        }  # fmt: skip
        at = max(relevance, key=lambda at: (relevance[at], -at))
        left.discard(at)
        if _nearest(alone, at, picked) < SAME:
            picked.append(at)
    first_of = {sentences[at].passage.number: rank for rank, at in reversed([*enumerate(picked)])}
    ordered = sorted(picked, key=lambda at: (first_of[sentences[at].passage.number], at))
    return [sentences[at] for at in ordered]


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
    heading = sentence.passage.heading or sentence.passage.document_title
    return f"{heading}: {sentence.quote}"


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
