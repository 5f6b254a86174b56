"""What an organization decides about data: how long it is kept, who may be sent some."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import Moment, Stamped, table_of, tenant_key

LONGEST_DAYS = 36_500


def _days(*columns: str) -> list[CheckConstraint]:
    return [
        CheckConstraint(f"{column} BETWEEN 1 AND {LONGEST_DAYS}", name=column) for column in columns
    ]


class RetentionRow(Stamped, table=True):
    """For how many days an organization keeps what may go; empty for ever."""

    __tablename__ = "retention"
    __table_args__ = (
        *_days(
            "session_days",
            "idempotency_days",
            "study_session_days",
            "audit_value_days",
            "stream_event_days",
        ),
    )
    organization_id: UUID = Field(primary_key=True, sa_column_args=[ForeignKey("organization.id")])
    session_days: int = 90
    idempotency_days: int = 30
    study_session_days: int | None = None
    audit_value_days: int | None = None
    stream_event_days: int | None = None


class ApprovedProviderRow(Stamped, table=True):
    """A provider of models an organization lets its data go to, in one region."""

    __tablename__ = "approved_provider"
    __table_args__ = (
        tenant_key(),
        ForeignKeyConstraint(["approved_by"], ["users.id"]),
        Index(
            "uq_approved_provider",
            "organization_id",
            "provider",
            unique=True,
            postgresql_where="withdrawn_at IS NULL",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    provider: str
    region: str
    approved_by: UUID
    reason: str
    withdrawn_at: datetime | None = Field(default=None, sa_type=Moment)


retention = table_of(RetentionRow)
approved_providers = table_of(ApprovedProviderRow)
