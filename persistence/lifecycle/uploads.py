"""Resumable uploads: filled part by part, put together, used once."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class UploadState(StrEnum):
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    REJECTED = "REJECTED"
    USED = "USED"
    ENDED = "ENDED"


class UploadEvent(StrEnum):
    ASSEMBLE = "ASSEMBLE"
    REJECT = "REJECT"
    USE = "USE"
    END = "END"


UPLOAD = Machine(
    "upload",
    UploadState,
    UploadEvent,
    UploadState.OPEN,
    {
        (UploadState.OPEN, UploadEvent.ASSEMBLE): UploadState.COMPLETE,
        (UploadState.OPEN, UploadEvent.REJECT): UploadState.REJECTED,
        (UploadState.COMPLETE, UploadEvent.USE): UploadState.USED,
        **{
            (state, UploadEvent.END): UploadState.ENDED
            for state in (UploadState.OPEN, UploadState.COMPLETE, UploadState.REJECTED)
        },
    },
)
