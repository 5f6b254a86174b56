"""The audit log on the command line: verified, exported, its heads signed for keeping elsewhere."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from joserfc import jws
from joserfc.errors import JoseError

from ops.bootstrap import command_event
from ops.signing_keys import ALGORITHM, SigningKeys
from persistence import audit, audit_chain
from persistence.audit_chain import Head, Verdict
from persistence.database import Database
from persistence.tables.audit import AuditEventRow
from persistence.tables.identity import OrganizationRow
from resolvers.access import missing

CHECKPOINT_TYPE = "assay-audit-checkpoint"


class BadCheckpoint(Exception):
    """A line is no checkpoint of this server; the message names it."""


async def verify(
    database: Database, slug: str | None, lines: Iterable[str], keys: SigningKeys
) -> list[Verdict]:
    """Verifies the chains, and against checkpoints. Raises `BadCheckpoint`."""
    points = read_checkpoints(lines, keys)
    async with database.read() as connection:
        return [
            await audit_chain.verify(connection, organization, points.get(organization.id, ()))
            for organization in await _organizations(database, slug)
        ]


async def _organizations(database: Database, slug: str | None) -> Sequence[OrganizationRow]:
    async with database.read() as connection:
        known = await audit_chain.organizations_to_verify(connection)
    return [organization for organization in known if slug in {None, organization.slug}]


def described(verdict: Verdict) -> str:
    """What a person reads of a verdict."""
    tail = f", {verdict.unsealed} not sealed yet" if verdict.unsealed else ""
    if verdict.oldest_unsealed is not None:
        tail += f" (since {verdict.oldest_unsealed:%H:%M:%S} UTC)"
    erased = f", {verdict.erased_values} values erased" if verdict.erased_values else ""
    state = "whole" if not verdict.problems else f"BROKEN in {len(verdict.problems)} places"
    head = f"{verdict.organization.slug}: {verdict.sealed} events sealed{tail}{erased}: {state}"
    return "\n  ".join([head, *verdict.problems])


async def checkpoints(database: Database, keys: SigningKeys) -> AsyncIterator[str]:
    """The head of each chain, as a JWS (RFC 7515) of this server: keep it where nobody of it is."""
    async with database.read() as connection:
        heads = await audit_chain.heads_of(
            connection, {o.id for o in await audit_chain.organizations_to_verify(connection)}
        )
    header = {"alg": ALGORITHM, "typ": CHECKPOINT_TYPE, "kid": keys.signing_kid}
    for organization_id, head in heads.items():
        payload = {
            "organization": str(organization_id),
            "seq": head.seq,
            "hash": head.hash.hex(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        yield jws.serialize_compact(
            header, json.dumps(payload), keys.signing_key, algorithms=[ALGORITHM]
        )


def read_checkpoints(lines: Iterable[str], keys: SigningKeys) -> dict[UUID, list[Head]]:
    """The heads that were kept, by organization. Raises `BadCheckpoint`."""
    found: dict[UUID, list[Head]] = {}
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line:
            continue
        try:
            signed = jws.deserialize_compact(
                line, lambda s: keys.key_for(s.headers().get("kid")), algorithms=[ALGORITHM]
            )
            if signed.headers().get("typ") != CHECKPOINT_TYPE:
                raise ValueError("typ")
            said: dict[str, Any] = json.loads(signed.payload)
            head = Head(int(said["seq"]), bytes.fromhex(said["hash"]))
            found.setdefault(UUID(said["organization"]), []).append(head)
        except (JoseError, ValueError, KeyError, TypeError):
            raise BadCheckpoint(f"Line {number} is no checkpoint this server signed.") from None
    return found


async def note_rotation(database: Database, kids: Sequence[str], *, at_once: bool) -> None:
    """Tells every organization's log that the keys that sign its tokens changed."""
    values = {f"kid.{place}": kid for place, kid in enumerate(kids)}
    async with database.transaction() as connection:
        for organization in await audit_chain.organizations_to_verify(connection):
            event = command_event(organization.id, "rotateSigningKeys")
            await audit.append(connection, event, {**values, "atOnce": at_once}, {})


async def export(database: Database, slug: str) -> AsyncIterator[str]:
    """The sealed events of an organization in order, a JSON object a line. It is itself an event.

    Each has the values that were not erased as `values`. Raises `Refusal`.
    """
    found = await _organizations(database, slug)
    if not found:
        raise missing("organization")
    organization = found[0]
    event = command_event(organization.id, "exportAudit")
    async with database.transaction() as connection:
        await audit.append(connection, event, {}, {})
    async with database.read() as connection:
        async for events in audit_chain.sealed_events(connection, organization.id):
            values = await audit.values_of(connection, [e.id for e in events])
            kept: dict[UUID, dict[str, str | None]] = {}
            for row in values:
                kept.setdefault(row.event_id, {})[row.path] = row.value
            for one in events:
                yield _line(one, kept.get(one.id, {}))


def _line(event: AuditEventRow, values: dict[str, str | None]) -> str:
    names = [name for name in AuditEventRow.model_fields if name != "hash"]
    shown = {name: getattr(event, name) for name in names}
    shown |= {"hash": (event.hash or b"").hex(), "values": values}
    return json.dumps(shown, default=str, ensure_ascii=False)
