"""The tutor's words on their way to the student: out of the JSON, coalesced, at offsets.

A tutor streams the JSON of its TutorAnswer, as a language model with structured output does.
`TextField` reads the value of "text" out of it while it arrives; `Draft` writes that to the sink
every 30-50 ms, at code point offsets.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

from agents.ports import AnswerSink
from agents.study.concurrency import first_failure
from agents.study.spotlight import unmarked

_PLAIN = re.compile(r'[^"\\]+')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class _State(Enum):
    OUTSIDE = auto()
    STRING = auto()
    ESCAPE = auto()
    UNICODE = auto()


class TextField:
    """The value of one string field of a JSON object, as it comes in.

    Only the outermost object counts. What is not an object, or ends early, yields what it yields:
    the finished reply is validated elsewhere and is what counts.
    """

    def __init__(self, name: str = "text") -> None:
        self._name = name
        self._state = _State.OUTSIDE
        self._depth = 0
        self._string: list[str] = []
        self._key: str | None = None
        self._after_colon = False
        self._hex = ""
        self._high = 0

    def feed(self, chunk: str) -> str:
        """The part of the field's value that `chunk` adds."""
        parts, at = [], 0
        while at < len(chunk):
            run = _PLAIN.match(chunk, at) if self._state is _State.STRING else None
            parts.append(self._take(run.group()) if run else self._next(chunk[at]))
            at = run.end() if run else at + 1
        return "".join(parts)

    @property
    def _wanted(self) -> bool:
        return self._depth == 1 and self._after_colon and self._key == self._name

    def _next(self, character: str) -> str:
        match self._state:
            case _State.OUTSIDE:
                return self._outside(character)
            case _State.STRING:
                return self._inside(character)
            case _State.ESCAPE:
                return self._escape(character)
            case _State.UNICODE:
                return self._unicode(character)

    def _inside(self, character: str) -> str:
        if character == "\\":
            self._state = _State.ESCAPE
        elif character == '"':
            self._state = _State.OUTSIDE
            if not self._after_colon:
                self._key = "".join(self._string)
        else:
            return self._take(character)
        return ""

    def _escape(self, character: str) -> str:
        if character == "u":
            self._state, self._hex = _State.UNICODE, ""
            return ""
        self._state = _State.STRING
        return self._take(_ESCAPES.get(character, character))

    def _outside(self, character: str) -> str:
        if character == '"':
            self._state, self._string = _State.STRING, []
        elif character in "{[":
            self._depth += 1
            self._after_colon = False
        elif character in "}]":
            self._depth -= 1
        elif character == ":":
            self._after_colon = True
        elif character == ",":
            self._after_colon = False
        return ""

    def _unicode(self, character: str) -> str:
        self._hex += character
        if len(self._hex) < 4:
            return ""
        self._state = _State.STRING
        try:
            unit = int(self._hex, 16)
        except ValueError:
            return ""
        if 0xD800 <= unit < 0xDC00:
            self._high = unit
            return ""
        if 0xDC00 <= unit < 0xE000:
            high, self._high = self._high, 0
            return self._take(
                chr(0x10000 + ((high - 0xD800) << 10) + unit - 0xDC00) if high else "\ufffd"
            )
        return self._take(chr(unit))

    def _take(self, characters: str) -> str:
        if self._wanted:
            return characters
        if not self._after_colon:
            self._string.append(characters)
        return ""


class Draft:
    """One draft of an answer at the sink."""

    def __init__(self, sink: AnswerSink, generation: int) -> None:
        self._sink = sink
        self._generation = generation
        self._written: list[str] = []
        self._length = 0
        self._pending: list[str] = []
        self._fed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether this draft knows what the sink holds."""
        return self._begun

    def feed(self, text: str) -> None:
        """Take text; it is written with the next flush."""
        if text := unmarked(text).replace("\x00", ""):
            self._pending.append(text)
            self._fed.set()

    async def flush(self) -> None:
        """Write what is pending. Raises what the sink raises."""
        async with self._writing:
            text = "".join(self._pending)
            self._pending.clear()
            if text:
                await self._sink.write(self._length, text)
                self._written.append(text)
                self._length += len(text)

    async def settle(self, text: str) -> None:
        """Make the sink hold exactly `text`: add what is missing, or start again."""
        await self.flush()
        written = "".join(self._written)
        if not text.startswith(written):
            await self._sink.reset(self._generation)
            self._written, self._length, written = [], 0, ""
        self.feed(text[len(written) :])
        await self.flush()

    async def restart(self) -> None:
        """Void what was written, here or by a worker that died: a new draft begins."""
        self._begun = True
        await self.flush()
        await self._sink.reset(self._generation)
        self._written, self._length = [], 0

    @asynccontextmanager
    async def flowing(self, interval: float) -> AsyncIterator[None]:
        """Flush every `interval` seconds while there is something; a sink that raises stops the
        body and is raised itself."""
        with first_failure():
            async with asyncio.TaskGroup() as group:
                flusher = group.create_task(self._flow(interval))
                yield
                async with self._writing:  # never in the middle of a write
                    flusher.cancel()

    async def _flow(self, interval: float) -> None:
        while True:
            await self._fed.wait()
            self._fed.clear()
            await self.flush()
            await asyncio.sleep(interval)
