"""What a student asks, in which situation, and how much the team may spend on it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Speaker(StrEnum):
    """Who said a turn of the conversation. SUMMARY, first of all, stands for the turns before."""

    STUDENT = "STUDENT"
    TUTOR = "TUTOR"
    SUMMARY = "SUMMARY"


class AiPolicy(StrEnum):
    """What the tutor may do with work that is still open: help, hint, or stay out."""

    OPEN = "OPEN"
    HINTS = "HINTS"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier message of the session, oldest first in a brief."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class OpenAssignment:
    """Graded work this student can still hand in. `prompt` holds all its questions.

    `guarded` is what else tells the answer: reference answers, criteria, levels of full marks. A
    question is compared with it on this server and nothing else is done with it: no prompt,
    provider, step, log or text has any of it.
    """

    id: str
    title: str
    prompt: str
    ai_policy: AiPolicy
    guarded: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class StudyBrief:
    """One question in its session. `language` is a BCP 47 tag; offline members write English.

    `facts` are what the student lets the tutor remember: data like the question.
    """

    question: str
    history: tuple[Turn, ...] = ()
    open_assignments: tuple[OpenAssignment, ...] = ()
    language: str = "en"
    facts: tuple[str, ...] = ()


class Unsupported(StrEnum):
    """What becomes of a claim that no verified quote supports."""

    MARK = "MARK"
    REMOVE = "REMOVE"


@dataclass(frozen=True, slots=True)
class StudyLimits:
    """Bounds of one answer. Characters are code points, times are seconds, money is micro-units.

    `calls`, `tokens`, `seconds` and `cost_micros` are the budget of the answer's members, held
    before each call; `reply_tokens` is what a call is expected to add.
    """

    question_characters: int = 8_000
    turn_characters: int = 4_000
    history_turns: int = 12
    questions_at_once: int = 4
    queries: int = 5
    passages: int = 8
    revisions: int = 2
    coalesce_seconds: float = 0.04
    member_seconds: float = 120.0
    web_queries: int = 2
    web_pages: int = 5
    calls: int = 8
    tokens: int = 200_000
    seconds: float = 300.0
    cost_micros: int = 500_000
    reply_tokens: int = 1_000
    unsupported: Unsupported = Unsupported.MARK
