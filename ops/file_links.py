"""Signed addresses of files: JSON Web Tokens in the path, bound to one upload or one original."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, Key

from ops.signing_keys import ALGORITHM, SigningKeys
from persistence.visibility import Viewer
from resolvers.refusals import Refusal, RefusalCode

UPLOAD, ORIGINAL = "assay-upload+jwt", "assay-original+jwt"
ORIGINAL_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class OriginalLink:
    """Who was given the address of which document's original."""

    document_id: UUID
    user_id: UUID
    organization_id: UUID
    session_id: UUID | None
    real_user_id: UUID | None
    api_token_id: UUID | None
    issued_at: datetime
    expires_at: datetime


class SignedLinks:
    """Makes and reads the addresses, with the keys that sign access tokens."""

    def __init__(
        self, keys: SigningKeys, base: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`base` is what stands before a path: this server's address, or nothing."""
        self._keys, self._base, self._clock = keys, base, clock

    def upload_url(self, upload_id: UUID, expires_at: datetime) -> str:
        """Implements `resolvers.files.FileLinks`."""
        claims = {"sub": str(upload_id), "exp": int(expires_at.timestamp())}
        return f"{self._base}/uploads/{self._signed(UPLOAD, claims)}"

    def original_url(self, viewer: Viewer, document_id: UUID) -> str:
        """Implements `resolvers.files.FileLinks`."""
        now = int(self._clock())
        claims = {
            "sub": str(document_id),
            "iat": now,
            "exp": now + int(ORIGINAL_LIFE.total_seconds()),
            "usr": str(viewer.user_id),
            "org": str(viewer.organization_id),
        }
        if viewer.session_id is not None:
            claims["sid"] = str(viewer.session_id)
        if viewer.real_user_id is not None:
            claims["act"] = str(viewer.real_user_id)
        if viewer.api_token_id is not None:
            claims["tok"] = str(viewer.api_token_id)
        return f"{self._base}/originals/{self._signed(ORIGINAL, claims)}"

    def upload_of(self, token: str) -> UUID:
        """The upload an address leads to. Raises `Refusal` FORBIDDEN, NOT_FOUND when expired."""
        return UUID(self._read(UPLOAD, token)["sub"])

    def original_of(self, token: str) -> OriginalLink:
        """The original an address leads to. Raises as `upload_of`."""
        claims = self._read(ORIGINAL, token)
        return OriginalLink(
            document_id=UUID(claims["sub"]),
            user_id=UUID(claims["usr"]),
            organization_id=UUID(claims["org"]),
            session_id=UUID(claims["sid"]) if "sid" in claims else None,
            real_user_id=UUID(claims["act"]) if "act" in claims else None,
            api_token_id=UUID(claims["tok"]) if "tok" in claims else None,
            issued_at=datetime.fromtimestamp(claims["iat"], UTC),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )

    def _signed(self, kind: str, claims: dict[str, Any]) -> str:
        key = self._keys.signing_key
        header = {"alg": ALGORITHM, "typ": kind, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM])

    def _read(self, kind: str, token: str) -> dict[str, Any]:
        try:
            decoded = jwt.decode(token, self._key_for, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError):
            decoded = None
        if decoded is None or decoded.header.get("typ") != kind:
            raise Refusal(RefusalCode.FORBIDDEN, "This address is not signed by this server.")
        if decoded.claims["exp"] <= self._clock():
            raise Refusal(RefusalCode.NOT_FOUND, "This address has expired. Ask for a new one.")
        return dict(decoded.claims)

    def _key_for(self, signed: GuestProtocol) -> Key:
        return self._keys.key_for(signed.headers().get("kid"))
