"""What this server offers to organizations: models with prices, and who sits where by default."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from agents.models.catalogue import Catalogue, price_on
from agents.models.names import Chain, ModelName


class Hindrance(StrEnum):
    """Why a model is not asked, whoever chose it."""

    NOT_OFFERED = "NOT_OFFERED"
    NO_PRICE = "NO_PRICE"
    NO_KEY = "NO_KEY"
    NOT_APPROVED = "NOT_APPROVED"
    OTHER_REGION = "OTHER_REGION"

    def said_of(self, model: object) -> str:
        """A sentence, with what to do."""
        return _SAID[self].format(model)


_SAID: Mapping[Hindrance, str] = {
    Hindrance.NOT_OFFERED: "{} is not offered here; the operator adds it to ASSAY_MODELS.",
    Hindrance.NO_PRICE: "{} has no price that holds today; the operator adds one to ASSAY_MODELS.",
    Hindrance.NO_KEY: "{} needs a key of its provider, which this server does not have.",
    Hindrance.NOT_APPROVED: "The provider of {} is not approved; an admin does so by "
    "approveProvider.",
    Hindrance.OTHER_REGION: "The provider of {} is approved for another region than it works in.",
}


@dataclass(frozen=True)
class Offering:
    """`seats` are the operator's models by seat, `keyed` the names of models with a key, and
    `monthly_micros` is the budget of an organization that has none of its own."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    seats: Mapping[str, Chain] = field(default_factory=dict)
    keyed: Collection[str] = frozenset()
    monthly_micros: int | None = None

    def hindrance(self, name: ModelName, day: date, regions: Mapping[str, str]) -> Hindrance | None:
        """What keeps a model from being asked; `regions` are of the approved providers."""
        offered = self.catalogue.find(name)
        if offered is None:
            return Hindrance.NOT_OFFERED
        if price_on(offered.prices, day) is None:
            return Hindrance.NO_PRICE
        if str(name) not in self.keyed:
            return Hindrance.NO_KEY
        if name.server not in regions:
            return Hindrance.NOT_APPROVED
        if offered.region not in {None, regions[name.server]}:
            return Hindrance.OTHER_REGION
        return None
