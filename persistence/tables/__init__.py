"""The tables, a file a noun. Importing this package registers them all on `metadata`."""

from persistence.tables import (
    assignments,
    audit,
    courses,
    documents,
    grades,
    grading,
    identity,
    records,
    sign_in,
    study,
    submissions,
    web,
)
from persistence.tables.base import metadata

__all__ = [
    "assignments",
    "audit",
    "courses",
    "documents",
    "grades",
    "grading",
    "identity",
    "metadata",
    "records",
    "sign_in",
    "study",
    "submissions",
    "web",
]
