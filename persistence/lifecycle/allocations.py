"""Allocations of marking."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class AllocationState(StrEnum):
    ACTIVE = "ACTIVE"
    WITHDRAWN = "WITHDRAWN"


class AllocationEvent(StrEnum):
    WITHDRAW = "WITHDRAW"


ALLOCATION = Machine(
    "allocation",
    AllocationState,
    AllocationEvent,
    AllocationState.ACTIVE,
    {(AllocationState.ACTIVE, AllocationEvent.WITHDRAW): AllocationState.WITHDRAWN},
)
