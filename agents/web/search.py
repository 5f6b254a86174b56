"""Web search as a team gets it: none at all, or within a quota and through a cache."""

import hashlib
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import TypeAdapter, ValidationError

from agents.ports import WebFound, WebPage, WebProblem, WebUnavailable
from agents.web.domains import DomainPolicy
from agents.web.tavily import QUERY_CHARACTERS, TavilySearch, without_personal

KEPT_SECONDS: Final = 6 * 3_600.0
_NAMESPACE: Final = "web"
_PAGES: Final = TypeAdapter(tuple[WebPage, ...])


class ByteCache(Protocol):
    """Where pages are kept; it may lose them, and what it returns is not trusted."""

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """Keeps it for at most `seconds`."""
        ...


class Quota(Protocol):
    """How many searches an organization has left."""

    async def take(self) -> bool:
        """One search; False when none is left."""
        ...


@dataclass(frozen=True)
class NoWebSearch:
    """A `WebSearch` where there is none."""

    problem: WebProblem = WebProblem.NOT_CONFIGURED

    async def search(self, query: str, limit: int) -> WebFound:  # noqa: ARG002 - nothing to search
        """Raises WebUnavailable."""
        raise WebUnavailable(self.problem)


@dataclass(frozen=True)
class CachedSearch:
    """A `WebSearch` that takes from the quota only what it has not found in the last six hours.

    Pages are kept under a digest of the query and the course's lists. Those lists hold for what
    comes out of the cache as well.
    """

    search_service: TavilySearch
    cache: ByteCache
    quota: Quota
    problem: WebProblem | None = None

    async def search(self, query: str, limit: int) -> WebFound:
        """See `WebSearch.search`."""
        asked = without_personal(query)
        policy = self.search_service.policy
        key = _key(asked, limit, policy)
        kept = await self.cache.get(_NAMESPACE, key)
        if kept is not None:
            try:
                pages = _PAGES.validate_json(kept)
            except ValidationError:
                pages = ()
            if pages and all(policy.admits(page.url) for page in pages):
                return WebFound(pages[:limit])
        if not await self.quota.take():
            raise WebUnavailable(WebProblem.QUOTA)
        found = await self.search_service.search(asked, limit)
        if found.pages:
            await self.cache.set(_NAMESPACE, key, _PAGES.dump_json(found.pages), KEPT_SECONDS)
        return found


def _key(query: str, limit: int, policy: DomainPolicy) -> str:
    parts = (
        query[:QUERY_CHARACTERS],
        str(limit),
        " ".join(policy.allowed),
        " ".join(policy.denied),
    )
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
