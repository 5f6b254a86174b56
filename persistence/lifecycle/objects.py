"""Stored objects: written before the row that points at them, deleted after it is gone."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class ObjectState(StrEnum):
    WRITING = "WRITING"
    KEPT = "KEPT"
    DOOMED = "DOOMED"


class ObjectEvent(StrEnum):
    KEEP = "KEEP"
    DOOM = "DOOM"


OBJECT = Machine(
    "stored object",
    ObjectState,
    ObjectEvent,
    ObjectState.WRITING,
    {
        (ObjectState.WRITING, ObjectEvent.KEEP): ObjectState.KEPT,
        (ObjectState.WRITING, ObjectEvent.DOOM): ObjectState.DOOMED,
        (ObjectState.KEPT, ObjectEvent.DOOM): ObjectState.DOOMED,
    },
)
