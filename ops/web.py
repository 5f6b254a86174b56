"""The web search of a process, as configured."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from agents.ports import WebSearch
from agents.web.domains import DomainPolicy
from agents.web.search import CachedSearch, Quota
from agents.web.tavily import TavilySearch, open_tavily
from ops.settings import Settings
from persistence.cache import Cache

WebSearches = Callable[[DomainPolicy, Quota], WebSearch]


@asynccontextmanager
async def open_web(settings: Settings, cache: Cache) -> AsyncIterator[WebSearches | None]:
    """Makes a search within a course's lists and a quota; None without a key."""
    key = settings.tavily_api_key.get_secret_value() if settings.tavily_api_key else ""
    if not key:
        yield None
        return
    async with open_tavily(key, settings.tavily_url) as client:

        def search(policy: DomainPolicy, quota: Quota) -> WebSearch:
            found = TavilySearch(client, policy, settings.tavily_price_micros)
            return CachedSearch(found, cache, quota)

        yield search
