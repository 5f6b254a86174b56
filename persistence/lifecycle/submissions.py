"""Submissions and their attempts."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class SubmissionState(StrEnum):
    UNSUBMITTED = "UNSUBMITTED"
    DRAFTING = "DRAFTING"
    SUBMITTED = "SUBMITTED"
    RETURNED_FOR_REVISION = "RETURNED_FOR_REVISION"


class SubmissionEvent(StrEnum):
    DRAFT = "DRAFT"
    SUBMIT = "SUBMIT"
    RETURN = "RETURN"


SUBMISSION = Machine(
    "submission",
    SubmissionState,
    SubmissionEvent,
    SubmissionState.UNSUBMITTED,
    {
        (SubmissionState.UNSUBMITTED, SubmissionEvent.DRAFT): SubmissionState.DRAFTING,
        (SubmissionState.UNSUBMITTED, SubmissionEvent.SUBMIT): SubmissionState.SUBMITTED,
        (SubmissionState.DRAFTING, SubmissionEvent.SUBMIT): SubmissionState.SUBMITTED,
        (SubmissionState.SUBMITTED, SubmissionEvent.SUBMIT): SubmissionState.SUBMITTED,
        (SubmissionState.SUBMITTED, SubmissionEvent.RETURN): SubmissionState.RETURNED_FOR_REVISION,
        (SubmissionState.RETURNED_FOR_REVISION, SubmissionEvent.SUBMIT): SubmissionState.SUBMITTED,
    },
)


class AttemptState(StrEnum):
    RECEIVED = "RECEIVED"
    EXTRACTING = "EXTRACTING"
    READY = "READY"
    EXTRACT_FAILED = "EXTRACT_FAILED"
    QUARANTINED = "QUARANTINED"


class AttemptEvent(StrEnum):
    EXTRACT = "EXTRACT"
    EXTRACTED = "EXTRACTED"
    FAIL = "FAIL"
    QUARANTINE = "QUARANTINE"
    CLEAR = "CLEAR"


ATTEMPT = Machine(
    "attempt",
    AttemptState,
    AttemptEvent,
    AttemptState.RECEIVED,
    {
        (AttemptState.RECEIVED, AttemptEvent.EXTRACT): AttemptState.EXTRACTING,
        (AttemptState.RECEIVED, AttemptEvent.EXTRACTED): AttemptState.READY,
        (AttemptState.EXTRACTING, AttemptEvent.EXTRACTED): AttemptState.READY,
        (AttemptState.EXTRACTING, AttemptEvent.FAIL): AttemptState.EXTRACT_FAILED,
        (AttemptState.EXTRACTING, AttemptEvent.QUARANTINE): AttemptState.QUARANTINED,
        (AttemptState.QUARANTINED, AttemptEvent.CLEAR): AttemptState.READY,
    },
)
