"""Study sessions, their messages and the citations that carry an answer."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.study import MessageState
from persistence.tables.base import (
    Json,
    Moment,
    Stamped,
    one_of,
    table_of,
    tenant_key,
    within_tenant,
)


class Author(StrEnum):
    """Who wrote a message."""

    STUDENT = "STUDENT"
    TUTOR = "TUTOR"


class StudySessionRow(Stamped, table=True):
    """One person's private conversation with the tutor of a course."""

    __tablename__ = "study_session"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        Index("ix_study_session_user", "user_id", "course_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    user_id: UUID
    title: str


class MessageRow(Stamped, table=True):
    """A question, or the answer to one under a fenced lease. `text` grows while it is written."""

    __tablename__ = "message"
    __table_args__ = (
        tenant_key(),
        within_tenant("session_id", "study_session", ondelete="CASCADE"),
        within_tenant("reply_to_id", "message", ondelete="CASCADE"),
        UniqueConstraint("session_id", "ordinal"),
        UniqueConstraint("reply_to_id"),
        one_of("author", Author),
        one_of("state", MessageState),
        CheckConstraint("(author = 'TUTOR') = (reply_to_id IS NOT NULL)", name="reply"),
        Index(
            "ix_message_working",
            "lease_until",
            postgresql_where="state NOT IN ('COMPLETE', 'ABSTAINED', 'FAILED', 'CANCELLED')",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    session_id: UUID
    ordinal: int
    author: str
    reply_to_id: UUID | None = None
    text: str = ""
    state: str = MessageState.QUEUED
    generation: int = 1
    route: str | None = None
    failure: dict[str, Any] | None = Field(default=None, sa_type=Json)
    tries: int = 0
    lease_owner: UUID | None = None
    lease_until: datetime | None = Field(default=None, sa_type=Moment)
    fence: int = Field(default=0, sa_type=BigInteger)


class AgentStepRow(Stamped, table=True):
    """One thing the team did for an answer: what was planned, searched, found or rejected."""

    __tablename__ = "agent_step"
    __table_args__ = (
        tenant_key(),
        within_tenant("message_id", "message", ondelete="CASCADE"),
        UniqueConstraint("message_id", "ordinal"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    message_id: UUID
    ordinal: int
    kind: str
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class CitationRow(Stamped, table=True):
    """Ties code points `claim_start`-`claim_end` of an answer to words of a chunk or a page."""

    __tablename__ = "citation"
    __table_args__ = (
        tenant_key(),
        within_tenant("message_id", "message", ondelete="CASCADE"),
        within_tenant("chunk_id", "chunk", ondelete="CASCADE"),
        within_tenant("web_source_id", "web_source", ondelete="CASCADE"),
        Index("ix_citation_chunk", "organization_id", "chunk_id"),
        Index(
            "ix_citation_web_source",
            "organization_id",
            "web_source_id",
            postgresql_where="web_source_id IS NOT NULL",
        ),
        UniqueConstraint("message_id", "ordinal"),
        CheckConstraint("claim_start < claim_end AND quote_start < quote_end", name="spans"),
        CheckConstraint("(chunk_id IS NULL) <> (web_source_id IS NULL)", name="source"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    message_id: UUID
    ordinal: int
    chunk_id: UUID | None = None
    web_source_id: UUID | None = None
    claim_start: int
    claim_end: int
    quote: str
    quote_start: int
    quote_end: int
    verified: bool


study_sessions = table_of(StudySessionRow)
messages = table_of(MessageRow)
agent_steps = table_of(AgentStepRow)
citations = table_of(CitationRow)
