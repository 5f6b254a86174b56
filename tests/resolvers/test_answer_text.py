"""A follower's text is the answer's, whatever was lost and however row and chunks interleave."""

from hypothesis import given
from hypothesis import strategies as st

from resolvers.answer_text import AnswerChunk, AnswerText


class Client:
    """A client that knows only the contract: set the text at the offset, begin anew when told."""

    def __init__(self, generation: int, text: str) -> None:
        self.generation, self.text = generation, text

    def receive(self, chunk: AnswerChunk) -> None:
        if chunk.generation > self.generation:
            self.generation, self.text = chunk.generation, ""
        assert chunk.generation == self.generation
        assert chunk.offset <= len(self.text), "a hole in the text"
        after = chunk.offset + len(chunk.text)
        self.text = self.text[: chunk.offset] + chunk.text + self.text[after:]


generations = st.lists(
    st.lists(st.text(min_size=1, max_size=4), max_size=8), min_size=1, max_size=3
)


@given(generations, st.data())
def test_the_client_ends_with_the_answer(pieces: list[list[str]], data: st.DataObject) -> None:
    row = AnswerText(1, "")
    client = Client(1, "")
    text = ""
    for generation, parts in enumerate(pieces, start=1):
        text = ""
        for part in parts:
            offset, text = len(text), text + part
            if data.draw(st.booleans(), label="delivered"):
                for told in row.take_chunk(AnswerChunk(generation, offset, part)):
                    client.receive(told)
            if data.draw(st.booleans(), label="read"):
                flushed = data.draw(st.integers(0, len(text)), label="flushed")
                for told in row.take_row(generation, text[:flushed]):
                    client.receive(told)
            if client.generation == generation:
                assert text.startswith(client.text)
    for told in row.take_row(len(pieces), text):
        client.receive(told)
    assert (client.generation, client.text) == (len(pieces), text)
    assert not row.behind


def test_a_chunk_beyond_a_gap_waits_for_the_row() -> None:
    known = AnswerText(1, "ab")
    assert list(known.take_chunk(AnswerChunk(1, 4, "ef"))) == []
    assert known.behind
    assert list(known.take_row(1, "abc")) == [AnswerChunk(1, 2, "c")]
    assert list(known.take_row(1, "abcd")) == [AnswerChunk(1, 3, "d"), AnswerChunk(1, 4, "ef")]
    assert not known.behind


def test_what_is_late_or_of_an_older_generation_is_not_told() -> None:
    known = AnswerText(2, "abc")
    assert list(known.take_chunk(AnswerChunk(1, 3, "x"))) == []
    assert list(known.take_chunk(AnswerChunk(2, 1, "b"))) == []
    assert list(known.take_row(2, "ab")) == []
    assert list(known.take_chunk(AnswerChunk(3, 0, ""))) == [AnswerChunk(3, 0, "")]
    assert known.text == ""
