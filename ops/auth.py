"""Our own access tokens: signed JWTs (RFC 9068, `typ: at+jwt`), a quarter of an hour long.

They are signed with Ed25519 (RFC 8037, under its fully specified name of RFC 9864) by the first
key of a private JWK set. The rest of the set still verifies, so a key is rotated by putting a new
one in front and dropping the old one when its last token has expired.
"""

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from stat import S_IROTH, S_IWGRP, S_IWOTH
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, Key, OKPKey

from observability.logs import logger
from resolvers.refusals import Refusal, RefusalCode

ALGORITHM = "Ed25519"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type, not a secret
MAX_TOKEN_BYTES = 8_192
MAX_TTL = timedelta(minutes=15)
MAX_LONG_TTL = timedelta(hours=12)
CLOCK_SKEW_SECONDS = 30
REMEMBERED_TOKENS = 4_096


class SigningKeyError(Exception):
    """The file of signing keys can't be used; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified access token says. `expires_at` is in UTC."""

    user_id: UUID
    organization_id: UUID
    expires_at: datetime
    jti: str


class SigningKeys:
    """The private keys of the file, first the one that signs. Each has a `kid`."""

    def __init__(self, keys: Sequence[OKPKey]) -> None:
        if not keys or not keys[0].is_private:
            raise SigningKeyError("The first signing key must be a private one.")
        self._keys = {_kid(key): key for key in keys}
        self.signing_key = keys[0]
        self.signing_kid = _kid(keys[0])

    @classmethod
    def generate(cls) -> "SigningKeys":
        """Return a set of one new key, which no file holds."""
        return cls([OKPKey.generate_key("Ed25519", auto_kid=True)])

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKeys":
        """Read the keys at `path`; where there is no file, make one with a new key, mode 0600.

        Processes that start at once end up with the same key: the file appears whole or not at
        all, and the first one wins. Raises `SigningKeyError`.
        """
        try:
            if not path.exists():
                _create(path, cls.generate())
            return cls.load(path)
        except OSError as error:
            raise SigningKeyError(f"{path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> "SigningKeys":
        """Read a JWK set (RFC 7517) of Ed25519 keys. Raises `SigningKeyError`, `OSError`."""
        mode = path.stat().st_mode
        if mode & (S_IWGRP | S_IWOTH):
            raise SigningKeyError(f"{path}: others may write it; run chmod 600 on it")
        if mode & S_IROTH:
            logger.warning("everyone on this machine may read the signing keys; chmod 600 the file")
        keys = None
        with suppress(ValueError, KeyError, TypeError, JoseError):
            keys = [OKPKey.import_key(each) for each in json.loads(path.read_bytes())["keys"]]
        # Outside of the handler: those errors may repeat parts of a key.
        if not keys or any(key.curve_name != "Ed25519" for key in keys):
            raise SigningKeyError(f"{path}: not a JWK set of Ed25519 keys")
        return cls(keys)

    def key_for(self, kid: object) -> OKPKey:
        """Return the key of this id. Raises joserfc's `InvalidKeyIdError`."""
        if isinstance(kid, str) and (key := self._keys.get(kid)) is not None:
            return key
        raise InvalidKeyIdError("unknown key")

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JWK set to publish: `kty crv x kid use alg` of each key, no private part."""
        return {"keys": [_described(key, private=False) for key in self._keys.values()]}

    def private_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JWK set as the file holds it."""
        return {"keys": [_described(key, private=key.is_private) for key in self._keys.values()]}


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
        self._remembered: OrderedDict[bytes, TokenClaims] = OrderedDict()

    def issue_token(
        self,
        user_id: UUID,
        organization_id: UUID,
        ttl: timedelta | None = None,
        *,
        long_lived: bool = False,
    ) -> str:
        """Return a signed token that `user_id` is who asks, in `organization_id`.

        `ttl` is at most `MAX_TTL`. `long_lived` raises that to `MAX_LONG_TTL`: it is for tokens an
        operator makes on the command line and the demo prints, never for a login. Raises
        `ValueError` for a longer or non-positive `ttl`.
        """
        life = _bounded_ttl(ttl or self._ttl, MAX_LONG_TTL if long_lived else MAX_TTL)
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "org": str(organization_id),
            "iat": now,
            "exp": now + int(life.total_seconds()),
            "jti": token_hex(16),
        }
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self._keys.signing_kid}
        return jwt.encode(header, claims, self._keys.signing_key, algorithms=[ALGORITHM])

    def verify_token(self, token: str) -> TokenClaims:
        """Return what a token of ours says. Raises `Refusal` UNAUTHENTICATED or TOKEN_EXPIRED."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise _unauthenticated()
        digest = sha256(token.encode()).digest()
        if (claims := self._remembered.get(digest)) is not None:
            if claims.expires_at.timestamp() <= self._clock():
                self._remembered.pop(digest, None)
                raise _expired()
            self._remembered.move_to_end(digest)
            return claims
        claims = self._verify(token)
        self._remembered[digest] = claims
        if len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
        return claims

    def _verify(self, token: str) -> TokenClaims:
        """Check header, signature and claims, in this order; tell the caller only which refusal."""
        try:
            decoded = jwt.decode(token, self._key_for, algorithms=[ALGORITHM])
            if str(decoded.header.get("typ", "")).lower() != TOKEN_TYPE:
                raise _unauthenticated()
            self._claims.validate(decoded.claims)
            return self._read(decoded.claims)
        except ExpiredTokenError:
            raise _expired() from None
        except (JoseError, ValueError, TypeError, OverflowError, RecursionError):
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
            expires_at=datetime.fromtimestamp(expires, UTC),
            jti=claims["jti"],
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


def _kid(key: OKPKey) -> str:
    """The key's own id, else its RFC 7638 thumbprint."""
    key.ensure_kid()
    return str(key.kid)


def _described(key: OKPKey, *, private: bool) -> dict[str, Any]:
    own = dict(key.as_dict(private=private))
    return own | {"kid": _kid(key), "use": "sig", "alg": ALGORITHM}


def _create(path: Path, keys: SigningKeys) -> None:
    """Write the set beside `path` and link it there, which fails where another was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(keys.private_jwks(), indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
