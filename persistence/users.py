"""People and organizations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    any_,
    bindparam,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from persistence.api_tokens import token_in_force
from persistence.break_glass import opened_courses
from persistence.custom_roles import permissions_of
from persistence.database import Connection, change, fetch, fetch_one
from persistence.grants import in_force
from persistence.identifiers import uuid7
from persistence.lifecycle.courses import EnrollmentState
from persistence.roles import Role
from persistence.tables.courses import enrollments
from persistence.tables.identity import (
    OrganizationRow,
    UserRow,
    organizations,
    role_grants,
    users,
)
from persistence.tables.sign_in import sessions
from persistence.visibility import Viewer, sees_users


@dataclass(frozen=True)
class Proof:
    """What a verified token said of its bearer."""

    user_id: UUID
    organization_id: UUID
    expires_at: datetime
    issued_at: datetime | None = None
    session_id: UUID | None = None
    real_user_id: UUID | None = None
    scopes: frozenset[str] | None = None
    course_id: UUID | None = None
    api_token_id: UUID | None = None
    """The API token it is; its scopes and its course are read with its person."""

    @property
    def by_issue(self) -> bool:
        """Whether signing out ends it by when it was issued, for want of a session that ends."""
        return self.issued_at is not None and self.session_id is None


async def find_viewer(connection: Connection, proof: Proof) -> Viewer | None:
    """The person with the roles in force now; None when unknown, suspended or signed out.

    None as well when the API token they came with is over.
    """
    if proof.api_token_id is None:
        return await _viewer(connection, proof)
    token = await token_in_force(connection, proof.api_token_id)
    if token is None:
        return None
    limited = replace(proof, scopes=frozenset(token.scopes), course_id=token.course_id)
    return await _viewer(connection, limited)


async def _viewer(connection: Connection, proof: Proof) -> Viewer | None:
    statement = _with_grants(in_session=proof.session_id is not None, issued=proof.by_issue)
    rows = (await connection.execute(statement, _given(proof))).all()
    if not rows:
        return None
    if proof.real_user_id is not None and not await _administers(connection, proof):
        return None
    user = rows[0]
    grants = [row for row in rows if row.granted]
    courses: dict[Role, set[UUID]] = {Role.STUDENT: set(user.studies or ())}
    for grant in grants:
        if grant.course_id is not None and grant.role is not None:
            courses.setdefault(Role(grant.role), set()).add(grant.course_id)
    whole = {Role(g.role) for g in grants if g.course_id is None and g.role is not None}
    custom = await permissions_of(connection, grants)
    custom_wide = custom.pop(None, set())
    if proof.course_id is not None:
        courses = {role: ids & {proof.course_id} for role, ids in courses.items()}
        custom = {course: given for course, given in custom.items() if course == proof.course_id}
        whole, custom_wide = set(), set()
    by_person = proof.scopes is None and proof.real_user_id is None
    return Viewer(
        user_id=proof.user_id,
        organization_id=proof.organization_id,
        email=user.email,
        name=user.name,
        expires_at=proof.expires_at,
        organization_roles=frozenset(whole),
        courses={role: frozenset(ids) for role, ids in courses.items()},
        observes=frozenset(
            (g.course_id, g.observed_student_id)
            for g in grants
            if g.course_id is not None
            and g.observed_student_id is not None
            and g.course_id in courses[Role.OBSERVER]
        ),
        real_user_id=proof.real_user_id,
        scopes=proof.scopes,
        session_id=proof.session_id,
        api_token_id=proof.api_token_id,
        opened=await opened_courses(connection, proof.user_id, whole) if by_person else frozenset(),
        custom=_by_permission(custom),
        custom_wide=frozenset(custom_wide),
        custom_roles=frozenset(g.custom_role_id for g in grants if g.custom_role_id is not None),
    )


@cache
def _with_grants(*, in_session: bool, issued: bool) -> Select[Any]:
    """The person of a `Proof` that lets them in, with the courses they study in: a row for each of
    their grants in force, or one.

    Kept, because to build it takes a quarter as long as to run it, and every request runs it.
    """
    studies = select(func.array_agg(enrollments.c.course_id)).where(
        enrollments.c.user_id == users.c.id,
        enrollments.c.role == Role.STUDENT,
        enrollments.c.state == EnrollmentState.ACTIVE,
    )
    let_in = [users.c.id == bindparam("user_id"), *_not_shut_out(issued=issued)]
    if in_session:
        open_session = select(sessions.c.id).where(
            sessions.c.id == bindparam("session_id"),
            sessions.c.organization_id == bindparam("organization_id"),
            sessions.c.ended_at.is_(None),
        )
        let_in.append(open_session.exists())
    return (
        select(
            users.c.email,
            users.c.name,
            studies.scalar_subquery().label("studies"),
            role_grants.c.id.is_not(None).label("granted"),
            role_grants.c.role,
            role_grants.c.custom_role_id,
            role_grants.c.course_id,
            role_grants.c.observed_student_id,
        )
        .select_from(
            users.outerjoin(role_grants, and_(role_grants.c.user_id == users.c.id, in_force()))
        )
        .where(*let_in)
    )


def _by_permission(
    permissions: Mapping[UUID | None, set[str]],
) -> Mapping[str, frozenset[UUID]]:
    given: dict[str, set[UUID]] = {}
    for course, names in permissions.items():
        for name in names:
            given.setdefault(name, set()).update([] if course is None else [course])
    return {name: frozenset(courses) for name, courses in given.items()}


def _given(proof: Proof) -> dict[str, Any]:
    return {
        "user_id": proof.user_id,
        "organization_id": proof.organization_id,
        "session_id": proof.session_id,
        "issued_at": proof.issued_at,
    }


def _not_shut_out(*, issued: bool) -> list[ColumnElement[bool]]:
    conditions = [
        users.c.organization_id == bindparam("organization_id"),
        users.c.suspended.is_(False),
    ]
    if issued:
        # A token says its second alone: one of the same second is taken for an earlier one.
        left = func.date_trunc("second", users.c.signed_out_at)
        conditions.append(or_(left.is_(None), left < bindparam("issued_at")))
    return conditions


async def _administers(connection: Connection, proof: Proof) -> bool:
    """Whether who acts as another is an admin of the same organization still."""
    found = await connection.execute(
        select(users.c.id)
        .join(role_grants, role_grants.c.user_id == users.c.id)
        .where(
            users.c.id == proof.real_user_id,
            *_not_shut_out(issued=proof.by_issue),
            role_grants.c.role == Role.ADMIN,
            in_force(),
        ),
        _given(proof),
    )
    return found.first() is not None


async def users_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[UserRow]:
    """Those of `ids` the viewer may look up by id alone."""
    return await fetch(
        connection, select(users).where(users.c.id.in_(ids), sees_users(users, viewer)), UserRow
    )


async def users_of_organization(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[UserRow]:
    """Rows already reached through something the viewer sees."""
    return await fetch(
        connection,
        select(users).where(users.c.id.in_(ids), users.c.organization_id == organization_id),
        UserRow,
    )


async def users_by_email(
    connection: Connection, organization_id: UUID, emails: Sequence[str]
) -> Sequence[UserRow]:
    """People of the organization by their addresses."""
    return await fetch(
        connection,
        select(users).where(
            users.c.organization_id == organization_id,
            users.c.email == any_(cast(list(emails), ARRAY(String))),
        ),
        UserRow,
    )


async def organization_by_slug(connection: Connection, slug: str) -> OrganizationRow | None:
    """An organization by its short name."""
    return await fetch_one(
        connection, select(organizations).where(organizations.c.slug == slug), OrganizationRow
    )


async def organization_by_id(connection: Connection, key: UUID) -> OrganizationRow | None:
    """An organization."""
    return await fetch_one(
        connection, select(organizations).where(organizations.c.id == key), OrganizationRow
    )


async def add_users(
    connection: Connection, organization_id: UUID, names: Mapping[str, str]
) -> None:
    """Adds people by address and name; one who is there stays as they are."""
    rows = [
        {"id": uuid7(), "organization_id": organization_id, "email": email, "name": names[email]}
        for email in sorted(names)  # two requests wait for each other in the same order
    ]
    added = insert(users).on_conflict_do_nothing(index_elements=["organization_id", "email"])
    await connection.execute(added, rows)


async def set_suspended(connection: Connection, key: UUID, *, suspended: bool) -> None:
    """Shuts a person out, or lets them in again. Raises `Conflict` when that was done already."""
    await change(
        connection,
        update(users)
        .where(users.c.id == key, users.c.suspended.is_not(suspended))
        .values(suspended=suspended),
    )
