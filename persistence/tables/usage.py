"""What models were asked and what it cost; budgets, and which models a course chose."""

from datetime import date
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import Stamped, table_of, within_tenant

RUNNING = "RUNNING"


class ModelUsageRow(Stamped, table=True):
    """One request to a provider. `reserved_micros` counts against budgets until it has ended."""

    __tablename__ = "model_usage"
    __table_args__ = (
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        CheckConstraint("cost_micros >= 0 AND reserved_micros >= 0", name="micros"),
        Index("ix_model_usage_organization", "organization_id", "id"),
        Index("ix_model_usage_course", "course_id", "id"),
        Index("ix_model_usage_user", "user_id", "id"),
        Index("ix_model_usage_owner", "owner_id"),
        Index("ix_model_usage_running", "created_at", postgresql_where="outcome = 'RUNNING'"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    course_id: UUID | None = None
    user_id: UUID | None = None
    """Who asked, or handed the document in; empty for grading."""
    owner_id: UUID
    """The grading task, the message or the document."""
    role: str
    provider: str
    model: str
    place: int
    """In the chain of models: 0 is the first choice."""
    number: int
    """Of the try, from 1."""
    month: date
    """The budget's month it was reserved in."""
    outcome: str = RUNNING
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    """Whether the tokens are an estimate: the provider was not heard out."""
    reserved_micros: int = Field(sa_type=BigInteger)
    cost_micros: int = Field(default=0, sa_type=BigInteger)
    milliseconds: int = 0
    currency: str = "USD"
    """Of the price table, as it was then."""


class ModelBudgetRow(Stamped, table=True):
    """What an organization, or one of its courses, may spend on models in a month (UTC)."""

    __tablename__ = "model_budget"
    __table_args__ = (
        within_tenant("course_id", "course", ondelete="CASCADE"),
        UniqueConstraint("organization_id", "course_id", postgresql_nulls_not_distinct=True),
        CheckConstraint("micros >= 0", name="micros"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    course_id: UUID | None = None
    micros: int = Field(sa_type=BigInteger)


class ModelSpendingRow(Stamped, table=True):
    """The sums of a month, by which a call is admitted: one row to lock, not many to add up."""

    __tablename__ = "model_spending"
    __table_args__ = (
        within_tenant("course_id", "course", ondelete="CASCADE"),
        UniqueConstraint(
            "organization_id", "course_id", "month", postgresql_nulls_not_distinct=True
        ),
        CheckConstraint("spent_micros >= 0 AND reserved_micros >= 0", name="micros"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    course_id: UUID | None = None
    month: date
    spent_micros: int = Field(default=0, sa_type=BigInteger)
    reserved_micros: int = Field(default=0, sa_type=BigInteger)


class ModelChoiceRow(Stamped, table=True):
    """The models an organization, or one of its courses, chose for a role."""

    __tablename__ = "model_choice"
    __table_args__ = (
        within_tenant("course_id", "course", ondelete="CASCADE"),
        UniqueConstraint(
            "organization_id", "course_id", "role", postgresql_nulls_not_distinct=True
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    course_id: UUID | None = None
    role: str
    models: str
    """As settings write them: `first > second`, or `offline`."""


model_usages = table_of(ModelUsageRow)
model_budgets = table_of(ModelBudgetRow)
model_spendings = table_of(ModelSpendingRow)
model_choices = table_of(ModelChoiceRow)
