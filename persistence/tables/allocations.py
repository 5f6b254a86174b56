"""Who marks which submission."""

from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field

from persistence.identifiers import random_id
from persistence.lifecycle.allocations import AllocationState
from persistence.roles import MARKERS
from persistence.tables.base import Stamped, one_of, table_of, tenant_key, within_tenant


class MarkingAllocationRow(Stamped, table=True):
    """A submission given to a person to mark, under one of the roles they hold in the course."""

    __tablename__ = "marking_allocation"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("assignment_id", "assignment"),
        within_tenant("submission_id", "submission"),
        within_tenant("user_id", "users"),
        within_tenant("allocated_by", "users"),
        one_of("role", MARKERS),
        one_of("state", AllocationState),
        Index(
            "uq_marking_allocation_active",
            "user_id",
            "submission_id",
            "role",
            unique=True,
            postgresql_where="state = 'ACTIVE'",
        ),
        Index("ix_marking_allocation_assignment", "assignment_id"),
    )
    id: UUID = Field(default_factory=random_id, primary_key=True)
    organization_id: UUID
    course_id: UUID
    assignment_id: UUID
    submission_id: UUID
    user_id: UUID
    role: str
    allocated_by: UUID
    state: str = AllocationState.ACTIVE


marking_allocations = table_of(MarkingAllocationRow)
