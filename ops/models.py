"""The model gateway of a process, and who sits where by its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pydantic import SecretStr

from agents.models.failures import ModelFailure
from agents.models.gateway import Gateway, GatewayPolicy
from agents.models.names import model_name
from agents.models.providers import Keys, Providers
from agents.seating import Seating
from observability.metrics import Metrics
from ops.model_settings import ModelSettings
from persistence.database import Database
from persistence.limits import open_limits
from resolvers.providers import DatabaseApproval
from resolvers.usage import DatabaseUsage


@asynccontextmanager
async def open_seating(
    settings: ModelSettings, database: Database, redis_url: str | None, metrics: Metrics
) -> AsyncIterator[Seating]:
    """The gateway and the seats; closes its connections at the end."""
    policy = GatewayPolicy(
        seconds=settings.model_seconds,
        output_tokens=settings.model_output_tokens,
        concurrency=settings.model_concurrency,
        provider_per_minute=settings.model_calls_per_minute,
        organization_per_minute=settings.organization_model_calls_per_minute,
    )
    keys = (settings.gemini_api_key, settings.openai_api_key, settings.model_server_key)
    providers = Providers(Keys(*map(_secret, keys)), policy)
    offering = settings.offering()
    async with open_limits(redis_url) as limits:
        gateway = Gateway(
            make=providers.client,
            catalogue=offering.catalogue,
            book=DatabaseUsage(database, settings.currency, offering.monthly_micros),
            limits=limits,
            approval=DatabaseApproval(database),
            metrics=metrics,
            policy=policy,
        )

        def prepare() -> None:
            for one in settings.models:
                with suppress(ModelFailure):  # told to who asks it
                    gateway.provider_client(model_name(one.name))

        try:
            yield Seating(
                gateway,
                settings.study_chains(),
                settings.grading_chains(),
                settings.picture_chains(),
                settings.picture_budget_micros,
                prepare,
            )
        finally:
            await gateway.close()
            await providers.close()


def _secret(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()
