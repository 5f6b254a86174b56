"""Embeddings of the Gemini API (google-genai)."""

from collections.abc import Sequence
from typing import Final, Literal

import httpx2
from google import genai
from google.genai import errors, types

from agents.models.embedders.remote import (
    INGEST,
    Batching,
    CountTokens,
    Patience,
    ProviderBusy,
    RemoteEmbedder,
)
from agents.ports import EmbeddingUnavailable

Task = Literal["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]

BATCHING: Final = Batching(texts=100, tokens=20_000)
RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})


class GeminiEmbedder(RemoteEmbedder):
    """`gemini:<model>@<dimension>`, a dimension the model can be truncated to: 768 or 1536."""

    def __init__(
        self,
        name: str,
        model: str,
        dimension: int,
        *,
        key: str,
        task: Task,
        count_tokens: CountTokens,
        base_url: str | None = None,
        patience: Patience = INGEST,
    ) -> None:
        super().__init__(name, dimension, count_tokens, BATCHING, patience)
        self._model = model
        self._config = types.EmbedContentConfig(task_type=task, output_dimensionality=dimension)
        # A client of our own: the SDK would take aiohttp, with tries of its own, where it is
        # installed. Its timeout is in milliseconds, and its default API version is v1.
        self._http = httpx2.AsyncClient(timeout=patience.call_seconds)
        self._client = genai.Client(
            api_key=key,
            http_options=types.HttpOptions(
                api_version="v1beta",
                base_url=base_url,
                timeout=int(patience.call_seconds * 1_000),
                httpx_async_client=self._http,
            ),
        )

    async def _call(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        # Each text wrapped: gemini-embedding-2 makes one vector of a list of strings.
        contents: list[types.ContentUnionDict] = [
            types.Content(parts=[types.Part(text=text)]) for text in texts
        ]
        try:
            answer = await self._client.aio.models.embed_content(
                model=self._model, contents=contents, config=self._config
            )
        except errors.APIError as error:
            if error.code in RETRYABLE:
                raise ProviderBusy(f"HTTP {error.code}", _retry_after(error)) from error
            raise EmbeddingUnavailable(
                f"{self.name}: HTTP {error.code} {error.status or ''}; check the model's name and "
                "the key"
            ) from error
        except (httpx2.HTTPError, OSError) as error:
            raise ProviderBusy(f"no connection ({type(error).__name__})") from error
        except ValueError as error:  # pydantic's and json's too
            raise EmbeddingUnavailable(f"{self.name} answered what is no embedding") from error
        return [embedding.values or [] for embedding in answer.embeddings or []]

    async def close(self) -> None:
        """See `RemoteEmbedder.close`."""
        await self._http.aclose()


def _retry_after(error: errors.APIError) -> float | None:
    """Seconds of google.rpc.RetryInfo, which the SDK does not look at."""
    details = error.details if isinstance(error.details, dict) else {}
    inner = details.get("error", details)
    for detail in inner.get("details", []) if isinstance(inner, dict) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                return float(delay[:-1])
            except ValueError:
                return None
    return None
