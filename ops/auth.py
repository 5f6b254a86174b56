"""Our own access tokens: signed JWTs (RFC 9068, `typ: at+jwt`), a quarter of an hour long.

They are signed with Ed25519 (RFC 8037, under its fully specified name of RFC 9864). `sid` names
the session a token was issued in, `act` (RFC 8693 §4.1) who acts as its subject.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import GuestProtocol, Key

from ops.signing_keys import ALGORITHM, LONGEST_TOKEN, SigningKeys
from resolvers.refusals import Refusal, RefusalCode

TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type, not a secret
MAX_TOKEN_BYTES = 8_192
MAX_TTL = timedelta(minutes=15)
MAX_LONG_TTL = LONGEST_TOKEN
CLOCK_SKEW_SECONDS = 30
REMEMBERED_TOKENS = 4_096


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified access token says. Times are in UTC."""

    user_id: UUID
    organization_id: UUID
    issued_at: datetime
    expires_at: datetime
    jti: str
    session_id: UUID | None = None
    real_user_id: UUID | None = None


class _Claims(jwt.JWTClaimsRegistry):
    """Expiry is exact; `iat` may be ahead by what two replicas' clocks may differ."""

    def validate_iat(self, value: object) -> None:
        if type(value) is not int or value > self.now + CLOCK_SKEW_SECONDS:
            raise InvalidClaimError("iat")


class AccessTokens:
    """Issues and verifies the access tokens of one issuer and audience."""

    def __init__(
        self,
        keys: SigningKeys,
        issuer: str,
        audience: str,
        *,
        ttl: timedelta = MAX_TTL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`ttl` is a token's life unless `issue_token` is told; `clock` gives Unix seconds."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._ttl = _bounded_ttl(ttl, MAX_TTL)
        self._clock = clock
        self._claims = _Claims(
            now=lambda: int(clock()),
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            org={"essential": True},
        )
        # A signature is checked once: a client sends the same token with each request.
        self._remembered: OrderedDict[bytes, tuple[TokenClaims, str]] = OrderedDict()

    @property
    def ttl_seconds(self) -> int:
        """A token's life unless `issue_token` is told."""
        return int(self._ttl.total_seconds())

    def issue_token(
        self,
        user_id: UUID,
        organization_id: UUID,
        ttl: timedelta | None = None,
        *,
        long_lived: bool = False,
        session_id: UUID | None = None,
        real_user_id: UUID | None = None,
    ) -> str:
        """Return a signed token that `user_id` is who asks, in `organization_id`.

        `ttl` is at most `MAX_TTL`. `long_lived` raises that to `MAX_LONG_TTL`: it is for tokens an
        operator makes on the command line and the demo prints, never for a login. Raises
        `ValueError` for a longer or non-positive `ttl`.
        """
        life = _bounded_ttl(ttl or self._ttl, MAX_LONG_TTL if long_lived else MAX_TTL)
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "org": str(organization_id),
            "iat": now,
            "exp": now + int(life.total_seconds()),
            "jti": token_hex(16),
        }
        if session_id is not None:
            claims["sid"] = str(session_id)
        if real_user_id is not None:
            claims["act"] = {"sub": str(real_user_id)}
        key = self._keys.signing_key
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM])

    def verify_token(self, token: str) -> TokenClaims:
        """Return what a token of ours says. Raises `Refusal` UNAUTHENTICATED or TOKEN_EXPIRED."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise _unauthenticated()
        digest = sha256(token.encode()).digest()
        if (remembered := self._remembered.get(digest)) is not None:
            claims, kid = remembered
            if not self._keys.has(kid):
                raise _unauthenticated()
            if claims.expires_at.timestamp() <= self._clock():
                self._remembered.pop(digest, None)
                raise _expired()
            self._remembered.move_to_end(digest)
            return claims
        claims, kid = self._verify(token)
        self._remembered[digest] = claims, kid
        if len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
        return claims

    def _verify(self, token: str) -> tuple[TokenClaims, str]:
        """Check header, signature and claims, in this order; tell the caller only which refusal."""
        try:
            decoded = jwt.decode(token, self._key_for, algorithms=[ALGORITHM])
            if str(decoded.header.get("typ", "")).lower() != TOKEN_TYPE:
                raise _unauthenticated()
            self._claims.validate(decoded.claims)
            return self._read(decoded.claims), str(decoded.header["kid"])
        except ExpiredTokenError:
            raise _expired() from None
        except (JoseError, KeyError, ValueError, TypeError, OverflowError, RecursionError):
            raise _unauthenticated() from None

    def _key_for(self, signed: GuestProtocol) -> Key:
        return self._keys.key_for(signed.headers().get("kid"))

    def _read(self, claims: dict[str, Any]) -> TokenClaims:
        issued, expires = claims["iat"], claims["exp"]
        if type(expires) is not int:
            raise TypeError("exp")
        if not 0 < expires - issued <= MAX_LONG_TTL.total_seconds():
            raise ValueError("life")
        return TokenClaims(
            user_id=_canonical_uuid(claims["sub"]),
            organization_id=_canonical_uuid(claims["org"]),
            issued_at=datetime.fromtimestamp(issued, UTC),
            expires_at=datetime.fromtimestamp(expires, UTC),
            jti=claims["jti"],
            session_id=_canonical_uuid(claims["sid"]) if "sid" in claims else None,
            real_user_id=_canonical_uuid(claims["act"]["sub"]) if "act" in claims else None,
        )


def _canonical_uuid(value: object) -> UUID:
    read = UUID(value) if isinstance(value, str) else None
    if read is None or str(read) != value:
        raise ValueError("id")
    return read


def _bounded_ttl(ttl: timedelta, most: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= ttl <= most:
        raise ValueError(f"A token's life is from 1 second to {most}, not {ttl}.")
    return ttl


def _unauthenticated() -> Refusal:
    return Refusal(RefusalCode.UNAUTHENTICATED, "The access token is not valid. Sign in again.")


def _expired() -> Refusal:
    return Refusal(RefusalCode.TOKEN_EXPIRED, "The access token has expired. Get a new one.")
