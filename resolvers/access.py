"""What each role may do, and the one place where it is asked. Deny by default."""

from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from persistence.roles import MARKERS, Role
from persistence.visibility import Viewer
from resolvers.refusals import Refusal, RefusalCode


class Permission(StrEnum):
    """`resource:action`."""

    VIEWER_READ = "viewer:read"
    ORGANIZATION_WRITE = "organization:write"
    COURSE_CREATE = "course:create"
    USER_CREATE = "user:create"
    USER_SUSPEND = "user:suspend"
    USER_EXPORT = "user:export"
    USER_ERASE = "user:erase"
    USER_IMPERSONATE = "user:impersonate"
    TOKEN_CREATE = "token:create"  # noqa: S105 - a permission, not a secret
    ROLE_GRANT = "role:grant"
    ENROLMENT_WRITE = "enrolment:write"
    DOCUMENT_WRITE = "document:write"
    DOCUMENT_READ = "document:read"
    STUDY_ASK = "study:ask"
    STUDY_READ = "study:read"
    RUBRIC_WRITE = "rubric:write"
    ASSIGNMENT_WRITE = "assignment:write"
    SUBMISSION_WRITE = "submission:write"
    SUBMISSION_READ = "submission:read"
    SUBMISSION_PROXY = "submission:proxy"
    RUN_CONTROL = "run:control"
    RUN_FOLLOW = "run:follow"
    MARKING_ALLOCATE = "marking:allocate"
    GRADE_READ = "grade:read"
    GRADE_ASSESS = "grade:assess"
    GRADE_DECIDE = "grade:decide"
    GRADE_RELEASE = "grade:release"
    AUDIT_READ = "audit:read"
    GLASS_BREAK = "glass:break"
    MODEL_CHOOSE = "model:choose"
    BUDGET_WRITE = "budget:write"
    USAGE_READ = "usage:read"


_ALL_OF_A_COURSE = frozenset(Role) - {Role.ADMIN, Role.AUDITOR}

_MARKERS = frozenset(MARKERS)

# What the MARKERS are given here they may do with work allocated to them: the rows decide.
ROLES: MappingProxyType[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.VIEWER_READ: frozenset(Role),
        Permission.ORGANIZATION_WRITE: frozenset({Role.ADMIN}),
        Permission.COURSE_CREATE: frozenset({Role.ADMIN}),
        Permission.USER_CREATE: frozenset({Role.ADMIN}),
        Permission.USER_SUSPEND: frozenset({Role.ADMIN}),
        Permission.USER_EXPORT: frozenset({Role.ADMIN}),
        Permission.USER_ERASE: frozenset({Role.ADMIN}),
        Permission.USER_IMPERSONATE: frozenset({Role.ADMIN}),
        Permission.TOKEN_CREATE: frozenset({Role.ADMIN, Role.INSTRUCTOR}),
        Permission.ROLE_GRANT: frozenset({Role.ADMIN, Role.INSTRUCTOR}),
        Permission.ENROLMENT_WRITE: frozenset({Role.ADMIN, Role.INSTRUCTOR}),
        Permission.DOCUMENT_WRITE: frozenset({Role.INSTRUCTOR, Role.DESIGNER}),
        Permission.DOCUMENT_READ: _ALL_OF_A_COURSE,
        Permission.STUDY_ASK: frozenset({Role.STUDENT, Role.INSTRUCTOR, Role.DESIGNER}),
        Permission.STUDY_READ: frozenset({Role.INSTRUCTOR}),
        Permission.RUBRIC_WRITE: frozenset({Role.INSTRUCTOR, Role.DESIGNER}),
        Permission.ASSIGNMENT_WRITE: frozenset({Role.INSTRUCTOR, Role.DESIGNER}),
        Permission.SUBMISSION_WRITE: frozenset({Role.STUDENT, Role.INSTRUCTOR}),
        Permission.SUBMISSION_READ: frozenset({Role.INSTRUCTOR}),
        Permission.SUBMISSION_PROXY: frozenset({Role.INSTRUCTOR}),
        Permission.RUN_CONTROL: frozenset({Role.INSTRUCTOR}),
        # An admin and an auditor follow counters alone.
        Permission.RUN_FOLLOW: _MARKERS | {Role.INSTRUCTOR, Role.ADMIN, Role.AUDITOR},
        Permission.MARKING_ALLOCATE: frozenset({Role.INSTRUCTOR}),
        Permission.GRADE_READ: frozenset(
            {Role.INSTRUCTOR, Role.AUDITOR, Role.GRADER, Role.MODERATOR}
        ),
        Permission.GRADE_ASSESS: _MARKERS | {Role.INSTRUCTOR},
        Permission.GRADE_DECIDE: frozenset({Role.INSTRUCTOR, Role.MODERATOR}),
        Permission.GRADE_RELEASE: frozenset({Role.INSTRUCTOR}),
        Permission.AUDIT_READ: frozenset({Role.ADMIN, Role.AUDITOR, Role.INSTRUCTOR}),
        Permission.GLASS_BREAK: frozenset({Role.ADMIN, Role.AUDITOR}),
        Permission.MODEL_CHOOSE: frozenset({Role.ADMIN, Role.INSTRUCTOR}),
        Permission.BUDGET_WRITE: frozenset({Role.ADMIN}),
        Permission.USAGE_READ: frozenset({Role.ADMIN, Role.AUDITOR, Role.INSTRUCTOR}),
    }
)

# What break-glass adds in the course it opens: never grading, finalising or releasing.
BREAK_GLASS: MappingProxyType[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(
            {Permission.GRADE_READ, Permission.ASSIGNMENT_WRITE, Permission.RUBRIC_WRITE}
        ),
        Role.AUDITOR: frozenset({Permission.GRADE_READ}),
    }
)

# What the MARKERS do with work allocated to them alone.
ALLOCATED = frozenset(
    {
        Permission.RUN_FOLLOW,
        Permission.GRADE_READ,
        Permission.GRADE_ASSESS,
        Permission.GRADE_DECIDE,
    }
)

# What no API token may do: decide about grades and about people.
NEVER_A_SCOPE = frozenset(
    {
        Permission.ORGANIZATION_WRITE,
        Permission.ROLE_GRANT,
        Permission.USER_SUSPEND,
        Permission.USER_EXPORT,
        Permission.USER_ERASE,
        Permission.USER_IMPERSONATE,
        Permission.TOKEN_CREATE,
        Permission.GLASS_BREAK,
        Permission.BUDGET_WRITE,
        Permission.GRADE_ASSESS,
        Permission.GRADE_DECIDE,
        Permission.GRADE_RELEASE,
    }
)

# What no custom role gives: power over roles, accounts, personal data and the organization.
NEVER_CUSTOM = frozenset(
    {
        Permission.ORGANIZATION_WRITE,
        Permission.ROLE_GRANT,
        Permission.USER_SUSPEND,
        Permission.USER_EXPORT,
        Permission.USER_ERASE,
        Permission.USER_IMPERSONATE,
        Permission.GLASS_BREAK,
        Permission.BUDGET_WRITE,
    }
)

# What a custom role over the organization may give. Work and grades of students are not of it: an
# admin does not read them either.
CUSTOM_WIDE = frozenset(
    {
        Permission.COURSE_CREATE,
        Permission.USER_CREATE,
        Permission.ENROLMENT_WRITE,
        Permission.AUDIT_READ,
        Permission.USAGE_READ,
    }
)

# What a permission is of no use without comes with it in a custom role.
NEEDS: MappingProxyType[Permission, frozenset[Permission]] = MappingProxyType(
    {
        Permission.DOCUMENT_WRITE: frozenset({Permission.DOCUMENT_READ}),
        Permission.STUDY_ASK: frozenset({Permission.DOCUMENT_READ}),
        Permission.SUBMISSION_PROXY: frozenset(
            {Permission.SUBMISSION_WRITE, Permission.SUBMISSION_READ}
        ),
        Permission.RUN_CONTROL: frozenset({Permission.RUN_FOLLOW}),
        Permission.MARKING_ALLOCATE: frozenset({Permission.SUBMISSION_READ}),
        Permission.GRADE_ASSESS: frozenset({Permission.GRADE_READ, Permission.SUBMISSION_READ}),
        Permission.GRADE_DECIDE: frozenset(
            {
                Permission.GRADE_ASSESS,
                Permission.GRADE_READ,
                Permission.SUBMISSION_READ,
                Permission.RUN_FOLLOW,
            }
        ),
        Permission.GRADE_RELEASE: frozenset({Permission.GRADE_READ}),
    }
)

# Which roles an instructor may hand out, in their own course.
COURSE_STAFF = frozenset({Role.MODERATOR, Role.GRADER, Role.BLIND_GRADER, Role.DESIGNER})


def may(viewer: Viewer, permission: Permission, course_id: UUID | None = None) -> bool:
    """Whether a role of the viewer, in this course or over the organization, gives it."""
    if not usable(viewer, permission):
        return False
    roles = ROLES.get(permission, frozenset())
    if viewer.organization_roles & roles or permission in viewer.custom_wide:
        return True
    if course_id is None:
        return False
    held = viewer.courses_as(*roles) | viewer.custom.get(permission, frozenset())
    return course_id in held or opened(viewer, permission, course_id)


def opened(viewer: Viewer, permission: Permission, course_id: UUID) -> bool:
    """Whether the viewer has the permission by break-glass in this course."""
    return course_id in viewer.opened and any(
        permission in BREAK_GLASS.get(role, ()) for role in viewer.organization_roles
    )


def usable(viewer: Viewer, permission: Permission) -> bool:
    """Whether the scopes of the API token the viewer came with, if any, leave it."""
    return viewer.scopes is None or permission in viewer.scopes


def check(viewer: Viewer, permission: Permission, course_id: UUID | None = None) -> None:
    """Raises `refusal`, if there is one."""
    refused = refusal(viewer, permission, course_id)
    if refused is not None:
        raise refused


def refusal(
    viewer: Viewer, permission: Permission, course_id: UUID | None = None
) -> Refusal | None:
    """NOT_FOUND for a course the viewer cannot know of, else FORBIDDEN; None where they may."""
    if may(viewer, permission, course_id):
        return None
    if course_id is not None and course_id not in viewer.member_of and not viewer.knows_courses:
        return missing("course")
    if not usable(viewer, permission):
        return Refusal(
            RefusalCode.FORBIDDEN,
            f"This needs the permission {permission.value}, which this API token lacks.",
        )
    return Refusal(
        RefusalCode.FORBIDDEN,
        f"This needs the permission {permission.value}, which none of your roles gives here.",
    )


def missing(noun: str, path: tuple[str, ...] = ()) -> Refusal:
    """The one answer for what does not exist and for what is not yours to know of."""
    return Refusal(RefusalCode.NOT_FOUND, f"There is no such {noun}, or it is not yours.", path)
