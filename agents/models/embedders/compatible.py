"""Embeddings of any server that speaks OpenAI's protocol (openai)."""

from collections.abc import Sequence
from typing import Final

import openai

from agents.models.embedders.remote import (
    INGEST,
    Batching,
    CountTokens,
    Patience,
    ProviderBusy,
    RemoteEmbedder,
)
from agents.ports import EmbeddingUnavailable

BATCHING: Final = Batching(texts=256, tokens=100_000)
TRUNCATES: Final = "text-embedding-3"
"""Models of this name take a dimension; others answer in the one they have."""


class CompatibleEmbedder(RemoteEmbedder):
    """`openai:<model>@<dimension>`, at OpenAI or at `base_url`."""

    def __init__(
        self,
        name: str,
        model: str,
        dimension: int,
        *,
        key: str,
        count_tokens: CountTokens,
        base_url: str | None = None,
        patience: Patience = INGEST,
    ) -> None:
        super().__init__(name, dimension, count_tokens, BATCHING, patience)
        self._model = model
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",  # servers of one's own ask for none, the SDK does
            base_url=base_url,
            timeout=patience.call_seconds,
            max_retries=0,
        )

    async def _call(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        dimensions = self.dimension if self._model.startswith(TRUNCATES) else openai.omit
        try:
            answer = await self._client.embeddings.create(
                model=self._model,
                input=list(texts),
                dimensions=dimensions,
                encoding_format="float",
            )
        except openai.APIStatusError as error:
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                raise ProviderBusy(f"HTTP {error.status_code}", _retry_after(error)) from error
            raise EmbeddingUnavailable(
                f"{self.name}: HTTP {error.status_code}; check the model's name and the key"
            ) from error
        except openai.APIConnectionError as error:
            raise ProviderBusy(f"no connection ({type(error).__name__})") from error
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise EmbeddingUnavailable(f"{self.name} answered what is no embedding") from error
        try:
            rows = sorted(answer.data, key=lambda row: row.index)
            return [row.embedding for row in rows]
        except (TypeError, AttributeError) as error:
            raise EmbeddingUnavailable(f"{self.name} answered what is no embedding") from error

    async def close(self) -> None:
        """See `RemoteEmbedder.close`."""
        await self._client.close()


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
