"""What embedders behind a network share: batches by tokens, tries, and a check of every answer."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.ports import EmbeddingUnavailable

Vectors = NDArray[np.float32]
CountTokens = Callable[[str], int]

SHORTEST_NORM = 1e-6


class ProviderBusy(Exception):
    """The provider may answer the same call later: a limit, a fault of its own, a lost line."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller waits: for one call, and over all tries of it, in seconds."""

    call_seconds: float = 30.0
    total_seconds: float = 120.0
    tries: int = 6
    first_pause: float = 0.5


INGEST = Patience()
SEARCH = Patience(call_seconds=4.0, total_seconds=6.0, tries=2, first_pause=0.1)
"""Somebody waits for a search, within `ASSAY_OPERATION_SECONDS`."""


@dataclass(frozen=True, slots=True)
class Batching:
    """The most a provider takes in one call."""

    texts: int
    tokens: int


class RemoteEmbedder(ABC):
    """An `Embedder` over a provider's API. `name` is `provider:model@dimension`."""

    def __init__(
        self,
        name: str,
        dimension: int,
        count_tokens: CountTokens,
        batching: Batching,
        patience: Patience = INGEST,
    ) -> None:
        self.name, self.dimension = name, dimension
        self._count_tokens, self._batching, self._patience = count_tokens, batching, patience

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension), rows of length 1 in the order of `texts`.

        An answer with another count or dimension, with a value that is no number, or with a vector
        without length is refused, never stored. Raises EmbeddingUnavailable.
        """
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for start, batch in self._batches(texts):
            rows[start : start + len(batch)] = self._checked(await self._patiently(batch), batch)
        return rows

    @abstractmethod
    async def _call(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One call. Raises ProviderBusy and EmbeddingUnavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Closes its connections."""

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        start, batch, tokens = 0, list[str](), 0
        for text in texts:
            # An empty text is refused by the providers.
            sent = text.encode("utf-8", "replace").decode("utf-8") if text.strip() else "."
            size = self._count_tokens(sent)
            full = len(batch) >= self._batching.texts or tokens + size > self._batching.tokens
            if batch and full:
                yield start, batch
                start, batch, tokens = start + len(batch), [], 0
            batch.append(sent)
            tokens += size
        if batch:
            yield start, batch

    async def _patiently(self, batch: Sequence[str]) -> Sequence[Sequence[float]]:
        patience, loop = self._patience, asyncio.get_running_loop()
        deadline = loop.time() + patience.total_seconds
        for attempt in range(1, patience.tries + 1):
            try:
                async with asyncio.timeout(patience.call_seconds):
                    return await self._call(batch)
            except TimeoutError:
                busy = ProviderBusy(f"no answer within {patience.call_seconds:g} s")
            except ProviderBusy as error:
                busy = error
            pause = patience.first_pause * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)
            pause = max(pause, busy.retry_after or 0.0)
            if attempt == patience.tries or loop.time() + pause >= deadline:
                break
            await asyncio.sleep(pause)
        raise EmbeddingUnavailable(f"{self.name}: {busy}; try again later") from busy

    def _checked(self, answer: Sequence[Sequence[float]], batch: Sequence[str]) -> Vectors:
        if len(answer) != len(batch):
            raise EmbeddingUnavailable(
                f"{self.name} answered {len(batch)} texts with {len(answer)} vectors"
            )
        if any(len(vector) != self.dimension for vector in answer):
            found = sorted({len(vector) for vector in answer})
            raise EmbeddingUnavailable(f"{self.name} answered in {found} dimensions")
        try:
            vectors = np.asarray(answer, np.float32)
        except (TypeError, ValueError) as error:
            raise EmbeddingUnavailable(f"{self.name} answered what are no numbers") from error
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or (norms < SHORTEST_NORM).any():
            raise EmbeddingUnavailable(f"{self.name} answered a vector that has no direction")
        unit: Vectors = vectors / norms  # truncated vectors come shorter than 1
        return unit
