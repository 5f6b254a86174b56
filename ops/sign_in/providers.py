"""The OpenID providers people may sign in with, as they are configured."""

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
ASYMMETRIC = frozenset({*ALGORITHMS, "ES512", "Ed25519", "Ed448"})


def _address(value: str) -> str:
    parts = urlsplit(value)
    local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError("write an https:// address (http:// only on this machine)")
    return value


Address = Annotated[str, AfterValidator(_address)]


class Provider(BaseModel):
    """An OpenID provider of one organization."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    """In addresses: `/auth/login/<name>`."""
    organization: str
    """The short name of the organization whose people sign in with it."""
    issuer: Address
    """Its `iss`, to the letter."""
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    """None for a public client."""
    discovery_url: Address | None = None
    """None: the issuer's /.well-known/openid-configuration (OpenID Connect Discovery §4)."""
    scope: str = "openid email profile"
    trust_email: bool = True
    """Whether an address it calls verified finds a person at their first sign-in."""
    audience: str | None = None
    """`aud` of its access tokens that are taken as they are; None: none are."""
    token_types: tuple[str, ...] = ("at+jwt",)
    """`typ` of those (RFC 9068 §2.1)."""
    algorithms: tuple[str, ...] = ALGORITHMS
    """Which signatures count, on its ID tokens too. Asymmetric ones alone."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.algorithms or not set(self.algorithms) <= ASYMMETRIC:
            raise ValueError(f"algorithms are of {', '.join(sorted(ASYMMETRIC))}")
        if self.audience is not None and self.audience == self.client_id:
            raise ValueError("audience is that of the API; client_id is the one of ID tokens")
        return self

    @property
    def metadata_url(self) -> str:
        """Where its configuration is read."""
        return self.discovery_url or f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    def login(self) -> dict[str, Any]:
        """What a sign-in page shows."""
        return {"name": self.name, "organization": self.organization}
