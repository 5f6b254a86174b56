"""Fenced leases on work: who may write to a task or message, until when, by the server's clock.

Every acquisition and takeover raises the row's fence. A worker writes with the fence it got, so
one that stalled past its lease is refused, whatever it believes. The tables leased have the
columns `id, organization_id, state, lease_owner, lease_until, fence`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, func, or_, select, tuple_, update

from persistence.database import Conflict, Connection, Database, fetch


class LeaseLost(Exception):
    """Somebody else holds or ended the lease meanwhile: nothing was written."""


class Renewals:
    """Extends leases of one table for a process. Those that are asked for while a statement runs
    go into the next one: however many there are, one connection is in use."""

    def __init__(self, database: Database, table: Table, seconds: float) -> None:
        self._database, self._table, self._seconds = database, table, seconds
        self._waiting: dict[tuple[UUID, int], asyncio.Future[bool]] = {}
        self._running: asyncio.Task[None] | None = None

    async def renew(self, row_id: UUID, fence: int) -> bool:
        """As `renew`: False when the lease is lost. Raises what the database raises."""
        future = self._waiting.setdefault(
            (row_id, fence), asyncio.get_running_loop().create_future()
        )
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})  # nobody else would wait for the statement at the end
            raise

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            try:
                held = await self._renewed(batch)
            except Exception as error:  # noqa: BLE001 - told to each that asked
                for future in batch.values():
                    future.set_exception(error)
                    future.exception()  # who asked may have gone
            except BaseException:
                for future in (*batch.values(), *self._waiting.values()):
                    future.cancel()
                raise
            else:
                for key, future in batch.items():
                    future.set_result(key in held)

    async def _renewed(self, keys: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
        """Those of these that are held. One that is locked just now is extended the next time."""
        table = self._table
        held = and_(tuple_(table.c.id, table.c.fence).in_(keys), table.c.lease_owner.is_not(None))
        unlocked = select(table.c.id).where(held).with_for_update(skip_locked=True)
        async with self._database.transaction() as connection:
            await connection.execute(
                update(table)
                .where(table.c.id.in_(unlocked))
                .values(lease_until=_until(self._seconds))
            )
            found = await connection.execute(select(table.c.id, table.c.fence).where(held))
            return {(row.id, row.fence) for row in found}


@dataclass(frozen=True)
class Lapsed:
    """Work in a working state that nobody holds any more."""

    id: UUID
    organization_id: UUID
    state: str
    fence: int


ENDED: Final[Mapping[str, None]] = {"lease_owner": None, "lease_until": None}
"""What the last write of a holder sets besides its own."""


def _until(seconds: float) -> ColumnElement[Any]:
    # clock_timestamp: now() is the transaction's beginning, and the row's lock may be waited for
    return func.clock_timestamp() + timedelta(seconds=seconds)


def _held(table: Table, row_id: UUID, fence: int) -> ColumnElement[bool]:
    return and_(table.c.id == row_id, table.c.fence == fence, table.c.lease_owner.is_not(None))


def _free(table: Table) -> ColumnElement[bool]:
    return or_(table.c.lease_until.is_(None), table.c.lease_until < func.clock_timestamp())


async def acquire(
    connection: Connection,
    table: Table,
    row_id: UUID,
    owner: UUID,
    seconds: float,
    *,
    from_states: Sequence[str],
    to_state: str,
    values: Mapping[str, Any] | None = None,
) -> int | None:
    """Moves the row to `to_state` under a lease; its fence, or None when it is not to be had.

    `values` are written with that.
    """
    taken = await connection.execute(
        update(table)
        .where(table.c.id == row_id, table.c.state.in_(from_states), _free(table))
        .values(
            {
                **(values or {}),
                "state": to_state,
                "lease_owner": owner,
                "lease_until": _until(seconds),
                "fence": table.c.fence + 1,
            }
        )
        .returning(table.c.fence)
    )
    fence: int | None = taken.scalar_one_or_none()
    return fence


async def renew(
    connection: Connection, table: Table, row_id: UUID, fence: int, seconds: float
) -> bool:
    """Extends the lease, also one that has run out but was not taken; False when it is lost."""
    renewed = await connection.execute(
        update(table).where(_held(table, row_id, fence)).values(lease_until=_until(seconds))
    )
    return bool(renewed.rowcount)


async def fenced_update(
    connection: Connection,
    table: Table,
    row_id: UUID,
    fence: int,
    expected_states: Sequence[str],
    values: Mapping[str, Any],
) -> None:
    """Writes `values` as the holder of the lease.

    Raises `LeaseLost` when the fence has moved on or the lease was released, and `Conflict` when
    the lease still stands but the row is in another state (a person cancelled it).
    """
    held = _held(table, row_id, fence)
    written = await connection.execute(
        update(table).where(held, table.c.state.in_(expected_states)).values(dict(values))
    )
    if not written.rowcount:
        raise await refused(connection, table, row_id, fence)


async def hold(
    connection: Connection, table: Table, row_id: UUID, fence: int, expected_states: Sequence[str]
) -> None:
    """Locks the row for its holder until the commit. Raises what `fenced_update` raises.

    Nothing is written: a row's second change in one transaction has its foreign keys looked up and
    their rows locked, which somebody may hold who waits for this one.
    """
    found = await connection.scalar(
        select(table.c.id)
        .where(_held(table, row_id, fence), table.c.state.in_(expected_states))
        .with_for_update(key_share=True)
    )
    if found is None:
        raise await refused(connection, table, row_id, fence)


async def refused(
    connection: Connection, table: Table, row_id: UUID, fence: int
) -> LeaseLost | Conflict:
    """Why a fenced write touched no row: see `fenced_update`."""
    found = await connection.scalar(select(table.c.id).where(_held(table, row_id, fence)))
    return LeaseLost() if found is None else Conflict()


async def expired(
    connection: Connection, table: Table, working_states: Sequence[str], limit: int
) -> Sequence[Lapsed]:
    """Work nobody holds, longest first, locked for this transaction; another sweeper skips it."""
    return await fetch(
        connection,
        select(table.c.id, table.c.organization_id, table.c.state, table.c.fence)
        .where(table.c.state.in_(working_states), _free(table))
        .order_by(table.c.lease_until.nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True),
        Lapsed,
    )


async def take_over(
    connection: Connection,
    table: Table,
    row_id: UUID,
    fence: int,
    *,
    from_states: Sequence[str],
    to_state: str | ColumnElement[str],
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Ends a lease that ran out and puts the row back to `to_state`; False when it moved on.

    `values` are written with that.

    The fence rises, so the former holder's next write is refused.
    """
    return await _end(
        connection,
        table,
        row_id,
        to_state,
        table.c.fence == fence,
        _free(table),
        table.c.state.in_(from_states),
        values=values,
    )


async def revoke(
    connection: Connection,
    table: Table,
    row_id: UUID,
    *,
    from_states: Sequence[str],
    to_state: str,
) -> bool:
    """Ends whatever lease there is, living or not, and moves the row (a person cancels it).

    False when the row is in none of `from_states`.
    """
    return await _end(connection, table, row_id, to_state, table.c.state.in_(from_states))


async def _end(
    connection: Connection,
    table: Table,
    row_id: UUID,
    to_state: str | ColumnElement[str],
    *conditions: ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
) -> bool:
    ended = await connection.execute(
        update(table)
        .where(table.c.id == row_id, *conditions)
        .values({**(values or {}), "state": to_state, "fence": table.c.fence + 1, **ENDED})
    )
    return bool(ended.rowcount)
