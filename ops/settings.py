"""Settings: `ASSAY_…` environment variables, read once when a process starts, frozen.

`.env.example` lists every variable; `env_example()` is its source, and a test keeps them equal.
Lower rooms receive plain values from here, never a `Settings`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict
from pydantic_settings.sources import read_env_file

from ops.file_settings import FileSettings
from ops.model_settings import ModelSettings
from ops.sign_in.providers import Provider

PREFIX = "ASSAY_"
MEGABYTE = 1_000_000
REDIS_OPTIONS = {"db", "ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One variable that can't be used, and what to do about it. Never holds the value."""

    variable: str
    advice: str


class SettingsError(Exception):
    """The environment can't be used as it is; `problems` has one entry a variable."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        lines = "\n".join(f"  {problem.variable}: {problem.advice}" for problem in problems)
        super().__init__(f"These settings can't be used:\n{lines}")
        self.problems = problems


def _database_url(url: SecretStr) -> SecretStr:
    # Without `raise … from`: urlsplit's own error repeats the address.
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.port is None or parts.port > 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise ValueError("write it as postgresql://user:password@host:5432/database")
    if not parts.path.strip("/"):
        raise ValueError("name the database after the host: postgresql://…@host:5432/database")
    return url


def _redis_url(url: SecretStr) -> SecretStr:
    # Without `raise … from`, as above.
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.port is None or parts.port > 0
        options = {name for name, _ in parse_qsl(parts.query, strict_parsing=bool(parts.query))}
    except ValueError:
        usable, options = False, set()
    if usable and parts.scheme == "unix":
        usable = bool(parts.path)
    elif usable:
        database = parts.path.strip("/")
        usable = parts.scheme in {"redis", "rediss"} and bool(parts.hostname)
        usable = usable and (not database or database.isdecimal())
    if not usable:
        raise ValueError(
            "write it as redis://user:password@host:6379/0, with TLS as rediss://…, or as "
            "unix:///path/of/the/socket"
        )
    if unknown := options - REDIS_OPTIONS:
        known = ", ".join(sorted(REDIS_OPTIONS))
        raise ValueError(
            f"{', '.join(sorted(unknown))!r} is not an option here; these are: {known}"
        )
    return url


def _port(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError(
            "this is Kubernetes' address of a Service named assay, not a port: set "
            "enableServiceLinks: false on the pod"
        )
    return value


def _origins(value: object) -> object:
    if isinstance(value, str):
        return tuple(origin.strip() for origin in value.split(",") if origin.strip())
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", value):
        raise ValueError(
            "write each origin as https://app.example.edu, without a path, separated by commas"
        )
    return value


HomePath = Annotated[Path, AfterValidator(Path.expanduser)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_origins)
]


class EdgeSettings(FileSettings):
    """What one request or one socket may ask for."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    body_bytes: int = Field(
        MEGABYTE, ge=1_000, description="Largest request body without files, in bytes."
    )
    upload_bytes: int = Field(
        25 * MEGABYTE, ge=1_000, description="Largest multipart upload, in bytes."
    )
    document_tokens: int = Field(2_000, ge=10, description="Tokens of a GraphQL document.")
    document_depth: int = Field(
        12, ge=2, description="Nesting of a GraphQL document, outside introspection."
    )
    document_aliases: int = Field(30, ge=0, description="Aliases in a GraphQL document.")
    document_root_fields: int = Field(20, ge=1, description="Root fields of an operation.")
    document_directives: int = Field(8, ge=0, description="Directives in a GraphQL document.")
    document_variables: int = Field(50, ge=0, description="Variables of an operation.")
    operation_cost: int = Field(
        1_000, ge=1, description="Cost of an operation, lists multiplied by the page asked for."
    )
    operation_seconds: float = Field(
        10.0, gt=0, le=300, description="Time of a query or mutation, in seconds."
    )
    returned_errors: int = Field(5, ge=1, description="GraphQL errors in one answer.")
    ws_init_seconds: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Time from a socket's opening to connection_init, in seconds.",
    )
    ws_subscriptions: int = Field(20, ge=1, description="Subscriptions on one socket.")
    ws_connections: int = Field(5, ge=1, description="Sockets of one user on one process.")
    ws_message_bytes: int = Field(
        MEGABYTE, ge=1_000, description="Largest message a client may send on a socket, in bytes."
    )
    ws_messages_per_second: int = Field(
        50, ge=1, description="Messages a client may send on one socket in a second."
    )


class Settings(EdgeSettings, ModelSettings):
    """The whole configuration of a process. Build it with `load_settings`."""

    database_url: DatabaseUrl | None = Field(
        None,
        description="postgresql://user:password@host/database; PostgreSQL 16 or later, pgvector. "
        "Empty: an embedded server in the data directory.",
    )
    database_direct_url: DatabaseUrl | None = Field(
        None,
        description="The same database past any pooler, for LISTEN, jobs and migrations. "
        "Empty: ASSAY_DATABASE_URL.",
    )
    redis_url: RedisUrl | None = Field(
        None,
        description="redis://, rediss:// or unix:// address of a Redis for hints between processes "
        "and caches; give every process the same. It may be lost at any time. "
        "Empty: LISTEN/NOTIFY, and caches in each process.",
    )
    data_dir: HomePath = Field(
        default_factory=lambda: user_data_path("assay", appauthor=False),
        description="Embedded database, keys and uploads. Empty: the user's own data directory.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen at.")
    port: Annotated[int, BeforeValidator(_port)] = Field(
        8000, ge=0, le=65_535, description="Port to listen at; 0 takes a free one."
    )
    worker_port: Annotated[int, BeforeValidator(_port)] = Field(
        0, ge=0, le=65_535, description="Port of a worker's /live, /ready and /metrics; 0: none."
    )
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe level that is logged."
    )
    log_format: Literal["json", "pretty"] = Field(
        "json", description="json: one object a line; pretty: for a terminal."
    )
    cors_origins: Origins = Field(
        (), description="Origins whose pages may call the API, separated by commas."
    )
    token_issuer: str = Field("assay", min_length=1, description="iss of our access tokens.")
    token_audience: str = Field("assay", min_length=1, description="aud of our access tokens.")
    token_ttl_seconds: int = Field(
        900, ge=30, le=900, description="Life of an access token, in seconds; at most 900."
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.\-\[\]:]+)?$",
        description="Where browsers find this server, as https://assay.example.edu, for the "
        "sign-in. Empty: http://<ASSAY_HOST>:<ASSAY_PORT>.",
    )
    oidc_providers: tuple[Provider, ...] = Field(
        (),
        description="OpenID providers, a JSON list: name, organization, issuer, client_id, "
        "client_secret; see ops/sign_in/README.md. At the provider, allow "
        "<ASSAY_PUBLIC_URL>/auth/callback/<name>.",
    )
    session_days: float = Field(
        30.0, gt=0, le=366, description="Longest time from one sign-in to the next, in days."
    )
    refresh_days: float = Field(
        7.0, gt=0, le=366, description="Time after which an unused session ends, in days."
    )
    signing_key_file: HomePath | None = Field(
        None,
        description="Private JWK set that signs access tokens; made where it is missing. "
        "Every replica needs the same one. Empty: keys/signing.json in the data directory.",
    )
    embedding_model: str = Field(
        "embedded:minilm-l6-v2-int8@384",
        pattern=r"^(embedded|gemini|openai|fastembed):[A-Za-z0-9_.:/+-]{1,100}@[0-9]{1,4}$",
        description="Embedding model a new installation begins with, provider:model@dimension: "
        "embedded, gemini, openai (any compatible server) or fastembed. Later, `assay reindex`.",
    )
    embedding_gemini_key: SecretStr | None = Field(
        None, description="Key of the Gemini API, for gemini: models of embeddings."
    )
    embedding_gemini_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Where the Gemini API is reached for embeddings. Empty: Google's address.",
    )
    embedding_openai_key: SecretStr | None = Field(
        None, description="Key of the server openai: models of embeddings are at, if it asks."
    )
    embedding_openai_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Base URL of that server, ending in /v1. Empty: OpenAI's.",
    )
    graphiql: bool = Field(True, description="Serve GraphiQL at /graphiql.")
    worker_concurrency: int = Field(
        8, ge=1, le=500, description="Grading tasks a worker works on at once."
    )
    study_concurrency: int = Field(
        4, ge=1, le=500, description="Study answers a worker writes at once, beside its grading."
    )
    tavily_api_key: SecretStr | None = Field(
        None,
        description="Key of the Tavily web search. Empty: the tutor doesn't search the web.",
    )
    tavily_url: str = Field(
        "https://api.tavily.com",
        pattern=r"^https?://[^\s/]+$",
        description="Where the web search is, without a path.",
    )
    tavily_price_micros: int = Field(
        16_000,
        ge=0,
        description="What one web search costs, in millionths of the currency. The default is in "
        "USD, noted from memory in 2026.",
    )
    web_searches_a_day: int = Field(
        200, ge=0, description="Web searches of an organization in a day (UTC)."
    )
    lease_seconds: float = Field(
        30.0,
        ge=5,
        le=600,
        description="Time after which a silent worker's task or document is taken over.",
    )
    drain_seconds: float = Field(
        25.0, ge=0, le=600, description="Time after SIGTERM to finish what is in flight."
    )
    pool_size: int = Field(
        10,
        ge=2,
        le=80,
        description="Database connections of a process; a worker keeps its leases on two more. The "
        "embedded server has 100.",
    )
    statement_timeout_ms: int = Field(
        8_000,
        ge=100,
        description="Longest SQL statement of a request; below ASSAY_OPERATION_SECONDS.",
    )

    @model_validator(mode="before")
    @classmethod
    def _upper_level(cls, values: dict[str, Any]) -> dict[str, Any]:
        level = values.get("log_level")
        return {**values, "log_level": level.upper()} if isinstance(level, str) else values

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.statement_timeout_ms >= self.operation_seconds * 1_000:
            raise ValueError(
                "ASSAY_STATEMENT_TIMEOUT_MS: must be below ASSAY_OPERATION_SECONDS, so that a slow "
                "statement ends before its request does"
            )
        names = [provider.name for provider in self.oidc_providers]
        if len(names) != len(set(names)):
            raise ValueError("ASSAY_OIDC_PROVIDERS: two providers have the same name")
        if self.database_direct_url is not None and self.database_url is None:
            raise ValueError("ASSAY_DATABASE_DIRECT_URL: needs ASSAY_DATABASE_URL beside it")
        self.check_models()
        return self

    @property
    def direct_url(self) -> SecretStr | None:
        """The unpooled address, `None` for the embedded server."""
        return self.database_direct_url or self.database_url

    @property
    def storage_address(self) -> str:
        """Where originals lie."""
        return self.storage_url or (self.data_dir.absolute() / "originals").as_uri()

    @property
    def signing_key_path(self) -> Path:
        """Where the signing keys are, whether or not the file exists yet."""
        return self.signing_key_file or self.data_dir / "keys" / "signing.json"


def load_settings(env_file: Path | None = None, **overrides: object) -> Settings:
    """Read the environment, over `env_file` if it exists; `overrides` (field names) win.

    Raises `SettingsError` with a problem for each bad variable.
    """
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[arg-type]  # overrides are validated
    except ValidationError as error:
        problems = tuple(
            _problem(one["loc"], one["msg"]) for one in error.errors(include_input=False)
        )
    # Outside of the handler: pydantic's error holds the values, secrets among them.
    raise SettingsError(problems)


def _problem(loc: tuple[int | str, ...], message: str) -> SettingProblem:
    advice = message.removeprefix("Value error, ")
    if loc:
        return SettingProblem(PREFIX + str(loc[0]).upper(), advice)
    variable, _, advice = advice.partition(": ")
    return SettingProblem(variable, advice)


def variables() -> dict[str, str]:
    """Every environment variable that is read, with its description, in `.env.example`'s order."""
    parts = (*ModelSettings.model_fields, *EdgeSettings.model_fields)
    own = [name for name in Settings.model_fields if name not in parts]
    fields = Settings.model_fields
    return {PREFIX + name.upper(): fields[name].description or "" for name in (*own, *parts)}


def unknown_variables(environment: Iterable[str], env_file: Path | None = None) -> list[str]:
    """Return the `ASSAY_…` names nobody reads, which are usually misspelt ones, sorted.

    The variables Kubernetes sets for a Service named assay are not among them.
    """
    service = re.compile(r"ASSAY(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
    written = set(environment)
    if env_file is not None and env_file.is_file():
        written |= read_env_file(env_file, case_sensitive=True).keys()
    return sorted(
        name
        for name in written
        if name.startswith(PREFIX) and name not in variables() and not service.fullmatch(name)
    )


def env_example() -> str:
    """Return the text of `.env.example`: every variable, described, at its default."""
    lines = ["# Copy to .env and change what you need. An empty value means the default.", ""]
    for variable, description in variables().items():
        default = Settings.model_fields[variable.removeprefix(PREFIX).lower()].default
        shown = "" if default is None or default == () or variable == "ASSAY_DATA_DIR" else default
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        lines += [f"# {description}", f"{variable}={shown}", ""]
    return "\n".join(lines[:-1]) + "\n"
