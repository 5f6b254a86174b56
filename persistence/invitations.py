"""Invitations to a course, each of a person who accepts it with a token."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.identifiers import uuid7
from persistence.keyset import Page, page
from persistence.lifecycle.courses import (
    ENROLLMENT,
    INVITATION,
    EnrollmentEvent,
    EnrollmentState,
    InvitationEvent,
    InvitationState,
)
from persistence.roles import Role
from persistence.tables.courses import InvitationRow, enrollments, invitations
from persistence.tables.sign_in import external_identities, passwords
from persistence.visibility import Viewer, sees_invitations


async def invitations_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[InvitationRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(invitations).where(invitations.c.id.in_(ids), sees_invitations(invitations, viewer)),
        InvitationRow,
    )


async def page_of_invitations(
    connection: Connection, viewer: Viewer, course_id: UUID, first: int, after: str | None
) -> Page[InvitationRow]:
    """The invitations to a course, newest first."""
    return await page(
        connection,
        select(invitations).where(
            invitations.c.course_id == course_id, sees_invitations(invitations, viewer)
        ),
        shape=InvitationRow,
        key=[invitations.c.id],
        first=first,
        after=after,
        descending=True,
    )


async def lock_invitation(
    connection: Connection, viewer: Viewer, key: UUID
) -> InvitationRow | None:
    """An invitation the viewer sees, held until the transaction ends."""
    return await fetch_one(
        connection,
        select(invitations)
        .where(invitations.c.id == key, sees_invitations(invitations, viewer))
        .with_for_update(),
        InvitationRow,
    )


async def lock_by_hash(
    connection: Connection, organization_id: UUID, hashed: bytes
) -> InvitationRow | None:
    """The invitation of a token, held until the transaction ends."""
    return await fetch_one(
        connection,
        select(invitations)
        .where(invitations.c.hash == hashed, invitations.c.organization_id == organization_id)
        .with_for_update(),
        InvitationRow,
    )


async def hold_place(
    connection: Connection, organization_id: UUID, course_id: UUID, user_id: UUID
) -> UUID | None:
    """An INVITED enrolment; None when the person has one that cannot be invited anew."""
    added = insert(enrollments).values(
        id=uuid7(),
        organization_id=organization_id,
        course_id=course_id,
        user_id=user_id,
        role=Role.STUDENT,
        state=EnrollmentState.INVITED,
    )
    held = await connection.execute(
        added.on_conflict_do_update(
            index_elements=["course_id", "user_id"],
            set_={"state": EnrollmentState.INVITED},
            where=enrollments.c.state.in_(ENROLLMENT.sources(EnrollmentEvent.INVITE)),
        ).returning(enrollments.c.id)
    )
    found: UUID | None = held.scalar_one_or_none()
    return found


async def withdraw_pending(connection: Connection, enrollment_id: UUID) -> None:
    """Ends what is left of an invitation whose enrolment was ended."""
    await connection.execute(
        update(invitations)
        .where(
            invitations.c.enrollment_id == enrollment_id,
            invitations.c.state == InvitationState.PENDING,
        )
        .values(state=INVITATION.advance(InvitationState.PENDING, InvitationEvent.REVOKE))
    )


async def renew(
    connection: Connection, key: UUID, hashed: bytes, expires_at: datetime, invited_by: UUID
) -> None:
    """Another token in place of the one before, which this person is shown. Raises `Conflict`."""
    await change(
        connection,
        update(invitations)
        .where(invitations.c.id == key, invitations.c.state == InvitationState.PENDING)
        .values(hash=hashed, expires_at=expires_at, invited_by=invited_by),
    )


async def move_invitation(
    connection: Connection,
    key: UUID,
    source: InvitationState,
    target: InvitationState,
    accepted_by: UUID | None = None,
) -> None:
    """Changes an invitation's state. Raises `Conflict`."""
    await change(
        connection,
        update(invitations)
        .where(invitations.c.id == key, invitations.c.state == source)
        .values(state=target, accepted_by=accepted_by),
    )


async def signs_in(connection: Connection, user_id: UUID) -> bool:
    """Whether the person has a way to sign in of their own."""
    known = select(external_identities.c.user_id).where(external_identities.c.user_id == user_id)
    admins = select(passwords.c.user_id).where(passwords.c.user_id == user_id)
    return (await connection.execute(known.union_all(admins))).first() is not None
