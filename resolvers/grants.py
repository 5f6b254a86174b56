"""Roles: given, changed and taken away; who may do what, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from persistence import break_glass, courses, grants, submissions, users
from persistence.database import Connection
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.lifecycle.courses import GRANT, GrantEvent, GrantState
from persistence.roles import MARKERS, Role
from persistence.tables.identity import BreakGlassRow, RoleGrantRow
from persistence.users import Proof
from persistence.visibility import Viewer
from resolvers import checks
from resolvers.access import ALLOCATED, COURSE_STAFF, ROLES, Permission, may, missing, opened
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

_GRANT_PATH = ("input", "roleGrantId")
ORGANIZATION_WIDE = frozenset({Role.ADMIN, Role.AUDITOR})


@dataclass(frozen=True)
class Access:
    """Whether somebody may do something, and the grant or the enrolment that lets them."""

    allowed: bool
    rule: str
    role_grant: RoleGrantRow | None
    role: Role | None
    roles_that_allow: Sequence[Role]
    break_glass: BreakGlassRow | None = None


async def load_grants(context: RequestContext, ids: Sequence[UUID]) -> list[RoleGrantRow | None]:
    """Grants by id: one's own, those of courses one instructs, an admin all."""
    async with context.database.read() as connection:
        return in_order(ids, await grants.grants_by_id(connection, context.viewer, ids))


async def list_grants(
    context: RequestContext,
    user_id: str | None,
    course_id: str | None,
    first: int,
    after: str | None,
) -> Page[RoleGrantRow]:
    """The grants in force the viewer sees, newest first."""
    async with context.database.read() as connection:
        return await grants.page_of_grants(
            connection,
            context.viewer,
            user_id=None if user_id is None else key_of(user_id, "User", ("userId",)),
            course_id=None if course_id is None else key_of(course_id, "Course", ("courseId",)),
            first=checks.page_size(first),
            after=after,
        )


async def grant_role(
    context: RequestContext,
    transaction: Transaction,
    *,
    user_id: str,
    role: Role,
    course_id: str | None,
    reason: str,
    expires_at: datetime | None,
    observed_student_id: str | None = None,
) -> UUID:
    """Gives a role: an admin any, an instructor course staff in their own course."""
    course = None if course_id is None else key_of(course_id, "Course", ("input", "courseId"))
    role = Role(role.value)
    viewer = _manager_of(context, role, course)
    if (role in ORGANIZATION_WIDE) != (course is None):
        raise checks.bad(
            "courseId", "ADMIN and AUDITOR are given without a course, every other role with one."
        )
    if role == Role.STUDENT:
        raise checks.bad("role", "Students come by enrolUsers.")
    person = key_of(user_id, "User", ("input", "userId"))
    if person == viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody grants a role to themselves.")
    connection = transaction.connection
    if not await users.users_of_organization(connection, viewer.organization_id, [person]):
        raise missing("user", ("input", "userId"))
    if course is not None and not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    grant = RoleGrantRow(
        organization_id=viewer.organization_id,
        user_id=person,
        role=role,
        course_id=course,
        observed_student_id=await _observed(connection, role, course, observed_student_id),
        granted_by=viewer.user_id,
        reason=checks.line(reason, "reason", most=500),
        expires_at=_end(context, expires_at),
    )
    return await grants.grant(connection, grant)


async def update_role(
    context: RequestContext,
    transaction: Transaction,
    *,
    role_grant_id: str,
    expires_at: datetime | None,
) -> UUID:
    """Changes when a grant ends by itself. Nobody prolongs their own."""
    connection = transaction.connection
    grant = await _managed(context, connection, role_grant_id)
    if grant.user_id == context.viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody changes a role of their own.", _GRANT_PATH)
    if grant.state != GrantState.ACTIVE:
        raise Refusal(
            RefusalCode.INVALID_STATE, f"This grant is {grant.state}; give the role anew."
        )
    end = _end(context, expires_at)
    if end is not None and grant.role == Role.ADMIN:
        await keep_an_admin(connection, grant.organization_id, grant.user_id)
    await grants.set_expiry(connection, grant.id, end)
    transaction.hint(RIGHTS_TOPIC)
    return grant.id


async def revoke_role(
    context: RequestContext, transaction: Transaction, *, role_grant_id: str, reason: str
) -> UUID:
    """Takes a role away, at once. The last admin stays."""
    checks.line(reason, "reason", most=500)
    connection = transaction.connection
    grant = await _managed(context, connection, role_grant_id)
    target = GRANT.advance(grant.state, GrantEvent.REVOKE)
    if grant.role == Role.ADMIN:
        await keep_an_admin(connection, grant.organization_id, grant.user_id)
    await grants.move_grant(connection, grant.id, GrantState(grant.state), target)
    transaction.hint(RIGHTS_TOPIC)
    return grant.id


async def keep_an_admin(connection: Connection, organization_id: UUID, leaving: UUID) -> None:
    """Raises `Refusal` when nobody else administers the organization without an end."""
    if not await grants.lock_lasting_admins(connection, organization_id) - {leaving}:
        raise Refusal(
            RefusalCode.INVALID_STATE, "The last admin stays: make another one admin first."
        )


async def viewer_can(
    context: RequestContext, permission: Permission, course_id: str | None
) -> bool:
    """Whether the viewer may do this, in the course when one is given."""
    course = await _seen_course(context, course_id)
    return may(context.viewer, Permission(permission.value), course)


async def explain_access(
    context: RequestContext, user_id: str, permission: Permission, course_id: str | None
) -> Access:
    """Whether a person may do this, and what lets them or what they lack."""
    course = await _seen_course(context, course_id)
    key = key_of(user_id, "User", ("userId",))
    if key != context.viewer.user_id:
        context.require(Permission.ROLE_GRANT, course)
    permission = Permission(permission.value)
    viewer = context.viewer
    async with context.database.read() as connection:
        person = await users.find_viewer(
            connection, Proof(key, viewer.organization_id, viewer.expires_at)
        )
        held = await grants.grants_of(connection, key) if person is not None else []
        glass = (
            None if course is None else await break_glass.glass_in_force(connection, key, course)
        )
    roles = sorted(ROLES[permission])
    if person is None:
        return Access(False, "There is no such person, or they are suspended.", None, None, roles)
    return _explained(person, permission, course, held, glass)


def _explained(
    person: Viewer,
    permission: Permission,
    course: UUID | None,
    held: Sequence[RoleGrantRow],
    glass: BreakGlassRow | None,
) -> Access:
    roles = sorted(ROLES[permission])
    where = "in this course" if course is not None else "over the organization"
    if not may(person, permission, course):
        givers = ", ".join(roles) or "no role"
        rule = f"{permission.value} is given by {givers}; none of these is held {where}."
        return Access(False, rule, None, None, roles)
    for grant in held:
        if Role(grant.role) in roles and grant.course_id in {None, course}:
            scope = "over the organization" if grant.course_id is None else "in this course"
            rule = f"{permission.value} is given by {grant.role}, held {scope} by a grant."
            if grant.role in MARKERS and permission in ALLOCATED:
                rule += " It is for work allocated to them."
            return Access(True, rule, grant, Role(grant.role), roles)
    if glass is not None and opened(person, permission, glass.course_id):
        rule = f"{permission.value} is given by break-glass in this course for now: {glass.reason}"
        return Access(True, rule, None, Role(glass.role), roles, glass)
    rule = f"{permission.value} is given by STUDENT, held {where} by enrolment."
    return Access(True, rule, None, Role.STUDENT, roles)


async def _seen_course(context: RequestContext, course_id: str | None) -> UUID | None:
    if course_id is None:
        return None
    key = key_of(course_id, "Course", ("courseId",))
    async with context.database.read() as connection:
        if not await courses.courses_by_id(connection, context.viewer, [key]):
            raise missing("course", ("courseId",))
    return key


async def _managed(
    context: RequestContext, connection: Connection, role_grant_id: str
) -> RoleGrantRow:
    key = key_of(role_grant_id, "RoleGrant", _GRANT_PATH)
    grant = await grants.lock_grant(connection, context.viewer, key)
    if grant is None:
        raise missing("role grant", _GRANT_PATH)
    _manager_of(context, Role(grant.role), grant.course_id)
    return grant


def _manager_of(context: RequestContext, role: Role, course: UUID | None) -> Viewer:
    """The viewer, who may give and take this role there. Raises `Refusal`."""
    viewer = context.require(Permission.ROLE_GRANT, course)
    if not viewer.is_admin and role not in COURSE_STAFF:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            f"An instructor manages {', '.join(sorted(COURSE_STAFF))}; ask an admin for {role}.",
            ("input",),
        )
    return viewer


async def _observed(
    connection: Connection, role: Role, course: UUID | None, student_id: str | None
) -> UUID | None:
    field = "observedStudentId"
    if (role == Role.OBSERVER) != (student_id is not None):
        raise checks.bad(field, "OBSERVER names the student who is observed, no other role does.")
    if student_id is None or course is None:
        return None
    student = key_of(student_id, "User", ("input", field))
    if not await submissions.is_enrolled(connection, course, student):
        raise missing("student in this course", ("input", field))
    return student


def _end(context: RequestContext, expires_at: datetime | None) -> datetime | None:
    end = checks.moment(expires_at, "expiresAt")
    if end is not None and end <= context.now():
        raise checks.bad("expiresAt", "expiresAt lies in the past.")
    return end
