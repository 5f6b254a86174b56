"""Invitations, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.lifecycle.courses import InvitationState
from resolvers import courses, invitations, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.courses import Course, Enrollment
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection
from schema.users import User

described_enum(
    InvitationState,
    "Where an invitation stands.",
    PENDING="Waits to be accepted, until it runs out.",
    ACCEPTED="Accepted; its token is worth nothing any more.",
    REVOKED="Taken back.",
)


@strawberry.type(description="A person asked to join a course.")
class Invitation(Node):
    state: InvitationState = described("Where it stands.")
    expires_at: datetime = described("When its token runs out; a PENDING one can be sent again.")

    @batched(
        "The token that accepts it, shown by the operation that made it alone: nothing sends mail, "
        "so hand it over yourself. Null otherwise."
    )
    async def token(parents: Sequence[Any], context: RequestContext) -> Sequence[str | None]:
        return await invitations.get_tokens(parents, context)

    @batched("Who is asked.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [i.user_id for i in parents])

    @batched("To which course; null for who does not see it.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [i.course_id for i in parents])

    @batched("Who asked them.")
    async def invited_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [i.invited_by for i in parents])

    @batched("Who accepted it; null while nobody did.")
    async def accepted_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await users.get_users(context, [i.accepted_by for i in parents])


@strawberry.input(description="A person to be asked to join a course.")
class InviteUserInput:
    course_id: strawberry.ID = described("The course.")
    email: str = described("Their address. Who has it is made known to the organization.")
    name: str = described("The name they go by; one who is known keeps theirs.")
    days: int = strawberry.field(default=14, description="How long the token is good, 1 to 60.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What inviteUser did.")
class InviteUserPayload:
    invitation: Invitation | None = described("The invitation; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An invitation that needs another token.")
class ResendInvitationInput:
    invitation_id: strawberry.ID = described("The invitation.")
    days: int = strawberry.field(default=14, description="How long the token is good, 1 to 60.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What resendInvitation did.")
class ResendInvitationPayload:
    invitation: Invitation | None = described("The invitation; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An invitation to be taken back.")
class RevokeInvitationInput:
    invitation_id: strawberry.ID = described("The invitation.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What revokeInvitation did.")
class RevokeInvitationPayload:
    invitation: Invitation | None = described("The invitation, now REVOKED; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An invitation to be accepted.")
class AcceptInvitationInput:
    token: str = described("The token that was handed over.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What acceptInvitation did.")
class AcceptInvitationPayload:
    enrollment: Enrollment | None = described("The viewer's enrolment; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class InvitationQueries:
    @root_field(
        "The invitations to a course, newest first; for those who manage its enrolments.",
        course_id="The course.",
        first=FIRST,
        after=AFTER,
    )
    async def invitations(
        context: RequestContext,
        course_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[Invitation]:
        return connection(await invitations.list_invitations(context, course_id, first, after))


@strawberry.type
class InvitationMutations:
    invite_user = mutation(
        invitations.invite_user,
        permission=Permission.ENROLMENT_WRITE,
        input_type=InviteUserInput,
        payload=InviteUserPayload,
        noun="invitation",
        load=invitations.load_invitations,
        text="Asks a person to join a course as a student, and shows once the token with which "
        "they accept. Until then they see nothing of the course. Nothing sends mail.",
    )
    resend_invitation = mutation(
        invitations.resend_invitation,
        permission=Permission.ENROLMENT_WRITE,
        input_type=ResendInvitationInput,
        payload=ResendInvitationPayload,
        noun="invitation",
        load=invitations.load_invitations,
        text="Makes another token for an invitation that waits; the one before is worth nothing.",
    )
    revoke_invitation = mutation(
        invitations.revoke_invitation,
        permission=Permission.ENROLMENT_WRITE,
        input_type=RevokeInvitationInput,
        payload=RevokeInvitationPayload,
        noun="invitation",
        load=invitations.load_invitations,
        text="Takes an invitation back, and the enrolment that waited for it.",
    )
    accept_invitation = mutation(
        invitations.accept_invitation,
        permission=Permission.VIEWER_READ,
        input_type=AcceptInvitationInput,
        payload=AcceptInvitationPayload,
        noun="enrollment",
        load=invitations.load_joined,
        text="Joins the course of an invitation, once: as the invited person or, where they have "
        "no way to sign in, as whoever holds the token and is signed in to the organization.",
    )


LOADERS = {"Invitation": invitations.load_invitations}
