"""Roles: given, changed and taken away; who may do what, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from persistence import allocations, break_glass, courses, custom_roles, grants, submissions, users
from persistence.database import Connection
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.lifecycle.courses import GRANT, GrantEvent, GrantState
from persistence.roles import MARKERS, Role
from persistence.tables.identity import BreakGlassRow, CustomRoleRow, RoleGrantRow
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
    role: Role | None,
    custom_role_id: str | None,
    course_id: str | None,
    reason: str,
    expires_at: datetime | None,
    observed_student_id: str | None = None,
) -> UUID:
    """Gives a role: an admin any, an instructor in their own course staff and what they may do."""
    course = None if course_id is None else key_of(course_id, "Course", ("input", "courseId"))
    connection = transaction.connection
    viewer = context.require(Permission.ROLE_GRANT, course)
    built_in, custom = await _wanted(connection, viewer, role, custom_role_id)
    _check_manages(viewer, built_in, custom, course)
    _check_scope(built_in, custom, course)
    person = key_of(user_id, "User", ("input", "userId"))
    if person == viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody grants a role to themselves.")
    if not await users.users_of_organization(connection, viewer.organization_id, [person]):
        raise missing("user", ("input", "userId"))
    if course is not None and not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    grant = RoleGrantRow(
        organization_id=viewer.organization_id,
        user_id=person,
        role=built_in,
        custom_role_id=None if custom is None else custom.id,
        course_id=course,
        observed_student_id=await _observed(connection, built_in, course, observed_student_id),
        granted_by=viewer.user_id,
        reason=checks.line(reason, "reason", most=500),
        expires_at=_end(context, expires_at),
    )
    key = await grants.grant(connection, grant)
    if key == grant.id:  # of a role they held before nothing comes back
        await allocations.withdraw_held(connection, grant)
    transaction.hint(RIGHTS_TOPIC)
    return key


async def _wanted(
    connection: Connection, viewer: Viewer, role: Role | None, custom_role_id: str | None
) -> tuple[Role | None, CustomRoleRow | None]:
    """The built-in role or the custom one, which stays as it is until the commit."""
    if (role is None) == (custom_role_id is None):
        raise checks.bad("role", "Give either role or customRoleId.")
    if role is not None:
        return Role(role.value), None
    path = ("input", "customRoleId")
    key = key_of(custom_role_id or "", "CustomRole", path)
    custom = await custom_roles.lock_role(connection, viewer.organization_id, key, shared=True)
    if custom is None:
        raise missing("custom role", path)
    return None, custom


def _check_scope(role: Role | None, custom: CustomRoleRow | None, course: UUID | None) -> None:
    wide = custom.organization_wide if custom is not None else role in {Role.ADMIN, Role.AUDITOR}
    if wide != (course is None):
        raise checks.bad(
            "courseId",
            "ADMIN, AUDITOR and custom roles over the organization are given without a course, "
            "every other role with one.",
        )
    if role == Role.STUDENT:
        raise checks.bad("role", "Students come by enrolUsers.")


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
    if grant.expires_at is not None and grant.expires_at <= context.now():
        raise Refusal(RefusalCode.INVALID_STATE, "This grant ran out; give the role anew.")
    if end is not None and grant.role == Role.ADMIN:
        await keep_an_admin(connection, grant.organization_id, grant.user_id)
    await grants.set_expiry(connection, grant.id, end)
    transaction.hint(RIGHTS_TOPIC)
    return grant.id


async def revoke_role(
    context: RequestContext, transaction: Transaction, *, role_grant_id: str, reason: str
) -> UUID:
    """Takes a role away, at once, and the marking allocated under it. The last admin stays."""
    checks.line(reason, "reason", most=500)
    connection = transaction.connection
    grant = await _managed(context, connection, role_grant_id)
    target = GRANT.advance(grant.state, GrantEvent.REVOKE)
    if grant.role == Role.ADMIN:
        await keep_an_admin(connection, grant.organization_id, grant.user_id)
    await grants.move_grant(connection, grant.id, GrantState(grant.state), target)
    await allocations.withdraw_held(connection, grant)
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
        custom = await custom_roles.roles_of_organization(
            connection,
            viewer.organization_id,
            [g.custom_role_id for g in held if g.custom_role_id is not None],
        )
        glass = (
            None if course is None else await break_glass.glass_in_force(connection, key, course)
        )
    if person is None:
        rule = "There is no such person, or they are suspended."
        return Access(False, rule, None, None, sorted(ROLES[permission]))
    giving = {role.id: role for role in custom if permission in role.permissions}
    access = _explained(person, permission, course, held, giving, glass)
    if access.role_grant is None:
        return access
    async with context.database.read() as connection:
        seen = await grants.grants_by_id(connection, viewer, [access.role_grant.id])
    return access if seen else replace(access, role_grant=None)


def _explained(
    person: Viewer,
    permission: Permission,
    course: UUID | None,
    held: Sequence[RoleGrantRow],
    giving: Mapping[UUID, CustomRoleRow],
    glass: BreakGlassRow | None,
) -> Access:
    roles = sorted(ROLES[permission])
    where = "in this course" if course is not None else "over the organization"
    if not may(person, permission, course):
        givers = ", ".join(roles) or "no role"
        rule = f"{permission.value} is given by {givers}; neither these nor a custom role that "
        return Access(False, f"{rule}gives it is held {where}.", None, None, roles)
    for grant in held:
        access = _given_by(grant, permission, giving)
        if grant.course_id in {None, course} and access is not None:
            return access
    if glass is not None and opened(person, permission, glass.course_id):
        rule = f"{permission.value} is given by break-glass in this course for now: {glass.reason}"
        return Access(True, rule, None, Role(glass.role), roles, glass)
    rule = f"{permission.value} is given by STUDENT, held {where} by enrolment."
    return Access(True, rule, None, Role.STUDENT, roles)


def _given_by(
    grant: RoleGrantRow, permission: Permission, giving: Mapping[UUID, CustomRoleRow]
) -> Access | None:
    """What a grant gives; None when it is not this."""
    roles = sorted(ROLES[permission])
    scope = "over the organization" if grant.course_id is None else "in this course"
    if grant.role is not None and Role(grant.role) in roles:
        rule = f"{permission.value} is given by {grant.role}, held {scope} by a grant."
        if grant.role in MARKERS and permission in ALLOCATED:
            rule += " It is for work allocated to them."
        return Access(True, rule, grant, Role(grant.role), roles)
    if grant.custom_role_id is not None and grant.custom_role_id in giving:
        name = giving[grant.custom_role_id].name
        rule = f"{permission.value} is given by the custom role {name}, held {scope} by a grant."
        return Access(True, rule, grant, None, roles)
    return None


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
    viewer = context.require(Permission.ROLE_GRANT, grant.course_id)
    custom = None
    if grant.custom_role_id is not None:
        (custom,) = await custom_roles.roles_of_organization(
            connection, grant.organization_id, [grant.custom_role_id]
        )
    _check_manages(
        viewer, None if grant.role is None else Role(grant.role), custom, grant.course_id
    )
    return grant


def _check_manages(
    viewer: Viewer, role: Role | None, custom: CustomRoleRow | None, course: UUID | None
) -> None:
    """Whether the viewer, who gives roles there, gives and takes this one. Raises `Refusal`."""
    if viewer.is_admin:
        return
    if custom is not None:
        held = {p.value for p in Permission if may(viewer, p, course)}
        if set(custom.permissions) - held or custom.organization_wide:
            raise Refusal(
                RefusalCode.FORBIDDEN,
                f"You do not hold all that {custom.name} gives; ask an admin for it.",
                ("input",),
            )
    elif role not in COURSE_STAFF:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            f"An instructor manages {', '.join(sorted(COURSE_STAFF))} and custom roles of what "
            f"they may do themselves; ask an admin for {role}.",
            ("input",),
        )


async def _observed(
    connection: Connection, role: Role | None, course: UUID | None, student_id: str | None
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
