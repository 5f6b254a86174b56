"""Words on their way to the student."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.study.streaming import Draft, TextField

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
keys = st.sampled_from(["text", "a", "te", 'x"text', "quotations"])


@given(
    before=st.dictionaries(keys.filter(lambda key: key != "text"), values),
    text=st.text().filter(lambda text: "\x00" not in text),
    after=st.dictionaries(keys.filter(lambda key: key != "text"), values),
    size=st.integers(1, 9),
    escaped=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_text_is_read_from_any_json_in_any_chunks(before, text, after, size, escaped, indent):
    after = {key: value for key, value in after.items() if key not in before}
    document = json.dumps(
        {**before, "text": text, **after}, ensure_ascii=escaped, indent=indent
    )  # fmt: skip
    field = TextField()
    read = [field.feed(document[at : at + size]) for at in range(0, len(document), size)]
    assert "".join(read) == text


@given(st.text(alphabet='{}[]":,\\utex0d8 ', max_size=60))
def test_what_is_no_json_does_no_harm(document):
    assert isinstance(TextField().feed(document), str)


def test_only_the_outermost_object_counts():
    assert TextField().feed('{"a": {"text": "no"}, "b": [{"text": "no"}], "text": "yes"}') == "yes"


async def test_settle_adds_what_is_missing_or_starts_again(study):
    draft = Draft(study.sink, 3)
    draft.feed("A draft")
    await draft.settle("A draft, finished")
    assert study.sink.text == "A draft, finished"
    assert study.sink.resets == []
    await draft.settle("Another answer 🙂")
    assert study.sink.text == "Another answer 🙂"
    assert study.sink.resets == [3]
    await draft.settle("Another answer 🙂!")
    assert study.sink.writes[-1] == (16, "!")


async def test_a_pause_of_the_model_does_not_hold_words_back(study):
    draft = Draft(study.sink, 1)
    async with draft.flowing(0.01):
        draft.feed("words")
        async with asyncio.timeout(2):
            while study.sink.text != "words":  # noqa: ASYNC110 - the sink has no event
                await asyncio.sleep(0.005)


async def test_words_are_coalesced(study):
    draft = Draft(study.sink, 1)
    async with draft.flowing(0.02):
        for _ in range(50):
            draft.feed("word ")
            await asyncio.sleep(0.001)
    await draft.flush()
    assert study.sink.text == "word " * 50
    assert len(study.sink.writes) < 20


async def test_a_body_that_fails_fails_as_itself(study):
    draft = Draft(study.sink, 1)
    with pytest.raises(study.lease_lost):
        async with draft.flowing(0.01):
            raise study.lease_lost("body")
