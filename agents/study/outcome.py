"""What a study team returns."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agents.ports import Passage, WebPage
from agents.study.budget import Bound
from agents.study.messages import Route

Source = Passage | WebPage


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
    WEB_SEARCH = "WEB_SEARCH"
    DRAFT = "DRAFT"
    CRITIQUE = "CRITIQUE"
    CHECK = "CHECK"
    BUDGET = "BUDGET"


@dataclass(frozen=True, slots=True)
class Citation:
    """A claim of the answer and the quote it rests on.

    `source` is a chunk of the material or a page of the web. `claim_start`/`claim_end` are code
    points of the answer, `quote_start`/`quote_end` of the source's text; the latter are None where
    the quote is not in it (`verified` False). `quote` is the source's own wording when verified,
    else what the tutor gave.
    """

    claim_start: int
    claim_end: int
    source: Source
    quote: str
    quote_start: int | None
    quote_end: int | None
    verified: bool


@dataclass(frozen=True, slots=True)
class UnsupportedClaim:
    """A claim (code points of the answer) that no verified quote supports."""

    start: int
    end: int
    reason: UnsupportedReason


class Guarding(StrEnum):
    """How the question was kept from open graded work."""

    HINTED = "HINTED"
    REFUSED = "REFUSED"
    LANGUAGE = "LANGUAGE"


@dataclass(frozen=True, slots=True)
class GuardedWork:
    """The work, and what the student got: LANGUAGE are hints because nobody could tell."""

    assignment_id: str
    guarding: Guarding


@dataclass(frozen=True, slots=True)
class StudyStep:
    """One step, for the student who wants to see how the answer was made. `detail` is JSON."""

    kind: StepKind
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """The answer; the sink holds the same text when the team returns.

    `bound` is what of the budget was reached: the answer then holds what was verified before.
    `guarded` is the open work that it would not do.
    """

    state: StudyState
    text: str
    route: Route
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[UnsupportedClaim, ...] = ()
    bound: Bound | None = None
    guarded: GuardedWork | None = None
    steps: tuple[StudyStep, ...] = field(default=())
    remember: tuple[str, ...] = ()
    """Facts of the student the tutor proposes to remember."""
