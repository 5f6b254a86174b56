"""Enrolments, invitations and role grants."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class EnrollmentState(StrEnum):
    INVITED = "INVITED"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    COMPLETED = "COMPLETED"
    REMOVED = "REMOVED"


class EnrollmentEvent(StrEnum):
    INVITE = "INVITE"
    ACCEPT = "ACCEPT"
    DEACTIVATE = "DEACTIVATE"
    REACTIVATE = "REACTIVATE"
    COMPLETE = "COMPLETE"
    REMOVE = "REMOVE"


ENROLLMENT = Machine(
    "enrollment",
    EnrollmentState,
    EnrollmentEvent,
    EnrollmentState.INVITED,
    {
        (EnrollmentState.REMOVED, EnrollmentEvent.INVITE): EnrollmentState.INVITED,
        (EnrollmentState.INVITED, EnrollmentEvent.ACCEPT): EnrollmentState.ACTIVE,
        (EnrollmentState.ACTIVE, EnrollmentEvent.DEACTIVATE): EnrollmentState.INACTIVE,
        (EnrollmentState.INACTIVE, EnrollmentEvent.REACTIVATE): EnrollmentState.ACTIVE,
        (EnrollmentState.REMOVED, EnrollmentEvent.REACTIVATE): EnrollmentState.ACTIVE,
        (EnrollmentState.ACTIVE, EnrollmentEvent.COMPLETE): EnrollmentState.COMPLETED,
        (EnrollmentState.INACTIVE, EnrollmentEvent.COMPLETE): EnrollmentState.COMPLETED,
        (EnrollmentState.INVITED, EnrollmentEvent.REMOVE): EnrollmentState.REMOVED,
        (EnrollmentState.ACTIVE, EnrollmentEvent.REMOVE): EnrollmentState.REMOVED,
        (EnrollmentState.INACTIVE, EnrollmentEvent.REMOVE): EnrollmentState.REMOVED,
    },
)


class GrantState(StrEnum):
    REQUESTED = "REQUESTED"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class GrantEvent(StrEnum):
    APPROVE = "APPROVE"
    EXPIRE = "EXPIRE"
    REVOKE = "REVOKE"


GRANT = Machine(
    "role grant",
    GrantState,
    GrantEvent,
    GrantState.REQUESTED,
    {
        (GrantState.REQUESTED, GrantEvent.APPROVE): GrantState.ACTIVE,
        (GrantState.REQUESTED, GrantEvent.REVOKE): GrantState.REVOKED,
        (GrantState.ACTIVE, GrantEvent.EXPIRE): GrantState.EXPIRED,
        (GrantState.ACTIVE, GrantEvent.REVOKE): GrantState.REVOKED,
    },
)


class InvitationState(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    REVOKED = "REVOKED"


class InvitationEvent(StrEnum):
    ACCEPT = "ACCEPT"
    REVOKE = "REVOKE"


INVITATION = Machine(
    "invitation",
    InvitationState,
    InvitationEvent,
    InvitationState.PENDING,
    {
        (InvitationState.PENDING, InvitationEvent.ACCEPT): InvitationState.ACCEPTED,
        (InvitationState.PENDING, InvitationEvent.REVOKE): InvitationState.REVOKED,
    },
)
