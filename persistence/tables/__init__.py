"""The tables, a file a noun. Importing this package registers them all on `metadata`."""

from persistence.tables import (
    allocations,
    assignments,
    audit,
    courses,
    documents,
    embeddings,
    grades,
    grading,
    identity,
    objects,
    privacy,
    records,
    sign_in,
    study,
    submissions,
    usage,
    web,
)
from persistence.tables.base import metadata

__all__ = [
    "allocations",
    "assignments",
    "audit",
    "courses",
    "documents",
    "embeddings",
    "grades",
    "grading",
    "identity",
    "metadata",
    "objects",
    "privacy",
    "records",
    "sign_in",
    "study",
    "submissions",
    "usage",
    "web",
]
