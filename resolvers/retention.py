"""How long an organization keeps what may go."""

from collections.abc import Sequence
from uuid import UUID

from persistence import retention
from persistence.tables.identity import OrganizationRow
from persistence.tables.privacy import LONGEST_DAYS, RetentionRow
from resolvers import checks
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.mutations import Transaction
from resolvers.names import camel_case


async def get_retention(
    parents: Sequence[OrganizationRow], context: RequestContext
) -> list[RetentionRow]:
    """What each organization decided; for everybody of it."""
    ids = [organization.id for organization in parents]
    async with context.database.read() as connection:
        found = await retention.retention_of(connection, ids)
    return [found[key] for key in ids]


async def update_retention(
    context: RequestContext,
    transaction: Transaction,
    *,
    session_days: int,
    idempotency_days: int,
    study_session_days: int | None,
    audit_value_days: int | None,
    stream_event_days: int | None,
) -> UUID:
    """Decides how long each is kept. What is older goes with the worker's next sweep."""
    viewer = context.require(Permission.ORGANIZATION_WRITE)
    days = {
        "session_days": session_days,
        "idempotency_days": idempotency_days,
        "study_session_days": study_session_days,
        "audit_value_days": audit_value_days,
        "stream_event_days": stream_event_days,
    }
    for name, value in days.items():
        if value is not None and not 1 <= value <= LONGEST_DAYS:
            field = camel_case(name)
            raise checks.bad(field, f"{field} lies between 1 and {LONGEST_DAYS}.")
    await retention.set_retention(transaction.connection, viewer.organization_id, days)
    return viewer.organization_id
