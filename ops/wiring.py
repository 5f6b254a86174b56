"""Everything a process holds, opened in order and closed in reverse."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import httpx
from pydantic import SecretStr

from agents.grading.statistical.members import OfflineMembers
from agents.grading.team import GradingTeam
from agents.models.cached_embedding import CachedEmbedder
from agents.models.embedding import MiniLM
from agents.ports import Account, PassageSearch
from agents.seating import Seating
from agents.study.members import offline_members
from agents.study.team import StudyTeam
from observability.metrics import Metrics
from ops.auth import AccessTokens
from ops.embedded_postgres import embedded_postgres
from ops.file_fetching import GuardedFetcher
from ops.file_links import SignedLinks
from ops.models import open_seating
from ops.settings import Settings
from ops.sign_in.login import PROVIDER_SECONDS, ProviderLogin
from ops.sign_in.passwords import Argon2Passwords
from ops.sign_in.provider_keys import ProviderKeys
from ops.sign_in.provider_tokens import ProviderTokens
from ops.signing_keys import SigningKeys
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.cache import open_cache
from persistence.database import Database, create_database, open_database
from persistence.followers import StreamFollowers, open_followers
from persistence.migrations import migrate
from persistence.objects import open_storage
from persistence.visibility import Viewer
from resolvers.context import utc_now
from resolvers.fetching import FetchRules
from resolvers.files import FileRules, Files
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
    seating: Seating
    links: SignedLinks
    files: Files

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

        self.seating.prepare()
        members = OfflineMembers(self.embedder)  # shared: what it fits to anchor papers is kept

        def grading_team(search: PassageSearch, account: Account) -> GradingTeam:
            return GradingTeam(self.seating.grading_members(account, members), search)

        def study_team(search: PassageSearch, account: Account) -> StudyTeam:
            seated = self.seating.study_members(account, offline_members(self.embedder))
            return StudyTeam(seated, search, self.embedder)

        return WorkResources(
            database=self.database,
            bus=self.bus,
            embedder=self.embedder,
            query_embedder=self.query_embedder,
            embedding_model=self.embedder.name,
            grading_team=grading_team,
            study_team=study_team,
            asks_a_provider=self.seating.asks_a_provider,
            storage=self.files.storage,
            fetcher=GuardedFetcher(self.files.fetching),
            document_bytes=self.files.rules.document_bytes,
            replaced_life=timedelta(days=self.settings.replaced_days) or None,
            lease_seconds=self.settings.lease_seconds,
            metrics=self.metrics,
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


def _access_tokens(settings: Settings, keys: SigningKeys) -> AccessTokens:
    lasting = timedelta(seconds=settings.token_ttl_seconds)
    return AccessTokens(keys, settings.token_issuer, settings.token_audience, ttl=lasting)


def open_files(settings: Settings, links: SignedLinks) -> Files:
    """The storage of files and how much may come into it."""
    storage = open_storage(
        settings.storage_address,
        endpoint=settings.storage_endpoint,
        region=settings.storage_region,
        access_key=_plain(settings.storage_access_key),
        secret_key=_plain(settings.storage_secret_key),
    )
    return Files(storage, links, file_rules(settings), fetch_rules(settings))


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def fetch_rules(settings: Settings) -> FetchRules:
    """What may be fetched, as configured."""
    networks = tuple(ip_network(one) for one in settings.fetch_networks)
    return FetchRules(settings.fetch_hosts, settings.fetch_http, networks)


def file_rules(settings: Settings) -> FileRules:
    """How much may come, as configured."""
    return FileRules(
        multipart_bytes=settings.upload_bytes,
        document_bytes=settings.document_bytes,
        import_bytes=settings.import_bytes,
        upload_life=timedelta(hours=settings.upload_hours),
        open_uploads=settings.open_uploads,
        waiting_documents=settings.waiting_documents,
        course_bytes=settings.course_bytes,
        organization_bytes=settings.organization_bytes,
    )


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
        http = httpx.AsyncClient(timeout=PROVIDER_SECONDS, trust_env=False)
        await stack.enter_async_context(http)
        providers = [ProviderKeys(provider, http) for provider in settings.oidc_providers]
        keys = SigningKeys.load_or_create(settings.signing_key_path)
        links = SignedLinks(keys, settings.public_url)
        embedder = MiniLM()
        stack.callback(embedder.close)
        seating = await stack.enter_async_context(
            open_seating(settings, database, redis_url, metrics)
        )
        yield Resources(
            settings=settings,
            database=database,
            bus=bus,
            followers=followers,
            embedder=embedder,
            query_embedder=CachedEmbedder(embedder, embedder.name, embedder.dimension, cache),
            keys=keys,
            tokens=_access_tokens(settings, keys),
            login=ProviderLogin(providers),
            provider_tokens=ProviderTokens(providers, time.time),
            sign_in=_sign_in(settings, database, bus),
            metrics=metrics,
            seating=seating,
            links=links,
            files=open_files(settings, links),
        )
