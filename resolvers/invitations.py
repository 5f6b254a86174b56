"""Invitations: a person is asked to join a course, and joins once they accept.

The invited person is known to the organization by name and address from the start, has no way in
but the configured providers, and until they accept nothing of the course is theirs to see.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from persistence import courses, invitations, users
from persistence.database import Connection, add
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.lifecycle.courses import (
    ENROLLMENT,
    INVITATION,
    EnrollmentEvent,
    EnrollmentState,
    InvitationEvent,
    InvitationState,
)
from persistence.roles import Role
from persistence.sign_in import digest
from persistence.tables.courses import EnrollmentRow, InvitationRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

LONGEST_DAYS = 60
_PATH = ("input", "invitationId")
_TOKEN = ("input", "token")


async def load_invitations(
    context: RequestContext, ids: Sequence[UUID]
) -> list[InvitationRow | None]:
    """Invitations by id, to courses whose enrolments the viewer manages."""
    async with context.database.read() as connection:
        return in_order(ids, await invitations.invitations_by_id(connection, context.viewer, ids))


async def list_invitations(
    context: RequestContext, course_id: str, first: int, after: str | None
) -> Page[InvitationRow]:
    """The invitations to a course, newest first."""
    course = key_of(course_id, "Course", ("courseId",))
    viewer = context.require(Permission.ENROLMENT_WRITE, course)
    async with context.database.read() as connection:
        if not await courses.courses_by_id(connection, viewer, [course]):
            raise missing("course", ("courseId",))
        return await invitations.page_of_invitations(
            connection, viewer, course, checks.page_size(first), after
        )


async def get_tokens(parents: Sequence[InvitationRow], context: RequestContext) -> list[str | None]:
    """The tokens this operation made."""
    return [context.secrets.get(invitation.id) for invitation in parents]


async def invite_user(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    email: str,
    name: str,
    days: int,
) -> UUID:
    """Asks a person to join a course, and makes them known to the organization if they are not."""
    path = ("input", "courseId")
    course = key_of(course_id, "Course", path)
    viewer = context.require(Permission.ENROLMENT_WRITE, course)
    address, name = checks.email(email), checks.line(name, "name")
    expires_at = _end(context, days)
    if address == viewer.email:
        raise checks.bad("email", "Nobody enrols themselves; ask another person to.")
    connection, organization_id = transaction.connection, viewer.organization_id
    if not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", path)
    await users.add_users(connection, organization_id, {address: name})
    (person,) = await users.users_by_email(connection, organization_id, [address])
    enrollment = await invitations.hold_place(connection, organization_id, course, person.id)
    if enrollment is None:
        raise await _cannot_be_invited(connection, course, person.id)
    await invitations.withdraw_pending(connection, enrollment)
    token = secrets.token_urlsafe(32)
    row = InvitationRow(
        organization_id=organization_id,
        course_id=course,
        user_id=person.id,
        enrollment_id=enrollment,
        invited_by=viewer.user_id,
        hash=digest(token),
        expires_at=expires_at,
    )
    await add(connection, row)
    context.secrets[row.id] = token
    return row.id


async def _cannot_be_invited(connection: Connection, course: UUID, user_id: UUID) -> Refusal:
    (held,) = await courses.enrollments_of(connection, course, [user_id])
    said = {
        EnrollmentState.INVITED: "They are invited already: use resendInvitation.",
        EnrollmentState.INACTIVE: "They were in this course: use enrolUsers.",
    }.get(EnrollmentState(held.state), f"Their enrolment is {held.state}.")
    return Refusal(RefusalCode.INVALID_STATE, said, ("input", "email"))


async def resend_invitation(
    context: RequestContext, transaction: Transaction, *, invitation_id: str, days: int
) -> UUID:
    """Another token for an invitation that waits; the one before is worth nothing.

    Whoever asks for it is its inviter from now on, and so does not accept it themselves.
    """
    found = await _managed(context, transaction, invitation_id)
    if found.state != InvitationState.PENDING:
        raise Refusal(RefusalCode.INVALID_STATE, f"This invitation is {found.state}.", _PATH)
    token = secrets.token_urlsafe(32)
    await invitations.renew(
        transaction.connection, found.id, digest(token), _end(context, days), context.viewer.user_id
    )
    context.secrets[found.id] = token
    return found.id


async def revoke_invitation(
    context: RequestContext, transaction: Transaction, *, invitation_id: str
) -> UUID:
    """Takes an invitation back, and the enrolment that waited for it."""
    found = await _managed(context, transaction, invitation_id)
    target = INVITATION.advance(found.state, InvitationEvent.REVOKE)
    connection = transaction.connection
    await invitations.move_invitation(connection, found.id, InvitationState(found.state), target)
    await _remove_place(connection, found)
    return found.id


async def accept_invitation(
    context: RequestContext, transaction: Transaction, *, token: str
) -> UUID:
    """Joins the course of a token. Once; as the invited person, or in the place of one who has no
    way to sign in: then who accepts is enrolled themselves."""
    viewer = context.note_own(Permission.VIEWER_READ)
    connection = transaction.connection
    found = await invitations.lock_by_hash(connection, viewer.organization_id, digest(token))
    if found is None:
        raise missing("invitation", _TOKEN)
    target = INVITATION.advance(found.state, InvitationEvent.ACCEPT)
    if found.expires_at <= context.now():
        raise Refusal(
            RefusalCode.INVALID_STATE, "This invitation ran out: ask for another one.", _TOKEN
        )
    if viewer.user_id == found.invited_by:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody enrols themselves.", _TOKEN)
    source = InvitationState(found.state)
    await invitations.move_invitation(connection, found.id, source, target, viewer.user_id)
    transaction.hint(RIGHTS_TOPIC)
    if viewer.user_id == found.user_id:
        state = ENROLLMENT.advance(EnrollmentState.INVITED, EnrollmentEvent.ACCEPT)
        await courses.move_enrollment(
            connection, found.enrollment_id, EnrollmentState.INVITED, state
        )
        return found.enrollment_id
    return await _accepted_by_another(connection, found, viewer.user_id)


async def load_joined(context: RequestContext, ids: Sequence[UUID]) -> list[EnrollmentRow | None]:
    """The enrolments that were accepted, with the rights they give."""
    if context.renew is not None:
        context.signed_in = (await context.renew()).signed_in
    async with context.database.read() as connection:
        organization_id = context.viewer.organization_id
        return in_order(ids, await courses.enrollments_by_id(connection, organization_id, ids))


async def _accepted_by_another(connection: Connection, found: InvitationRow, user_id: UUID) -> UUID:
    if await invitations.signs_in(connection, found.user_id):
        raise Refusal(
            RefusalCode.FORBIDDEN, "Sign in as the person this invitation is for.", _TOKEN
        )
    await _remove_place(connection, found)
    (enrollment,) = await courses.enrol(
        connection,
        organization_id=found.organization_id,
        course_id=found.course_id,
        user_ids=[user_id],
        role=Role.STUDENT,
    )
    return enrollment


async def _remove_place(connection: Connection, found: InvitationRow) -> None:
    """Ends the enrolment that waits for this invitation. Raises `Conflict` when it does not."""
    state = ENROLLMENT.advance(EnrollmentState.INVITED, EnrollmentEvent.REMOVE)
    await courses.move_enrollment(connection, found.enrollment_id, EnrollmentState.INVITED, state)


async def _managed(
    context: RequestContext, transaction: Transaction, invitation_id: str
) -> InvitationRow:
    key = key_of(invitation_id, "Invitation", _PATH)
    found = await invitations.lock_invitation(transaction.connection, context.viewer, key)
    if found is None:
        raise missing("invitation", _PATH)
    context.require(Permission.ENROLMENT_WRITE, found.course_id)
    return found


def _end(context: RequestContext, days: int) -> datetime:
    if not 1 <= days <= LONGEST_DAYS:
        raise checks.bad("days", f"days lies between 1 and {LONGEST_DAYS}.")
    return context.now() + timedelta(days=days)
