"""What a marker sees of work marked anonymously or blind: everything but whose it is."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from agents.grading.naming import Identity
from agents.grading.redaction import Redacted, redact
from persistence.answers import AnonymousAnswer, HiddenStudent
from persistence.visibility import Viewer

Key = tuple[UUID, UUID]


class Quotation(Protocol):
    """A passage of an answer."""

    @property
    def start(self) -> int:
        """In code points."""

    @property
    def end(self) -> int:
        """Behind its last."""

    @property
    def quote(self) -> str:
        """Its text."""

    @property
    def verified(self) -> bool:
        """Whether it stands there."""


class SeenQuotation:
    """A quotation as it stands in the redacted answer."""

    def __init__(self, row: Quotation, redacted: Redacted) -> None:
        self.verified = row.verified
        self.start, self.end = (
            redacted.to_redacted(row.start, row.end) if row.verified else (row.start, row.end)
        )
        self.quote = redacted.text[self.start : self.end] if row.verified else row.quote


Row = TypeVar("Row", bound=Quotation)


async def redactions(viewer: Viewer, answers: Sequence[AnonymousAnswer]) -> Mapping[Key, Redacted]:
    """By key and question; without those that are the viewer's own, or of whom they observe."""
    hidden = [
        answer
        for answer in answers
        if answer.blind
        or (
            answer.student_id != viewer.user_id
            and (answer.course_id, answer.student_id) not in viewer.observes
        )
    ]

    def work() -> Mapping[Key, Redacted]:
        return {(a.key, a.question_id): redact(a.text, Identity(a.name, a.email)) for a in hidden}

    return await asyncio.to_thread(work) if hidden else {}


def as_seen(row: Row, redacted: Redacted | None) -> Row | SeenQuotation:
    """The quotation, in the redacted answer where it is redacted for the viewer."""
    return row if redacted is None else SeenQuotation(row, redacted)


class SeenTexts:
    """A row some of whose texts are redacted."""

    def __init__(self, row: Any, texts: Mapping[str, str]) -> None:
        self._row, self._texts = row, texts

    def __getattr__(self, name: str) -> Any:
        return self._texts[name] if name in self._texts else getattr(self._row, name)


def without_names(
    rows: Sequence[Any], version: str, texts: Sequence[str], students: Sequence[HiddenStudent]
) -> list[Any]:
    """The rows, with what people wrote in `texts` redacted where the student is hidden.

    `version` is the attribute with the id of the grade version a row is about.
    """
    hidden = {student.key: Identity(student.name, student.email) for student in students}
    return [
        row
        if (identity := hidden.get(getattr(row, version))) is None
        else SeenTexts(row, {name: redact(getattr(row, name), identity).text for name in texts})
        for row in rows
    ]
