"""Writing what the team does for an answer, step by step, once each, and the events that tell of it
and of the reply's state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from persistence import streams
from persistence.database import Connection, duplicates
from persistence.identifiers import uuid7
from persistence.leases import refused
from persistence.lifecycle.study import MessageState
from persistence.tables.records import StreamKind
from persistence.tables.study import messages

_KIND: Final = StreamKind.STUDY_SESSION
MESSAGE_STATE: Final = "MESSAGE_STATE"
STEP: Final = "STEP"


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to be written; see `AgentStepRow`."""

    key: str
    kind: str
    detail: dict[str, Any]


async def tell(
    connection: Connection,
    message_id: UUID,
    fence: int,
    state: MessageState,
    steps: Sequence[NewStep],
    becomes: MessageState | None = None,
) -> None:
    """Writes steps, and that the message `becomes` something, as the holder of its lease.

    One statement, for `Database.statement`. Raises `LeaseLost`, `Conflict` in another state, and
    `Duplicate` when it waited for another who wrote a step: its places were counted before.
    """
    given = {"fence": fence, "state": state, "becomes": becomes}
    with duplicates():
        held = await connection.scalar(_TELL, _given(message_id, steps) | given)
    if not held:
        raise await refused(connection, messages, message_id, fence)


async def add_steps(connection: Connection, message_id: UUID, steps: Sequence[NewStep]) -> None:
    """Writes those that were not there, or came out otherwise in an earlier try, with their events.

    The caller has locked the message, so that its steps get their places one by one.
    """
    if steps:
        await connection.execute(_ADD, _given(message_id, steps))


async def announce(
    connection: Connection,
    organization_id: UUID,
    session_id: UUID,
    message_id: UUID,
    state: MessageState,
) -> None:
    """Writes the event that a reply's state has changed, beside the change."""
    await streams.append(
        connection,
        organization_id=organization_id,
        kind=_KIND,
        stream_id=session_id,
        event=MESSAGE_STATE,
        payload={"message_id": str(message_id), "state": state},
    )


def _given(message_id: UUID, steps: Sequence[NewStep]) -> dict[str, Any]:
    rows = [
        {"id": str(uuid7()), "key": one.key, "kind": one.kind, "detail": one.detail}
        for one in steps
    ]
    return {"message": message_id, "steps": rows}


def _writing(held: str, state_event: str = "") -> TextClause:
    """Of the message that `held` selects. Places are counted over steps that were not there."""
    sql = f"""
        WITH held AS ({held}),
        given AS (
            SELECT step, row_number() OVER (ORDER BY known.id IS NOT NULL, place) AS nth
            FROM jsonb_array_elements(:steps) WITH ORDINALITY AS g (step, place)
            LEFT JOIN agent_step known ON known.message_id = :message AND known.key = step ->> 'key'
        ),
        written AS (
            INSERT INTO agent_step (id, organization_id, message_id, ordinal, key, kind, detail)
            SELECT (step ->> 'id')::uuid, held.organization_id, held.id, given.nth + (
                SELECT coalesce(max(ordinal), -1) FROM agent_step WHERE message_id = :message
            ), step ->> 'key', step ->> 'kind', step -> 'detail'
            FROM held, given
            ON CONFLICT (message_id, key) DO UPDATE SET detail = excluded.detail
            WHERE agent_step.detail IS DISTINCT FROM excluded.detail
            RETURNING id, message_id, ordinal
        ),
        told AS (
            INSERT INTO stream_event (organization_id, stream_kind, stream_id, kind, payload)
            SELECT held.organization_id, '{_KIND}', held.session_id, event.kind, event.payload
            FROM held, (
                SELECT ordinal, '{STEP}' AS kind,
                       jsonb_build_object('message_id', message_id, 'step_id', id) AS payload
                FROM written
                {state_event}
            ) AS event ORDER BY event.ordinal NULLS LAST
        )
        SELECT count(*) FROM held
    """  # noqa: S608 - built of the constants below
    return text(sql).bindparams(bindparam("steps", type_=JSONB))


_ADD = _writing("SELECT id, organization_id, session_id FROM message WHERE id = :message")
_TELL = _writing(
    """
    UPDATE message SET state = coalesce(CAST(:becomes AS text), state)
    WHERE id = :message AND fence = :fence AND lease_owner IS NOT NULL AND state = :state
    RETURNING id, organization_id, session_id
    """,
    f"""
    UNION ALL
    SELECT NULL, '{MESSAGE_STATE}',
           jsonb_build_object('message_id', :message, 'state', CAST(:becomes AS text))
    WHERE CAST(:becomes AS text) IS NOT NULL
    """,
)
