"""Study sessions, their trees of messages, what carries an answer, and what is remembered."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
)
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.lifecycle.study import FactState, MessageState
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


class AgentStepKind(StrEnum):
    """What a step did: the study team's `StepKind`, and SPENT for each call that was paid."""

    GRADED_WORK = "GRADED_WORK"
    PLAN = "PLAN"
    RETRIEVE = "RETRIEVE"
    WEB_SEARCH = "WEB_SEARCH"
    DRAFT = "DRAFT"
    CRITIQUE = "CRITIQUE"
    CHECK = "CHECK"
    BUDGET = "BUDGET"
    SPENT = "SPENT"


_ENDED = "'COMPLETE', 'ABSTAINED', 'FAILED', 'CANCELLED'"


class StudySessionRow(Stamped, table=True):
    """One person's private conversation with the tutor of a course.

    `active_leaf_id` is the last message of the branch that is shown. It has no foreign key,
    which would be a circle: a message is deleted only with its session.
    """

    __tablename__ = "study_session"
    __table_args__ = (
        tenant_key(),
        within_tenant("course_id", "course"),
        within_tenant("user_id", "users"),
        CheckConstraint("shared_until IS NULL OR shared_at IS NOT NULL", name="shared"),
        Index("ix_study_session_user", "user_id", "course_id"),
        Index(
            "ix_study_session_shared",
            "course_id",
            "id",
            postgresql_where="shared_at IS NOT NULL",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    user_id: UUID
    title: str
    active_leaf_id: UUID | None = None
    archived_at: datetime | None = Field(default=None, sa_type=Moment)
    shared_at: datetime | None = Field(default=None, sa_type=Moment)
    shared_until: datetime | None = Field(default=None, sa_type=Moment)


class MessageRow(Stamped, table=True):
    """A question, or a reply to one under a fenced lease. `text` grows while it is written.

    The messages of a session are a tree: a reply's parent is its question, a question's the reply
    it follows, none for a first question. `ordinal` counts them as they were made. `summary`, where
    there is one, tells of the branch down to and with this reply.
    """

    __tablename__ = "message"
    __table_args__ = (
        tenant_key(),
        within_tenant("session_id", "study_session", ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["session_id", "parent_id"],
            ["message.session_id", "message.id"],
            ondelete="CASCADE",
            name=None,
        ),
        UniqueConstraint("session_id", "ordinal"),
        UniqueConstraint("session_id", "id"),
        one_of("author", Author),
        one_of("state", MessageState),
        CheckConstraint("author = 'STUDENT' OR parent_id IS NOT NULL", name="reply"),
        Index("ix_message_parent", "parent_id", "ordinal"),
        Index("ix_message_working", "lease_until", postgresql_where=f"state NOT IN ({_ENDED})"),
        Index(
            "uq_message_open",
            "session_id",
            unique=True,
            postgresql_where=f"state NOT IN ({_ENDED})",
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    course_id: UUID
    session_id: UUID
    ordinal: int
    author: str
    parent_id: UUID | None = None
    text: str = ""
    state: str = MessageState.QUEUED
    generation: int = 1
    route: str | None = None
    failure: dict[str, Any] | None = Field(default=None, sa_type=Json)
    tries: int = 0
    lease_owner: UUID | None = None
    lease_until: datetime | None = Field(default=None, sa_type=Moment)
    fence: int = Field(default=0, sa_type=BigInteger)
    summary: str | None = None


class AgentStepRow(Stamped, table=True):
    """One thing the team did for an answer: what was planned, searched, found, rejected, spent.

    `key` is the step's place among those of its kind in one try, so that the next try, which goes
    the same way through the ledger, does not write it again.
    """

    __tablename__ = "agent_step"
    __table_args__ = (
        tenant_key(),
        within_tenant("message_id", "message", ondelete="CASCADE"),
        UniqueConstraint("message_id", "ordinal"),
        UniqueConstraint("message_id", "key"),
        one_of("kind", AgentStepKind),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    message_id: UUID
    ordinal: int
    key: str
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


class MemoryFactRow(Stamped, table=True):
    """What a person lets the tutor remember of them: in one course, or in all of theirs."""

    __tablename__ = "memory_fact"
    __table_args__ = (
        tenant_key(),
        within_tenant("user_id", "users"),
        within_tenant("course_id", "course"),
        one_of("state", FactState),
        Index("ix_memory_fact_user", "user_id", "id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    user_id: UUID
    course_id: UUID | None = None
    text: str
    state: str = FactState.PROPOSED
    version: int = 1


study_sessions = table_of(StudySessionRow)
messages = table_of(MessageRow)
agent_steps = table_of(AgentStepRow)
citations = table_of(CitationRow)
memory_facts = table_of(MemoryFactRow)
