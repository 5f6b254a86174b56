"""The embedders of providers, over the wire with their own SDKs."""

import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.util import find_spec

import numpy as np
import pytest
from pydantic import ValidationError

from agents.models.embedders.choice import Access, EmbeddingModels, ModelName
from agents.models.embedders.compatible import CompatibleEmbedder
from agents.models.embedders.gemini import GeminiEmbedder
from agents.models.embedders.prices import BUILT_IN, EmbeddingPrices, is_free, price_of
from agents.models.embedders.remote import Batching, Patience, RemoteEmbedder
from agents.models.embedding import MiniLM
from agents.ports import EmbeddingUnavailable
from persistence.cache import MemoryCache
from tests.embedding_server import EmbeddingServer, embedding_server

SHORT = Patience(call_seconds=1.0, total_seconds=5.0, tries=3, first_pause=0.01)
Make = Callable[..., RemoteEmbedder]


def words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


@pytest.fixture(params=["gemini-embedding-001", "gemini-embedding-2", "compatible"])
async def make(request: pytest.FixtureRequest, server: EmbeddingServer):
    """Makes the provider's embedder, with little patience."""
    made: list[RemoteEmbedder] = []

    def one(dimension: int = 8, patience: Patience = SHORT) -> RemoteEmbedder:
        if request.param == "compatible":
            made.append(
                CompatibleEmbedder(
                    f"openai:text-embedding-3-small@{dimension}",
                    "text-embedding-3-small",
                    dimension,
                    key="sk-test",
                    base_url=f"{server.url}/v1",
                    count_tokens=words,
                    patience=patience,
                )
            )
        else:
            made.append(
                GeminiEmbedder(
                    f"gemini:{request.param}@{dimension}",
                    request.param,
                    dimension,
                    key="g-test",
                    base_url=server.url,
                    task="RETRIEVAL_DOCUMENT",
                    count_tokens=words,
                    patience=patience,
                )
            )
        return made[-1]

    yield one
    for embedder in made:
        await embedder.close()


async def test_each_text_gets_its_own_unit_vector(make: Make, server: EmbeddingServer) -> None:
    texts = ["one", "two words", "", "lone \ud800 surrogate", "é"]
    vectors = await make().embed(texts)
    assert vectors.shape == (5, 8)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    sent = [text for texts in server.texts for text in texts]
    assert len(sent) == 5
    for vector, text in zip(vectors, sent, strict=True):
        np.testing.assert_allclose(vector * server.length, server.vector(text), rtol=1e-5)
    assert (await make().embed([])).shape == (0, 8)


async def test_the_call_is_what_the_provider_documents(make: Make, server: EmbeddingServer) -> None:
    await make().embed(["one", "two"])
    (path,), (body,), (headers,) = server.paths, server.requests, server.headers
    if "/v1/" in path:
        assert path == "/v1/embeddings"
        assert headers["authorization"] == "Bearer sk-test"
        assert body["dimensions"] == 8
    else:
        assert path.startswith("/v1beta/models/gemini-embedding-")
        assert path.endswith(":batchEmbedContents")
        assert headers["x-goog-api-key"] == "g-test"
        assert {r["outputDimensionality"] for r in body["requests"]} == {8}
        assert {r["taskType"] for r in body["requests"]} == {"RETRIEVAL_DOCUMENT"}


async def test_batches_hold_as_many_tokens_as_the_provider_takes(
    make: Make, server: EmbeddingServer
) -> None:
    embedder = make()
    embedder._batching = Batching(texts=3, tokens=5)  # noqa: SLF001 - the provider's is too large to fill
    texts = ["a a", "b b", "c c", "d d d d d d d", "e", "f", "g", "h"]
    vectors = await embedder.embed(texts)
    assert [len(batch) for batch in server.texts] == [2, 1, 1, 3, 1]
    alone = make()
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose((await alone.embed([text]))[0], vector, rtol=1e-5)


@pytest.mark.parametrize("fault", [429, 500, 503])
async def test_a_busy_provider_is_asked_again(
    make: Make, server: EmbeddingServer, fault: int
) -> None:
    server.faults = [fault, fault]
    assert (await make().embed(["one"])).shape == (1, 8)
    assert len(server.requests) == 3


async def test_it_waits_as_long_as_the_provider_says(make: Make, server: EmbeddingServer) -> None:
    server.faults, server.retry_after = [429], 0.5
    started = time.monotonic()
    await make().embed(["one"])
    assert time.monotonic() - started >= 0.5
    server.faults, server.retry_after = [429], 3_600
    with pytest.raises(EmbeddingUnavailable, match="429"):  # longer than anybody waits here
        await make().embed(["one"])


@pytest.mark.parametrize(
    ("faults", "message", "calls"),
    [
        ([500, 500, 500], "HTTP 500", 3),
        (["slow", "slow", "slow"], "no answer within", 3),
        ([400], "HTTP 400", 1),
        ([401], "HTTP 401", 1),
        ([404], "HTTP 404", 1),
        (["count"], "2 texts with 1 vectors", 1),
        (["dimension"], "dimensions", 1),
        (["nan"], "no direction", 1),
        (["zero"], "no direction", 1),
        (["shape"], "openai:|gemini:", 1),
    ],
)
async def test_what_is_no_answer_is_an_error_that_names_the_model(
    make: Make, server: EmbeddingServer, faults: list[int | str], message: str, calls: int
) -> None:
    server.faults = [*faults]
    embedder = make(patience=Patience(call_seconds=0.4, total_seconds=5, tries=3, first_pause=0.01))
    with pytest.raises(EmbeddingUnavailable, match=message) as refused:
        await embedder.embed(["one", "two"])
    assert embedder.name in str(refused.value)
    assert "test" not in str(refused.value).replace(embedder.name, "")  # nor the key
    assert len(server.requests) == calls


async def test_nobody_listens() -> None:
    embedder = CompatibleEmbedder(
        "openai:x@8", "x", 8, key="", base_url="http://127.0.0.1:9/v1", count_tokens=words,
        patience=SHORT,
    )  # fmt: skip
    with pytest.raises(EmbeddingUnavailable, match="no connection"):
        await embedder.embed(["one"])
    await embedder.close()


@pytest.mark.parametrize(
    "name", ["", "x", "gemini:a", "gemini:a@", "nobody:a@8", "openai:a b@8", "openai:a@0"]
)
def test_what_is_no_name_says_how_one_is_written(name: str) -> None:
    with pytest.raises(EmbeddingUnavailable, match=r"provider:model@dimension|between 1 and"):
        ModelName.parse(name)


def test_names_and_prices() -> None:
    parsed = ModelName.parse("openai:nomic-ai/nomic:v1.5@768")
    assert (parsed.provider, parsed.model, parsed.dimension) == (
        "openai", "nomic-ai/nomic:v1.5", 768,
    )  # fmt: skip


def test_prices_have_a_day_and_a_source_and_the_operators_go_first() -> None:
    day, small = date(2026, 6, 1), "openai:text-embedding-3-small@512"
    assert is_free(MiniLM.name)
    assert not is_free(small)
    assert all(price.source and price.since for one in BUILT_IN for price in one.prices)
    built_in = price_of(small, day, (), "USD")
    assert built_in is not None
    assert built_in.input == 20_000
    assert price_of(small, day, (), "EUR") is None  # nobody knows it in that currency
    assert price_of(small, date(2025, 1, 1), (), "USD") is None
    assert price_of("openai:mine@512", day, (), "USD") is None
    contract = {"from": "2026-05-01", "input": 18_000, "source": "Contract 7"}
    own = EmbeddingPrices.model_validate(
        {"name": "openai:text-embedding-3-small", "prices": [contract]}
    )
    priced = price_of(small, day, (own,), "EUR")
    assert priced is not None
    assert (priced.input, priced.source) == (18_000, "Contract 7")
    for name in ("openai", "embedded:minilm", "openai:a@512"):
        with pytest.raises(ValidationError, match="without a dimension"):
            EmbeddingPrices(name=name, prices=own.prices)


class Kept(dict):
    """Vectors by model and digest."""

    async def get(self, model, digests):
        return {d: self[model, d] for d in digests if (model, d) in self}

    async def put(self, model, vectors):
        self.update({(model, d): v for d, v in vectors.items()})


async def test_the_same_text_is_paid_once(server: EmbeddingServer) -> None:
    built_in = MiniLM(threads=1)
    models = EmbeddingModels(
        MiniLM.name, built_in, Access(openai_url=f"{server.url}/v1"), MemoryCache(), Kept()
    )
    for _ in range(2):
        embedder = models.documents("openai:mine@8")
        vectors = await embedder.embed(["one", "two", "one", " one\n"])
        np.testing.assert_array_equal(vectors[0], vectors[2])
    assert server.texts == [["one", "two"]]
    for _ in range(2):
        await models.queries("openai:mine@8").embed(["one"])
    assert len(server.texts) == 2  # a search may have another vector than a passage
    assert models.documents(MiniLM.name) is built_in
    for name, message in (
        ("gemini:gemini-embedding-001@768", "ASSAY_EMBEDDING_GEMINI_KEY"),
        ("embedded:other@384", MiniLM.name),
    ):
        with pytest.raises(EmbeddingUnavailable, match=message):
            models.documents(name)
    await models.close()
    built_in.close()


async def test_fastembed_is_an_extra() -> None:
    models = EmbeddingModels(MiniLM.name, MiniLM(), Access(), MemoryCache(), Kept())
    embedder = models.documents("fastembed:BAAI/bge-small-en-v1.5@384")
    if find_spec("fastembed") is not None:
        pytest.skip("fastembed is installed")
    with pytest.raises(EmbeddingUnavailable, match=r"pip install 'assay\[fastembed\]'"):
        await embedder.embed(["one"])
    await models.close()


async def test_fastembed_embeds() -> None:
    pytest.importorskip("fastembed", reason="the extra fastembed is not installed")
    models = EmbeddingModels(MiniLM.name, MiniLM(), Access(), MemoryCache(), Kept())
    try:
        vectors = await models.documents("fastembed:BAAI/bge-small-en-v1.5@384").embed(["a", "b"])
    except EmbeddingUnavailable as error:
        pytest.skip(f"the model is not here: {error}")
    assert vectors.shape == (2, 384)
    await models.close()
