"""Providers of models that organizations let their data go to."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update

from persistence.database import Connection, add, change, fetch, fetch_one
from persistence.tables.documents import chunks
from persistence.tables.identity import organizations
from persistence.tables.privacy import ApprovedProviderRow, approved_providers

OFFLINE = "offline"
"""What works inside this server: nothing leaves, so nobody needs to approve it."""


async def provider_approved(
    connection: Connection, organization_id: UUID, provider: str, region: str | None = None
) -> bool:
    """Whether the organization lets data go to a provider; in a region, where one is given."""
    if provider == OFFLINE:
        return True
    found = await fetch_one(
        connection,
        select(approved_providers).where(
            approved_providers.c.organization_id == organization_id,
            approved_providers.c.provider == provider,
            approved_providers.c.withdrawn_at.is_(None),
        ),
        ApprovedProviderRow,
    )
    return found is not None and region in {None, found.region}


async def unapproving(connection: Connection, provider: str) -> Sequence[str]:
    """The short names of organizations with course material that do not approve of a provider."""
    if provider == OFFLINE:
        return []
    approval = select(approved_providers.c.id).where(
        approved_providers.c.organization_id == organizations.c.id,
        approved_providers.c.provider == provider,
        approved_providers.c.withdrawn_at.is_(None),
    )
    material = select(chunks.c.id).where(chunks.c.organization_id == organizations.c.id)
    rows = await connection.scalars(
        select(organizations.c.slug)
        .where(material.exists(), ~approval.exists())
        .order_by(organizations.c.slug)
    )
    return rows.all()


async def approved(connection: Connection, organization_id: UUID) -> Sequence[ApprovedProviderRow]:
    """The providers an organization approves of, by name."""
    return await fetch(
        connection,
        select(approved_providers)
        .where(
            approved_providers.c.organization_id == organization_id,
            approved_providers.c.withdrawn_at.is_(None),
        )
        .order_by(approved_providers.c.provider),
        ApprovedProviderRow,
    )


async def approvals_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[ApprovedProviderRow]:
    """Approvals of the organization, withdrawn ones too."""
    return await fetch(
        connection,
        select(approved_providers).where(
            approved_providers.c.id.in_(ids),
            approved_providers.c.organization_id == organization_id,
        ),
        ApprovedProviderRow,
    )


async def approve(connection: Connection, row: ApprovedProviderRow) -> None:
    """Approves of a provider. Raises `Duplicate`: it is approved already."""
    await add(connection, row)


async def withdraw(connection: Connection, key: UUID, moment: datetime) -> None:
    """Ends an approval. Raises `Conflict` when that was done already."""
    await change(
        connection,
        update(approved_providers)
        .where(approved_providers.c.id == key, approved_providers.c.withdrawn_at.is_(None))
        .values(withdrawn_at=moment),
    )
