"""Courses and enrolments."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Uuid, any_, cast, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.identifiers import uuid7
from persistence.keyset import Page, page, pages_by_parent
from persistence.lifecycle.courses import ENROLLMENT, EnrollmentEvent, EnrollmentState
from persistence.roles import Role
from persistence.tables.courses import CourseRow, EnrollmentRow, courses, enrollments
from persistence.tables.identity import UserRow, role_grants, users
from persistence.visibility import Viewer, sees_courses


async def courses_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[CourseRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(courses).where(courses.c.id.in_(ids), sees_courses(courses, viewer)),
        CourseRow,
    )


async def course_by_code(
    connection: Connection, organization_id: UUID, code: str
) -> CourseRow | None:
    """A course of an organization; for the command line, which sees all."""
    return await fetch_one(
        connection,
        select(courses).where(courses.c.organization_id == organization_id, courses.c.code == code),
        CourseRow,
    )


async def people_of(connection: Connection, course_id: UUID) -> Sequence[UserRow]:
    """Everybody who is or was enrolled in a course, or had a role in it."""
    enrolled = select(enrollments.c.user_id).where(enrollments.c.course_id == course_id)
    granted = select(role_grants.c.user_id).where(role_grants.c.course_id == course_id)
    known = or_(users.c.id.in_(enrolled), users.c.id.in_(granted))
    return await fetch(connection, select(users).where(known).order_by(users.c.id), UserRow)


async def page_of_courses(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[CourseRow]:
    """The viewer's courses by code."""
    return await page(
        connection,
        select(courses).where(sees_courses(courses, viewer)),
        shape=CourseRow,
        key=[courses.c.code, courses.c.id],
        first=first,
        after=after,
    )


async def pages_of_enrollments(
    connection: Connection, course_ids: Sequence[UUID], first: int, after: str | None
) -> list[Page[EnrollmentRow]]:
    """The enrolments of each course, oldest first."""
    return await pages_by_parent(
        connection,
        select(enrollments),
        shape=EnrollmentRow,
        parent=enrollments.c.course_id,
        parents=course_ids,
        key=[enrollments.c.id],
        first=first,
        after=after,
    )


async def enrollments_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[EnrollmentRow]:
    """Enrolments of the organization."""
    return await fetch(
        connection,
        select(enrollments).where(
            enrollments.c.id.in_(ids), enrollments.c.organization_id == organization_id
        ),
        EnrollmentRow,
    )


async def enrol(
    connection: Connection,
    *,
    organization_id: UUID,
    course_id: UUID,
    user_ids: Sequence[UUID],
    role: Role,
) -> list[UUID]:
    """Enrols people, again if they had left; their enrolments, in the order given."""
    added = insert(enrollments).on_conflict_do_update(
        index_elements=["course_id", "user_id"],
        set_={"state": EnrollmentState.ACTIVE},
        where=or_(
            *(enrollments.c.state == s for s in ENROLLMENT.sources(EnrollmentEvent.REACTIVATE))
        ),
    )
    rows = [
        {
            "id": uuid7(),
            "organization_id": organization_id,
            "course_id": course_id,
            "user_id": user_id,
            "role": role,
            "state": EnrollmentState.ACTIVE,
        }
        for user_id in sorted(user_ids)  # two requests wait for each other in the same order
    ]
    if rows:
        await connection.execute(added, rows)
    found = await enrollments_of(connection, course_id, user_ids)
    ids = {row.user_id: row.id for row in found}
    return [ids[user_id] for user_id in user_ids]


async def enrollments_of(
    connection: Connection, course_id: UUID, user_ids: Sequence[UUID]
) -> Sequence[EnrollmentRow]:
    """The enrolments of these people in a course."""
    return await fetch(
        connection,
        select(enrollments).where(
            enrollments.c.course_id == course_id,
            enrollments.c.user_id == any_(cast(list(user_ids), ARRAY(Uuid))),
        ),
        EnrollmentRow,
    )


async def move_enrollment(
    connection: Connection, key: UUID, source: EnrollmentState, target: EnrollmentState
) -> None:
    """Changes an enrolment's state. Raises `Conflict`."""
    await change(
        connection,
        update(enrollments)
        .where(enrollments.c.id == key, enrollments.c.state == source)
        .values(state=target),
    )
