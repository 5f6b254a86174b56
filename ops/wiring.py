"""Everything a process holds, opened in order and closed in reverse."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx

from agents.grading.statistical.members import OfflineMembers
from agents.grading.team import GradingTeam
from agents.models.cached_embedding import CachedEmbedder
from agents.models.embedding import MiniLM
from agents.ports import PassageSearch, WebSearch
from agents.study.members import offline_members
from agents.study.team import StudyTeam
from agents.web.domains import DomainPolicy
from agents.web.search import CachedSearch, Quota
from agents.web.tavily import AsyncTavilyClient, TavilySearch, open_tavily
from observability.metrics import Metrics
from ops.auth import AccessTokens
from ops.embedded_postgres import embedded_postgres
from ops.settings import Settings
from ops.sign_in.login import PROVIDER_SECONDS, ProviderLogin
from ops.sign_in.passwords import Argon2Passwords
from ops.sign_in.provider_keys import ProviderKeys
from ops.sign_in.provider_tokens import ProviderTokens
from ops.signing_keys import SigningKeys
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.cache import Cache, open_cache
from persistence.database import Database, create_database, open_database
from persistence.followers import StreamFollowers, open_followers
from persistence.migrations import migrate
from persistence.visibility import Viewer
from resolvers.context import utc_now
from resolvers.sign_in import SignInResources
from resolvers.work import WorkResources

EMBEDDED_DATABASE = "assay"


@dataclass(frozen=True)
class Resources:
    """What the api and the worker of one process share."""

    settings: Settings
    database: Database
    bus: Bus
    followers: StreamFollowers
    embedder: MiniLM
    query_embedder: CachedEmbedder
    keys: SigningKeys
    tokens: AccessTokens
    login: ProviderLogin
    provider_tokens: ProviderTokens
    sign_in: SignInResources
    metrics: Metrics
    cache: Cache
    tavily: AsyncTavilyClient | None = None

    def issue_token(self, user_id: UUID, organization_id: UUID, seconds: int) -> str:
        """An access token made on the command line, of up to 12 hours."""
        return self.tokens.issue_token(
            user_id, organization_id, timedelta(seconds=seconds), long_lived=True
        )

    def issue_access(self, viewer: Viewer, user_id: UUID, seconds: int) -> str:
        """A token with which the viewer acts as the person, in the viewer's own session."""
        return self.tokens.issue_token(
            user_id,
            viewer.organization_id,
            timedelta(seconds=seconds),
            session_id=viewer.session_id,
            real_user_id=viewer.user_id,
        )

    def work(self) -> WorkResources:
        """What the worker's handlers are given."""

        members = OfflineMembers(self.embedder)  # shared: what it fits to anchor papers is kept

        def grading_team(search: PassageSearch) -> GradingTeam:
            return GradingTeam(members, search)

        def study_team(search: PassageSearch) -> StudyTeam:
            return StudyTeam(offline_members(self.embedder), search, self.query_embedder)

        web_search = None
        if self.tavily is not None:
            web_search = _web_search(self.tavily, self.settings.tavily_price_micros, self.cache)
        return WorkResources(
            database=self.database,
            bus=self.bus,
            embedder=self.embedder,
            query_embedder=self.query_embedder,
            embedding_model=self.embedder.name,
            grading_team=grading_team,
            study_team=study_team,
            lease_seconds=self.settings.lease_seconds,
            metrics=self.metrics,
            web_search=web_search,
            web_searches_a_day=self.settings.web_searches_a_day,
            grading_concurrency=self.settings.worker_concurrency,
        )


@asynccontextmanager
async def database_address(settings: Settings) -> AsyncIterator[str]:
    """The configured database's address, or that of the embedded one, started and migrated."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded_postgres(settings.data_dir) as server:
        await create_database(server.dsn("postgres"), EMBEDDED_DATABASE)
        dsn = server.dsn(EMBEDDED_DATABASE)
        await migrate(dsn)
        yield dsn


def direct_address(settings: Settings, dsn: str) -> str:
    """The address that bypasses a pooler: for LISTEN, jobs and migrations."""
    return dsn if settings.direct_url is None else settings.direct_url.get_secret_value()


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Opens the database, the bus and the rest; closes them at the end."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database_address(settings))
        database = await stack.enter_async_context(
            open_database(
                dsn,
                direct_dsn=direct_address(settings, dsn),
                pool_size=settings.pool_size,
                statement_timeout_ms=settings.statement_timeout_ms,
            )
        )
        metrics = Metrics()
        metrics.watch_pool(database.in_use, settings.pool_size)
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        bus = await stack.enter_async_context(open_bus(database, redis_url))
        cache = await stack.enter_async_context(open_cache(redis_url, metrics.cache_read))
        followers = await stack.enter_async_context(open_followers(database, bus))
        http = httpx.AsyncClient(timeout=PROVIDER_SECONDS, trust_env=False)
        await stack.enter_async_context(http)
        providers = [ProviderKeys(provider, http) for provider in settings.oidc_providers]
        keys = SigningKeys.load_or_create(settings.signing_key_path)
        tavily = await stack.enter_async_context(_tavily(settings))
        embedder = MiniLM()
        stack.callback(embedder.close)
        yield Resources(
            settings=settings,
            database=database,
            bus=bus,
            followers=followers,
            embedder=embedder,
            query_embedder=CachedEmbedder(embedder, embedder.name, embedder.dimension, cache),
            keys=keys,
            tokens=AccessTokens(
                keys,
                settings.token_issuer,
                settings.token_audience,
                ttl=timedelta(seconds=settings.token_ttl_seconds),
            ),
            login=ProviderLogin(providers),
            provider_tokens=ProviderTokens(providers, time.time),
            sign_in=_sign_in(settings, database, bus),
            metrics=metrics,
            cache=cache,
            tavily=tavily,
        )


@asynccontextmanager
async def _tavily(settings: Settings) -> AsyncIterator[AsyncTavilyClient | None]:
    """The web search's client; None without a key."""
    key = settings.tavily_api_key.get_secret_value() if settings.tavily_api_key else ""
    if not key:
        yield None
        return
    async with open_tavily(key, settings.tavily_url) as client:
        yield client


def _web_search(
    client: AsyncTavilyClient, price_micros: int, cache: Cache
) -> Callable[[DomainPolicy, Quota], WebSearch]:
    def search(policy: DomainPolicy, quota: Quota) -> WebSearch:
        return CachedSearch(TavilySearch(client, policy, price_micros), cache, quota)

    return search


def _sign_in(settings: Settings, database: Database, bus: Bus) -> SignInResources:
    return SignInResources(
        database=database,
        bus=bus,
        hasher=Argon2Passwords(),
        now=utc_now,
        session_life=timedelta(days=settings.session_days),
        refresh_life=timedelta(days=settings.refresh_days),
    )
