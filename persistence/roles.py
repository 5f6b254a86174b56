"""The names of the roles. What each may do is a rule of the resolvers."""

from enum import StrEnum


class Role(StrEnum):
    """A role a grant can give."""

    ADMIN = "ADMIN"
    AUDITOR = "AUDITOR"
    INSTRUCTOR = "INSTRUCTOR"
    MODERATOR = "MODERATOR"
    GRADER = "GRADER"
    BLIND_GRADER = "BLIND_GRADER"
    DESIGNER = "DESIGNER"
    STUDENT = "STUDENT"
    OBSERVER = "OBSERVER"

    @property
    def of_course(self) -> bool:
        """Whether it is held in a course, and not over the organization."""
        return self not in {Role.ADMIN, Role.AUDITOR}


MARKERS = (Role.GRADER, Role.BLIND_GRADER, Role.MODERATOR)
"""The roles that act on work allocated to them."""
