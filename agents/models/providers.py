"""The clients of the configured providers, over one pool of connections."""

from dataclasses import dataclass
from typing import Any

import httpx2
from autogen_core.models import ChatCompletionClient

from agents.models.failures import FailureKind, ModelFailure
from agents.models.gateway import GatewayPolicy
from agents.models.names import ModelName
from agents.models.provider_client import CallOptions, http_client


@dataclass(frozen=True, repr=False)
class Keys:
    """A provider's key goes to its own address; `servers` to those a model's name gives."""

    gemini: str | None = None
    openai: str | None = None
    servers: str | None = None


class Providers:
    """Makes the client of a model. Closed once the gateway is.

    An SDK takes a second to import, so a process that asks no model of it does not.
    """

    def __init__(self, keys: Keys, policy: GatewayPolicy, *, idle_seconds: float = 60.0) -> None:
        self.policy = policy
        self._keys = keys
        self._options = CallOptions(policy.output_tokens, idle_seconds)
        self._http: httpx2.AsyncClient | None = None

    def client(self, name: ModelName) -> ChatCompletionClient:
        """Raises ModelFailure where the provider needs a key and has none."""
        own = self._keys.gemini if name.provider == "gemini" else self._keys.openai
        key = own if name.base_url is None else self._keys.servers
        if key is None and (name.base_url is None or name.provider == "gemini"):
            raise ModelFailure(FailureKind.UNAUTHORIZED, str(name))
        if self._http is None:
            self._http = http_client(self._options, self.policy.concurrency)
        address = {} if name.base_url is None else {"base_url": name.base_url}
        made: ChatCompletionClient = _client_type(name.provider)(
            name.model, api_key=key or "", http=self._http, options=self._options, **address
        )
        return made

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()


def _client_type(provider: str) -> Any:
    if provider == "gemini":
        from agents.models.gemini import GeminiClient  # noqa: PLC0415 - see Providers

        return GeminiClient
    from agents.models.openai_compatible import OpenAIClient  # noqa: PLC0415 - see Providers

    return OpenAIClient
