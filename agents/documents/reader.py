"""The process that parses one file: `python -I -m agents.documents.reader LIMITS`.

The file is its standard input. It has no other file, no secret in its environment, and limits on
its processor time, memory, files and children, set before the first byte is read. Its answer goes
to standard output: eight bytes of length (big-endian), a JSON header, then the text in UTF-8, the
blocks and the anchors as 32-bit integers, and pictures, whose sizes the header gives. Nothing is
unpickled.

macOS does not honour RLIMIT_AS: there, memory is bounded by the sizes in `Limits` only.
"""

import contextlib
import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.documents.extracted import ExtractedText, ExtractionCode, ExtractionFailure, Limits


def main() -> None:
    """Answers and ends. The exit code is not 0 only when the reader itself is broken."""
    order = json.loads(sys.argv[1])
    limits = Limits(**order["limits"])
    confine(limits)
    try:
        found = _extract(order, limits)
    except ExtractionFailure as failure:
        answer(_failed(failure), [])
    except MemoryError:
        answer(_failed(memory_limit()), [])
    except Exception as error:  # noqa: BLE001 - whatever a library makes of a broken file
        found_failure = memory_limit() if _for_want_of_memory(error) else _damaged()
        answer({**_failed(found_failure), "detail": type(error).__name__}, [])
    else:
        answer(*_read(found))


def confine(limits: Limits) -> None:
    """Takes from this process what reading a file does not need."""
    with contextlib.suppress(OSError):
        # of all processes in this container it is the one to go when memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (getattr(resource, "RLIMIT_NPROC", None), 0),
    ):
        if limit is not None:
            with contextlib.suppress(ValueError, OSError):  # macOS refuses some
                resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 2))


def memory_limit() -> ExtractionFailure:
    """What a file is refused with that needs more memory than one may have."""
    return ExtractionFailure(
        ExtractionCode.MEMORY_LIMIT,
        "Reading the file takes more memory than a file may have.",
        "Split the document, or export it again without large pictures and tables.",
    )


def answer(header: dict[str, Any], parts: list[bytes]) -> None:
    """Writes the header and what it tells of."""
    head = json.dumps(header).encode()
    out = sys.stdout.buffer
    out.write(len(head).to_bytes(8, "big"))
    out.write(head)
    for part in parts:
        out.write(part)
    out.flush()


def _extract(order: dict[str, Any], limits: Limits) -> ExtractedText:
    from agents.documents.extraction import extract  # noqa: PLC0415 - under the limits

    with os.fdopen(0, "rb") as file:
        return extract(
            file,
            file_name=order["file_name"],
            media_type=order["media_type"],
            limits=limits,
            pictures=order["pictures"],
        )


def _read(found: ExtractedText) -> tuple[dict[str, Any], list[bytes]]:
    parts = [found.text.encode(), found.blocks.data.tobytes(), found.anchors.data.tobytes()]
    pictures = [picture.data for picture in found.pictures]
    header = {
        "pictures": [[p.number, p.media_type, len(p.data)] for p in found.pictures],
        "silent": found.silent,
        "headings": found.headings,
        "sizes": [len(part) for part in parts],
        "media_type": found.media_type,
        "names": found.names,
        "by_line": found.by_line,
        "notes": [asdict(note) for note in found.notes],
    }
    return header, [*parts, *pictures]


def _failed(failure: ExtractionFailure) -> dict[str, Any]:
    return {"failure": {"code": failure.code, "message": failure.message, "advice": failure.advice}}


def _damaged() -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.DAMAGED,
        "The file is damaged: what it holds does not fit together.",
        "Open it in its program, save it again and upload that.",
    )


def _for_want_of_memory(error: Exception) -> bool:
    """libxml2, where it has no memory left for the words, says `unknown error` in line 0."""
    seen: BaseException | None = error
    while seen is not None:
        said = str(seen)[:500].lower()
        if isinstance(seen, MemoryError) or "memory" in said or said.startswith("unknown error"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


if __name__ == "__main__":
    main()
