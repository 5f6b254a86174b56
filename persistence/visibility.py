"""Who asks, and the SQL condition that keeps each table to what they may read.

A `Viewer` carries resolved course-id sets, so visibility is `= ANY($ids)` on denormalised
columns and needs no join. Allocated work is the exception: a marker may hold thousands, so it is
a semi-join on the index of their active allocations, and ends with the allocation at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, false, or_, select, true, tuple_

from persistence.lifecycle.allocations import AllocationState
from persistence.lifecycle.assignments import AssignmentState
from persistence.lifecycle.documents import SEARCHABLE
from persistence.lifecycle.grades import GradeState
from persistence.roles import MARKERS, Role
from persistence.tables.allocations import marking_allocations
from persistence.tables.audit import Outcome
from persistence.tables.grading import grading_tasks

# The permissions students use, whose use names them.
STUDENTS_OWN = ("submission:write", "submission:proxy", "study:ask", "viewer:read")


# Before a person has declared a grade final: what a blind marker still works on.
IN_HAND = (
    GradeState.NOT_MARKED,
    GradeState.IN_MARKING,
    GradeState.MARKED,
    GradeState.IN_REVIEW,
    GradeState.REOPENED,
)


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
    opened: frozenset[UUID] = frozenset()
    """The courses an admin or auditor has open by break-glass."""

    def courses_as(self, *roles: Role) -> frozenset[UUID]:
        """The courses in which the viewer holds any of `roles`."""
        return frozenset().union(*(self.courses.get(role, frozenset()) for role in roles))

    @property
    def member_of(self) -> frozenset[UUID]:
        """The courses in which the viewer holds any role."""
        return self.courses_as(*self.courses)

    @property
    def instructs(self) -> frozenset[UUID]:
        """The courses the viewer runs."""
        return self.courses_as(Role.INSTRUCTOR)

    @property
    def oversees(self) -> frozenset[UUID]:
        """The courses whose every submission, grade and run the viewer reads."""
        return self.instructs | self.opened

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
    """Published ones for members of the course, admins and auditors; drafts for designers."""
    known = true() if viewer.organization_roles else assignments.c.course_id.in_(viewer.member_of)
    return and_(
        _within(assignments, viewer),
        or_(
            assignments.c.course_id.in_(viewer.designs),
            and_(known, assignments.c.state != AssignmentState.DRAFT),
        ),
    )


def sees_documents(documents: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Searchable ones for every member of the course; all for those who design it."""
    known = viewer.member_of | viewer.opened
    return and_(
        _within(documents, viewer),
        or_(
            documents.c.course_id.in_(viewer.designs),
            and_(documents.c.course_id.in_(known), documents.c.state.in_(SEARCHABLE)),
        ),
    )


def allocated(
    submission_id: ColumnElement[UUID], viewer: Viewer, *roles: Role
) -> ColumnElement[bool]:
    """Whether the submission is the viewer's to mark, under one of `roles` they still hold."""
    given = marking_allocations.c
    held = [
        and_(given.role == role, given.course_id.in_(courses))
        for role in roles
        if (courses := viewer.courses_as(role))
    ]
    if not held:
        return false()
    return submission_id.in_(
        select(given.submission_id).where(
            given.organization_id == viewer.organization_id,
            given.user_id == viewer.user_id,
            given.state == AllocationState.ACTIVE,
            or_(*held),
        )
    )


def marks_blind(submission_id: ColumnElement[UUID], viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer marks the submission blind, whatever else they may read of the course."""
    return allocated(submission_id, viewer, Role.BLIND_GRADER)


def sees_allocations(allocations: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those of the courses one instructs, and one's own while they give something."""
    return and_(
        _within(allocations, viewer),
        or_(
            allocations.c.course_id.in_(viewer.instructs),
            and_(
                allocations.c.user_id == viewer.user_id,
                allocations.c.state == AllocationState.ACTIVE,
                or_(
                    false(),
                    *(
                        and_(
                            allocations.c.role == role,
                            allocations.c.course_id.in_(viewer.courses_as(role)),
                        )
                        for role in MARKERS
                    ),
                ),
            ),
        ),
    )


def runs_course(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows of the courses the viewer runs."""
    return and_(_within(table, viewer), table.c.course_id.in_(viewer.instructs))


def sees_tasks(tasks: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Tasks and what graders found: of courses one oversees, and of work allocated to one."""
    return and_(
        _within(tasks, viewer),
        or_(
            tasks.c.course_id.in_(viewer.oversees),
            allocated(tasks.c.submission_id, viewer, *MARKERS),
        ),
    )


def counts_tasks(tasks: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Tasks that make up the counters of a run: those one sees; all for admins and auditors."""
    if viewer.organization_roles:
        return _within(tasks, viewer)
    return sees_tasks(tasks, viewer)


def sees_runs(runs: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Of the courses one oversees, and with work allocated to one; all for admins and auditors."""
    if viewer.organization_roles:
        return _within(runs, viewer)
    marked = select(grading_tasks.c.run_id).where(
        allocated(grading_tasks.c.submission_id, viewer, *MARKERS)
    )
    return and_(
        _within(runs, viewer),
        or_(
            runs.c.course_id.in_(viewer.oversees),
            runs.c.id.in_(marked) if viewer.courses_as(*MARKERS) else false(),
        ),
    )


def sees_submissions(submissions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own while one is of the course, those of courses one oversees, allocated ones."""
    return and_(
        _within(submissions, viewer),
        or_(
            submissions.c.course_id.in_(viewer.oversees),
            and_(
                submissions.c.student_id == viewer.user_id,
                submissions.c.course_id.in_(viewer.member_of),
            ),
            allocated(submissions.c.id, viewer, *MARKERS),
        ),
    )


def sees_own(table: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Rows that belong to the viewer alone, while they are still of the course."""
    return and_(
        _within(table, viewer),
        table.c.user_id == viewer.user_id,
        table.c.course_id.in_(viewer.member_of),
    )


def sees_study(sessions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Study sessions: one's own, and those of courses opened by break-glass."""
    return or_(
        sees_own(sessions, viewer),
        and_(_within(sessions, viewer), sessions.c.course_id.in_(viewer.opened)),
    )


def sees_break_glasses(glasses: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those of the courses one instructs; all of the organization for admins and auditors."""
    if viewer.organization_roles:
        return _within(glasses, viewer)
    return runs_course(glasses, viewer)


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


def reads_grades(grades: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Grades in every state, with their history: whoever oversees, audits, or marks with sight."""
    if viewer.is_auditor:
        return _within(grades, viewer)
    return and_(
        _within(grades, viewer),
        or_(
            grades.c.course_id.in_(viewer.oversees),
            allocated(grades.c.submission_id, viewer, Role.GRADER, Role.MODERATOR),
        ),
    )


def sees_grades(grades: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those one reads in every state, and those a blind marker still has in hand.

    Released: one's own and those of whom one observes.
    """
    return and_(
        _within(grades, viewer),
        or_(
            reads_grades(grades, viewer),
            and_(
                marks_blind(grades.c.submission_id, viewer),
                grades.c.state.in_(IN_HAND),
            ),
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


def decides_grades(grades: Table, viewer: Viewer, *roles: Role) -> ColumnElement[bool]:
    """Grades one may change: of courses one instructs, and allocated under one of `roles`."""
    return and_(
        _within(grades, viewer),
        or_(
            grades.c.course_id.in_(viewer.instructs),
            allocated(grades.c.submission_id, viewer, *roles),
        ),
    )
