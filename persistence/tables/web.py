"""The web: what a course allows of it, what answers took from it, how often it was searched."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import Json, Moment, Row, Stamped, table_of, tenant_key, within_tenant


class WebPolicyRow(Stamped, table=True):
    """What a course lets the tutor search; a course without a row lets it search all."""

    __tablename__ = "web_policy"
    __table_args__ = (within_tenant("course_id", "course", ondelete="CASCADE"),)
    course_id: UUID = Field(primary_key=True)
    organization_id: UUID
    enabled: bool = True
    allowed_domains: list[str] = Field(default_factory=list, sa_type=Json)
    denied_domains: list[str] = Field(default_factory=list, sa_type=Json)


class WebSourceRow(Stamped, table=True):
    """A page an answer rests on, as it was found: quotes are of this extract."""

    __tablename__ = "web_source"
    __table_args__ = (
        tenant_key(),
        within_tenant("message_id", "message", ondelete="CASCADE"),
        Index("ix_web_source_message", "organization_id", "message_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    message_id: UUID
    url: str
    title: str
    extract: str
    fetched_at: datetime = Field(sa_type=Moment)


class WebSearchUsageRow(Row, table=True):
    """How often an organization searched the web on a day (UTC)."""

    __tablename__ = "web_search_usage"
    __table_args__ = (CheckConstraint("searches >= 0", name="searches"),)
    organization_id: UUID = Field(
        primary_key=True, sa_column_args=[ForeignKey("organization.id", ondelete="CASCADE")]
    )
    day: date = Field(primary_key=True)
    searches: int = 0


web_policies = table_of(WebPolicyRow)
web_sources = table_of(WebSourceRow)
web_search_usage = table_of(WebSearchUsageRow)
