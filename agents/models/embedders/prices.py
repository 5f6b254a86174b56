"""What embedding costs: prices by day, each with where it was read; the operator's go first."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agents.models.catalogue import InputPrice, price_on
from agents.models.embedders.choice import ModelName
from agents.ports import EmbeddingUnavailable

CURRENCY: Final = "USD"
"""Of the built-in prices. Where the server counts in another, only the operator's hold."""

_PAID: Final = ("gemini", "openai")


class EmbeddingPrices(BaseModel):
    """The prices of one model, `provider:model` without its dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prices: tuple[InputPrice, ...] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        try:
            parsed = ModelName.parse(f"{name}@1")
        except EmbeddingUnavailable:
            parsed = None
        if parsed is None or parsed.provider not in _PAID:
            raise ValueError("write the model as gemini:NAME or openai:NAME, without a dimension")
        return name


def _noted(name: str, input_micros: int) -> EmbeddingPrices:
    source = "the provider's public price list, noted from memory in 2026 and not checked since"
    price = InputPrice(since=date(2026, 1, 1), source=source, input=input_micros)
    return EmbeddingPrices(name=name, prices=(price,))


BUILT_IN: Final = (
    _noted("gemini:gemini-embedding-001", 150_000),
    _noted("gemini:gemini-embedding-2", 200_000),
    _noted("openai:text-embedding-3-small", 20_000),
    _noted("openai:text-embedding-3-large", 130_000),
)


def price_of(
    model: str, day: date, own: Sequence[EmbeddingPrices], currency: str
) -> InputPrice | None:
    """The price of `provider:model@dimension`, in `currency`; None where nobody has written it
    down, and for what runs here. The operator's `own` go before the built-in ones.

    Raises `EmbeddingUnavailable` for what is no name of a model.
    """
    parsed = ModelName.parse(model)
    name = f"{parsed.provider}:{parsed.model}"
    known = (*own, *(BUILT_IN if currency == CURRENCY else ()))
    found = next((one for one in known if one.name == name), None)
    return None if found is None else price_on(found.prices, day)


def is_free(model: str) -> bool:
    """Whether it runs on this machine. Raises `EmbeddingUnavailable`."""
    return ModelName.parse(model).provider not in _PAID
