"""Who asks, and the SQL condition that keeps each table to what they may read.

A `Viewer` carries resolved course-id sets, so visibility is `= ANY($ids)` on denormalised
columns and needs no join.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, false, func, or_, tuple_

from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.documents import SEARCHABLE
from persistence.lifecycle.grades import GradeState
from persistence.roles import Role
from persistence.tables.audit import Outcome

# The permissions students use, whose use names them.
STUDENTS_OWN = ("submission:write", "submission:proxy", "study:ask", "viewer:read")


@dataclass(frozen=True)
class Viewer:
    """A signed-in person. `courses` has, for each role, the courses it is held in."""

    user_id: UUID
    organization_id: UUID
    email: str
    name: str
    expires_at: datetime
    organization_roles: frozenset[Role]
    courses: Mapping[Role, frozenset[UUID]]
    observes: frozenset[tuple[UUID, UUID]] = frozenset()
    """(course, student) pairs that OBSERVER grants name."""
    real_user_id: UUID | None = None
    """Who acts as this person, where somebody does: they only read."""
    scopes: frozenset[str] | None = None
    """The permissions an API token is limited to; None for a person."""
    session_id: UUID | None = None

    def courses_as(self, *roles: Role) -> frozenset[UUID]:
        """The courses in which the viewer holds any of `roles`."""
        return frozenset().union(*(self.courses.get(role, frozenset()) for role in roles))

    @property
    def member_of(self) -> frozenset[UUID]:
        """The courses in which the viewer holds any role."""
        return self.courses_as(*self.courses)

    @property
    def instructs(self) -> frozenset[UUID]:
        """The courses whose every submission and grade the viewer reads."""
        return self.courses_as(Role.INSTRUCTOR)

    @property
    def designs(self) -> frozenset[UUID]:
        """The courses whose drafts the viewer reads."""
        return self.courses_as(Role.INSTRUCTOR, Role.DESIGNER)

    @property
    def is_admin(self) -> bool:
        """Whether the viewer administers the organization."""
        return Role.ADMIN in self.organization_roles


def _within(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    return table.c.organization_id == viewer.organization_id


def sees_courses(courses: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Courses the viewer holds a role in; all of the organization for an admin or auditor."""
    if viewer.organization_roles:
        return _within(courses, viewer)
    return and_(_within(courses, viewer), courses.c.id.in_(viewer.member_of))


def sees_as_designer(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows only those who design the course read: rubric drafts, reference answers."""
    return and_(_within(table, viewer), table.c.course_id.in_(viewer.designs))


def sees_assignments(assignments: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Published ones for every member of the course; drafts for those who design it."""
    return and_(
        _within(assignments, viewer),
        or_(
            assignments.c.course_id.in_(viewer.designs),
            and_(
                assignments.c.course_id.in_(viewer.member_of),
                assignments.c.state != AssignmentState.DRAFT,
            ),
        ),
    )


def sees_documents(documents: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Searchable ones for every member of the course; all for those who design it."""
    return and_(
        _within(documents, viewer),
        or_(
            documents.c.course_id.in_(viewer.designs),
            and_(documents.c.course_id.in_(viewer.member_of), documents.c.state.in_(SEARCHABLE)),
        ),
    )


def sees_as_instructor(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows only those who grade the course read: runs, tasks, assessments before release."""
    return and_(_within(table, viewer), table.c.course_id.in_(viewer.instructs))


def sees_submissions(submissions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own while one is of the course, and those of the courses one instructs."""
    return and_(
        _within(submissions, viewer),
        or_(
            submissions.c.course_id.in_(viewer.instructs),
            and_(
                submissions.c.student_id == viewer.user_id,
                submissions.c.course_id.in_(viewer.member_of),
            ),
        ),
    )


def sees_own(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows that belong to the viewer alone, while they are still of the course."""
    return and_(
        _within(table, viewer),
        table.c.user_id == viewer.user_id,
        table.c.course_id.in_(viewer.member_of),
    )


def sees_study_sessions(sessions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, and those a student shares with the instructors of a course, while they do."""
    return or_(
        sees_own(sessions, viewer),
        and_(
            sees_as_instructor(sessions, viewer),
            sessions.c.shared_at.is_not(None),
            or_(sessions.c.shared_until.is_(None), sessions.c.shared_until > func.now()),
        ),
    )


def sees_memory_facts(facts: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, to oneself: neither staff, nor who acts as the person, nor an API token."""
    if viewer.real_user_id is not None or viewer.scopes is not None:
        return false()
    return and_(_within(facts, viewer), facts.c.user_id == viewer.user_id)


def sees_users(users: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Oneself; everybody of the organization for an admin. Others are met through a course."""
    if viewer.is_admin:
        return _within(users, viewer)
    return and_(_within(users, viewer), users.c.id == viewer.user_id)


def sees_grants(role_grants: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, and those of the courses one instructs; all of the organization for an admin."""
    if viewer.is_admin:
        return _within(role_grants, viewer)
    return and_(
        _within(role_grants, viewer),
        or_(
            role_grants.c.user_id == viewer.user_id,
            role_grants.c.course_id.in_(viewer.instructs),
        ),
    )


def sees_api_tokens(tokens: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own; all of the organization for an admin. A token sees none."""
    if viewer.scopes is not None:
        return false()
    if viewer.is_admin:
        return _within(tokens, viewer)
    return and_(_within(tokens, viewer), tokens.c.user_id == viewer.user_id)


def sees_audit_events(events: Table, viewer: Viewer) -> ColumnElement[bool]:
    """What one did oneself, and what staff did in the courses one instructs.

    All of the organization for an admin or auditor. What students do is left out for instructors:
    it would tell whose an anonymous submission is.
    """
    if viewer.organization_roles:
        return _within(events, viewer)
    return and_(
        _within(events, viewer),
        or_(
            events.c.actor_id == viewer.user_id,
            and_(
                events.c.course_id.in_(viewer.instructs),
                events.c.outcome == Outcome.DONE,
                events.c.permission.not_in(STUDENTS_OWN),
            ),
        ),
    )


def sees_grades(grades: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those of the courses one instructs; released, one's own and those of whom one observes."""
    return and_(
        _within(grades, viewer),
        or_(
            grades.c.course_id.in_(viewer.instructs),
            and_(
                grades.c.student_id == viewer.user_id,
                grades.c.course_id.in_(viewer.member_of),
                grades.c.state == GradeState.RELEASED,
            ),
            and_(
                tuple_(grades.c.course_id, grades.c.student_id).in_(viewer.observes),
                grades.c.state == GradeState.RELEASED,
            ),
        ),
    )
