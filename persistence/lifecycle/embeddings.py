"""The index of one embedding model: built beside the one that serves, then switched to."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class IndexState(StrEnum):
    BUILDING = "BUILDING"
    READY = "READY"
    RETIRED = "RETIRED"


class IndexEvent(StrEnum):
    COMPLETE = "COMPLETE"
    REPLACE = "REPLACE"
    REBUILD = "REBUILD"
    ABANDON = "ABANDON"


EMBEDDING_INDEX = Machine(
    "embedding index",
    IndexState,
    IndexEvent,
    IndexState.BUILDING,
    {
        (IndexState.BUILDING, IndexEvent.COMPLETE): IndexState.READY,
        (IndexState.BUILDING, IndexEvent.ABANDON): IndexState.RETIRED,
        (IndexState.READY, IndexEvent.REPLACE): IndexState.RETIRED,
        (IndexState.RETIRED, IndexEvent.REBUILD): IndexState.BUILDING,
    },
)

FILLED = (IndexState.BUILDING, IndexState.READY)
"""States in which a new chunk gets its vector of the model."""
