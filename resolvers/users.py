"""People and their roles."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from persistence import courses, users
from persistence.roles import Role
from persistence.tables.identity import OrganizationRow, RoleGrantRow, UserRow
from persistence.visibility import Viewer
from resolvers import checks
from resolvers.access import COURSE_STAFF, Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, present
from resolvers.refusals import Refusal, RefusalCode


class NewUser(Protocol):
    """A person to be known to the organization."""

    email: str
    name: str


async def get_viewer(context: RequestContext) -> Viewer:
    """Who asks."""
    return context.viewer


async def get_user_of_viewer(viewers: Sequence[Viewer], context: RequestContext) -> list[UserRow]:
    """The viewer's own row."""
    ids = [viewer.user_id for viewer in viewers]
    async with context.database.read() as connection:
        return present(ids, await users.users_by_id(connection, context.viewer, ids))


async def get_organization_of_viewer(
    viewers: Sequence[Viewer], context: RequestContext
) -> list[OrganizationRow | None]:
    """The viewer's organization."""
    async with context.database.read() as connection:
        row = await users.organization_by_id(connection, context.viewer.organization_id)
    return [row for _ in viewers]


async def load_users(context: RequestContext, ids: Sequence[UUID]) -> list[UserRow | None]:
    """People by id, as far as the viewer may look them up."""
    async with context.database.read() as connection:
        return in_order(ids, await users.users_by_id(connection, context.viewer, ids))


async def get_users(context: RequestContext, ids: Sequence[UUID | None]) -> list[UserRow | None]:
    """People named by rows the viewer sees."""
    wanted = [key for key in ids if key is not None]
    async with context.database.read() as connection:
        rows = await users.users_of_organization(connection, context.viewer.organization_id, wanted)
    found = {row.id: row for row in rows}
    return [found.get(key) if key is not None else None for key in ids]


async def load_grants(context: RequestContext, ids: Sequence[UUID]) -> list[RoleGrantRow | None]:
    """Grants by id: one's own, those of courses one instructs, an admin all."""
    async with context.database.read() as connection:
        return in_order(ids, await users.grants_by_id(connection, context.viewer, ids))


async def load_organizations(
    context: RequestContext, ids: Sequence[UUID]
) -> list[OrganizationRow | None]:
    """Organizations by id; None for all but the viewer's own."""
    async with context.database.read() as connection:
        row = await users.organization_by_id(connection, context.viewer.organization_id)
    return in_order(ids, [] if row is None else [row])


async def create_users(
    context: RequestContext, transaction: Transaction, *, users: Sequence[NewUser]
) -> list[UUID]:
    """Makes people known to the organization; one who is known already stays as they are."""
    viewer = context.require(Permission.USER_CREATE)
    checks.at_most(users, "users")
    wanted: dict[str, str] = {}
    for user in users:
        wanted.setdefault(checks.email(user.email, "users"), checks.line(user.name, "users"))
    return await _upsert(transaction, viewer.organization_id, wanted)


async def _upsert(
    transaction: Transaction, organization_id: UUID, wanted: dict[str, str]
) -> list[UUID]:
    connection = transaction.connection
    await users.add_users(connection, organization_id, wanted)
    known = await users.users_by_email(connection, organization_id, list(wanted))
    ids = {row.email: row.id for row in known}
    return [ids[email] for email in wanted]


async def grant_role(
    context: RequestContext,
    transaction: Transaction,
    *,
    user_id: str,
    role: Role,
    course_id: str | None,
    reason: str,
    expires_at: datetime | None,
) -> UUID:
    """Gives a role: an admin any, an instructor course staff in their own course."""
    course = None if course_id is None else key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.ROLE_GRANT, course)
    role = Role(role.value)
    organization_wide = role in {Role.ADMIN, Role.AUDITOR}
    if organization_wide != (course is None):
        raise checks.bad(
            "courseId", "ADMIN and AUDITOR are given without a course, every other role with one."
        )
    if not viewer.is_admin and role not in COURSE_STAFF:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            f"An instructor gives {', '.join(sorted(COURSE_STAFF))}; ask an admin for {role}.",
            ("input", "role"),
        )
    if role in {Role.STUDENT, Role.OBSERVER}:
        raise checks.bad("role", "Students come by enrolUsers; OBSERVER is not offered yet.")
    return await _grant(
        context,
        transaction,
        (key_of(user_id, "User", ("input", "userId")), role, course),
        checks.line(reason, "reason", most=500),
        checks.moment(expires_at, "expiresAt"),
    )


async def _grant(
    context: RequestContext,
    transaction: Transaction,
    what: tuple[UUID, Role, UUID | None],
    reason: str,
    expires_at: datetime | None,
) -> UUID:
    viewer = context.viewer
    user_id, role, course = what
    if user_id == viewer.user_id:
        raise Refusal(RefusalCode.FORBIDDEN, "Nobody grants a role to themselves.")
    if expires_at is not None and expires_at <= context.now():
        raise checks.bad("expiresAt", "expiresAt lies in the past.")
    connection = transaction.connection
    if not await users.users_of_organization(connection, viewer.organization_id, [user_id]):
        raise missing("user", ("input", "userId"))
    if course is not None and not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", ("input", "courseId"))
    grant = RoleGrantRow(
        organization_id=viewer.organization_id,
        user_id=user_id,
        role=role,
        course_id=course,
        granted_by=viewer.user_id,
        reason=reason,
        expires_at=expires_at,
    )
    return await users.grant(connection, grant)
