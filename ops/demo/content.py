"""The demonstration course: its documents, people, essay assignment, submissions and marks.

The data files lie in the directory `content/` beside this module. People, submissions and marks
are invented. The marks were set from the rubric before any automatic grader read the texts, but
they are sample data: agreement with them says nothing about agreement with human graders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import orjson
from pydantic import TypeAdapter


class DemoRole(StrEnum):
    """What a person may do in the demonstration organization."""

    ADMIN = "ADMIN"
    INSTRUCTOR = "INSTRUCTOR"
    STUDENT = "STUDENT"


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """One member of the organization; `email` is unique and ends in example.edu."""

    name: str
    email: str
    role: DemoRole


@dataclass(frozen=True, slots=True)
class DemoDocument:
    """One course document as Markdown; `key` is what a citation names, `file` its file name."""

    key: str
    title: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class DemoCourse:
    """The course and its people; `language` is BCP 47, `time_zone` an IANA name."""

    organization: str
    title: str
    code: str
    language: str
    time_zone: str
    people: tuple[DemoPerson, ...]

    def people_with(self, role: DemoRole) -> tuple[DemoPerson, ...]:
        """The people who hold `role`, in the order of the course list."""
        return tuple(person for person in self.people if person.role is role)


@dataclass(frozen=True, slots=True)
class DemoLevel:
    """One level of a criterion.

    Ranges are contiguous: each `min_points` equals the `max_points` of the level below, and the
    shared value belongs to the higher level.
    """

    title: str
    min_points: Decimal
    max_points: Decimal
    description: str


@dataclass(frozen=True, slots=True)
class DemoCriterion:
    """One criterion of the rubric; `levels` run from the lowest to the highest."""

    key: str
    title: str
    guidelines: str
    points: Decimal
    levels: tuple[DemoLevel, ...]

    def level_for(self, points: Decimal) -> DemoLevel:
        """The highest level whose range holds `points`.

        Raises:
            ValueError: `points` lie outside the range of every level.
        """
        for level in reversed(self.levels):
            if level.min_points <= points <= level.max_points:
                return level
        raise ValueError(f"{points} points lie outside every level of {self.key}")


@dataclass(frozen=True, slots=True)
class DemoAssignment:
    """The essay; `points` is the sum over `criteria`, `ai_policy` bounds the tutor's help."""

    title: str
    prompt: str
    kind: str
    points: Decimal
    ai_policy: str
    reference_answer: str
    criteria: tuple[DemoCriterion, ...]


@dataclass(frozen=True, slots=True)
class DemoSubmission:
    """One student's answer with the instructor's points by criterion key.

    `text` is kept as handed in: it may be empty or hold invisible characters. `trait` says in a
    few words why the submission is in the set.
    """

    student_email: str
    trait: str
    text: str
    marks: Mapping[str, Decimal]
    comment: str


@dataclass(frozen=True, slots=True)
class DemoExemplar:
    """An instructor-approved answer of no student in the course, with points by criterion key."""

    key: str
    text: str
    marks: Mapping[str, Decimal]
    comment: str


@dataclass(frozen=True, slots=True)
class DemoCitation:
    """The document key, the section heading and the verbatim sentence that answer a question."""

    document: str
    section: str
    quote: str


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A study question; one that the documents do not answer has no citations."""

    key: str
    question: str
    answerable: bool
    citations: tuple[DemoCitation, ...]


@dataclass(frozen=True, slots=True)
class DemoContent:
    """Everything `assay demo` puts into an empty database."""

    course: DemoCourse
    documents: tuple[DemoDocument, ...]
    assignment: DemoAssignment
    submissions: tuple[DemoSubmission, ...]
    exemplars: tuple[DemoExemplar, ...]
    questions: tuple[DemoQuestion, ...]


def load_demo_content() -> DemoContent:
    """Read the content that ships with this package, from a directory or a zipped wheel.

    Raises:
        FileNotFoundError: a data file is missing from the installation.
        pydantic.ValidationError: a data file lacks a field or holds one of the wrong type.
    """
    root = files("ops.demo").joinpath("content")
    course = _read_json(root, "course.json")
    return DemoContent(
        course=TypeAdapter(DemoCourse).validate_python(course),
        documents=TypeAdapter(tuple[DemoDocument, ...]).validate_python(
            [
                {**entry, "text": _read_text(root, "documents", entry["file"])}
                for entry in course["documents"]
            ]
        ),
        assignment=TypeAdapter(DemoAssignment).validate_python(_read_json(root, "assignment.json")),
        submissions=TypeAdapter(tuple[DemoSubmission, ...]).validate_python(
            [_with_text(root, entry) for entry in _read_json(root, "submissions.json")]
        ),
        exemplars=TypeAdapter(tuple[DemoExemplar, ...]).validate_python(
            _read_json(root, "exemplars.json")
        ),
        questions=TypeAdapter(tuple[DemoQuestion, ...]).validate_python(
            _read_json(root, "questions.json")
        ),
    )


def _with_text(root: Traversable, entry: dict[str, Any]) -> dict[str, Any]:
    if "file" not in entry:
        return entry
    return {**entry, "text": _read_text(root, "submissions", entry["file"])}


def _read_text(root: Traversable, *path: str) -> str:
    return root.joinpath(*path).read_text(encoding="utf-8")


def _read_json(root: Traversable, name: str) -> Any:
    return orjson.loads(root.joinpath(name).read_bytes())
