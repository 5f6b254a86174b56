"""Names, addresses and numbers of a student taken out of their text, with the way back.

What is found is replaced by a marker of one length, so that not even the length of a name is told.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from agents.grading.invisible import is_invisible
from agents.grading.likeness import addresses, likenesses
from agents.grading.naming import Folded, Identity, hearings, names
from agents.grading.transliteration import is_mark

NAME, E_MAIL, NUMBER = "[name]", "[e-mail]", "[number]"

# A local part has at most 64 octets (RFC 5321, section 4.5.3.1.1).
_ADDRESS = re.compile(
    r"\w[\w.'+%-]{0,63}\s?(?:@|\s?[(\[]\s?at\s?[)\]]\s?)\s?"
    r"[\w-]{1,63}(?:\s?(?:\.|[(\[]\s?dot\s?[)\]])\s?[\w-]{2,63})+"
    r"(?:@[\w.-]{0,253}){0,8}"
)
_PHONE = re.compile(r"\+\d[\d\s().-]{7,20}\d")
_NUMBERED = re.compile(
    r"\b(?:student|matric[a-z]{0,9}|matrikel[a-z]{0,9}|enrol[a-z]{0,6}|registration|candidate)\s?"
    r"(?:number|nummer|no|nr|id)?\s?[.:#]{0,2}\s{0,2}([a-z]{0,2}\d{4,12})\b"
)
_BETWEEN = re.compile(r"[\s,.'\u2019\uff07_\-\uff0d]{1,4}")


@dataclass(frozen=True)
class Cut:
    """`original[start:end]` is a marker now, at `redacted[at:at_end]`."""

    start: int
    end: int
    at: int
    at_end: int


@dataclass(frozen=True)
class Redacted:
    """A redacted text. Offsets are code points; each map is total and never goes backwards."""

    text: str
    cuts: Sequence[Cut]

    def to_original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original a span came from; a marker that is touched, as a whole."""
        marks = [(c.at, c.at_end, c.start, c.end) for c in self.cuts]
        return _mapped(marks, start, end)

    def to_redacted(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of the original is now; a cut that is touched, as its whole marker."""
        marks = [(c.start, c.end, c.at, c.at_end) for c in self.cuts]
        return _mapped(marks, start, end)


def _mapped(marks: list[tuple[int, int, int, int]], start: int, end: int) -> tuple[int, int]:
    begins = [mark[0] for mark in marks]

    def place(offset: int, *, last: bool) -> int:
        at = bisect_right(begins, offset - last) - 1
        if at < 0:
            return offset
        _, mark_end, to_start, to_end = marks[at]
        if offset < mark_end or (last and offset == mark_end):
            return to_end if last else to_start
        return offset - mark_end + to_end

    low = place(start, last=False)
    return low, max(low, place(end, last=True)) if end > start else low


def redact(text: str, identity: Identity) -> Redacted:
    """The text without what names its student. `text` is NFC; so is what comes back."""
    spans = [span for heard in hearings(text) for span in _found(heard, identity)]
    spans += [(*span, E_MAIL) for span in addresses(text, identity)]
    spans = _merged(text, spans)
    named = [(start, end) for start, end, marker in spans if marker == NAME]
    spans += [(*span, NAME) for span in likenesses(text, identity, named)]
    return _cut(text, _merged(text, spans))


def _found(heard: Folded, identity: Identity) -> list[tuple[int, int, str]]:
    spans = [(*heard.span(m), E_MAIL) for m in _ADDRESS.finditer(heard.text)]
    spans += [(*heard.span(m), NUMBER) for m in _PHONE.finditer(heard.text)]
    spans += [(*heard.span(m, 1), NUMBER) for m in _NUMBERED.finditer(heard.text)]
    spans += [(start, end, NAME) for start, end in names(heard, identity)]
    return spans


def _merged(text: str, spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """In order, without overlaps; the parts of one name are one span."""
    merged: list[tuple[int, int, str]] = []
    for start, end, marker in sorted(spans):
        if merged:
            before_start, before_end, before = merged[-1]
            gap = text[before_end:start]
            joined = before == marker == NAME and _BETWEEN.fullmatch(gap)
            if start <= before_end or joined:
                kept = marker if before == NAME else before
                merged[-1] = (before_start, max(before_end, end), kept)
                continue
        merged.append((start, end, marker))
    return merged


def _cut(text: str, spans: Sequence[tuple[int, int, str]]) -> Redacted:
    pieces, cuts, done, length = [], [], 0, 0
    for start, found_end, marker in spans:
        end = found_end
        while end < len(text) and (is_mark(text[end]) or is_invisible(text[end])):
            end += 1
        if start < done:
            continue
        pieces += [text[done:start], marker]
        at = length + start - done
        length = at + len(marker)
        cuts.append(Cut(start, end, at, length))
        done = end
    return Redacted("".join([*pieces, text[done:]]), cuts)
