"""Embedding models for tests below the API: one embedder under one name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.ports import Embedder, EmbeddingUnavailable


@dataclass(frozen=True)
class NamedEmbedders:
    """The same embedder for passages and for searches, by model."""

    default: str
    models: Mapping[str, Any]

    def documents(self, model: str) -> Embedder:
        """See `Embedders.documents`."""
        if model not in self.models:
            raise EmbeddingUnavailable(f"no {model} here")
        return self.models[model]  # type: ignore[no-any-return]

    def queries(self, model: str) -> Embedder:
        """See `Embedders.queries`."""
        return self.documents(model)

    def provider(self, model: str) -> str:  # noqa: ARG002 - the port's name
        """See `Embedders.provider`."""
        return "offline"


def only(embedder: Any) -> NamedEmbedders:
    """The one model, by its name."""
    return NamedEmbedders(embedder.name, {embedder.name: embedder})
