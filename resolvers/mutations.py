"""How every mutation runs: one transaction, its permission asked, its first result kept."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from persistence import replays, stored_objects
from persistence.database import Busy, Conflict, Connection
from persistence.keyset import BadCursor
from persistence.lifecycle.machine import InvalidTransition
from persistence.objects import ObjectMissing, StorageDown
from persistence.streams import PENDING_TOPIC
from resolvers.access import Permission
from resolvers.audit import Action, note_done, note_refused
from resolvers.context import RequestContext
from resolvers.originals import StoredFile
from resolvers.refusals import Refusal, RefusalCode

logger = logging.getLogger(__name__)

Work = Callable[..., Awaitable[UUID | list[UUID]]]
Prepare = Callable[..., Awaitable[Mapping[str, Any]]]


_UNDERSTOOD: Sequence[tuple[type[Exception], RefusalCode, str]] = (
    (Conflict, RefusalCode.CONFLICT, "Somebody changed this meanwhile. Read it again and retry."),
    (Busy, RefusalCode.CONFLICT, "Others are changing the same just now. Try again."),
    (BadCursor, RefusalCode.BAD_INPUT, "This cursor is not of this list. Pass an `endCursor`."),
    (
        StorageDown,
        RefusalCode.UNAVAILABLE,
        "The storage of files does not answer. Try again shortly.",
    ),
    (
        ObjectMissing,
        RefusalCode.NOT_FOUND,
        "The file is not in the storage any more. Upload it again.",
    ),
)


@dataclass
class Transaction:
    """An open transaction, and the hints to publish once it has committed."""

    connection: Connection
    hints: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def hint(self, topic: str, payload: Mapping[str, Any] | None = None) -> None:
        """Publishes after the commit."""
        self.hints.append((topic, payload or {}))

    def hint_stream(self) -> None:
        """Tells the sequencer, after the commit, that there are events to number."""
        self.hint(PENDING_TOPIC)


async def perform(
    context: RequestContext,
    action: Action,
    work: Work,
    idempotency_key: str | None,
    prepare: Prepare | None = None,
) -> list[UUID]:
    """Runs `work(context, transaction, **values)`; returns the ids of what it made or changed.

    What takes longer than a transaction may last, `prepare(context, **values)` does before it; it
    asks for the permission as well, and what it returns is given to `work` with the values.

    Raises `Refusal`. With an idempotency key the ids are kept with viewer, mutation and input
    hash in the same transaction: the same input gives them again, another is refused. What was
    done is in the audit log by the same transaction, what was not by one of its own. A file that
    `prepare` stored and `work` did not keep is given up.
    """
    context.checked.clear()
    context.course_ids.clear()
    context.found = context.object_type = None
    prepared: Mapping[str, Any] = {}
    try:
        if context.viewer.real_user_id is not None:
            raise Refusal(
                RefusalCode.FORBIDDEN,
                "Who acts as another person sees what they see and changes nothing.",
            )
        _check_key(idempotency_key)
        if prepare is not None:
            first = await _first_result(context, action, idempotency_key)
            if first is not None:
                return first
            prepared = await prepare(context, **action.values)
            context.checked.clear()
        ids, hints = await _done(context, action, partial(work, **prepared), idempotency_key)
    except Exception as e:
        error = refusal_of(e)
        await note_refused(context, action, error)
        raise error from e
    finally:
        await _give_up(context, prepared.get("stored"))
    for topic, payload in hints:
        await context.bus.publish(topic, payload)
    return ids


async def _done(
    context: RequestContext, action: Action, work: Work, idempotency_key: str | None
) -> tuple[list[UUID], list[tuple[str, Mapping[str, Any]]]]:
    """The ids, and the hints to publish now that it has committed."""
    async with _turn(context, action), context.database.transaction() as connection:
        transaction = Transaction(connection)
        ids = await _claim(context, connection, action, idempotency_key)
        if ids is None:
            done = await work(context, transaction, **action.values)
            ids = done if isinstance(done, list) else [done]
            if action.permission not in context.checked:
                raise RuntimeError(f"{action.name} never asked for {action.permission}")
            await note_done(context, connection, action, ids)
            if idempotency_key is not None:
                user_id = context.viewer.user_id
                await replays.keep(connection, user_id, action.name, idempotency_key, ids)
    return ids, transaction.hints


def _turn(context: RequestContext, action: Action) -> AbstractAsyncContextManager[object]:
    """A person's requests that count against quotas wait for one another here, where they hold no
    connection: one counts, and one is next."""
    if action.permission is not Permission.DOCUMENT_WRITE:
        return nullcontext()
    return context.files.counting.setdefault(context.viewer.user_id, asyncio.Semaphore(2))


def _check_key(idempotency_key: str | None) -> None:
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 200:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "An idempotency key has 1 to 200 characters.",
            ("input", "idempotencyKey"),
        )


async def _first_result(
    context: RequestContext, action: Action, idempotency_key: str | None
) -> list[UUID] | None:
    """What a replay gives, before anything is prepared for it a second time."""
    if idempotency_key is None:
        return None
    async with context.database.read() as connection:
        return await replays.first_result(
            connection,
            user_id=context.viewer.user_id,
            mutation=action.name,
            key=idempotency_key,
            input_hash=input_hash(action.values),
        )


async def _give_up(context: RequestContext, stored: object) -> None:
    """Has a stored file deleted that no row points at; one that is kept stays."""
    if not isinstance(stored, StoredFile) or stored.kept:
        return
    try:
        async with context.database.transaction() as connection:
            await stored_objects.abandon(connection, stored.object_id)
    except Exception:  # what was done is done, and the sweeper comes in any case
        logger.warning("an object was left to the sweeper", exc_info=True)


async def _claim(
    context: RequestContext,
    connection: Connection,
    action: Action,
    idempotency_key: str | None,
) -> list[UUID] | None:
    viewer = context.viewer
    if idempotency_key is None:
        return None
    return await replays.claim(
        connection,
        organization_id=viewer.organization_id,
        user_id=viewer.user_id,
        mutation=action.name,
        key=idempotency_key,
        input_hash=input_hash(action.values),
    )


def refusal_of(error: Exception) -> Exception:
    """The refusal a known exception of the lower rooms stands for; else the exception itself."""
    if isinstance(error, InvalidTransition):
        return Refusal(
            RefusalCode.INVALID_STATE,
            f"This {error.machine} is {error.state}; {error.event} is not possible now.",
        )
    if isinstance(error, replays.OtherInput):
        return Refusal(
            RefusalCode.IDEMPOTENCY_CONFLICT,
            "This idempotency key was used with other input. Use a new key for a new request.",
            ("input", "idempotencyKey"),
        )
    return next(
        (Refusal(code, message) for kind, code, message in _UNDERSTOOD if isinstance(error, kind)),
        error,
    )


def input_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of the input's canonical JSON."""
    raw = orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=_plain)
    return hashlib.sha256(raw).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(digest := getattr(value, "sha256", None), str):
        return digest  # an uploaded file stands for its content
    raise TypeError(type(value))
