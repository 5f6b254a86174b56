"""What members of the study team send each other: pydantic models in StructuredMessages.

A task is a request which a language model reads as a prompt and code as a value. Each member
answers with a StructuredMessage of its reply model.
"""

import unicodedata
from enum import StrEnum
from typing import Annotated

from autogen_agentchat.messages import StructuredMessage
from pydantic import BaseModel, ConfigDict, Field, field_validator

from agents.ports import Passage, WebPage, WebProblem
from agents.study.brief import Turn
from agents.study.spotlight import fence, spotlit, unmarked
from agents.study.summary import SummaryRequest


class Route(StrEnum):
    """Where an answer comes from."""

    DIRECT = "DIRECT"
    DOCUMENTS = "DOCUMENTS"
    WEB = "WEB"
    BOTH = "BOTH"
    CLARIFY = "CLARIFY"
    REFUSE_GRADED_WORK = "REFUSE_GRADED_WORK"


class Verdict(StrEnum):
    """A critic's verdict on a draft."""

    APPROVE = "APPROVE"
    REVISE = "REVISE"
    ABSTAIN = "ABSTAIN"


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenWork(_Request):
    """Graded work a planner must recognise."""

    id: str
    title: str
    prompt: str


class PlanRequest(_Request):
    """To the planner. `sources` are the routes besides DIRECT and CLARIFY that can be served."""

    question: str
    history: tuple[Turn, ...]
    open_work: tuple[OpenWork, ...]
    sources: tuple[Route, ...]
    language: str
    max_queries: int


class StudyPlan(_Reply):
    """From the planner. `queries` search the material; `clarification` is the question to ask
    back on CLARIFY; `assignment_id` names the open work on REFUSE_GRADED_WORK."""

    route: Route
    queries: list[str] = Field(default_factory=list)
    clarification: str = ""
    assignment_id: str = ""
    reason: str = ""


class SearchRequest(_Request):
    """What retrieval is asked; its step in the ledger keeps what a committed answer has read."""

    queries: tuple[str, ...]
    limit: int


class RetrievedPassages(_Reply):
    """Passages of all queries, best first."""

    passages: tuple[Passage, ...]


class WebRequest(_Request):
    """What the web is asked."""

    queries: tuple[str, ...]
    limit: int


class FoundPages(_Reply):
    """Pages of all queries, best first; `problem` where (part of) the search failed."""

    pages: tuple[WebPage, ...] = ()
    problem: WebProblem | None = None


class NumberedPassage(_Request):
    """A passage as the tutor sees it, numbered from 1; `url` where it is of a web page."""

    number: int
    document_title: str
    heading: str
    page: int | None
    text: str
    url: str = ""


class TutorRequest(_Request):
    """To the tutor. `problems` are what was wrong with its previous draft."""

    question: str
    history: tuple[Turn, ...]
    passages: tuple[NumberedPassage, ...]
    route: Route
    language: str
    problems: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


class Quotation(_Reply):
    """What a marker [n] in the answer stands for: words copied from a numbered passage."""

    marker: int
    passage: int
    quote: str

    @field_validator("quote")
    @classmethod
    def _plain(cls, quote: str) -> str:
        """Without the marks of the prompt."""
        return unmarked(quote)


class TutorAnswer(_Reply):
    """From the tutor. `text` is first, so that it can be shown while the JSON arrives.

    `remember` proposes facts of the student; they count once the student has accepted them.
    """

    text: str
    quotations: list[Quotation] = Field(default_factory=list)
    abstained: bool = False
    remember: list[str] = Field(default_factory=list)

    @field_validator("text")
    @classmethod
    def _storable(cls, text: str) -> str:
        """NFC without NUL, the form in which text is stored and offsets count."""
        return unicodedata.normalize("NFC", unmarked(text).replace("\x00", ""))


class CheckedClaim(_Request):
    """A claim of a draft with the quotes found for it; `supported` is the code's finding."""

    claim: str
    quotes: tuple[str, ...]
    supported: bool


class CriticRequest(_Request):
    """To the critic."""

    question: str
    answer: str
    claims: tuple[CheckedClaim, ...]
    language: str


class CriticVerdict(_Reply):
    """From the critic. `issues` tell the tutor what to change."""

    verdict: Verdict
    issues: list[Annotated[str, Field(max_length=2_000)]] = Field(default_factory=list)


class PlanTask(StructuredMessage[PlanRequest]):
    """A plan request as a message."""

    def to_model_text(self) -> str:
        """The prompt."""
        request = self.content
        work = [f"- {item.id}: {item.title}\n{item.prompt}" for item in request.open_work]
        return _sections(
            ("Routes that can be served", ", ".join(request.sources)),
            ("At most this many queries", str(request.max_queries)),
            ("Language of the student", request.language),
            ("Open graded work", spotlit("\n\n".join(work), _fence(request))),
            ("Conversation so far", spotlit(_turns(request.history), _fence(request))),
            ("Question", request.question),
        )


class SummaryTask(StructuredMessage[SummaryRequest]):
    """A summary request as a message."""

    def to_model_text(self) -> str:
        """The prompt."""
        request = self.content
        return _sections(
            ("Language", request.language),
            ("At most this many tokens", str(request.most_tokens)),
            ("Summary so far", spotlit(request.previous, _fence(request))),
            ("What was said since", spotlit(_turns(request.turns), _fence(request))),
        )


class TutorTask(StructuredMessage[TutorRequest]):
    """A tutor request as a message."""

    def to_model_text(self) -> str:
        """The prompt."""
        request = self.content
        name = _fence(request)
        passages = [
            f"[passage {found.number}]\n" + spotlit(f"{_place(found)}\n{found.text}", name)
            for found in request.passages
        ]
        return _sections(
            ("Language to answer in", request.language),
            ("Passages", "\n\n".join(passages)),
            (
                "What the student lets you remember",
                spotlit("\n".join(f"- {it}" for it in request.facts), name),
            ),
            ("Conversation so far", spotlit(_turns(request.history), name)),
            ("Question", request.question),
            ("Problems of your previous draft", "\n".join(f"- {it}" for it in request.problems)),
        )


class CriticTask(StructuredMessage[CriticRequest]):
    """A critic request as a message."""

    def to_model_text(self) -> str:
        """The prompt."""
        request = self.content
        claims = [
            f"- {item.claim}\n  quotes: {' | '.join(item.quotes) or 'none'}\n"
            f"  found in the material: {'yes' if item.supported else 'no'}"
            for item in request.claims
        ]
        return _sections(
            ("Language", request.language),
            ("Question", request.question),
            ("Answer", spotlit(request.answer, _fence(request))),
            ("Claims", spotlit("\n".join(claims), _fence(request))),
        )


def _sections(*sections: tuple[str, str]) -> str:
    return "\n\n".join(f"## {title}\n{body}" for title, body in sections if body)


def _fence(request: BaseModel) -> str:
    return fence(request.model_dump_json())


def _turns(turns: tuple[Turn, ...]) -> str:
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)


def _place(found: NumberedPassage) -> str:
    page = f", page {found.page}" if found.page is not None else ""
    heading = f", {found.heading}" if found.heading else ""
    return f"{found.document_title}{heading}{page}{f' ({found.url})' if found.url else ''}"
