"""The guard: what is hidden in a text or talks to the grader is marked as data and reported.

It never changes a score. A flagged attempt is graded like any other and shown to a person.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agents.documents.sentences import sentence_spans
from agents.grading.invisible import DATAMARK, invisible_in, is_invisible, is_tag, seen
from agents.grading.result import GuardFinding, ReviewCode

_ZERO_WIDTH_JOINERS: Final = "\u200c\u200d"
_HARMLESS: Final = "\u00ad\u200e\u200f\ufeff\ufe0e\ufe0f\u2060"
"""Soft hyphens, direction marks, byte order marks and emoji selectors: editors put them in."""
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_BLACK_FLAG: Final = "\U0001f3f4"
_CANCEL_TAG: Final = "\U000e007f"

_WHOM = r"(?:me|us|this|it|the|my|him|her|them)?"
_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        (
            r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,30}?"
            r"\b(?:previous|prior|above|earlier|preceding|all|any|your|the|system|grading)\b.{0,30}?"
            r"\b(?:instructions?|prompts?|rules?|guidelines?|rubrics?|criteria|directives?)\b"
        ),
        r"\b(?:award|give|assign|grant|mark|score|grade)\s+" + _WHOM + r".{0,50}?"
        r"(?:(?:full|maximum|max|highest|perfect)\s+(?:(?:possible|available)\s+)?"
        r"(?:marks?|scores?|credits?|grades?)\b|(?:full|maximum)\s+points\b"
        r"|100\s?%|10/10|100/100|\ba\+)",
        (
            r"\b(?:note|message|instructions?|attention|hint)\s+(?:to|for)\s+(?:the\s+)?"
            r"(?:ai|llm|grader|grading|marker|examiner|assessor|language model|assistant|model)\b"
        ),
        (
            r"\byou\s+are\s+(?:now\s+)?(?:an?|the|no longer)\s+(?:\w+\s+){0,3}"
            r"(?:ai|llm|chatbot|language model|grader|grading (?:assistant|system|model))\b"
        ),
        (
            r"\bas\s+(?:an?|the)\s+"
            r"(?:ai|llm|language model|grader|grading (?:model|assistant|system))\b"
            r".{0,40}?\b(?:you|must|should|shall|please)\b"
        ),
        (
            r"\b(?:do not|don't|never)\s+(?:deduct|penali[sz]e|subtract|take off)\b.{0,30}?"
            r"\b(?:points?|marks?|credits?|me|this (?:answer|essay|submission|student))\b"
        ),
        (
            r"\b(?:your|the|new|updated)\s+(?:system\s+prompt|system\s+message)\b.{0,40}?"
            r"\b(?:is|are|now|ignore|reveal|print|repeat|says?)\b"
        ),
        r"<\|?(?:im_start|im_end|system|endoftext|assistant)\|?>|\[/?INST\]|<<SYS>>",
        r"(?:^|\s)#{2,}\s*(?:system|instruction|assistant)\b\s*:?",
        r"\b(?:ignoriere|missachte|vergiss)\b.{0,40}?\b(?:anweisung|anweisungen|regeln|vorgaben)\b",
        (
            r"\b(?:gib|vergib|bewerte)\b.{0,40}?\b(?:volle|maximale|h\u00f6chste)\w*\s+"
            r"(?:punkt\w*|note|bewertung)\b"
        ),
        r"\b(?:ignora|olvida|omite)\b.{0,40}?\b(?:instrucciones|reglas|indicaciones)\b",
        r"\b(?:ignore[zr]?|oublie[zr]?)\b.{0,40}?\b(?:consignes|r\u00e8gles)\b",
    )
)
_WHITESPACE: Final = re.compile(r"\s")
_PLACEHOLDER: Final = re.compile(
    r"n/?a|none|empty|blank|nothing(?:\ssubmitted)?|not\s(?:answered|submitted|applicable|available)"
    r"|(?:no|empty|blank)\s(?:submission|response|answer|text)"
    r"|keine\s(?:antwort|abgabe)|sin\srespuesta|pas\sde\sr\u00e9ponse",
    re.IGNORECASE,
)


def is_blank(source: str) -> bool:
    """No letter or digit that a reader sees, or a placeholder such as "No submission."."""
    if any(char.isalnum() for char in source[200:]):
        return False
    words = seen(source).text.strip(" .!-_*()[]<>\"'?:")
    return not any(map(str.isalnum, words)) or bool(_PLACEHOLDER.fullmatch(words))


@dataclass(frozen=True, slots=True)
class Guarded:
    """`text`: what members read: hidden characters gone, suspected instructions datamarked."""

    text: str
    findings: tuple[GuardFinding, ...]
    truncated: bool

    @property
    def datamarked(self) -> bool:
        """Whether a span of the text is marked."""
        return any(finding.code is ReviewCode.SUSPECTED_INSTRUCTIONS for finding in self.findings)


def guarded(source: str, max_characters: int) -> Guarded:
    """`source` (NFC) as the members may read it: at most its first `max_characters` code points.

    Findings are about the whole of it, their offsets code points of `source`.
    """
    invisible = invisible_in(source)
    findings = (*(_hidden(source) if invisible else ()), *_instructions(source))
    read = source
    for finding in findings:
        if finding.code is ReviewCode.SUSPECTED_INSTRUCTIONS:
            marked = _WHITESPACE.sub(DATAMARK, source[finding.start : finding.end])
            read = read[: finding.start] + marked + read[finding.end :]
    read = read[:max_characters].translate(dict.fromkeys(map(ord, invisible)))
    return Guarded(read, findings, len(source) > max_characters)


def _hidden(source: str) -> Iterator[GuardFinding]:
    """Runs of invisible characters which have no honest use where they stand."""
    right_to_left = any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in source)
    start: int | None = None
    for index in range(len(source) + 1):
        suspicious = index < len(source) and _is_suspicious(source, index, right_to_left)
        if suspicious and start is None:
            start = index
        elif not suspicious and start is not None:
            run = source[start:index]
            start_of_run, start = start, None
            if not _is_flag(source, start_of_run, run):
                yield GuardFinding(ReviewCode.HIDDEN_TEXT, start_of_run, index, _hidden_detail(run))


def _is_suspicious(source: str, index: int, right_to_left: bool) -> bool:
    character = source[index]
    if not is_invisible(character) or character in _HARMLESS:
        return False
    if character in _ZERO_WIDTH_JOINERS:
        return not (_joins(source, index - 1) and _joins(source, index + 1))
    is_bidi_control = 0x202A <= ord(character) <= 0x202E or 0x2066 <= ord(character) <= 0x2069
    return not (is_bidi_control and right_to_left)


def _joins(source: str, index: int) -> bool:
    """Whether the neighbour is of a script, or an emoji, where joiners spell something."""
    if not 0 <= index < len(source):
        return False
    point = ord(source[index])
    return (
        0x0600 <= point <= 0x08FF  # Arabic, Syriac
        or 0x0900 <= point <= 0x0DFF  # Indic
        or 0x1780 <= point <= 0x18AF  # Khmer, Mongolian
        or 0xFB50 <= point <= 0xFEFC  # Arabic presentation forms
        or 0x2190 <= point <= 0x2BFF  # symbols
        or point == 0xFE0F  # emoji selector
        or 0x1F000 <= point <= 0x1FAFF  # emoji
    )


def _is_flag(source: str, start: int, run: str) -> bool:
    """A flag emoji of a region: a black flag, a few tags, a cancel tag."""
    return (
        start > 0
        and source[start - 1] == _BLACK_FLAG
        and len(run) <= 7
        and run.endswith(_CANCEL_TAG)
    )


def _hidden_detail(run: str) -> str:
    message = "".join(chr(ord(char) - 0xE0000) for char in run if is_tag(char))
    readable = "".join(char for char in message if char.isprintable())
    if readable:
        return f"Invisible tag characters spell: {readable[:200]}"
    names = sorted({unicodedata.name(char, f"U+{ord(char):04X}") for char in run})
    return f"{len(run)} invisible characters: {', '.join(names[:3])}"


def _instructions(source: str) -> Iterator[GuardFinding]:
    """The sentence or line around each span that addresses whoever grades."""
    view = seen(source)
    sentences = [
        _around(source, *view.source_span(match.start(), match.end()))
        for pattern in _PATTERNS
        for match in pattern.finditer(view.text)
    ]
    last = -1
    for start, end in sorted(sentences):
        if end <= last:
            continue
        begin = max(start, last)
        last = end
        quote = " ".join(seen(source[begin:end]).text.split())
        yield GuardFinding(
            ReviewCode.SUSPECTED_INSTRUCTIONS,
            begin,
            end,
            f"Reads as an instruction to the grader: {quote[:200]}",
        )


def _around(source: str, start: int, end: int) -> tuple[int, int]:
    """`start:end`, widened to the sentences it lies in, at most 300 code points either way."""
    low = max(0, start - 300)
    window = source[low : end + 300]
    for begin, finish in sentence_spans(window):
        if low + begin <= start < low + finish:
            start = min(start, low + begin)
        if low + begin < end <= low + finish:
            end = max(end, low + finish)
    return start, end
