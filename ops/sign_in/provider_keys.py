"""The published keys of a provider: cached, refreshed, and served on while it is away."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from observability.logs import logger
from ops.sign_in.providers import ASYMMETRIC, Provider

FRESH_SECONDS = 600.0
COOLDOWN_SECONDS = 30.0
LARGEST_ANSWER = 1_000_000


class ProviderAway(Exception):
    """The provider does not answer, and nothing of it is cached."""


class ProviderKeys:
    """One provider's metadata and keys.

    They are read again after 600 s, and for an unknown `kid` at most every 30 s. A provider that
    is away is served from what was read last. A key that cannot be imported is left out alone.
    """

    def __init__(
        self,
        provider: Provider,
        http: httpx.AsyncClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.provider, self._http, self._clock = provider, http, clock
        self._metadata: dict[str, Any] | None = None
        self._keys: dict[str | None, dict[str, Any]] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def metadata(self) -> dict[str, Any]:
        """Its configuration (OpenID Connect Discovery §3). Raises `ProviderAway`."""
        await self._fresh()
        if self._metadata is None:
            raise ProviderAway(self.provider.name)
        return self._metadata

    async def key_set(self, kid: str | None) -> KeySet:
        """Its usable keys, with `kid` among them if it has it. Raises `ProviderAway`."""
        await self._fresh()
        if kid not in self._keys and self._clock() - self._tried_at >= COOLDOWN_SECONDS:
            await self._read_once()
        if self._metadata is None:
            raise ProviderAway(self.provider.name)
        return KeySet([JWKRegistry.import_key(key) for key in self._keys.values()])

    async def _fresh(self) -> None:
        now = self._clock()
        stale = now - self._read_at >= FRESH_SECONDS
        if stale and (self._metadata is None or now - self._tried_at >= COOLDOWN_SECONDS):
            await self._read_once()

    async def _read_once(self) -> None:
        """Reads; who asks meanwhile waits for the same answer."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            metadata = await self._json(self.provider.metadata_url)
            if metadata.get("issuer") != self.provider.issuer:
                raise ValueError("another issuer")
            found = (await self._json(str(metadata["jwks_uri"])))["keys"]
            if not isinstance(found, list):
                raise TypeError("keys")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "the provider {} cannot be read: {}", self.provider.name, type(error).__name__
            )
            return
        self._metadata = metadata
        self._keys = {key.get("kid"): key for key in found if self._usable(key)}
        self._read_at = self._clock()

    async def _json(self, address: str) -> dict[str, Any]:
        answer = await self._http.get(address)
        answer.raise_for_status()
        if len(answer.content) > LARGEST_ANSWER:
            raise ValueError("too large")
        found = answer.json()
        if not isinstance(found, dict):
            raise TypeError("not an object")
        return found

    def _usable(self, key: Any) -> bool:
        """Whether it verifies signatures of an algorithm that counts."""
        if not isinstance(key, dict) or key.get("use", "sig") != "sig" or "d" in key:
            return False
        if key.get("kty") == "oct" or key.get("alg", "RS256") not in ASYMMETRIC:
            return False
        try:
            JWKRegistry.import_key(key)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            logger.warning("a key of the provider {} is left out", self.provider.name)
            return False
        return True
