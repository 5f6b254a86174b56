"""What the server keeps for itself: the ledger of model calls, the streams, replayed mutations."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import (
    Json,
    Moment,
    Row,
    Stamped,
    one_of,
    table_of,
    within_tenant,
)


class StreamKind(StrEnum):
    """What a stream of events is about."""

    GRADING_RUN = "GRADING_RUN"
    STUDY_SESSION = "STUDY_SESSION"
    DOCUMENT = "DOCUMENT"


class ModelCallRow(Stamped, table=True):
    """A model's committed answer to one step of a task or message. Never asked for again."""

    __tablename__ = "model_call"
    __table_args__ = (
        UniqueConstraint("owner_id", "generation", "step_key"),
        CheckConstraint("cost_micros >= 0", name="cost_micros"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    owner_id: UUID
    generation: int
    step_key: str
    request_hash: str
    response: str
    response_sha256: str
    """In hex, of the UTF-8; outlives an erased response."""
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_micros: int = Field(sa_type=BigInteger)
    currency: str = "USD"
    """Of the price table, as it was then."""


class StreamEventRow(Row, table=True):
    """A numbered event of a stream. `seq` is empty until the sequencer has numbered it.

    Written in the transaction of the change it tells of; holds ids and enums only.
    """

    __tablename__ = "stream_event"
    __table_args__ = (
        one_of("stream_kind", StreamKind),
        Index("uq_stream_event_seq", "stream_id", "seq", unique=True),
        Index("ix_stream_event_pending", "stream_id", "id", postgresql_where="seq IS NULL"),
    )
    id: int | None = Field(
        default=None, primary_key=True, sa_type=BigInteger, sa_column_args=[Identity()]
    )
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    stream_kind: str
    stream_id: UUID
    seq: int | None = Field(default=None, sa_type=BigInteger)
    kind: str
    payload: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    at: datetime = Field(
        default=None, sa_type=Moment, sa_column_kwargs={"server_default": text("now()")}
    )


class IdempotencyRow(Stamped, table=True):
    """The first result of a mutation that came with an `idempotencyKey`."""

    __tablename__ = "idempotency"
    __table_args__ = (
        within_tenant("user_id", "users", ondelete="CASCADE"),
        UniqueConstraint("user_id", "mutation", "key"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID
    user_id: UUID
    mutation: str
    key: str
    input_hash: str
    result: dict[str, Any] | None = Field(default=None, sa_type=Json)


model_calls = table_of(ModelCallRow)
stream_events = table_of(StreamEventRow)
idempotency = table_of(IdempotencyRow)
