"""What one follower knows of an answer's text, and what to tell them next. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """Set `text` at code point `offset` of the answer; a new `generation` begins an empty one."""

    generation: int
    offset: int
    text: str


class AnswerText:
    """The text a follower has, put together from the row's text and the chunks on the bus.

    Either may be ahead: the row is written every half second, chunks can be lost. A chunk beyond
    what is known waits until the row has filled the gap.
    """

    def __init__(self, generation: int, text: str) -> None:
        self.generation, self.text = generation, text
        self._waiting: dict[int, str] = {}

    @property
    def behind(self) -> bool:
        """Whether chunks wait for the row to be read."""
        return bool(self._waiting)

    def take_chunk(self, chunk: AnswerChunk) -> Iterator[AnswerChunk]:
        """What to tell the follower, now that this chunk came."""
        if chunk.generation < self.generation:
            return
        if chunk.generation > self.generation:
            yield from self._begin(chunk.generation)
        if not chunk.text:
            return
        if len(chunk.text) > len(self._waiting.get(chunk.offset, "")):
            self._waiting[chunk.offset] = chunk.text
        yield from self._fill()

    def take_row(self, generation: int, text: str) -> Iterator[AnswerChunk]:
        """What to tell the follower, now that the row reads so."""
        if generation < self.generation:
            return
        if generation > self.generation:
            yield from self._begin(generation)
        yield from self._extend(0, text)
        yield from self._fill()

    def _begin(self, generation: int) -> Iterator[AnswerChunk]:
        self.generation, self.text = generation, ""
        self._waiting.clear()
        yield AnswerChunk(generation, 0, "")

    def _fill(self) -> Iterator[AnswerChunk]:
        for offset in sorted(self._waiting):
            if offset > len(self.text):
                return
            yield from self._extend(offset, self._waiting.pop(offset))

    def _extend(self, offset: int, text: str) -> Iterator[AnswerChunk]:
        known = len(self.text)
        if offset + len(text) > known:
            added = text[known - offset :]
            self.text += added
            yield AnswerChunk(self.generation, known, added)
