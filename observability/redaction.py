"""What may leave the process in a log line: identifiers, numbers and enums; no secret, no text.

`redact` removes what looks like a secret from a sentence. `loggable` reduces a value of a log
event to a bounded scalar. `exception_report` describes an exception without its message, because
libraries put values into messages (a failed SQL parameter, an invalid field, a prompt).
"""

import re
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from traceback import extract_tb
from uuid import UUID

REDACTED = "[redacted]"
WITHHELD = "[withheld]"
MESSAGE_LIMIT = 2_000
VALUE_LIMIT = 300
FRAME_LIMIT = 40
CHAIN_LIMIT = 5

_SENSITIVE_ENDING = (
    r"(?:(?:api|access|signing|private|secret)[_-]?key|token|secret|passwd|password|pwd|passphrase"
    r"|credentials?|authorization)"
)
_VALUE = r"""["']?[^\s"'&,;)}\]]+"""

# In this order: the structured forms first, so that what is left of them is not half redacted.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END[^\n]{0,40}-----|\Z)", re.DOTALL
        ),
        REDACTED,
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]+"), rf"\1 {REDACTED}"),
    (re.compile(r"\bassay_[A-Za-z0-9]+_[A-Za-z0-9_-]+"), f"assay_{REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}"), REDACTED),
    (re.compile(r"\b(?:AIza|sk-|tvly-|xox[bp]-|gh[pos]_)[A-Za-z0-9_-]{12,}"), REDACTED),
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@]{0,100}):[^\s]*@"), rf"\1:{REDACTED}@"),
    (
        re.compile(r"""(?i)\b((?:set-)?cookie["']?\s*[:=]\s*)(?!\[redacted)[^\r\n]+"""),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            rf"""(?i)({_SENSITIVE_ENDING}["']?\s*[:=]\s*)(?!{re.escape(REDACTED)})"""
            rf"""(?!["']?(?:bearer|basic)\s+\[){_VALUE}"""
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(rf"(?i)(?<![\w-])(key=){_VALUE}"), rf"\1{REDACTED}"),
)

_SENSITIVE_NAME = re.compile(rf"(?i)(?:.*{_SENSITIVE_ENDING}|(?:.*[_-])?(?:cookies?|dsn)|key)")
# What students, instructors and models write is under one of these names in this code base.
_TEXT_NAMES = frozenset(
    {"answer", "body", "claim", "comment", "content", "description", "document", "email"}
    | {"feedback", "html", "message", "name", "note", "passage", "payload", "prompt", "query"}
    | {"question", "quote", "rationale", "response", "rubric", "snippet", "text", "title"}
    | {"transcript", "variables"}
)
_TEXT_ENDINGS = ("_text", "_prompt", "_content", "_email")


def redact(sentence: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return `sentence` without anything that looks like a secret, cut at `limit` characters."""
    # Cut generously first: the patterns never read more than what could still be shown.
    shown = sentence[: 4 * limit]
    for pattern, replacement in _PATTERNS:
        shown = pattern.sub(replacement, shown)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


def loggable(name: str, value: object) -> object:
    """Return the form of the event's value `name` that may be logged.

    A number, a boolean or `None` is itself; an id, an enum, a time or a path is its string; other
    text is redacted and cut; whatever else is named by its type alone. A value under the name of
    a secret or of written text is withheld.
    """
    lowered = name.lower()
    if value is None or isinstance(value, bool | float) or type(value) is int:
        return value
    if _SENSITIVE_NAME.fullmatch(lowered):
        return REDACTED
    if lowered in _TEXT_NAMES or lowered.endswith(_TEXT_ENDINGS):
        return WITHHELD
    if isinstance(value, list | tuple | set | frozenset) and len(value) <= 20:
        return [loggable(name, item) for item in value]
    if isinstance(value, Enum):
        value = str(value.value)
    known = isinstance(value, UUID | datetime | date | timedelta | PurePath | str)
    return redact(str(value), VALUE_LIMIT) if known else f"<{type(value).__name__}>"


def exception_report(exc: BaseException, depth: int = CHAIN_LIMIT) -> dict[str, object]:
    """Describe `exc`: `type`, `frames`, the codes a library gives it, its `cause`, its `group`.

    The message, the local variables and the lines of source are left out.
    """
    report: dict[str, object] = {"type": f"{type(exc).__module__}.{type(exc).__qualname__}"}
    report |= _codes(exc)
    frames = extract_tb(exc.__traceback__)[-FRAME_LIMIT:]
    report["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if depth <= 1:
        return report
    if isinstance(exc, BaseExceptionGroup):
        report["group"] = [exception_report(inner, depth - 1) for inner in exc.exceptions[:5]]
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if cause is not None:
        report["cause"] = exception_report(cause, depth - 1)
    return report


def _codes(exc: BaseException) -> dict[str, object]:
    """The fields that say what went wrong and never hold a value: errno, SQLSTATE, HTTP status."""
    codes: dict[str, object] = {}
    for name in ("errno", "sqlstate", "constraint_name", "table_name", "status_code", "code"):
        value = getattr(exc, name, None)
        if isinstance(value, int) or (
            isinstance(value, str) and re.fullmatch(r"[\w.-]{1,80}", value)
        ):
            codes[name] = value.value if isinstance(value, Enum) else value
    return codes
