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


MARKERS = (Role.GRADER, Role.BLIND_GRADER, Role.MODERATOR)
"""The roles that act on work allocated to them."""
