"""The embedding models by name: `provider:model@dimension`, made when they are first asked for."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agents.models.cached_embedding import ByteCache, CachedEmbedder, KeptVectors, PaidEmbedder
from agents.models.embedders.compatible import CompatibleEmbedder
from agents.models.embedders.fast import FastEmbedder
from agents.models.embedders.gemini import GeminiEmbedder
from agents.models.embedders.remote import INGEST, SEARCH
from agents.models.embedding import MiniLM
from agents.models.names import OFFLINE
from agents.ports import Embedder, EmbeddingUnavailable

PROVIDERS: Final = ("embedded", "gemini", "openai", "fastembed")
LARGEST_DIMENSION: Final = 3_072

Use: TypeAlias = Literal["document", "query"]
Made: TypeAlias = GeminiEmbedder | CompatibleEmbedder | FastEmbedder


@dataclass(frozen=True, slots=True)
class ModelName:
    """A parsed name."""

    provider: str
    model: str
    dimension: int

    @classmethod
    def parse(cls, name: str) -> "ModelName":
        """Raises EmbeddingUnavailable, which says how a name is written."""
        found = re.fullmatch(r"([a-z]+):([A-Za-z0-9_.:/+-]{1,100})@([0-9]{1,4})", name)
        if found is None or found[1] not in PROVIDERS:
            raise EmbeddingUnavailable(
                f"{name!r} is no embedding model: write provider:model@dimension, such as "
                f"gemini:gemini-embedding-001@768, with a provider of {', '.join(PROVIDERS)}"
            )
        dimension = int(found[3])
        if not 1 <= dimension <= LARGEST_DIMENSION:
            raise EmbeddingUnavailable(
                f"{name!r}: the dimension must be between 1 and {LARGEST_DIMENSION:,}"
            )
        return cls(found[1], found[2], dimension)


@dataclass(frozen=True, slots=True)
class Access:
    """How the providers are reached; an empty key is none, an empty address the provider's own."""

    gemini_key: str = field(default="", repr=False)
    gemini_url: str = ""
    openai_key: str = field(default="", repr=False)
    openai_url: str = ""


class EmbeddingModels:
    """Implements `agents.ports.Embedders`. Close it at the end; the built-in model is not its own.

    Paid vectors of passages are kept in `kept`, those of searches for a day in `cache`.
    """

    def __init__(
        self,
        default: str,
        built_in: MiniLM,
        access: Access,
        cache: ByteCache,
        kept: KeptVectors,
    ) -> None:
        self.default = default
        self._built_in, self._access, self._cache, self._kept = built_in, access, cache, kept
        self._made: dict[tuple[str, Use], Made] = {}

    def documents(self, model: str) -> Embedder:
        """See `Embedders.documents`."""
        if model == self._built_in.name:
            return self._built_in
        made = self._one(model, "document")
        return made if isinstance(made, FastEmbedder) else PaidEmbedder(made, model, self._kept)

    def queries(self, model: str) -> Embedder:
        """See `Embedders.queries`."""
        built_in = model == self._built_in.name
        made: Embedder = self._built_in if built_in else self._one(model, "query")
        return CachedEmbedder(made, model, ModelName.parse(model).dimension, self._cache)

    def provider(self, model: str) -> str:
        """See `Embedders.provider`. One with an address of its own is named with it."""
        provider = ModelName.parse(model).provider
        if provider not in ("gemini", "openai"):
            return OFFLINE
        given = self._access.gemini_url if provider == "gemini" else self._access.openai_url
        return f"{provider}@{given}" if given else provider

    async def close(self) -> None:
        """Closes what was made."""
        for made in self._made.values():
            await made.close()

    def _one(self, name: str, use: Use) -> Made:
        if (name, use) not in self._made:
            self._made[name, use] = self._make(name, use)
        return self._made[name, use]

    def _make(self, name: str, use: Use) -> Made:
        parsed, access = ModelName.parse(name), self._access
        patience = SEARCH if use == "query" else INGEST
        if parsed.provider == "gemini":
            if not access.gemini_key:
                raise EmbeddingUnavailable(f"{name} needs ASSAY_EMBEDDING_GEMINI_KEY")
            return GeminiEmbedder(
                name,
                parsed.model,
                parsed.dimension,
                key=access.gemini_key,
                base_url=access.gemini_url or None,
                task="RETRIEVAL_QUERY" if use == "query" else "RETRIEVAL_DOCUMENT",
                count_tokens=self._built_in.count_tokens,
                patience=patience,
            )
        if parsed.provider == "openai":
            if not access.openai_key and not access.openai_url:
                raise EmbeddingUnavailable(
                    f"{name} needs ASSAY_EMBEDDING_OPENAI_KEY or ASSAY_EMBEDDING_OPENAI_URL"
                )
            return CompatibleEmbedder(
                name,
                parsed.model,
                parsed.dimension,
                key=access.openai_key,
                base_url=access.openai_url or None,
                count_tokens=self._built_in.count_tokens,
                patience=patience,
            )
        if parsed.provider == "fastembed":
            return FastEmbedder(name, parsed.model, parsed.dimension, query=use == "query")
        raise EmbeddingUnavailable(f"{name}: the embedded model is {self._built_in.name}")
