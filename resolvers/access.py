"""What each role may do, and the one place where it is asked. Deny by default."""

from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from persistence.roles import Role
from persistence.visibility import Viewer
from resolvers.refusals import Refusal, RefusalCode


class Permission(StrEnum):
    """`resource:action`."""

    VIEWER_READ = "viewer:read"
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
    SUBMISSION_PROXY = "submission:proxy"
    RUN_CONTROL = "run:control"
    RUN_FOLLOW = "run:follow"
    GRADE_DECIDE = "grade:decide"
    GRADE_RELEASE = "grade:release"
    AUDIT_READ = "audit:read"


_ALL_OF_A_COURSE = frozenset(Role) - {Role.ADMIN, Role.AUDITOR}

# GRADER, BLIND_GRADER and MODERATOR act on work allocated to them; with nothing allocated they
# may do nothing here.
ROLES: MappingProxyType[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.VIEWER_READ: frozenset(Role),
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
        Permission.SUBMISSION_PROXY: frozenset({Role.INSTRUCTOR}),
        Permission.RUN_CONTROL: frozenset({Role.INSTRUCTOR}),
        Permission.RUN_FOLLOW: frozenset({Role.INSTRUCTOR}),
        Permission.GRADE_DECIDE: frozenset({Role.INSTRUCTOR}),
        Permission.GRADE_RELEASE: frozenset({Role.INSTRUCTOR}),
        Permission.AUDIT_READ: frozenset({Role.ADMIN, Role.AUDITOR, Role.INSTRUCTOR}),
    }
)

# What no API token may do: decide about grades and about people.
NEVER_A_SCOPE = frozenset(
    {
        Permission.ROLE_GRANT,
        Permission.USER_SUSPEND,
        Permission.USER_EXPORT,
        Permission.USER_ERASE,
        Permission.USER_IMPERSONATE,
        Permission.TOKEN_CREATE,
        Permission.GRADE_DECIDE,
        Permission.GRADE_RELEASE,
    }
)

# Which roles an instructor may hand out, in their own course.
COURSE_STAFF = frozenset({Role.MODERATOR, Role.GRADER, Role.BLIND_GRADER, Role.DESIGNER})


def may(viewer: Viewer, permission: Permission, course_id: UUID | None = None) -> bool:
    """Whether a role of the viewer, in this course or over the organization, gives it."""
    if not usable(viewer, permission):
        return False
    roles = ROLES.get(permission, frozenset())
    if viewer.organization_roles & roles:
        return True
    return course_id is not None and course_id in viewer.courses_as(*roles)


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
    if (
        course_id is not None
        and course_id not in viewer.member_of
        and not viewer.organization_roles
    ):
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
