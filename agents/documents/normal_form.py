"""Unicode normal form C, refused where it would take quadratic time.

Normalisation sorts each run of combining marks: a text of nothing else would hold a process for
minutes. No writing system stacks more than a few (Unicode's stream-safe format allows 30).
"""

import re
import unicodedata
from functools import cache

MAX_COMBINING_RUN = 64


class StackedMarks(ValueError):
    """The text has more than `MAX_COMBINING_RUN` combining marks in a row."""


def nfc(text: str) -> str:
    """The text in normal form C. Raises `StackedMarks`."""
    if text.isascii():
        return text
    if _combining_run().search(text):
        raise StackedMarks
    return unicodedata.normalize("NFC", text)


@cache
def _combining_run() -> re.Pattern[str]:
    marks = "".join(
        chr(point) for point in range(0x300, 0x1E950) if unicodedata.combining(chr(point))
    )
    return re.compile(f"[{re.escape(marks)}]{{{MAX_COMBINING_RUN + 1}}}")
