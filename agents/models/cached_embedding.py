"""Embeddings of search queries, which come again: each criterion for each submission."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from agents.ports import Embedder

KEPT_SECONDS: Final = 86_400.0
_NAMESPACE: Final = "query"


class ByteCache(Protocol):
    """Where vectors are kept; it may lose them, and what it returns is not trusted."""

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def set(self, namespace: str, key: str, value: bytes, seconds: float) -> None:
        """Keeps it for at most `seconds`."""
        ...


@dataclass(frozen=True)
class CachedEmbedder:
    """An `Embedder` that asks `embedder`, the model `name`, only for texts it has no vector of.

    A vector is kept for a day under a digest of the model's name and the normalised text, as
    `dimension` little-endian float32. What is no unit vector of that shape is computed anew.
    """

    embedder: Embedder
    name: str
    dimension: int
    cache: ByteCache

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`. Texts that differ in white space or Unicode form only are equal."""
        normal = [" ".join(unicodedata.normalize("NFC", text).split()) for text in texts]
        vectors = {text: await self._known(text) for text in dict.fromkeys(normal)}
        missing = [text for text, vector in vectors.items() if vector is None]
        if missing:
            for text, vector in zip(missing, await self.embedder.embed(missing), strict=True):
                vectors[text] = vector
                value = np.asarray(vector, "<f4").tobytes()
                await self.cache.set(_NAMESPACE, self._key(text), value, KEPT_SECONDS)
        rows = np.zeros((len(normal), self.dimension), np.float32)
        for row, text in enumerate(normal):
            rows[row] = vectors[text]
        return rows

    async def _known(self, text: str) -> NDArray[np.float32] | None:
        value = await self.cache.get(_NAMESPACE, self._key(text))
        if value is None or len(value) != 4 * self.dimension:
            return None
        vector = np.frombuffer(value, "<f4")
        return vector if abs(np.linalg.norm(vector) - 1) < 1e-3 else None  # nor is NaN

    def _key(self, text: str) -> str:
        content = f"{self.name}\0{text}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(content).hexdigest()
