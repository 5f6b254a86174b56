"""The web: what a course lets the tutor search, and what answers took from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from agents.grading.naming import Identity
from agents.ports import WebProblem, WebSearch
from agents.web.domains import DomainPolicy, domain
from agents.web.privacy import PrivateSearch
from agents.web.search import NoWebSearch
from persistence import courses, providers, users, web
from persistence.database import Database
from persistence.tables.courses import CourseRow
from persistence.tables.web import WebPolicyRow, WebSourceRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import optional
from resolvers.work import WorkResources

MOST_DOMAINS = 100
TAVILY = "tavily"
"""The provider of the web search, as it is approved."""


@dataclass(frozen=True)
class SearchesLeft:
    """The `Quota` of an organization: so many searches a day (UTC), for all its processes."""

    database: Database
    organization_id: UUID
    a_day: int

    async def take(self) -> bool:
        """See `agents.web.search.Quota`."""
        async with self.database.transaction() as connection:
            return await web.take_search(connection, self.organization_id, self.a_day)


async def search_for(
    resources: WorkResources, organization_id: UUID, course_id: UUID, asker_id: UUID
) -> WebSearch:
    """The web search of a course, for one who studies there; one that says why, where there is
    none. It is told no names of the course's people."""
    if resources.web_search is None:
        return NoWebSearch()
    async with resources.database.read() as connection:
        if not await providers.provider_approved(connection, organization_id, TAVILY):
            return NoWebSearch(WebProblem.NOT_APPROVED)
        policy = await web.policy_of(connection, organization_id, course_id)
        people = {row.id: row for row in await courses.people_of(connection, course_id)}
        (asker,) = await users.users_of_organization(connection, organization_id, [asker_id])
    if policy is None:
        policy = WebPolicyRow(course_id=course_id, organization_id=organization_id)
    if not policy.enabled:
        return NoWebSearch(WebProblem.SWITCHED_OFF)
    allowed, denied = tuple(policy.allowed_domains), tuple(policy.denied_domains)
    quota = SearchesLeft(resources.database, organization_id, resources.web_searches_a_day)
    return PrivateSearch(
        resources.web_search(DomainPolicy(allowed, denied), quota),
        Identity(asker.name, asker.email),
        [Identity(row.name, row.email) for key, row in people.items() if key != asker_id],
    )


async def get_policies(parents: Sequence[CourseRow], context: RequestContext) -> list[WebPolicyRow]:
    """The policy of each course."""
    organization = context.viewer.organization_id
    ids = [course.id for course in parents]
    async with context.database.read() as connection:
        rows = {row.course_id: row for row in await web.policies_of(connection, organization, ids)}
    return [rows.get(i) or WebPolicyRow(course_id=i, organization_id=organization) for i in ids]


async def get_sources(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[WebSourceRow | None]:
    """The pages of citations the viewer sees."""
    async with context.database.read() as connection:
        rows = await web.sources_by_id(
            connection, context.viewer.organization_id, [i for i in ids if i]
        )
    return optional(ids, rows)


async def set_web_policy(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    enabled: bool,
    allowed_domains: Sequence[str],
    denied_domains: Sequence[str],
) -> UUID:
    """Says what of the web the tutor of a course may search."""
    path = ("input", "courseId")
    course = key_of(course_id, "Course", path)
    viewer = context.require(Permission.DOCUMENT_WRITE, course)
    connection = transaction.connection
    if not await courses.courses_by_id(connection, viewer, [course]):
        raise missing("course", path)
    policy = WebPolicyRow(
        course_id=course,
        organization_id=viewer.organization_id,
        enabled=enabled,
        allowed_domains=_domains(allowed_domains, "allowedDomains"),
        denied_domains=_domains(denied_domains, "deniedDomains"),
    )
    await web.set_policy(connection, policy)
    return course


def _domains(names: Sequence[str], argument: str) -> list[str]:
    checks.at_most(names, argument, MOST_DOMAINS, least=0)
    found: list[str] = []
    for name in names:
        known = domain(name)
        if known is None:
            raise checks.bad(
                argument,
                f"“{name[:80]}” is no domain. Write it as example.org, without https:// or a path.",
            )
        found.append(known)
    return list(dict.fromkeys(found))
