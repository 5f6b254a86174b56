"""Embeddings that were made before: of searches for a day, of passages for good."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agents.ports import Embedder

Vectors: TypeAlias = Mapping[bytes, NDArray[np.float32]]

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
        normal = [_normal(text) for text in texts]
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


class KeptVectors(Protocol):
    """Where paid vectors are kept: by model and SHA-256 of the normalised text."""

    async def get(self, model: str, digests: Sequence[bytes]) -> Vectors:
        """The vectors there are."""
        ...

    async def put(self, model: str, vectors: Vectors) -> None:
        """Keeps them."""
        ...


@dataclass(frozen=True)
class PaidEmbedder:
    """An `Embedder` that pays for the same text once, whoever's it is: only vectors are shared."""

    embedder: Embedder
    name: str
    kept: KeptVectors

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`. Kept vectors have half precision, as the index has."""
        digests = [_digest(text) for text in texts]
        found = dict(await self.kept.get(self.name, list(set(digests))))
        missing: dict[bytes, str] = {}
        for digest, text in zip(digests, texts, strict=True):
            if digest not in found:
                missing.setdefault(digest, text)
        if missing:
            made = await self.embedder.embed(list(missing.values()))
            new = dict(zip(missing, made, strict=True))
            await self.kept.put(self.name, new)
            found |= new
        if not texts:
            return await self.embedder.embed(texts)
        return np.stack([found[digest] for digest in digests])


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _digest(text: str) -> bytes:
    return hashlib.sha256(_normal(text).encode("utf-8", "surrogatepass")).digest()
