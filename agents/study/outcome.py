"""What a study team returns."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agents.study.messages import Route


class StudyState(StrEnum):
    """How an answer ended; the states of Message that a team decides."""

    COMPLETE = "COMPLETE"
    ABSTAINED = "ABSTAINED"


class UnsupportedReason(StrEnum):
    """Why a claim has no support."""

    NO_CITATION = "NO_CITATION"
    NO_QUOTE = "NO_QUOTE"
    NO_SUCH_PASSAGE = "NO_SUCH_PASSAGE"
    QUOTE_NOT_FOUND = "QUOTE_NOT_FOUND"


class StepKind(StrEnum):
    """What a step of the team did."""

    GRADED_WORK = "GRADED_WORK"
    PLAN = "PLAN"
    RETRIEVE = "RETRIEVE"
    DRAFT = "DRAFT"
    CRITIQUE = "CRITIQUE"
    CHECK = "CHECK"


@dataclass(frozen=True, slots=True)
class Citation:
    """A claim of the answer and the quote it rests on.

    `claim_start`/`claim_end` are code points of the answer, `quote_start`/`quote_end` of the
    chunk's text; the latter are None where the quote is not in the chunk (`verified` False).
    `quote` is the chunk's own wording when verified, else what the tutor gave.
    """

    claim_start: int
    claim_end: int
    chunk_id: str
    document_id: str
    quote: str
    quote_start: int | None
    quote_end: int | None
    page: int | None
    verified: bool


@dataclass(frozen=True, slots=True)
class UnsupportedClaim:
    """A claim (code points of the answer) that no verified quote supports."""

    start: int
    end: int
    reason: UnsupportedReason


@dataclass(frozen=True, slots=True)
class StudyStep:
    """One step, for the student who wants to see how the answer was made. `detail` is JSON."""

    kind: StepKind
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """The answer; the sink holds the same text when the team returns."""

    state: StudyState
    text: str
    route: Route
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[UnsupportedClaim, ...] = ()
    steps: tuple[StudyStep, ...] = field(default=())
    remember: tuple[str, ...] = ()
    """Facts of the student the tutor proposes to remember."""
