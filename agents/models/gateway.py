"""The one way to a provider: what may be called, how often, at what price, and what comes next
when it fails."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from agents.models.attempt import Attempting, Request
from agents.models.catalogue import Catalogue
from agents.models.circuit import Circuit
from agents.models.concurrency import AdaptiveLimit
from agents.models.failures import FailureKind, ModelFailure
from agents.models.names import Chain, ModelName
from agents.models.ports import ProviderApproval, RateLimits, UsageBook
from agents.models.provider_client import ProviderClient
from agents.models.retry import pause
from agents.models.stopping import stoppable
from agents.ports import Account
from observability.metrics import Metrics

_SECOND_CHANCE: Final = frozenset({FailureKind.MALFORMED, FailureKind.EMPTY})
"""Paid for, and as likely as not to come again: tried once more, not until the deadline."""


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """`seconds` is the deadline of a call with all its tries, on all models of its chain."""

    seconds: float = 120.0
    tries: int = 5
    output_tokens: int = 8_192
    concurrency: int = 200
    provider_per_minute: int | None = None
    organization_per_minute: int | None = None


@dataclass
class Server:
    """What a process knows of one provider's server."""

    limit: AdaptiveLimit
    circuit: Circuit


@dataclass
class Gateway:
    """One a process. `make` builds the client of a model, once."""

    make: Callable[[ModelName], ChatCompletionClient]
    catalogue: Catalogue
    book: UsageBook
    limits: RateLimits
    approval: ProviderApproval
    metrics: Metrics
    policy: GatewayPolicy = field(default_factory=GatewayPolicy)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _clients: dict[ModelName, ChatCompletionClient] = field(default_factory=dict)
    _servers: dict[str, Server] = field(default_factory=dict)
    settling: set["asyncio.Task[None]"] = field(default_factory=set)

    def client(self, models: Chain, account: Account, role: str) -> "GatewayClient":
        """A client for one seat of one account. Raises ValueError for an empty chain."""
        if not models:
            raise ValueError(f"no model for {role}")
        return GatewayClient(self, models, account, role)

    def provider_client(self, name: ModelName) -> ChatCompletionClient:
        """The client of a model."""
        if name not in self._clients:
            self._clients[name] = self.make(name)
        return self._clients[name]

    def server(self, name: ModelName) -> Server:
        """The state of the model's server."""
        if name.server not in self._servers:
            limit, circuit = AdaptiveLimit(self.policy.concurrency, self.clock), Circuit(self.clock)
            self._servers[name.server] = Server(limit, circuit)
            self.metrics.watch_model_server(
                name.server, lambda: circuit.is_open, lambda: limit.limit
            )
        return self._servers[name.server]

    async def close(self) -> None:
        """Waits for what is still to be settled, and closes the clients."""
        await asyncio.gather(*self.settling, return_exceptions=True)
        for client in self._clients.values():
            await client.close()


class GatewayClient(ProviderClient):
    """A chain of models as one AutoGen client, for one account and role.

    Raises ModelFailure, and asyncio.CancelledError when the token is cancelled.
    """

    def __init__(self, gateway: Gateway, models: Chain, account: Account, role: str) -> None:
        super().__init__()
        self._gateway = gateway
        self._models = models
        self._account = account
        self._role = role

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """One answer, by whichever model of the chain gives it."""
        request = Request(
            messages, tools, tool_choice, json_output, extra_create_args, cancellation_token
        )
        async with aclosing(self._answer(request)) as items:
            async for item in items:
                if isinstance(item, CreateResult):
                    return item
        raise ModelFailure(FailureKind.BROKEN, str(self._models[0]))

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The text as it comes. Once some was given, a failure is not hidden by another try."""
        request = Request(
            messages, tools, tool_choice, json_output, extra_create_args, cancellation_token
        )
        request.streamed = True
        async with aclosing(self._answer(request)) as items:
            async for item in items:
                yield item

    async def _answer(self, request: Request) -> AsyncGenerator[str | CreateResult, None]:
        request.deadline = self._gateway.clock() + self._gateway.policy.seconds
        for place, name in enumerate(self._models):
            last = place == len(self._models) - 1
            try:
                async with aclosing(self._tried(request, name, place)) as items:
                    async for item in items:
                        yield item
            except ModelFailure as failure:
                late = self._gateway.clock() >= request.deadline
                if last or late or request.begun or not failure.retryable:
                    raise
                self._gateway.metrics.model_fallback(name.provider, name.model)
            else:
                return

    async def _tried(
        self, request: Request, name: ModelName, place: int
    ) -> AsyncGenerator[str | CreateResult, None]:
        gateway = self._gateway
        for number in range(1, gateway.policy.tries + 1):
            attempting = Attempting(gateway, self._account, self._role, name, place, number)
            try:
                async with aclosing(attempting.run(request)) as items:
                    async for item in items:
                        request.begun = True
                        yield item
            except ModelFailure as failure:
                wait = self._wait(failure, number, request)
                if wait is None:
                    raise
                gateway.metrics.model_retry(name.provider, name.model, failure.kind)
                await stoppable(asyncio.sleep(wait), request.token)
            else:
                return

    def _wait(self, failure: ModelFailure, number: int, request: Request) -> float | None:
        """Seconds until the same model is asked again; None when it is not."""
        policy = self._gateway.policy
        most = 2 if failure.kind in _SECOND_CHANCE else policy.tries
        if request.begun or not failure.retryable or number >= most:
            return None
        if failure.kind is FailureKind.SUSPENDED and len(self._models) > 1:
            return None
        wait = pause(number, failure.retry_after)
        return wait if self._gateway.clock() + wait < request.deadline else None
