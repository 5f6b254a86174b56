"""The ledger: what models answered, kept so that no committed answer is paid for twice.

A step of one owner and generation has one answer to each request. The first is kept under the
step's own key. When the same step asks something else later in the same generation (a prompt
changed between a kill and the takeover), its answer is kept beside it under `<step>~<hash>`:
nothing of another request is recalled, and nothing paid is lost from the account.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, fetch
from persistence.identifiers import uuid7
from persistence.tables.records import ModelCallRow, model_calls

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """A model's answer to one request, and what it cost, in millionths of `currency`."""

    request_hash: str
    response: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_micros: int
    currency: str


async def recall(
    connection: Connection, owner_id: UUID, generation: int, step_key: str, request_hash: str
) -> str | None:
    """The committed answer of this step to exactly this request, or None."""
    found = await connection.execute(
        select(model_calls.c.response).where(
            model_calls.c.owner_id == owner_id,
            model_calls.c.generation == generation,
            model_calls.c.step_key.in_((step_key, _further(step_key, request_hash))),
            model_calls.c.request_hash == request_hash,
        )
    )
    response: str | None = found.scalar_one_or_none()
    return response


async def record(
    connection: Connection,
    *,
    organization_id: UUID,
    owner_id: UUID,
    generation: int,
    step_key: str,
    call: Call,
) -> str:
    """Keeps the answer, unless one to the same request is kept already; the answer that stands."""
    for key in (step_key, _further(step_key, call.request_hash)):
        kept = await connection.execute(
            insert(model_calls)
            .values(
                id=uuid7(),
                organization_id=organization_id,
                owner_id=owner_id,
                generation=generation,
                step_key=key,
                request_hash=call.request_hash,
                response=call.response,
                response_sha256=hashlib.sha256(call.response.encode()).hexdigest(),
                provider=call.provider,
                model=call.model,
                input_tokens=call.input_tokens,
                output_tokens=call.output_tokens,
                cost_micros=call.cost_micros,
                currency=call.currency,
            )
            .on_conflict_do_nothing(index_elements=["owner_id", "generation", "step_key"])
        )
        if kept.rowcount:
            logger.info("model call %s of %s kept", step_key, owner_id)
            return call.response
        first = await recall(connection, owner_id, generation, step_key, call.request_hash)
        if first is not None:
            return first
    raise RuntimeError("two requests of one step share 64 bits of their hash")


async def calls_of(
    connection: Connection, owner_id: UUID, generation: int
) -> Sequence[ModelCallRow]:
    """The owner's calls of one generation, in the order they were recorded."""
    return await fetch(
        connection,
        select(model_calls)
        .where(model_calls.c.owner_id == owner_id, model_calls.c.generation == generation)
        .order_by(model_calls.c.created_at, model_calls.c.id),
        ModelCallRow,
    )


async def forget(connection: Connection, owners: Sequence[UUID]) -> None:
    """Empties the answers of these owners; what they cost stays."""
    await connection.execute(
        update(model_calls).where(model_calls.c.owner_id.in_(owners)).values(response="")
    )


def _further(step_key: str, request_hash: str) -> str:
    return f"{step_key}~{request_hash[:16]}"
