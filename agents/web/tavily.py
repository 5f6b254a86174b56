"""Web search with Tavily's own SDK.

What comes back is of strangers: read to a limit, checked for its shape, taken as plain text, and
kept only where the course's lists admit its address, whatever the service was asked.
"""

import asyncio
import logging
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from tavily import AsyncTavilyClient  # type: ignore[import-untyped]  # the SDK has no types
from tavily.errors import (  # type: ignore[import-untyped]
    BadRequestError,
    ForbiddenError,
    InvalidAPIKeyError,
    UsageLimitExceededError,
)
from tavily.errors import TimeoutError as TavilyTimeout

from agents.grading.invisible import is_invisible
from agents.ports import WebFound, WebPage, WebProblem, WebUnavailable
from agents.web.domains import DomainPolicy

__all__ = ["AsyncTavilyClient", "TavilySearch", "open_tavily", "without_personal"]

logger = logging.getLogger(__name__)

QUERY_CHARACTERS: Final = 400
"""Tavily refuses longer ones."""

TEXT_CHARACTERS: Final = 4_000
TITLE_CHARACTERS: Final = 200
RESPONSE_BYTES: Final = 2_000_000
_PERSONAL: Final = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]+"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?<![\w-])(?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Z])[A-Za-z0-9_-]{32,}(?![\w-])"
    r"|\+?\d[\d ()/-]{6,}\d|(?<!\d)\d{6,}(?!\d)",
)
"""E-mail addresses, ids of people and objects here, and numbers as long as those of phones and
students."""


class _TooLarge(Exception):
    """The response goes on after the limit."""


class _BoundedTransport(httpx.AsyncHTTPTransport):
    """Reads a response to a limit: the SDK would hold all of it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # Compression is not asked for: a small body could unpack to a giant one.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            await response.aclose()
            raise _TooLarge
        content = bytearray()
        try:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > RESPONSE_BYTES:
                    raise _TooLarge
        finally:
            await response.aclose()
        return httpx.Response(
            response.status_code, headers=response.headers, content=bytes(content)
        )


@dataclass(frozen=True)
class TavilySearch:
    """A `WebSearch` over one client. `price_micros` is what a search costs."""

    client: AsyncTavilyClient
    policy: DomainPolicy = field(default_factory=DomainPolicy)
    price_micros: int = 0
    seconds: float = 10.0
    problem: WebProblem | None = None

    async def search(self, query: str, limit: int) -> WebFound:
        """See `WebSearch.search`. E-mail addresses and long numbers are taken out of the query."""
        asked = without_personal(query)
        if not asked:
            return WebFound(())
        answer = await self._answer(asked, limit)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise WebUnavailable(WebProblem.MALFORMED)
        fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
        pages: dict[str, WebPage] = {}
        for entry in results:
            page = _page(entry, fetched_at)
            if page is not None and self.policy.admits(page.url):
                pages.setdefault(page.url, page)
        return WebFound(tuple(pages.values())[:limit], self.price_micros)

    async def _answer(self, query: str, limit: int) -> object:
        try:
            async with asyncio.timeout(self.seconds):
                return await self.client.search(
                    query,
                    search_depth="advanced",  # its extracts are the page's own words
                    max_results=limit,
                    include_domains=list(self.policy.allowed) or None,
                    exclude_domains=list(self.policy.denied) or None,
                    timeout=self.seconds,
                )
        except (TimeoutError, TavilyTimeout, httpx.TimeoutException) as error:
            raise WebUnavailable(WebProblem.SLOW) from error
        except UsageLimitExceededError as error:
            raise WebUnavailable(WebProblem.BUSY) from error
        except (InvalidAPIKeyError, ForbiddenError, BadRequestError) as error:
            # Not the message: a service may echo what it was sent.
            logger.warning("web search is refused: %s", type(error).__name__)
            raise WebUnavailable(WebProblem.REFUSED) from error
        except _TooLarge as error:
            raise WebUnavailable(WebProblem.TOO_LARGE) from error
        except httpx.HTTPError as error:  # a 500 too: the SDK hands httpx's own error on
            raise WebUnavailable(WebProblem.UNREACHABLE) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # Not JSON; or a status the SDK can't make an error of
            raise WebUnavailable(WebProblem.MALFORMED) from error


@asynccontextmanager
async def open_tavily(api_key: str, base_url: str) -> AsyncIterator[AsyncTavilyClient]:
    """A client whose connections are closed at the end; proxies of the environment are not used."""
    transport = _BoundedTransport(limits=httpx.Limits(max_connections=20))
    async with httpx.AsyncClient(
        transport=transport, base_url=base_url, trust_env=False, follow_redirects=False
    ) as http:
        yield AsyncTavilyClient(api_key=api_key, client=http)


def without_personal(query: str) -> str:
    """The query as it may leave the house, in one line of at most QUERY_CHARACTERS."""
    return " ".join(_PERSONAL.sub(" ", query).split())[:QUERY_CHARACTERS].strip()


def _page(entry: Any, fetched_at: str) -> WebPage | None:
    """The page of a result, or None where it is none."""
    if not isinstance(entry, dict):
        return None
    url, title, content = (entry.get(name) for name in ("url", "title", "content"))
    if not isinstance(url, str) or not isinstance(content, str):
        return None
    text = _plain(content[: 4 * TEXT_CHARACTERS])[:TEXT_CHARACTERS].strip()
    named = _plain(title[: 4 * TITLE_CHARACTERS]) if isinstance(title, str) else ""
    shown = " ".join(named.split())[:TITLE_CHARACTERS] or url[:TITLE_CHARACTERS]
    return WebPage(url, shown, text, fetched_at) if text else None


def _plain(text: str) -> str:
    """NFC without what nobody sees and what can't be stored."""
    seen = (it for it in text if not is_invisible(it) and unicodedata.category(it) != "Cs")
    return unicodedata.normalize("NFC", "".join(seen))
