"""The web: a course's policy, an organization's searches of a day, the pages of answers."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Date, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, fetch
from persistence.tables.web import (
    WebPolicyRow,
    WebSourceRow,
    web_policies,
    web_search_usage,
    web_sources,
)

_TODAY = cast(func.timezone("UTC", func.now()), Date)


async def policies_of(
    connection: Connection, organization_id: UUID, course_ids: Sequence[UUID]
) -> Sequence[WebPolicyRow]:
    """The policies of those courses that have one."""
    return await fetch(
        connection,
        select(web_policies).where(
            web_policies.c.course_id.in_(course_ids),
            web_policies.c.organization_id == organization_id,
        ),
        WebPolicyRow,
    )


async def policy_of(
    connection: Connection, organization_id: UUID, course_id: UUID
) -> WebPolicyRow | None:
    """A course's policy; None where it has set none."""
    return next(iter(await policies_of(connection, organization_id, [course_id])), None)


async def set_policy(connection: Connection, policy: WebPolicyRow) -> None:
    """Sets a course's policy."""
    values = {
        "enabled": policy.enabled,
        "allowed_domains": policy.allowed_domains,
        "denied_domains": policy.denied_domains,
    }
    await connection.execute(
        insert(web_policies)
        .values(course_id=policy.course_id, organization_id=policy.organization_id, **values)
        .on_conflict_do_update(index_elements=["course_id"], set_=values)
    )


async def take_search(connection: Connection, organization_id: UUID, most: int) -> bool:
    """Counts a search of today (UTC); False, and none counted, when there were `most`."""
    if most < 1:
        return False
    taken = insert(web_search_usage).values(organization_id=organization_id, day=_TODAY, searches=1)
    counted = await connection.execute(
        taken.on_conflict_do_update(
            index_elements=["organization_id", "day"],
            set_={"searches": web_search_usage.c.searches + 1},
            where=web_search_usage.c.searches < most,
        )
    )
    return counted.rowcount == 1


async def sources_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[WebSourceRow]:
    """Pages by id. Whoever sees a message sees what its answer rests on."""
    return await fetch(
        connection,
        select(web_sources).where(
            web_sources.c.id.in_(ids), web_sources.c.organization_id == organization_id
        ),
        WebSourceRow,
    )
