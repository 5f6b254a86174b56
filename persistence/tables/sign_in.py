"""How people and services prove who they are. Secrets are here as hashes alone."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from persistence.identifiers import uuid7
from persistence.tables.base import Moment, Row, Stamped, table_of, tenant_key, within_tenant


class ExternalIdentityRow(Stamped, table=True):
    """A person as an OpenID provider knows them. Never found by e-mail again."""

    __tablename__ = "external_identity"
    __table_args__ = (
        within_tenant("user_id", "users", ondelete="CASCADE"),
        UniqueConstraint("organization_id", "issuer", "subject"),
        UniqueConstraint("user_id", "issuer"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    user_id: UUID
    issuer: str
    subject: str


class SessionRow(Stamped, table=True):
    """A sign-in and the family of refresh tokens that goes on from it."""

    __tablename__ = "session"
    __table_args__ = (
        tenant_key(),
        within_tenant("user_id", "users", ondelete="CASCADE"),
        Index("ix_session_user", "user_id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    user_id: UUID
    way: str
    """`oidc:<provider>` or `password`."""
    expires_at: datetime = Field(sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    end_reason: str | None = None


class RefreshTokenRow(Row, table=True):
    """One refresh token, by its SHA-256. Used once; a second use ends the session."""

    __tablename__ = "refresh_token"
    __table_args__ = (Index("ix_refresh_token_session", "session_id"),)
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    session_id: UUID = Field(sa_column_args=[ForeignKey("session.id", ondelete="CASCADE")])
    expires_at: datetime = Field(sa_type=Moment)
    used_at: datetime | None = Field(default=None, sa_type=Moment)


class PasswordRow(Stamped, table=True):
    """An admin's password, as argon2id."""

    __tablename__ = "password"
    __table_args__ = (within_tenant("user_id", "users", ondelete="CASCADE"),)
    user_id: UUID = Field(primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    hash: str
    failures: int = 0
    locked_until: datetime | None = Field(default=None, sa_type=Moment)


class ApiTokenRow(Stamped, table=True):
    """A service's token: acts as its owner, within `scopes` and, where given, a course."""

    __tablename__ = "api_token"
    __table_args__ = (
        tenant_key(),
        within_tenant("user_id", "users", ondelete="CASCADE"),
        within_tenant("course_id", "course", ondelete="CASCADE"),
        UniqueConstraint("prefix"),
        Index("ix_api_token_user", "user_id", "id"),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    organization_id: UUID = Field(sa_column_args=[ForeignKey("organization.id")])
    user_id: UUID
    name: str
    prefix: str
    hash: bytes = Field(sa_type=LargeBinary)
    scopes: list[str] = Field(sa_type=ARRAY(String))
    course_id: UUID | None = None
    expires_at: datetime = Field(sa_type=Moment)
    last_used_at: datetime | None = Field(default=None, sa_type=Moment)
    revoked_at: datetime | None = Field(default=None, sa_type=Moment)


external_identities = table_of(ExternalIdentityRow)
sessions = table_of(SessionRow)
refresh_tokens = table_of(RefreshTokenRow)
passwords = table_of(PasswordRow)
api_tokens = table_of(ApiTokenRow)
