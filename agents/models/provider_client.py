"""What the clients of all providers share: options, sums, and counts made without asking."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from autogen_core.models import ChatCompletionClient, LLMMessage, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema

from agents.models.tokens import most_tokens

CONTEXT_TOKENS: Final = 1_000_000
_INFO: Final = ModelInfo(
    vision=True,
    function_calling=True,
    json_output=True,
    structured_output=True,
    family="unknown",
    multiple_system_messages=True,
)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are made. `idle_seconds` is the longest silence of a server."""

    output_tokens: int = 8_192
    idle_seconds: float = 60.0
    connect_seconds: float = 10.0


_OPENED: ContextVar[list[httpx2.Response] | None] = ContextVar("opened", default=None)


class _Client(httpx2.AsyncClient):
    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        response = await super().send(request, **options)
        opened = _OPENED.get()
        if opened is not None:
            opened.append(response)
        return response


@asynccontextmanager
async def closing_responses() -> AsyncIterator[None]:
    """Closes at the end what the task's requests have opened.

    google-genai's stream is a chain of generators, of which closing the outermost leaves the
    response open until the garbage collector comes by.
    """
    opened: list[httpx2.Response] = []
    _OPENED.set(opened)
    try:
        yield
    finally:
        for response in opened:
            await response.aclose()


def http_client(options: CallOptions, connections: int) -> httpx2.AsyncClient:
    """The one transport of all providers' SDKs.

    Both SDKs run on httpx2 when given a client of it. Left alone, google-genai takes aiohttp where
    that is installed, with retries of its own, and httpx2 a pool of 100 connections.
    """
    return _Client(
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=httpx2.Timeout(options.idle_seconds, connect=options.connect_seconds, pool=None),
        verify=tls(),
        trust_env=False,
        follow_redirects=False,
    )


def tls() -> ssl.SSLContext:
    """Certificates as httpx2 checks them, read once."""
    return httpx2.create_ssl_context(trust_env=False)


class ProviderClient(ChatCompletionClient):
    """The part of AutoGen's interface that no provider is asked for."""

    def __init__(self) -> None:
        self._total = RequestUsage(0, 0)

    def _add(self, usage: RequestUsage) -> None:
        self._total = RequestUsage(
            self._total.prompt_tokens + usage.prompt_tokens,
            self._total.completion_tokens + usage.completion_tokens,
        )

    def actual_usage(self) -> RequestUsage:
        """The tokens of all calls of this client."""
        return self._total

    def total_usage(self) -> RequestUsage:
        """As `actual_usage`: nothing is cached here."""
        return self._total

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """An upper bound, counted here: no request, and no tokenizer that must be fetched."""
        return most_tokens(messages, tools)

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """What is left of the context, at least."""
        return CONTEXT_TOKENS - self.count_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> ModelInfo:
        """As `model_info`."""
        return _INFO

    @property
    def model_info(self) -> ModelInfo:
        """What every model here is asked for."""
        return _INFO

    async def close(self) -> None:
        """Nothing: the transport belongs to who made it."""
