"""Access tokens of a configured provider, taken as they are (RFC 9068)."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError

from ops.auth import CLOCK_SKEW_SECONDS, MAX_TOKEN_BYTES
from ops.sign_in.provider_keys import ProviderAway, ProviderKeys
from resolvers.refusals import Refusal, RefusalCode


@dataclass(frozen=True)
class Subject:
    """Whom a provider's token is for."""

    organization: str
    issuer: str
    subject: str
    issued_at: datetime
    expires_at: datetime


class ProviderTokens:
    """Verifies access tokens of the providers that have an audience."""

    def __init__(self, keys: Sequence[ProviderKeys], clock: Callable[[], float]) -> None:
        self._by_issuer: dict[str, list[ProviderKeys]] = {}
        for each in keys:
            if each.provider.audience is not None:
                self._by_issuer.setdefault(each.provider.issuer, []).append(each)
        self._clock = clock

    async def verify(self, token: str) -> Subject | None:
        """Whom it is for; None where no provider of its issuer is configured.

        Raises `Refusal` UNAUTHENTICATED, TOKEN_EXPIRED, or UNAVAILABLE while the keys of the
        provider cannot be read.
        """
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise _invalid()
        said = _unverified(token)
        configured = self._by_issuer.get(str(said.get("iss")))
        if configured is None:
            return None
        audiences = said.get("aud")
        wanted = audiences if isinstance(audiences, list) else [audiences]
        for keys in configured:
            if keys.provider.audience in wanted:
                return await self._verify(token, keys)
        raise _invalid()

    async def _verify(self, token: str, keys: ProviderKeys) -> Subject:
        provider = keys.provider
        try:
            header = jws.extract_compact(token.encode()).headers()
            kid = header.get("kid")
            typ = str(header.get("typ", "")).lower().removeprefix("application/")
            if typ not in provider.token_types or header.get("alg") not in provider.algorithms:
                raise _invalid()
            key_set = await keys.key_set(kid if isinstance(kid, str) else None)
            decoded = jwt.decode(token, key_set, algorithms=list(provider.algorithms))
            self._registry(provider.issuer, str(provider.audience)).validate(decoded.claims)
            return _subject(decoded.claims, provider.organization)
        except ExpiredTokenError:
            raise Refusal(
                RefusalCode.TOKEN_EXPIRED, "The access token has expired. Get a new one."
            ) from None
        except ProviderAway:
            raise Refusal(
                RefusalCode.UNAVAILABLE, "The identity provider does not answer. Try again shortly."
            ) from None
        except (JoseError, ValueError, TypeError, OverflowError, RecursionError, KeyError):
            raise _invalid() from None

    def _registry(self, issuer: str, audience: str) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )


def _subject(claims: dict[str, Any], organization: str) -> Subject:
    if "nonce" in claims or "at_hash" in claims:  # an ID token, whatever its `typ` says
        raise _invalid()
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise TypeError("sub")
    return Subject(
        organization,
        claims["iss"],
        claims["sub"],
        datetime.fromtimestamp(claims["iat"], UTC),
        datetime.fromtimestamp(claims["exp"], UTC),
    )


def _unverified(token: str) -> dict[str, Any]:
    """The claims as they are written, to find the keys that may verify them."""
    try:
        _, payload, _ = token.split(".")
        said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid() from None
    if not isinstance(said, dict):
        raise _invalid()
    return said


def _invalid() -> Refusal:
    return Refusal(RefusalCode.UNAUTHENTICATED, "The access token is not valid. Sign in again.")
