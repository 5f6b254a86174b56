"""Settings of the models: which are offered, who sits where, keys, budgets and limits."""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, Field, SecretStr

from agents.models.catalogue import Catalogue, OfferedModel
from agents.models.embedders.prices import EmbeddingPrices
from agents.models.names import (
    DOCUMENT_ROLES,
    GRADING_ROLES,
    STUDY_ROLES,
    Chain,
    ModelName,
    chains,
    model_name,
)
from agents.models.offering import Offering


class ModelSettings(BaseModel):
    """The part of `Settings` that concerns language models."""

    currency: str = Field(
        "USD",
        pattern=r"^[A-Z]{3}$",
        description="Currency of all prices, budgets and costs, as an ISO 4217 code.",
    )
    models: tuple[OfferedModel, ...] = Field(
        (),
        description="Models that may be asked, a JSON list: name (gemini:NAME, openai:NAME or "
        "openai:NAME@https://host/v1), prices (from: a day; source: where it was read; input, "
        "output, cached: micro-units for a million tokens), region, retention. No other is asked.",
    )
    embedding_prices: tuple[EmbeddingPrices, ...] = Field(
        (),
        description="Prices of embedding models, instead of the built-in ones, as in ASSAY_MODELS "
        "but for output: a JSON list of name (gemini:NAME or openai:NAME) and prices (from, "
        "source, input).",
    )
    study_models: str = Field(
        "offline",
        description="Who answers students: a model, or role=model for planner, tutor, critic and "
        "summariser, separated by commas; > separates a model from the one asked when it fails.",
    )
    grading_models: str = Field(
        "offline",
        description="Who grades, as ASSAY_STUDY_MODELS, for grader_a, grader_b, arbiter, feedback.",
    )
    picture_models: str = Field(
        "offline",
        description="Who reads pictures and scanned pages of documents: a model that sees, > as in "
        "ASSAY_STUDY_MODELS. offline: nobody, and such documents end as NO_TEXT.",
    )
    picture_pages: int = Field(
        50, ge=1, le=500, description="Pictures and scanned pages that are read of one document."
    )
    picture_budget_micros: int = Field(
        2_000_000,
        ge=0,
        description="What reading the pictures of one document may cost, in micro-units.",
    )
    gemini_api_key: SecretStr | None = Field(None, description="Key of the Gemini API.")
    openai_api_key: SecretStr | None = Field(None, description="Key of OpenAI's own API.")
    model_server_key: SecretStr | None = Field(
        None, description="Key of the servers that models name by their address. Empty: none."
    )
    model_budget_micros: int | None = Field(
        None,
        ge=0,
        description="What an organization may spend on models in a month (UTC), in micro-units of "
        "the currency of the prices. Empty: no limit.",
    )
    model_seconds: float = Field(
        120.0, gt=0, le=3_600, description="Longest time of a model call, with all its tries."
    )
    model_output_tokens: int = Field(
        8_192, ge=256, le=200_000, description="Longest answer of a model, in tokens."
    )
    model_concurrency: int = Field(
        200, ge=1, le=5_000, description="Most model calls of a process at once, to each server."
    )
    model_calls_per_minute: int | None = Field(
        None, ge=1, description="Model calls of all processes to one server. Empty: no limit."
    )
    organization_model_calls_per_minute: int | None = Field(
        None, ge=1, description="Model calls of one organization. Empty: no limit."
    )

    def study_chains(self) -> Mapping[str, Chain]:
        """The models of each study role. Raises ValueError."""
        return chains(self.study_models, STUDY_ROLES)

    def grading_chains(self) -> Mapping[str, Chain]:
        """The models of each grading role. Raises ValueError."""
        return chains(self.grading_models, GRADING_ROLES)

    def picture_chains(self) -> Mapping[str, Chain]:
        """The models of who reads pictures. Raises ValueError."""
        return chains(self.picture_models, DOCUMENT_ROLES)

    def offering(self) -> Offering:
        """What organizations choose among. Raises ValueError."""
        return Offering(
            Catalogue(self.models, self.currency),
            {**self.study_chains(), **self.grading_chains(), **self.picture_chains()},
            frozenset(one.name for one in self.models if self._has_key(model_name(one.name))),
            self.model_budget_micros,
        )

    def _has_key(self, name: ModelName) -> bool:
        if name.base_url is None:
            return getattr(self, f"{name.provider}_api_key") is not None
        return name.provider != "gemini" or self.model_server_key is not None

    def check_models(self) -> None:
        """Raises ValueError that names the variable where a model has no entry or no key."""
        for variable, read in (
            ("ASSAY_STUDY_MODELS", self.study_chains),
            ("ASSAY_GRADING_MODELS", self.grading_chains),
            ("ASSAY_PICTURE_MODELS", self.picture_chains),
        ):
            try:
                seated = read()
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from None
            self._check(variable, seated.values())

    def _check(self, variable: str, seated: Iterable[Chain]) -> None:
        offered = {one.name for one in self.models}
        for name in (name for chain in seated for name in chain):
            if str(name) not in offered:
                raise ValueError(
                    f"{variable}: {name} needs an entry with its price in ASSAY_MODELS"
                )
            if not self._has_key(name):
                key = f"{name.provider}_api_key" if name.base_url is None else "model_server_key"
                raise ValueError(f"ASSAY_{key.upper()}: {name} of {variable} needs it")
