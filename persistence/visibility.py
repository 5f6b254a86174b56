"""Who asks, and the SQL condition that keeps each table to what they may read.

A `Viewer` carries resolved course-id sets, so visibility is `= ANY($ids)` on denormalised
columns and needs no join. Allocated work is the exception: a marker may hold thousands, so it is
a semi-join on the index of their active allocations, and ends with the allocation at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, false, func, not_, or_, true

from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.documents import READABLE
from persistence.roles import MARKERS, Role
from persistence.tables.audit import Outcome

# The permissions students use, whose use names them.
STUDENTS_OWN = ("submission:write", "submission:proxy", "study:ask", "viewer:read")

# The permissions whose use says something of a student's work.
ABOUT_WORK = ("grade:assess", "grade:decide", "grade:release")

# The rows of its course that a permission of a custom role lets its holder read, by table.
# Everybody of a course also reads its published assignments. A table that is not here has none.
READ_BY: Mapping[str, tuple[str, ...]] = {
    "anchor_paper": ("assignment:write",),
    "assignment (draft)": ("assignment:write",),
    "audit_event": ("audit:read",),
    "document": ("document:read",),
    "document (not searchable)": ("document:write",),
    "enrollment": ("enrolment:write",),
    "grade": ("grade:read",),
    "grading_run": ("run:follow",),
    "grading_task": ("grade:read", "run:control"),
    "marking_allocation": ("marking:allocate",),
    "question": ("assignment:write",),
    "rubric": ("assignment:write", "rubric:write"),
    "study_session": ("study:read",),
    "submission": ("submission:read",),
}


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
    api_token_id: UUID | None = None
    opened: frozenset[UUID] = frozenset()
    """The courses an admin or auditor has open by break-glass."""
    custom: Mapping[str, frozenset[UUID]] = field(default_factory=dict)
    """The courses in which custom roles give a permission."""
    custom_wide: frozenset[str] = frozenset()
    """The permissions that custom roles give over the organization."""
    custom_roles: frozenset[UUID] = frozenset()

    def reads(self, what: str) -> frozenset[UUID]:
        """The courses whose rows of a table the viewer reads by a custom role; see `READ_BY`."""
        return frozenset().union(*(self.custom.get(p, frozenset()) for p in READ_BY.get(what, ())))

    def courses_as(self, *roles: Role) -> frozenset[UUID]:
        """The courses in which the viewer holds any of `roles`."""
        return frozenset().union(*(self.courses.get(role, frozenset()) for role in roles))

    @property
    def member_of(self) -> frozenset[UUID]:
        """The courses in which the viewer holds any role."""
        return self.courses_as(*self.courses).union(*self.custom.values())

    @property
    def instructs(self) -> frozenset[UUID]:
        """The courses the viewer runs."""
        return self.courses_as(Role.INSTRUCTOR)

    @property
    def oversees(self) -> frozenset[UUID]:
        """The courses whose every submission, grade and run the viewer reads."""
        return self.instructs | self.opened

    @property
    def reads_work(self) -> frozenset[UUID]:
        """The courses in which the viewer reads, as staff, what students handed in."""
        custom = self.reads("submission") | self.reads("grade")
        return self.courses_as(Role.INSTRUCTOR, *MARKERS) | custom

    @property
    def designs(self) -> frozenset[UUID]:
        """The courses whose drafts the viewer reads."""
        opened = self.opened if self.is_admin else frozenset()
        return self.courses_as(Role.INSTRUCTOR, Role.DESIGNER) | opened

    @property
    def is_admin(self) -> bool:
        """Whether the viewer administers the organization."""
        return Role.ADMIN in self.organization_roles

    @property
    def is_auditor(self) -> bool:
        """Whether the viewer audits the organization."""
        return Role.AUDITOR in self.organization_roles

    @property
    def knows_courses(self) -> bool:
        """Whether the viewer knows of every course of the organization."""
        return bool(self.organization_roles or self.custom_wide)


def within(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows of the viewer's organization."""
    return table.c.organization_id == viewer.organization_id


def sees_courses(courses: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Courses the viewer holds a role in; all of the organization with a role over it."""
    if viewer.knows_courses:
        return within(courses, viewer)
    return and_(within(courses, viewer), courses.c.id.in_(viewer.member_of))


def sees_as_designer(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows only those who design the course read: rubric drafts, reference answers."""
    courses = viewer.designs | viewer.reads(table.name)
    return and_(within(table, viewer), table.c.course_id.in_(courses))


def sees_assignments(assignments: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Published ones for members of the course, admins and auditors; drafts for designers."""
    known = true() if viewer.knows_courses else assignments.c.course_id.in_(viewer.member_of)
    return and_(
        within(assignments, viewer),
        or_(
            assignments.c.course_id.in_(viewer.designs | viewer.reads("assignment (draft)")),
            and_(known, assignments.c.state != AssignmentState.DRAFT),
        ),
    )


def sees_documents(documents: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Readable ones for every member of the course; all for those who design it."""
    members = viewer.courses_as(*viewer.courses) | viewer.reads("document") | viewer.opened
    return and_(
        within(documents, viewer),
        or_(
            documents.c.course_id.in_(viewer.designs | viewer.reads("document (not searchable)")),
            and_(documents.c.course_id.in_(members), documents.c.state.in_(READABLE)),
        ),
    )


def runs_course(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows of the courses the viewer runs."""
    return and_(within(table, viewer), table.c.course_id.in_(viewer.instructs))


def sees_own(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows that belong to the viewer alone, while they are still of the course."""
    return and_(
        within(table, viewer),
        table.c.user_id == viewer.user_id,
        table.c.course_id.in_(viewer.member_of),
    )


def sees_shared_study(sessions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """What students share with the instructors of a course, while they do."""
    courses = viewer.instructs | viewer.reads(sessions.name)
    return and_(
        within(sessions, viewer),
        sessions.c.course_id.in_(courses),
        sessions.c.shared_at.is_not(None),
        or_(sessions.c.shared_until.is_(None), sessions.c.shared_until > func.now()),
    )


def sees_study_sessions(sessions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, those that are shared with one, and those of courses opened by break-glass."""
    return or_(
        sees_own(sessions, viewer),
        sees_shared_study(sessions, viewer),
        and_(within(sessions, viewer), sessions.c.course_id.in_(viewer.opened)),
    )


def sees_memory_facts(facts: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, to oneself: neither staff, nor who acts as the person, nor an API token."""
    if viewer.real_user_id is not None or viewer.scopes is not None:
        return false()
    return and_(within(facts, viewer), facts.c.user_id == viewer.user_id)


def sees_break_glasses(glasses: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those of the courses one instructs; all of the organization for admins and auditors."""
    if viewer.organization_roles:
        return within(glasses, viewer)
    return runs_course(glasses, viewer)


def sees_users(users: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Oneself; everybody of the organization for an admin and for who adds people to it.

    Others are met through a course.
    """
    if viewer.is_admin or "user:create" in viewer.custom_wide:
        return within(users, viewer)
    return and_(within(users, viewer), users.c.id == viewer.user_id)


def sees_grants(role_grants: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own, and those of the courses one instructs; all of the organization for an admin."""
    if viewer.is_admin:
        return within(role_grants, viewer)
    return and_(
        within(role_grants, viewer),
        or_(
            role_grants.c.user_id == viewer.user_id,
            role_grants.c.course_id.in_(viewer.instructs),
        ),
    )


def sees_custom_roles(roles: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those one holds; all of the organization for those who give roles."""
    if viewer.is_admin or viewer.instructs:
        return within(roles, viewer)
    return and_(within(roles, viewer), roles.c.id.in_(viewer.custom_roles))


def sees_invitations(invitations: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those to courses whose enrolments one manages."""
    if viewer.is_admin or "enrolment:write" in viewer.custom_wide:
        return within(invitations, viewer)
    courses = viewer.instructs | viewer.reads("enrollment")
    return and_(within(invitations, viewer), invitations.c.course_id.in_(courses))


def sees_api_tokens(tokens: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own; all of the organization for an admin. A token sees none."""
    if viewer.scopes is not None:
        return false()
    if viewer.is_admin:
        return within(tokens, viewer)
    return and_(within(tokens, viewer), tokens.c.user_id == viewer.user_id)


def sees_audit_events(events: Table, viewer: Viewer) -> ColumnElement[bool]:
    """What one did oneself, and what staff did in the courses one instructs.

    All of the organization for an admin or auditor. What students do is left out for who reads
    their work in the course, whatever else they are: it would tell whose an anonymous submission
    is. What is said of that work, for who marks blind.
    """
    own = events.c.actor_id == viewer.user_id
    permission = func.coalesce(events.c.permission, "")
    unseen = or_(
        and_(events.c.course_id.in_(viewer.reads_work), permission.in_(STUDENTS_OWN)),
        and_(
            events.c.course_id.in_(viewer.courses_as(Role.BLIND_GRADER)),
            permission.in_(ABOUT_WORK),
        ),
    )
    told = or_(events.c.course_id.is_(None), not_(unseen))
    if viewer.organization_roles or "audit:read" in viewer.custom_wide:
        return and_(within(events, viewer), or_(own, told))
    courses = viewer.instructs | viewer.reads("audit_event")
    staff = and_(
        events.c.course_id.in_(courses),
        events.c.outcome == Outcome.DONE,
        permission.not_in(STUDENTS_OWN),
    )
    return and_(within(events, viewer), or_(own, and_(staff, told)))
