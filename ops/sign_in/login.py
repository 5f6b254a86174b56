"""The OpenID Connect client: authorization code with PKCE (S256), state and nonce.

authlib's, with two things of ours in it: the provider's keys come from `ProviderKeys`, and an ID
token's signature counts by the algorithms that are configured, not by those the provider lists.
"""

from collections.abc import Sequence
from typing import Any, cast

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from ops.auth import CLOCK_SKEW_SECONDS
from ops.sign_in.provider_keys import ProviderAway, ProviderKeys
from ops.sign_in.providers import Provider
from resolvers.refusals import Refusal, RefusalCode
from resolvers.sign_in import ProviderClaims

PROVIDER_SECONDS = 10.0


class _App(StarletteOAuth2App):  # type: ignore[misc]  # authlib has no types
    """One provider, whose metadata and keys are ours to fetch."""

    provider_keys: ProviderKeys

    async def load_server_metadata(self) -> dict[str, Any]:
        """The provider's metadata; the algorithms of ID tokens are the configured ones."""
        found = await self.provider_keys.metadata()
        algorithms = list(self.provider_keys.provider.algorithms)
        self.server_metadata = found | {"id_token_signing_alg_values_supported": algorithms}
        return self.server_metadata

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """The provider's usable keys."""
        wanted = "" if force else None
        keys = await self.provider_keys.key_set(wanted)
        return cast(dict[str, Any], keys.as_dict(private=False))


class ProviderLogin:
    """Signs people in at the configured providers."""

    def __init__(self, keys: Sequence[ProviderKeys]) -> None:
        self._oauth = OAuth()
        self._keys = {each.provider.name: each for each in keys}
        for each in keys:
            provider = each.provider
            secret = provider.client_secret
            self._oauth.register(
                name=provider.name,
                client_cls=_App,
                client_id=provider.client_id,
                client_secret=None if secret is None else secret.get_secret_value(),
                server_metadata_url=provider.metadata_url,
                client_kwargs={
                    "scope": provider.scope,
                    "code_challenge_method": "S256",
                    "timeout": PROVIDER_SECONDS,
                    "trust_env": False,
                    **({} if secret else {"token_endpoint_auth_method": "none"}),
                },
            ).provider_keys = each

    @property
    def providers(self) -> list[Provider]:
        """Those configured."""
        return [each.provider for each in self._keys.values()]

    async def redirect(self, name: str, request: Request, callback: str) -> Response:
        """To the provider's page. State, nonce and verifier go into the request's session."""
        app = self._app(name)
        try:
            return cast(Response, await app.authorize_redirect(request, callback))
        except ProviderAway:
            raise _away() from None

    async def claims(self, name: str, request: Request) -> ProviderClaims:
        """Whom the provider sent back. Raises `Refusal`."""
        app, provider = self._app(name), self._keys[name].provider
        try:
            answer = await app.authorize_access_token(request, leeway=CLOCK_SKEW_SECONDS)
            said = answer["userinfo"]
            subject = said["sub"]
        except (ProviderAway, httpx.HTTPError):
            raise _away() from None
        except OAuthError as error:
            raise Refusal(
                RefusalCode.UNAUTHENTICATED, f"The provider did not sign you in: {error.error}."
            ) from None
        except (JoseError, KeyError, ValueError, TypeError):
            raise Refusal(
                RefusalCode.UNAUTHENTICATED, "What the provider said of you cannot be verified."
            ) from None
        vouched = provider.trust_email and said.get("email_verified") is True
        email = said.get("email") if vouched else None
        return ProviderClaims(
            organization=provider.organization,
            provider=name,
            issuer=provider.issuer,
            subject=str(subject),
            email=email if isinstance(email, str) else None,
        )

    def _app(self, name: str) -> _App:
        if name not in self._keys:
            raise Refusal(RefusalCode.NOT_FOUND, f"No provider {name!r} is configured.")
        return cast(_App, self._oauth.create_client(name))


def _away() -> Refusal:
    return Refusal(RefusalCode.UNAVAILABLE, "The identity provider does not answer. Try again.")
