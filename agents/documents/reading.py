"""Reads a file in a process of its own, which a hostile file may kill without harm.

The answer is data from a process that parsed hostile bytes, so it is bounded and checked before it
is used.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.documents.blocks import MAX_TITLE
from agents.documents.bookmarks import MOST_BOOKMARKS
from agents.documents.canonical import canonical, one_line
from agents.documents.extracted import (
    LOCATION_KINDS,
    Anchor,
    Block,
    BlockKind,
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Heading,
    Limits,
    Note,
    NoteCode,
    Packed,
    Picture,
)
from agents.documents.normal_form import nfc
from agents.documents.pictures import PictureReader, with_pictures
from agents.documents.reader import memory_limit

logger = logging.getLogger(__name__)

_MAX_HEADER: Final = 16_000_000
_UNDRAWN: Final = frozenset(
    {ExtractionCode.TIME_LIMIT, ExtractionCode.MEMORY_LIMIT, ExtractionCode.DAMAGED}
)
"""How drawing pages may end that can be read without."""
_GRACE_SECONDS: Final = 1.0


class ReaderBroken(Exception):
    """The reader's process failed or answered nonsense, through no fault of the file's kind."""


class _Failure(BaseModel):
    code: ExtractionCode
    message: str = Field(max_length=1_000)
    advice: str = Field(max_length=1_000)


class _Note(BaseModel):
    code: NoteCode
    message: str = Field(max_length=100_000)


Shown = Literal["image/png", "image/jpeg"]


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")
    failure: _Failure | None = None
    detail: str = Field("", max_length=200)
    sizes: tuple[int, int, int] = (0, 0, 0)
    media_type: str = Field("", max_length=100)
    names: list[str] = Field(default=[], max_length=100_000)
    by_line: bool = False
    notes: list[_Note] = Field(default=[], max_length=10)
    pictures: list[tuple[int, Shown, int]] = Field(default=[], max_length=1_000)
    silent: list[int] = Field(default=[], max_length=100_000)
    headings: list[tuple[int, int, int, str]] = Field(default=[], max_length=MOST_BOOKMARKS)


async def read_file(
    path: Path,
    *,
    file_name: str,
    media_type: str | None = None,
    limits: Limits | None = None,
    pictures: PictureReader | None = None,
) -> ExtractedText:
    """The text of the file at `path`, read as what its content is.

    `file_name` and `media_type` are what was declared. What only shows text is read by `pictures`,
    where there is one. Raises ExtractionFailure, what `pictures` raises, and `ReaderBroken` when it
    is worth another try. Cancelled, it kills the process.

    A file whose pages cannot be drawn within the limits is read without drawing them.
    """
    limits = limits or Limits()
    try:
        found = await _found(path, file_name, media_type, limits, pictures=pictures is not None)
    except ExtractionFailure as failure:
        if pictures is None or failure.code not in _UNDRAWN:
            raise
        try:
            found = await _found(path, file_name, media_type, limits, pictures=False)
        except ExtractionFailure:
            raise failure from None
    if pictures is not None and found.pictures:
        return await with_pictures(found, pictures, limits)
    return found


async def _found(
    path: Path, file_name: str, media_type: str | None, limits: Limits, *, pictures: bool
) -> ExtractedText:
    order = {
        "file_name": file_name,
        "media_type": media_type,
        "limits": asdict(limits),
        "pictures": pictures,
    }
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-B", "-X", "utf8", "-W", "ignore",
            "-m", "agents.documents.reader", json.dumps(order),
            stdin=file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=_environment(), cwd="/", start_new_session=True,
        )  # fmt: skip
    try:
        async with asyncio.timeout(limits.wall_seconds):
            header, parts = await _answer(process, limits)
    except TimeoutError:
        raise _time_limit() from None
    except asyncio.IncompleteReadError:
        raise await _ended(process) from None
    finally:
        await _end(process)
    if header.failure is not None:
        if header.detail:
            logger.info("a %s was not read: %s", media_type, header.detail)
        failure = header.failure
        raise ExtractionFailure(failure.code, failure.message, failure.advice)
    return await asyncio.to_thread(_checked, header, parts, limits)


def _environment() -> dict[str, str]:
    """Nothing of the worker's own: it holds keys and addresses."""
    return {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}


async def _answer(
    process: asyncio.subprocess.Process, limits: Limits
) -> tuple[_Header, list[bytes]]:
    stream = process.stdout
    if stream is None:
        raise ReaderBroken("no pipe")
    size = int.from_bytes(await stream.readexactly(8), "big")
    if size > _MAX_HEADER:
        raise ReaderBroken("a header too long")
    try:
        header = _Header.model_validate_json(await stream.readexactly(size))
    except ValidationError as error:
        raise ReaderBroken("a header that is none") from error
    most = (
        4 * limits.max_characters,
        4 * len(Block._fields) * (limits.max_blocks + 1),
        4 * len(Anchor._fields) * (limits.max_blocks + limits.max_pages),
    )
    if any(not 0 <= size <= bound for size, bound in zip(header.sizes, most, strict=True)):
        raise ReaderBroken("an answer too long")
    drawn = [size for _, _, size in header.pictures]
    if len(drawn) > limits.max_pictures:
        raise ReaderBroken("too many pictures")
    if any(size < 0 for size in drawn) or sum(drawn) > limits.max_picture_bytes:
        raise ReaderBroken("pictures too large")
    return header, [await stream.readexactly(size) for size in (*header.sizes, *drawn)]


async def _ended(process: asyncio.subprocess.Process) -> Exception:
    """Why the process ended without an answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    code = process.returncode
    if code is None or code >= 0:
        return ReaderBroken(f"the reader ended with {code}")
    if -code == signal.SIGXCPU:
        return _time_limit()
    if -code == signal.SIGKILL:
        return memory_limit()
    return ExtractionFailure(
        ExtractionCode.DAMAGED,
        "Reading the file broke the program that read it: it is damaged, or made to do that.",
        "Open it in its program, save it again and upload that.",
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills it with all it started, if it still runs, and waits for it.

    Its pipe is closed first: a process counts as ended when its pipes are, and this one may be full
    of what nobody reads any more.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
    await asyncio.shield(process.wait())


def _time_limit() -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.TIME_LIMIT,
        "Reading the file takes longer than a file may take.",
        "Split the document, or export it again from the program that made it.",
    )


def _checked(header: _Header, parts: list[bytes], limits: Limits) -> ExtractedText:
    """Raises `ReaderBroken` unless the answer is what `ExtractedText` says it is."""
    try:
        text = parts[0].decode()
        blocks, anchors = (_integers(part) for part in parts[1:3])
        block_rows = blocks.reshape(-1, len(Block._fields))
        anchor_rows = anchors.reshape(-1, len(Anchor._fields))
        sound = (
            (len(text) > 0 or bool(header.pictures))
            and len(text) <= limits.max_characters
            and nfc(text) == text
            and _in_order(block_rows, len(text))
            and _in_order(anchor_rows, len(text))
            and bool(np.all(block_rows[:, 0] <= max(BlockKind)))
            and bool(np.all(block_rows[:, 4] <= block_rows[:, 5]))
            and bool(np.all(block_rows[:, 5] <= len(text)))
            and bool(np.all(anchor_rows[:, 0] < len(LOCATION_KINDS)))
            and bool(np.all(anchor_rows[:, 4] < max(1, len(header.names))))
            and _sound_headings(header.headings, len(text))
        )
    except (ValueError, ExtractionFailure) as error:
        raise ReaderBroken("an answer that is no text") from error
    if not sound:
        raise ReaderBroken("an answer that does not fit its text")
    return ExtractedText(
        text,
        header.media_type,
        Packed(Block, _array(parts[1])),
        Packed(Anchor, _array(parts[2])),
        tuple(header.names),
        header.by_line,
        tuple(Note(note.code, note.message) for note in header.notes),
        tuple(
            Picture(number, kind, data)
            for (number, kind, _), data in zip(header.pictures, parts[3:], strict=True)
        ),
        tuple(header.silent),
        tuple(Heading(*heading) for heading in header.headings),
    )


def _sound_headings(headings: list[tuple[int, int, int, str]], length: int) -> bool:
    starts = [0, *(start for start, *_ in headings), length]
    return starts == sorted(starts) and all(
        level >= 1 and len(title) <= MAX_TITLE and one_line(canonical(title)) == title
        for _, level, _, title in headings
    )


def _in_order(rows: NDArray[np.uint32], length: int) -> bool:
    """Whether the spans (columns 1 and 2) are not empty, follow each other, and end in time."""
    starts, ends = rows[:, 1], rows[:, 2]
    return bool(
        np.all(starts < ends) and np.all(ends[:-1] <= starts[1:]) and np.all(ends <= length)
    )


def _integers(part: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(part, dtype=np.uint32)


def _array(part: bytes) -> "array[int]":
    made: array[int] = array("I")
    made.frombytes(part)
    return made
