"""The models an operator offers: what they cost from which day on, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agents.models.failures import FailureKind, ModelFailure
from agents.models.names import ModelName, model_name
from agents.models.tokens import CountedUsage

MILLION: Final = 1_000_000


class InputPrice(BaseModel):
    """Micro-units of the price table's currency for a million tokens read, from a day (UTC) on."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    since: date = Field(alias="from")
    source: str | None = Field(None, max_length=200)
    """Where the price was read, and when: a price list, a contract."""
    input: int = Field(ge=0)


class Price(InputPrice):
    """As `InputPrice`, and for a million tokens written."""

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


PriceT = TypeVar("PriceT", bound=InputPrice)


def price_on(prices: Sequence[PriceT], day: date) -> PriceT | None:
    """The one that holds on that day; None before the first."""
    known = [price for price in prices if price.since <= day]
    return max(known, key=lambda price: price.since) if known else None


@dataclass(frozen=True)
class Catalogue:
    """The price table: the models offered, by name, and the one currency of all money here."""

    models: Sequence[OfferedModel] = ()
    currency: str = "USD"

    def find(self, name: ModelName) -> OfferedModel | None:
        """The entry of this model, or None."""
        return next((one for one in self.models if one.name == str(name)), None)

    def price(self, name: ModelName, day: date) -> Price:
        """The price on that day. Raises ModelFailure where there is none: nothing is free by
        accident, and a model that is not offered is not called."""
        offered = self.find(name)
        price = price_on(offered.prices, day) if offered else None
        if price is None:
            raise ModelFailure(FailureKind.UNPRICED, str(name))
        return price
