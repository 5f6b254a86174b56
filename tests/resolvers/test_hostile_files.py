"""Each hostile file ends in a state with a reason, after one try, and leaves the worker as it was.

`pytest -s` prints the table.
"""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
import ctypes
import gc
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agents.documents.extracted import ExtractionCode, ExtractionFailure, Limits
from agents.documents.reading import read_file
from resolvers.documents_work import ingest_document
from resolvers.refusals import Refusal
from tests.agents.documents.crafted import CRAFTED
from tests.agents.documents.hostile import HOSTILE, WORDS, Hostile, sparse
from tests.embedders import NamedEmbedders
from tests.resolvers.test_documents_work import chunks, document
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

MOST_GROWTH = 150_000_000
PARTS = 8
ALL = (*HOSTILE, *CRAFTED)


class Quick:
    """Counts tokens as four letters and embeds to one point: what is tested comes before."""

    def count_tokens(self, text: str) -> int:
        return 2 + len(text) // 4

    async def embed(self, texts: Any) -> Any:
        vectors = np.zeros((len(texts), 384), np.float32)
        vectors[:, 0] = 1
        return vectors


@dataclass
class Server:
    """Counts who connects."""

    address: str
    asked: int = 0


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that must not be asked."""
    made = Server("")

    async def count_one(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.asked += 1
        writer.close()

    listening = await asyncio.start_server(count_one, "127.0.0.1", 0)
    made.address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x"
    async with listening:
        yield made


@pytest.mark.parametrize("part", range(PARTS))
async def test_each_ends_in_a_state_with_a_reason(
    study_world: StudyWorld, server: Server, part: int
) -> None:
    wrong = []
    for hostile in ALL[part::PARTS]:
        data = await asyncio.to_thread(hostile.make, server.address)
        size = len(data)
        before, started = memory(), time.perf_counter()
        state, code = await outcome(study_world, hostile, data)
        del data
        seconds, grown = time.perf_counter() - started, memory() - before
        sys.stdout.write(
            f"\n{hostile.what:36} {size / 1e6:8.2f} MB  {state:8} {code or '-':16}"
            f" {seconds:5.1f} s  RSS {grown / 1e6:+7.1f} MB"
        )
        expected = hostile.state, hostile.code
        if (state, code) != expected or server.asked or grown > MOST_GROWTH or readers():
            wrong.append((hostile.what, (state, code), expected, server.asked, grown, readers()))
    assert wrong == []


async def outcome(world: StudyWorld, hostile: Hostile, data: bytes) -> tuple[str, str | None]:
    """What became of it."""
    try:
        key = await world.upload(hostile.file_name, data)
    except Refusal as refusal:
        return "REFUSED", refusal.code
    work = world.work()
    object.__setattr__(work, "embedder", Quick())
    name = world.embedder.name
    object.__setattr__(work, "embedders", NamedEmbedders(name, {name: Quick()}))
    object.__setattr__(work, "document_limits", Limits(**hostile.limits))
    await ingest_document(work, key)
    row = await document(world, key)
    assert row is not None
    assert row.fence == 1
    if row.state == "READY":
        text = "\n".join(chunk.text for chunk in await chunks(world, key))
        assert hostile.holds.strip() in text
        assert hostile.lacks not in text
        assert row.failure is None
    else:
        assert row.failure
        assert row.failure["message"].endswith(".")
        assert row.failure["advice"].endswith(".")
        assert await chunks(world, key) == []
    return row.state, (row.failure or {}).get("code")


@pytest.mark.parametrize(
    ("file_name", "begin"), [("a.txt", WORDS.encode()), ("a.csv", b"1,2,"), ("a.pdf", b"%PDF-1.7")]
)
async def test_a_gigabyte_is_refused_before_it_is_read(
    tmp_path: Path, file_name: str, begin: bytes
) -> None:
    before = memory()
    with pytest.raises(ExtractionFailure) as refused:
        await read_file(sparse(tmp_path / "x", 1_000_000_000, begin), file_name=file_name)
    assert refused.value.code is ExtractionCode.TOO_LARGE
    assert memory() - before < MOST_GROWTH


def memory() -> int:
    """Resident bytes, without what the C library keeps of freed memory."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    return int(psutil.Process().memory_info().rss)


def readers() -> list[psutil.Process]:
    """The reader's processes that still run."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "agents.documents.reader" in child.cmdline()
    ]
