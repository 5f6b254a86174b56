"""Assignments and rubric versions."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class AssignmentState(StrEnum):
    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    CLOSED = "CLOSED"
    ARCHIVED = "ARCHIVED"


class AssignmentEvent(StrEnum):
    PUBLISH = "PUBLISH"
    CLOSE = "CLOSE"
    REOPEN = "REOPEN"
    ARCHIVE = "ARCHIVE"


ASSIGNMENT = Machine(
    "assignment",
    AssignmentState,
    AssignmentEvent,
    AssignmentState.DRAFT,
    {
        (AssignmentState.DRAFT, AssignmentEvent.PUBLISH): AssignmentState.PUBLISHED,
        (AssignmentState.PUBLISHED, AssignmentEvent.CLOSE): AssignmentState.CLOSED,
        (AssignmentState.CLOSED, AssignmentEvent.REOPEN): AssignmentState.PUBLISHED,
        (AssignmentState.CLOSED, AssignmentEvent.ARCHIVE): AssignmentState.ARCHIVED,
    },
)


class RubricVersionState(StrEnum):
    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    RETIRED = "RETIRED"


class RubricVersionEvent(StrEnum):
    PUBLISH = "PUBLISH"
    RETIRE = "RETIRE"


RUBRIC_VERSION = Machine(
    "rubric version",
    RubricVersionState,
    RubricVersionEvent,
    RubricVersionState.DRAFT,
    {
        (RubricVersionState.DRAFT, RubricVersionEvent.PUBLISH): RubricVersionState.PUBLISHED,
        (RubricVersionState.PUBLISHED, RubricVersionEvent.RETIRE): RubricVersionState.RETIRED,
    },
)
