"""Courses and enrolments."""

from collections.abc import Sequence
from uuid import UUID

from persistence import courses, invitations, users
from persistence.database import Duplicate, add
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.lifecycle.courses import ENROLLMENT, EnrollmentEvent, EnrollmentState
from persistence.roles import Role
from persistence.tables.courses import CourseRow, EnrollmentRow
from resolvers import checks
from resolvers.access import Permission, may, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, optional, present, unless_refused
from resolvers.refusals import Refusal


async def list_courses(context: RequestContext, first: int, after: str | None) -> Page[CourseRow]:
    """The viewer's courses by code."""
    async with context.database.read() as connection:
        return await courses.page_of_courses(
            connection, context.viewer, checks.page_size(first), after
        )


async def load_courses(context: RequestContext, ids: Sequence[UUID]) -> list[CourseRow | None]:
    """Courses by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await courses.courses_by_id(connection, context.viewer, ids))


async def list_enrollments(
    parents: Sequence[CourseRow], context: RequestContext, first: int, after: str | None
) -> list[Page[EnrollmentRow] | Refusal]:
    """Who is enrolled in each course, for staff and admins; a refusal for others."""
    ids = [c.id for c in parents]
    refusals = context.refusals(Permission.ENROLMENT_WRITE, ids)
    async with context.database.read() as connection:
        pages = await courses.pages_of_enrollments(connection, ids, checks.page_size(first), after)
    return unless_refused(refusals, pages)


async def load_enrollments(
    context: RequestContext, ids: Sequence[UUID]
) -> list[EnrollmentRow | None]:
    """Enrolments by id: one's own, and those of courses whose enrolments one manages."""
    viewer = context.viewer
    async with context.database.read() as connection:
        rows = await courses.enrollments_by_id(connection, viewer.organization_id, ids)
    return in_order(
        ids,
        (
            row
            for row in rows
            if row.user_id == viewer.user_id
            or may(viewer, Permission.ENROLMENT_WRITE, row.course_id)
        ),
    )


async def create_course(
    context: RequestContext,
    transaction: Transaction,
    *,
    code: str,
    title: str,
    language: str,
    time_zone: str,
) -> UUID:
    """Opens a course."""
    viewer = context.require(Permission.COURSE_CREATE)
    course = CourseRow(
        organization_id=viewer.organization_id,
        code=checks.line(code, "code", most=40),
        title=checks.line(title, "title"),
        language=checks.language(language),
        time_zone=checks.time_zone(time_zone),
    )
    try:
        await add(transaction.connection, course)
    except Duplicate as e:
        raise checks.bad("code", f"The code {course.code} is taken by another course.") from e
    return course.id


async def enrol_users(
    context: RequestContext, transaction: Transaction, *, course_id: str, emails: Sequence[str]
) -> list[UUID]:
    """Enrols people, known to the organization by these addresses, as students."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.ENROLMENT_WRITE, course)
    checks.at_most(emails, "emails")
    wanted = list(dict.fromkeys(checks.email(e, "emails") for e in emails))
    if viewer.email in wanted:
        raise checks.bad("emails", "Nobody enrols themselves; ask another person to.")
    connection = transaction.connection
    if not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    known = {
        row.email: row.id
        for row in await users.users_by_email(connection, viewer.organization_id, wanted)
    }
    if unknown := [e for e in wanted if e not in known]:
        raise checks.bad("emails", f"Not known to this organization: {', '.join(unknown[:5])}.")
    return await courses.enrol(
        connection,
        organization_id=viewer.organization_id,
        course_id=course,
        user_ids=[known[e] for e in wanted],
        role=Role.STUDENT,
    )


async def remove_enrollment(
    context: RequestContext, transaction: Transaction, *, enrollment_id: str
) -> UUID:
    """Ends somebody's being a student of a course; enrolUsers takes them in again."""
    path = ("input", "enrollmentId")
    key = key_of(enrollment_id, "Enrollment", path)
    connection, viewer = transaction.connection, context.viewer
    found = await courses.enrollments_by_id(connection, viewer.organization_id, [key])
    if not found or not (viewer.knows_courses or found[0].course_id in viewer.member_of):
        raise missing("enrolment", path)
    context.require(Permission.ENROLMENT_WRITE, found[0].course_id)
    state = EnrollmentState(found[0].state)
    target = ENROLLMENT.advance(state, EnrollmentEvent.REMOVE)
    await courses.move_enrollment(connection, key, state, target)
    await invitations.withdraw_pending(connection, key)
    transaction.hint(RIGHTS_TOPIC)
    return key


async def get_seen_courses(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[CourseRow | None]:
    """The courses that rows name and the viewer sees."""
    found = await load_courses(context, [key for key in ids if key])
    return optional(ids, [row for row in found if row is not None])


async def get_courses(context: RequestContext, ids: Sequence[UUID]) -> list[CourseRow]:
    """The courses of rows the viewer sees."""
    async with context.database.read() as connection:
        return present(ids, await courses.courses_by_id(connection, context.viewer, ids))
