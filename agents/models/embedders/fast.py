"""Local models by fastembed, an extra: `pip install assay[fastembed]`."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.ports import EmbeddingUnavailable


class FastEmbedder:
    """`fastembed:<model>@<dimension>`; runs in a thread of its own, loaded at the first text.

    The model's files are fetched by fastembed unless they are in its cache folder.
    """

    def __init__(self, name: str, model: str, dimension: int, *, query: bool) -> None:
        self.name, self.dimension = name, dimension
        self._model_name, self._query = model, query
        self._model: Any = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastembed")

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dimension), rows of length 1. Raises EmbeddingUnavailable."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._run, list(texts))

    async def close(self) -> None:
        """Drops what is queued."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, texts: list[str]) -> NDArray[np.float32]:
        model = self._loaded()
        made = model.query_embed(texts) if self._query else model.passage_embed(texts)
        vectors = np.asarray(list(made), np.float32)
        if vectors.shape != (len(texts), self.dimension):
            raise EmbeddingUnavailable(
                f"{self.name} answered {len(texts)} texts in the shape {vectors.shape}"
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise EmbeddingUnavailable(f"{self.name} answered a vector that has no direction")
        unit: NDArray[np.float32] = vectors / norms
        return unit

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                fastembed = import_module("fastembed")
            except ImportError as error:
                raise EmbeddingUnavailable(
                    f"{self.name} needs the extra: pip install 'assay[fastembed]'"
                ) from error
            try:
                self._model = fastembed.TextEmbedding(self._model_name)
            except Exception as error:  # its own errors, and those of its downloads
                raise EmbeddingUnavailable(f"{self.name} cannot be loaded: {error}") from error
        return self._model
