"""What everybody did: append-only, chained by hash, personal values apart."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import Json, Moment, Row, one_of, table_of


class Outcome(StrEnum):
    """What became of an action."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


class AuditEventRow(Row, table=True):
    """One action. `seq` and `hash` are set once, by the sealer; a trigger refuses other changes.

    Ids only, without foreign keys: an event outlives what it speaks of. `changes` has a value or
    `{"commitment": hex}` for each path of the input.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        one_of("outcome", Outcome),
        CheckConstraint("(seq IS NULL) = (hash IS NULL)", name="sealed"),
        Index("uq_audit_event_seq", "organization_id", "seq", unique=True),
        Index("ix_audit_event_unsealed", "organization_id", "id", postgresql_where="seq IS NULL"),
        Index("ix_audit_event_time", "organization_id", "id"),
        Index("ix_audit_event_actor", "actor_id", "id"),
        Index("ix_audit_event_course", "course_id", "id"),
        Index("ix_audit_event_objects", "object_ids", postgresql_using="gin"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    course_id: UUID | None = None
    actor_id: UUID | None = None
    """Empty for what was done on the server's command line."""
    real_actor_id: UUID | None = None
    """Who acted, where they acted as `actor_id`."""
    action: str
    permission: str | None = None
    outcome: str
    refusal_code: str | None = None
    object_type: str | None = None
    object_ids: list[UUID] = Field(default_factory=list, sa_type=ARRAY(Uuid))
    changes: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    correlation_id: str | None = None
    at: datetime = Field(sa_type=Moment)
    seq: int | None = Field(default=None, sa_type=BigInteger)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)


class AuditChainRow(Row, table=True):
    """The head of an organization's chain: its last number and hash."""

    __tablename__ = "audit_chain"
    organization_id: UUID = Field(primary_key=True, sa_column_args=[ForeignKey("organization.id")])
    seq: int = Field(sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)


class PersonalValueRow(Row, table=True):
    """A text of an event's input, behind a commitment: erased without breaking the chain.

    `value` is empty where another row keeps the text: long ones, and what students write.
    """

    __tablename__ = "personal_value"
    event_id: UUID = Field(
        primary_key=True, sa_column_args=[ForeignKey("audit_event.id", ondelete="RESTRICT")]
    )
    path: str = Field(primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    salt: bytes = Field(sa_type=LargeBinary)
    value: str | None = None


audit_events = table_of(AuditEventRow)
audit_chains = table_of(AuditChainRow)
personal_values = table_of(PersonalValueRow)
