"""Embeddings with a memory: the rubric's side of a run is embedded once, not once an attempt."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.grading.statistical.segments import pieces
from agents.ports import Embedder

Vectors = NDArray[np.float64]


class TextVectors:
    """Unit vectors of texts from an Embedder, the last `capacity` of them kept."""

    def __init__(self, embedder: Embedder, capacity: int = 10_000) -> None:
        self._embedder = embedder
        self._capacity = capacity
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    async def of(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension). At least one text."""
        known = {text: self._kept[text] for text in texts if text in self._kept}
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing:
            embedded = await self._embedder.embed(missing)
            known.update(zip(missing, embedded, strict=True))
        for text in dict.fromkeys(texts):
            self._kept[text] = known[text]
            self._kept.move_to_end(text)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return np.asarray([known[text] for text in texts], np.float64)

    async def documents(self, texts: Sequence[str]) -> Vectors:
        """One vector a text: the normalised mean of its pieces. At least one text."""
        parts = [pieces(text) for text in texts]
        vectors = await self.of([piece for document in parts for piece in document])
        rows: list[NDArray[np.float64]] = []
        position = 0
        for document in parts:
            rows.append(vectors[position : position + len(document)].mean(axis=0))
            position += len(document)
        means = np.asarray(rows)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(lengths, 1e-9), np.float64)
