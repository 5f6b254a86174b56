"""Messages of a study session, and what a student lets the tutor remember."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class MessageState(StrEnum):
    QUEUED = "QUEUED"
    PLANNING = "PLANNING"
    RETRIEVING = "RETRIEVING"
    GENERATING = "GENERATING"
    VERIFYING = "VERIFYING"
    COMPLETE = "COMPLETE"
    ABSTAINED = "ABSTAINED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class MessageEvent(StrEnum):
    PLAN = "PLAN"
    RETRIEVE = "RETRIEVE"
    GENERATE = "GENERATE"
    VERIFY = "VERIFY"
    REVISE = "REVISE"
    COMPLETE = "COMPLETE"
    ABSTAIN = "ABSTAIN"
    TAKEOVER = "TAKEOVER"
    FAIL = "FAIL"
    CANCEL = "CANCEL"


MESSAGE_WORKING = (
    MessageState.PLANNING,
    MessageState.RETRIEVING,
    MessageState.GENERATING,
    MessageState.VERIFYING,
)

MESSAGE = Machine(
    "message",
    MessageState,
    MessageEvent,
    MessageState.QUEUED,
    {
        (MessageState.QUEUED, MessageEvent.PLAN): MessageState.PLANNING,
        (MessageState.PLANNING, MessageEvent.RETRIEVE): MessageState.RETRIEVING,
        (MessageState.PLANNING, MessageEvent.GENERATE): MessageState.GENERATING,
        (MessageState.RETRIEVING, MessageEvent.GENERATE): MessageState.GENERATING,
        (MessageState.GENERATING, MessageEvent.VERIFY): MessageState.VERIFYING,
        (MessageState.VERIFYING, MessageEvent.REVISE): MessageState.GENERATING,
        (MessageState.QUEUED, MessageEvent.FAIL): MessageState.FAILED,
        (MessageState.QUEUED, MessageEvent.CANCEL): MessageState.CANCELLED,
        **{(s, MessageEvent.COMPLETE): MessageState.COMPLETE for s in MESSAGE_WORKING},
        **{(s, MessageEvent.ABSTAIN): MessageState.ABSTAINED for s in MESSAGE_WORKING},
        **{(s, MessageEvent.TAKEOVER): MessageState.QUEUED for s in MESSAGE_WORKING},
        **{(s, MessageEvent.FAIL): MessageState.FAILED for s in MESSAGE_WORKING},
        **{(s, MessageEvent.CANCEL): MessageState.CANCELLED for s in MESSAGE_WORKING},
    },
)


class FactState(StrEnum):
    PROPOSED = "PROPOSED"
    ACCEPTED = "ACCEPTED"


class FactEvent(StrEnum):
    ACCEPT = "ACCEPT"


FACT = Machine(
    "memory fact",
    FactState,
    FactEvent,
    FactState.PROPOSED,
    {(FactState.PROPOSED, FactEvent.ACCEPT): FactState.ACCEPTED},
)
