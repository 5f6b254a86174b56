"""Who sees what of marking: submissions, runs and their tasks, grades, allocations.

A marker's work is a semi-join on the allocations; the rest as in `persistence.visibility`.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, false, or_, select, tuple_

from persistence.lifecycle.allocations import AllocationState
from persistence.lifecycle.grades import GradeState
from persistence.roles import MARKERS, Role
from persistence.tables.allocations import marking_allocations
from persistence.tables.grading import grading_tasks
from persistence.visibility import Viewer, within

# Before a person has declared a grade final: what a blind marker still works on.
IN_HAND = (
    GradeState.NOT_MARKED,
    GradeState.IN_MARKING,
    GradeState.MARKED,
    GradeState.IN_REVIEW,
    GradeState.REOPENED,
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
        within(allocations, viewer),
        or_(
            allocations.c.course_id.in_(viewer.instructs | viewer.reads(allocations.name)),
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


def sees_tasks(tasks: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Tasks and what graders found: of courses one oversees, and of work allocated to one."""
    return and_(
        within(tasks, viewer),
        or_(
            tasks.c.course_id.in_(viewer.oversees | viewer.reads(tasks.name)),
            allocated(tasks.c.submission_id, viewer, *MARKERS),
        ),
    )


def counts_tasks(tasks: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Tasks that make up the counters of a run: those one sees; all for admins and auditors."""
    if viewer.organization_roles:
        return within(tasks, viewer)
    followed = and_(within(tasks, viewer), tasks.c.course_id.in_(viewer.reads("grading_run")))
    return or_(sees_tasks(tasks, viewer), followed)


def sees_runs(runs: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Of the courses one oversees, and with work allocated to one; all for admins and auditors."""
    if viewer.organization_roles:
        return within(runs, viewer)
    marked = select(grading_tasks.c.run_id).where(
        allocated(grading_tasks.c.submission_id, viewer, *MARKERS)
    )
    return and_(
        within(runs, viewer),
        or_(
            runs.c.course_id.in_(viewer.oversees | viewer.reads(runs.name)),
            runs.c.id.in_(marked) if viewer.courses_as(*MARKERS) else false(),
        ),
    )


def sees_submissions(submissions: Table, viewer: Viewer) -> ColumnElement[bool]:
    """One's own while one is of the course, those of courses one oversees, allocated ones."""
    return and_(
        within(submissions, viewer),
        or_(
            submissions.c.course_id.in_(viewer.oversees | viewer.reads(submissions.name)),
            and_(
                submissions.c.student_id == viewer.user_id,
                submissions.c.course_id.in_(viewer.member_of),
            ),
            allocated(submissions.c.id, viewer, *MARKERS),
        ),
    )


def reads_grades(grades: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Grades in every state, with their history: whoever oversees, audits, or marks with sight."""
    if viewer.is_auditor:
        return within(grades, viewer)
    return and_(
        within(grades, viewer),
        or_(
            grades.c.course_id.in_(viewer.oversees | viewer.reads(grades.name)),
            allocated(grades.c.submission_id, viewer, Role.GRADER, Role.MODERATOR),
        ),
    )


def sees_grades(grades: Table, viewer: Viewer) -> ColumnElement[bool]:
    """Those one reads in every state, and those a blind marker still has in hand.

    Released: one's own and those of whom one observes.
    """
    return and_(
        within(grades, viewer),
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
    """Grades one may change, if one has the permission: those one reads in one's courses, and
    those allocated under one of `roles`; never one's own."""
    return and_(
        within(grades, viewer),
        grades.c.student_id != viewer.user_id,
        or_(
            grades.c.course_id.in_(viewer.instructs | viewer.reads(grades.name)),
            allocated(grades.c.submission_id, viewer, *roles),
        ),
    )
