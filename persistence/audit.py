"""The audit log: written beside what it tells of, read by those who answer for it."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, cast, insert, select
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.database import Connection, add, fetch
from persistence.keyset import Page, page
from persistence.tables.audit import (
    AuditEventRow,
    PersonalValueRow,
    audit_events,
    personal_values,
)
from persistence.visibility import Viewer, sees_audit_events

LONGEST_KEPT = 500
Plain = str | int | bool | float


@dataclass(frozen=True)
class EventFilter:
    """Which events of those one may read; None for any."""

    actor_id: UUID | None = None
    course_id: UUID | None = None
    object_id: UUID | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def commitment(salt: bytes, value: str) -> str:
    """SHA-256 of the salt and the value's UTF-8, in hex: tells nothing without the salt."""
    return hashlib.sha256(salt + value.encode()).hexdigest()


async def append(
    connection: Connection,
    event: AuditEventRow,
    plain: Mapping[str, Plain],
    personal: Mapping[str, str],
    *,
    keep_values: bool = True,
) -> None:
    """Writes an event in the caller's transaction. `plain` stands in it for good.

    `personal` is stored apart under salted commitments. Only committed to, since another row
    keeps it: a value of over 500 characters, and any unless `keep_values`.
    """
    salts = {path: secrets.token_bytes(16) for path in personal}
    changes = dict(plain) | {
        path: {"commitment": commitment(salts[path], value)} for path, value in personal.items()
    }
    await connection.execute(
        insert(audit_events).values(
            **event.model_dump(exclude={"changes", "seq", "hash"}), changes=changes
        )
    )
    await add(
        connection,
        *(
            PersonalValueRow(
                event_id=event.id,
                path=path,
                organization_id=event.organization_id,
                salt=salts[path],
                value=value if keep_values and len(value) <= LONGEST_KEPT else None,
            )
            for path, value in personal.items()
        ),
    )


async def events_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[AuditEventRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(audit_events).where(
            audit_events.c.id.in_(ids), sees_audit_events(audit_events, viewer)
        ),
        AuditEventRow,
    )


async def page_of_events(
    connection: Connection, viewer: Viewer, wanted: EventFilter, first: int, after: str | None
) -> Page[AuditEventRow]:
    """The events the viewer sees, newest first."""
    return await page(
        connection,
        select(audit_events).where(sees_audit_events(audit_events, viewer), *_conditions(wanted)),
        shape=AuditEventRow,
        key=[audit_events.c.id],
        first=first,
        after=after,
        descending=True,
    )


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    column = audit_events.c
    equal = {
        column.actor_id: wanted.actor_id,
        column.course_id: wanted.course_id,
        column.action: wanted.action,
        column.outcome: wanted.outcome,
    }
    conditions = [c == value for c, value in equal.items() if value is not None]
    if wanted.object_id is not None:
        conditions.append(column.object_ids.contains(cast([wanted.object_id], ARRAY(Uuid))))
    if wanted.since is not None:
        conditions.append(column.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(column.at < wanted.until)
    return conditions


async def values_of(
    connection: Connection, event_ids: Sequence[UUID]
) -> Sequence[PersonalValueRow]:
    """The personal values of these events that were not erased."""
    return await fetch(
        connection,
        select(personal_values).where(personal_values.c.event_id.in_(event_ids)),
        PersonalValueRow,
    )
