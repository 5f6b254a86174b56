"""Everything a process holds, opened in order and closed in reverse."""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx
from loguru import logger

from agents.grading.statistical.members import OfflineMembers
from agents.grading.team import GradingTeam
from agents.models.embedders.choice import Access, EmbeddingModels
from agents.models.embedding import MiniLM
from agents.models.flows import WEB_SEARCH, DataFlow
from agents.ports import Account, PassageSearch
from agents.seating import Seating
from agents.study.members import offline_members
from agents.study.team import StudyTeam
from observability.metrics import Metrics
from ops.auth import AccessTokens
from ops.embedded_postgres import embedded_postgres
from ops.file_fetching import GuardedFetcher
from ops.file_links import SignedLinks
from ops.files import open_files, reading_limits
from ops.models import open_seating
from ops.settings import Settings
from ops.sign_in.login import PROVIDER_SECONDS, ProviderLogin
from ops.sign_in.passwords import Argon2Passwords
from ops.sign_in.provider_keys import ProviderKeys
from ops.sign_in.provider_tokens import ProviderTokens
from ops.signing_keys import SigningKeys
from ops.web import WebSearches, open_web
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.cache import Cache, MemoryCache, open_cache
from persistence.database import Database, create_database, open_database
from persistence.embeddings import PaidVectors, build_hnsw
from persistence.followers import StreamFollowers, open_followers
from persistence.migrations import migrate
from persistence.visibility import Viewer
from resolvers.context import utc_now
from resolvers.files import Files
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
    embedders: EmbeddingModels
    keys: SigningKeys
    tokens: AccessTokens
    login: ProviderLogin
    provider_tokens: ProviderTokens
    sign_in: SignInResources
    metrics: Metrics
    seating: Seating
    links: SignedLinks
    files: Files
    web: WebSearches | None = None

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

    def flows(self, chosen: Iterable[tuple[str, str]]) -> Sequence[DataFlow]:
        """What leaves the server; `chosen` are roles and models an organization chose."""
        web = () if self.web is None else (WEB_SEARCH,)
        return (*self.seating.flows(chosen), *web)

    async def prepare(self) -> None:
        """Loads what jobs need: for a process that works, before its first.

        Half a second, in which the loop stands still for a tenth (measured).
        """
        self.seating.prepare()
        try:
            await self.embedder.prepare()
        except Exception as e:  # noqa: BLE001 - a file that is missing or broken; jobs tell of it
            logger.opt(exception=e).error("The built-in embedding model was not loaded.")

    def work(self) -> WorkResources:
        """What the worker's handlers are given."""
        members = OfflineMembers(self.embedder)  # shared: what it fits to anchor papers is kept

        def grading_team(search: PassageSearch, account: Account) -> GradingTeam:
            return GradingTeam(self.seating.grading_members(account, members), search)

        def study_team(search: PassageSearch, account: Account) -> StudyTeam:
            seated = self.seating.study_members(account, offline_members(self.embedder))
            return StudyTeam(seated, search, self.embedders.queries(self.embedder.name))

        return WorkResources(
            database=self.database.patient(),
            bus=self.bus,
            embedder=self.embedder,
            embedders=self.embedders,
            grading_team=grading_team,
            study_team=study_team,
            asks_a_provider=self.seating.asks_a_provider,
            summariser=self.seating.summariser,
            currency=self.settings.currency,
            monthly_budget_micros=self.settings.model_budget_micros,
            storage=self.files.storage,
            fetcher=GuardedFetcher(self.files.fetching),
            file_rules=self.files.rules,
            document_limits=reading_limits(self.files.rules, self.settings.picture_pages),
            picture_reader=self.seating.picture_reader,
            replaced_life=timedelta(days=self.settings.replaced_days) or None,
            lease_seconds=self.settings.lease_seconds,
            metrics=self.metrics,
            web_search=self.web,
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
        await prepare_database(settings, dsn)
        yield dsn


def direct_address(settings: Settings, dsn: str) -> str:
    """The address that bypasses a pooler: for LISTEN, jobs and migrations."""
    return dsn if settings.direct_url is None else settings.direct_url.get_secret_value()


def _access_tokens(settings: Settings, keys: SigningKeys) -> AccessTokens:
    lasting = timedelta(seconds=settings.token_ttl_seconds)
    return AccessTokens(keys, settings.token_issuer, settings.token_audience, ttl=lasting)


@asynccontextmanager
async def _open_database(settings: Settings) -> AsyncIterator[Database]:
    async with (
        database_address(settings) as dsn,
        open_database(
            dsn,
            direct_dsn=direct_address(settings, dsn),
            pool_size=settings.pool_size,
            statement_timeout_ms=settings.statement_timeout_ms,
        ) as database,
    ):
        yield database


def _sign_in(settings: Settings, database: Database, bus: Bus) -> SignInResources:
    return SignInResources(
        database=database,
        bus=bus,
        hasher=Argon2Passwords(),
        now=utc_now,
        session_life=timedelta(days=settings.session_days),
        refresh_life=timedelta(days=settings.refresh_days),
    )


async def prepare_database(settings: Settings, dsn: str) -> None:
    """Brings the database to this version, with an index for the model it begins with."""
    await migrate(dsn)
    if settings.embedding_model != MiniLM.name:  # whose index the migrations make
        async with open_database(dsn, pool_size=1) as database:
            await build_hnsw(database, settings.embedding_model)


@asynccontextmanager
async def embedding_models(
    settings: Settings, built_in: MiniLM, database: Database, cache: Cache | None = None
) -> AsyncIterator[EmbeddingModels]:
    """The embedding models the settings give access to; closes what it made at the end."""
    gemini, compatible = settings.embedding_gemini_key, settings.embedding_openai_key
    access = Access(
        gemini_key=gemini.get_secret_value() if gemini else "",
        gemini_url=settings.embedding_gemini_url,
        openai_key=compatible.get_secret_value() if compatible else "",
        openai_url=settings.embedding_openai_url,
    )
    models = EmbeddingModels(
        settings.embedding_model,
        built_in,
        access,
        cache or MemoryCache(),
        PaidVectors(database),
    )
    try:
        yield models
    finally:
        await models.close()


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Opens the database, the bus and the rest; closes them at the end."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_open_database(settings))
        metrics = Metrics()
        metrics.watch_pool(database.in_use, settings.pool_size)
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        bus = await stack.enter_async_context(open_bus(database, redis_url))
        cache = await stack.enter_async_context(open_cache(redis_url, metrics.cache_read))
        followers = await stack.enter_async_context(open_followers(database, bus))
        client = httpx.AsyncClient(timeout=PROVIDER_SECONDS, trust_env=False)
        http = await stack.enter_async_context(client)
        providers = [ProviderKeys(provider, http) for provider in settings.oidc_providers]
        keys = SigningKeys.load_or_create(settings.signing_key_path)
        links = SignedLinks(keys, settings.public_url)
        embedder = stack.enter_context(closing(MiniLM()))
        models = embedding_models(settings, embedder, database.patient(), cache)
        seating = await stack.enter_async_context(
            open_seating(settings, database.patient(), redis_url, metrics)
        )
        yield Resources(
            settings=settings,
            database=database,
            bus=bus,
            followers=followers,
            embedder=embedder,
            embedders=await stack.enter_async_context(models),
            keys=keys,
            tokens=_access_tokens(settings, keys),
            login=ProviderLogin(providers),
            provider_tokens=ProviderTokens(providers, time.time),
            sign_in=_sign_in(settings, database, bus),
            metrics=metrics,
            seating=seating,
            links=links,
            files=open_files(settings, links),
            web=await stack.enter_async_context(open_web(settings, cache)),
        )
