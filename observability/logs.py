"""Logs: one JSON object a line on stderr, with the correlation id of the request or job.

Everything written through loguru or the standard library's logging passes `redaction`. The rule
for callers: a constant sentence, and ids, numbers and enums as keyword values
(`logger.info("run started", run_id=run.id)`); never what a person or a model wrote.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC
from secrets import token_hex
from typing import TYPE_CHECKING, TextIO, cast

from loguru import logger

from observability.redaction import WITHHELD, exception_report, loggable, redact

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = [
    "accept_correlation_id",
    "configure_logs",
    "correlation",
    "current_correlation_id",
    "logger",
    "new_correlation_id",
    "report_unforeseen",
]

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_CORRELATION_ID: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")

# Chatty below WARNING; the HTTP clients also log addresses, and SQLAlchemy parameters.
_QUIET = (
    "sqlalchemy",
    "httpx",
    "httpx2",
    "httpcore",
    "urllib3",
    "google_genai",
    "openai",
    "asyncio",
)
# Their messages hold prompts and answers: only the type of the event is logged.
_CONTENT = ("autogen_core", "autogen_agentchat", "autogen_ext", "google_genai", "openai")
# These bring their own handlers, which must not print beside ours.
_OWN_HANDLERS = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "pgqueuer",
    "alembic",
)


def new_correlation_id() -> str:
    """Return 32 random hexadecimal digits (also a valid W3C trace id)."""
    return token_hex(16)


def accept_correlation_id(offered: str | None) -> str:
    """Return an id that came with a request or a job, if it is 8 to 64 of `A-Z a-z 0-9 _ . -`.

    Otherwise return a new one.
    """
    if offered is not None and _ACCEPTED_ID.fullmatch(offered):
        return offered
    return new_correlation_id()


def current_correlation_id() -> str | None:
    """Return the id of the request or job this code runs for, `None` outside of any."""
    return _CORRELATION_ID.get()


@contextmanager
def correlation(correlation_id: str) -> Iterator[str]:
    """Give every log event inside, in tasks started inside too, this correlation id."""
    token = _CORRELATION_ID.set(correlation_id)
    try:
        yield correlation_id
    finally:
        # An async generator may be closed in another context than it was started in; the id set
        # there went with that context.
        with suppress(ValueError):
            _CORRELATION_ID.reset(token)


def correlate(correlation_id: str) -> None:
    """Give every later log event of this task, and of tasks it starts, this correlation id."""
    _CORRELATION_ID.set(correlation_id)


def configure_logs(level: str, json: bool, stream: TextIO | None = None) -> None:
    """Send loguru and standard logging to `stream` (stderr), as JSON lines or for a terminal.

    Call it once at the start of a process, and start uvicorn with `log_config=None`. `level` is
    one of `LEVELS` in any case. Raises `ValueError` for another level.
    """
    name = level.upper()
    if name not in LEVELS:
        raise ValueError(f"The log level is one of {', '.join(LEVELS)}, not {level!r}.")
    logger.remove()
    logger.configure(extra={}, patcher=_correlate)
    logger.add(
        _Sink(stream, json=json),
        level=name,
        format="{message}",
        backtrace=False,
        diagnose=False,
        catch=False,
    )
    _route_standard_logging(name)


def report_unforeseen(exc: BaseException, error_id: str) -> None:
    """Log an exception nobody foresaw under the id its masked answer carries."""
    logger.opt(exception=exc).error("unforeseen error", error_id=error_id)


def _correlate(record: "Record") -> None:
    if (correlation_id := _CORRELATION_ID.get()) is not None:
        record["extra"].setdefault("correlation_id", correlation_id)


class _Sink:
    """Writes each event as one redacted line. A closed stream is not the program's problem."""

    def __init__(self, stream: TextIO | None, *, json: bool) -> None:
        self._stream = stream
        self._render = _json_line if json else _pretty_line

    def __call__(self, message: "Message") -> None:
        with suppress(OSError, ValueError):
            stream = self._stream or sys.stderr
            stream.write(self._render(_event(message.record)))
            stream.flush()


def _event(record: "Record") -> dict[str, object]:
    """The fields of the line: at, level, logger, message, then the event's own, then exception."""
    event: dict[str, object] = {
        "at": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "logger": record["name"] or "",
        "message": redact(record["message"]),
    }
    for name, value in record["extra"].items():
        # A value never hides a field of the line.
        event[f"{name}_" if name in event or name == "exception" else name] = loggable(name, value)
    if (caught := record["exception"]) is not None and caught.value is not None:
        event["exception"] = exception_report(caught.value)
    return event


def _json_line(event: dict[str, object]) -> str:
    return json.dumps(event, ensure_ascii=True, separators=(",", ":"), default=str) + "\n"


def _pretty_line(event: dict[str, object]) -> str:
    rest = {
        name: value
        for name, value in event.items()
        if name not in {"at", "level", "logger", "message", "exception", "correlation_id"}
    }
    clock = str(event["at"])[11:23]
    words = [clock, f"{event['level']:<8}", _one_line(event["message"])]
    words += [f"{name}={_one_line(value)}" for name, value in rest.items()]
    if correlation_id := event.get("correlation_id"):
        words.append(f"[{correlation_id}]")
    lines = [" ".join(words)]
    if exception := event.get("exception"):
        lines += _pretty_exception(cast("dict[str, object]", exception), "  ")
    return "\n".join(lines) + "\n"


def _pretty_exception(report: dict[str, object], indent: str) -> list[str]:
    codes = [
        f"{name}={value}"
        for name, value in report.items()
        if name not in {"type", "frames", "cause", "group"}
    ]
    lines = [indent + " ".join([str(report["type"]), *codes])]
    lines += [f"{indent}  {frame}" for frame in cast("list[str]", report["frames"])]
    inner = [*cast("list[dict[str, object]]", report.get("group", []))]
    if "cause" in report:
        inner.append(cast("dict[str, object]", report["cause"]))
    for each in inner:
        lines += _pretty_exception(each, indent + "  ")
    return lines


def _one_line(value: object) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


class _ToLoguru(logging.Handler):
    """Hands a record of the standard library's logging on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = _standard_message(record)
        except Exception:  # noqa: BLE001 - a record whose own arguments don't fit its message
            message = "unreadable log record"
        level = record.levelname if record.levelname in LEVELS else record.levelno
        exc = record.exc_info[1] if record.exc_info else None

        def locate(target: "Record") -> None:
            target["name"] = record.name
            target["function"] = record.funcName
            target["line"] = record.lineno

        logger.patch(locate).opt(exception=exc).log(level, message)


def _standard_message(record: logging.LogRecord) -> str:
    root = record.name.partition(".")[0]
    if root in _CONTENT:
        return f"{type(record.msg).__name__} {WITHHELD}"
    if record.name == "uvicorn.access" and isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, version, status = record.args
        # A query string may hold a document and its variables.
        return f"{client} {method} {str(path).partition('?')[0]} HTTP/{version} {status}"
    message = record.getMessage()
    # The event loop's later lines are the repr of a task with its exception's message.
    return message.partition("\n")[0] if root == "asyncio" else message


def _route_standard_logging(level: str) -> None:
    root = logging.getLogger()
    root.handlers = [_ToLoguru()]
    root.setLevel("DEBUG" if level == "TRACE" else level)
    for name in _OWN_HANDLERS:
        named = logging.getLogger(name)
        named.handlers.clear()
        named.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in _CONTENT:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
