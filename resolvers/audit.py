"""The audit log: what every action leaves behind, and who may read it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from observability.logs import logger
from persistence import audit
from persistence.audit import EventFilter, Plain
from persistence.database import Connection
from persistence.direct import DATABASE_ERRORS
from persistence.keyset import Page
from persistence.tables.audit import AuditEventRow, Outcome
from persistence.visibility import STUDENTS_OWN
from resolvers import checks
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.global_ids import key_of, parse_global_id
from resolvers.names import camel_case
from resolvers.ordering import by_parent, in_order
from resolvers.refusals import Refusal, RefusalCode

MOST_VALUES = 300


@dataclass(frozen=True)
class Change:
    """A value of an action's input. Of a personal one the commitment stays when it is erased."""

    path: str
    value: str | None
    commitment: str | None
    erased: bool


@dataclass(frozen=True)
class Action:
    """What somebody asked to be done."""

    name: str
    permission: Permission | None
    object_type: str | None
    values: Mapping[str, Any]


async def note_done(
    context: RequestContext, connection: Connection, action: Action, ids: Sequence[UUID]
) -> None:
    """Writes the event of an action in the transaction that did it."""
    await _append(context, connection, action, Outcome.DONE, None, ids)


async def note_refused(context: RequestContext, action: Action, error: Exception) -> None:
    """Writes the event of an action that was rolled back, in a transaction of its own.

    Of a caller who did not sign in there is none: it would belong to no organization. A database
    that does not answer is logged: the refusal itself must still reach the caller.
    """
    if context.signed_in is None:
        return
    refused = isinstance(error, Refusal) and error.code != RefusalCode.INTERNAL
    outcome = Outcome.REFUSED if refused else Outcome.FAILED
    code = error.code if isinstance(error, Refusal) else RefusalCode.INTERNAL
    try:
        async with context.database.transaction() as connection:
            await _append(context, connection, action, outcome, code, ())
    except DATABASE_ERRORS as e:
        logger.error("a refusal of {} is not in the audit log: {}", action.name, type(e).__name__)


async def _append(
    context: RequestContext,
    connection: Connection,
    action: Action,
    outcome: Outcome,
    code: RefusalCode | None,
    ids: Sequence[UUID],
) -> None:
    viewer = context.viewer
    plain, personal = split(action.values)
    event = AuditEventRow(
        organization_id=viewer.organization_id,
        course_id=next(iter(context.course_ids)) if len(context.course_ids) == 1 else None,
        actor_id=viewer.user_id,
        real_actor_id=viewer.real_user_id,
        action=action.name,
        permission=action.permission,
        outcome=outcome,
        refusal_code=code,
        object_type=context.object_type or action.object_type,
        object_ids=list(ids),
        correlation_id=context.correlation_id,
        at=context.now(),
    )
    kept = action.permission not in STUDENTS_OWN
    await audit.append(connection, event, plain, personal, keep_values=kept)


def split(values: Mapping[str, Any]) -> tuple[dict[str, Plain], dict[str, str]]:
    """The leaves of an input by path: ids, numbers, moments and enums; and texts, apart.

    An input of more than 300 leaves is one text, its JSON.
    """
    plain: dict[str, Plain] = {}
    personal: dict[str, str] = {}
    leaves = list(_leaves("", values))
    if len(leaves) > MOST_VALUES:
        whole = {path: str(leaf) for path, leaf in leaves}
        return {}, {"input": json.dumps(whole, sort_keys=True)}
    for path, leaf in leaves:
        if isinstance(leaf, str) and not _is_id(leaf):
            personal[path] = leaf
        else:
            plain[path] = leaf
    return plain, personal


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Plain]]:
    if value is None:
        return
    if isinstance(value, str | int | float | Enum | datetime | Decimal):
        yield path, _leaf(value)
    elif isinstance(digest := getattr(value, "sha256", None), str):
        yield path, digest  # an uploaded file stands for its content
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _leaves(f"{path}.{place}", item)
    else:
        named = value if isinstance(value, Mapping) else vars(value)
        for name, item in named.items():
            shown = camel_case(name)
            yield from _leaves(f"{path}.{shown}" if path else shown, item)


def _leaf(value: Any) -> Plain:
    if isinstance(value, Enum):
        return _Named(value.name)
    if isinstance(value, datetime):
        return _Named(value.isoformat())
    if isinstance(value, Decimal):
        return _Named(str(value))
    return cast(Plain, value)


class _Named(str):
    """A word of ours, or a number: not a text somebody wrote."""


def _is_id(text: str) -> bool:
    if isinstance(text, _Named):
        return True
    try:
        parse_global_id(text)
    except Refusal:
        return False
    return True


async def load_events(context: RequestContext, ids: Sequence[UUID]) -> list[AuditEventRow | None]:
    """Events by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await audit.events_by_id(connection, context.viewer, ids))


async def list_events(
    context: RequestContext,
    *,
    actor_id: str | None,
    course_id: str | None,
    object_id: str | None,
    action: str | None,
    outcome: Outcome | None,
    since: datetime | None,
    until: datetime | None,
    first: int,
    after: str | None,
) -> Page[AuditEventRow]:
    """What the viewer may read of what was done, newest first."""
    wanted = EventFilter(
        actor_id=None if actor_id is None else key_of(actor_id, "User", ("actorId",)),
        course_id=None if course_id is None else key_of(course_id, "Course", ("courseId",)),
        object_id=None if object_id is None else parse_global_id(object_id, ("objectId",))[1],
        action=None if action is None else checks.line(action, "action"),
        outcome=None if outcome is None else outcome.value,
        since=checks.moment(since, "since"),
        until=checks.moment(until, "until"),
    )
    async with context.database.read() as connection:
        return await audit.page_of_events(
            connection, context.viewer, wanted, checks.page_size(first), after
        )


async def list_changes(
    parents: Sequence[AuditEventRow], context: RequestContext
) -> list[list[Change]]:
    """The input of each event, as far as it was not erased."""
    ids = [event.id for event in parents]
    async with context.database.read() as connection:
        rows = by_parent(ids, await audit.values_of(connection, ids), lambda row: row.event_id)
    changes = []
    for event, values in zip(parents, rows, strict=True):
        kept = {row.path: row.value for row in values}
        changes.append([_change(p, v, kept) for p, v in sorted(event.changes.items())])
    return changes


def _change(path: str, value: Any, kept: Mapping[str, str | None]) -> Change:
    if isinstance(value, dict):
        return Change(path, kept.get(path), value["commitment"], erased=path not in kept)
    return Change(path, str(value).lower() if isinstance(value, bool) else str(value), None, False)
