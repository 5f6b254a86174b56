"""Grades. An AI never moves one past MARKED."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class GradeState(StrEnum):
    NOT_MARKED = "NOT_MARKED"
    IN_MARKING = "IN_MARKING"
    MARKED = "MARKED"
    IN_REVIEW = "IN_REVIEW"
    READY_FOR_RELEASE = "READY_FOR_RELEASE"
    RELEASED = "RELEASED"
    HIDDEN = "HIDDEN"
    REOPENED = "REOPENED"


class GradeEvent(StrEnum):
    START_MARKING = "START_MARKING"
    MARK = "MARK"
    REVIEW = "REVIEW"
    FINALISE = "FINALISE"
    RELEASE = "RELEASE"
    HIDE = "HIDE"
    REOPEN = "REOPEN"


GRADE = Machine(
    "grade",
    GradeState,
    GradeEvent,
    GradeState.NOT_MARKED,
    {
        (GradeState.NOT_MARKED, GradeEvent.START_MARKING): GradeState.IN_MARKING,
        (GradeState.NOT_MARKED, GradeEvent.MARK): GradeState.MARKED,
        (GradeState.IN_MARKING, GradeEvent.MARK): GradeState.MARKED,
        (GradeState.IN_MARKING, GradeEvent.REVIEW): GradeState.IN_REVIEW,
        (GradeState.MARKED, GradeEvent.START_MARKING): GradeState.IN_MARKING,
        (GradeState.MARKED, GradeEvent.REVIEW): GradeState.IN_REVIEW,
        (GradeState.MARKED, GradeEvent.FINALISE): GradeState.READY_FOR_RELEASE,
        (GradeState.IN_REVIEW, GradeEvent.REVIEW): GradeState.IN_REVIEW,
        (GradeState.IN_REVIEW, GradeEvent.FINALISE): GradeState.READY_FOR_RELEASE,
        (GradeState.READY_FOR_RELEASE, GradeEvent.REVIEW): GradeState.IN_REVIEW,
        (GradeState.READY_FOR_RELEASE, GradeEvent.RELEASE): GradeState.RELEASED,
        (GradeState.RELEASED, GradeEvent.HIDE): GradeState.HIDDEN,
        (GradeState.HIDDEN, GradeEvent.RELEASE): GradeState.RELEASED,
        (GradeState.RELEASED, GradeEvent.REOPEN): GradeState.REOPENED,
        (GradeState.REOPENED, GradeEvent.REVIEW): GradeState.IN_REVIEW,
    },
)
# What the worker, acting for an AI, may do to a grade. The rest takes a person.
GRADE_EVENTS_OF_AN_AI = frozenset({GradeEvent.START_MARKING, GradeEvent.MARK})
