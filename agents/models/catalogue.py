"""The models an operator offers: what they cost from which day on, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agents.models.failures import FailureKind, ModelFailure
from agents.models.names import ModelName, model_name
from agents.models.tokens import CountedUsage

MILLION: Final = 1_000_000


class Price(BaseModel):
    """Micro-units of the currency for a million tokens, from a day (UTC) on."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    since: date = Field(alias="from")
    input: int = Field(ge=0)
    output: int = Field(ge=0)
    cached: int | None = Field(None, ge=0)
    """For input the provider had cached; None: as any other."""

    def cost(self, usage: CountedUsage) -> int:
        """Micro-units, rounded up."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        per_cached = self.input if self.cached is None else self.cached
        total = (
            (usage.prompt_tokens - cached) * self.input
            + cached * per_cached
            + usage.completion_tokens * self.output
        )
        return -(-total // MILLION)


class OfferedModel(BaseModel):
    """A model that may be called. Region and retention are what the contract with its provider
    says; empty where nobody has written it down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prices: tuple[Price, ...] = Field(min_length=1)
    region: str | None = None
    retention: str | None = None

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        return str(model_name(name))


@dataclass(frozen=True)
class Catalogue:
    """The models offered, by name."""

    models: Sequence[OfferedModel] = ()

    def find(self, name: ModelName) -> OfferedModel | None:
        """The entry of this model, or None."""
        return next((one for one in self.models if one.name == str(name)), None)

    def price(self, name: ModelName, day: date) -> Price:
        """The price on that day. Raises ModelFailure where there is none: nothing is free by
        accident, and a model that is not offered is not called."""
        offered = self.find(name)
        known = [p for p in offered.prices if p.since <= day] if offered else []
        if not known:
            raise ModelFailure(FailureKind.UNPRICED, str(name))
        return max(known, key=lambda price: price.since)
