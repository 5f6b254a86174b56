"""The deterministic check of an answer: every claim rests on words that are in a passage.

A claim is a sentence of the answer. A marker [n] in it, or straight after it, stands for the
quotations with that number; a claim is supported when at least one of their quotes is found.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents.documents.sentences import sentence_spans
from agents.study.messages import CheckedClaim, Quotation, TutorAnswer
from agents.study.outcome import Citation, Source, UnsupportedClaim, UnsupportedReason
from agents.study.quotes import locate
from agents.study.terms import terms

_Span = tuple[int, int]
_Located = tuple[Quotation, _Span | None]

UNSUPPORTED_MARK: Final = "[unsupported]"

_MARKER = re.compile(r"[ \t]*\[(\d{1,3})\]")
_LEADING_MARKERS = re.compile(r"(?:\[\d{1,3}\]\s*)+")
_MIN_TERMS: Final = 3
"""A sentence without a marker and with fewer content terms ("Here it is.") claims nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the answer, its citations, and why it is unsupported, if it is."""

    start: int
    end: int
    citations: tuple[Citation, ...]
    problem: UnsupportedReason | None
    bad_markers: tuple[int, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether a quote for it was found."""
        return any(citation.verified for citation in self.citations)


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """The answer's text with its claims."""

    text: str
    claims: tuple[Claim, ...]

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Of all claims, in order."""
        return tuple(citation for claim in self.claims for citation in claim.citations)

    @property
    def unsupported(self) -> tuple[UnsupportedClaim, ...]:
        """Claims without a verified quote."""
        return tuple(
            UnsupportedClaim(claim.start, claim.end, claim.problem)
            for claim in self.claims
            if claim.problem is not None
        )

    @property
    def verified(self) -> int:
        """How many claims rest on a verified quote."""
        return sum(claim.verified for claim in self.claims)

    def problems(self) -> tuple[str, ...]:
        """What the tutor is told to repair, one sentence for each faulty claim."""
        return tuple(self._problems())

    def for_critic(self) -> tuple[CheckedClaim, ...]:
        """The claims as the critic reads them."""
        return tuple(
            CheckedClaim(
                claim=self.text[claim.start : claim.end],
                quotes=tuple(found.quote for found in claim.citations),
                supported=claim.verified,
            )
            for claim in self.claims
        )

    def _problems(self) -> Iterator[str]:
        for claim in self.claims:
            if claim.problem or claim.bad_markers:
                reason = claim.problem or UnsupportedReason.QUOTE_NOT_FOUND
                yield f"{_ADVICE[reason]} Claim: {self.text[claim.start : claim.end][:400]}"


_ADVICE: Final = {
    UnsupportedReason.NO_CITATION: "This claim has no marker; cite a passage or leave it out.",
    UnsupportedReason.NO_QUOTE: "A marker of this claim has no quotation.",
    UnsupportedReason.NO_SUCH_PASSAGE: "This claim cites a passage that was not given.",
    UnsupportedReason.QUOTE_NOT_FOUND: (
        "A quote of this claim is not in its passage; copy a whole phrase word for word."
    ),
}


def checked(answer: TutorAnswer, passages: Sequence[Source]) -> CheckedAnswer:
    """The claims of `answer` with their quotes looked up in `passages` (numbered from 1)."""
    claims: list[Claim] = []
    located = [(it, _located(it, passages)) for it in answer.quotations]
    for start, end in _claim_spans(answer.text):
        claim = _claim(answer.text, start, end, located, passages)
        if claim is not None:
            claims.append(claim)
    return CheckedAnswer(answer.text, tuple(claims))


def marked(answer: CheckedAnswer) -> CheckedAnswer:
    """The answer without markers of quotes that were not found; a claim that has no other says
    `[unsupported]`, so that no reader of the bare text meets a made-up citation."""
    parts: list[str] = []
    claims: list[Claim] = []
    length = position = 0
    for claim in answer.claims:
        between = answer.text[position : claim.start]
        body = answer.text[claim.start : claim.end]
        for marker in claim.bad_markers:
            body = re.sub(rf"[ \t]*\[0*{marker}\]", "", body)
        if claim.problem is not None:
            body = f"{body.rstrip()} {UNSUPPORTED_MARK}"
        start, end = length + len(between), length + len(between) + len(body)
        moved = tuple(replace(it, claim_start=start, claim_end=end) for it in claim.citations)
        claims.append(Claim(start, end, moved, claim.problem))
        parts += [between, body]
        length, position = end, claim.end
    parts.append(answer.text[position:])
    return CheckedAnswer("".join(parts), tuple(claims))


def without_unsupported(answer: CheckedAnswer) -> CheckedAnswer:
    """The answer without the claims that no verified quote supports, and without what leads to
    them alone: a line that holds nothing but such claims is gone."""
    parts: list[str] = []
    claims: list[Claim] = []
    length = position = 0
    for claim in answer.claims:
        between = answer.text[position : claim.start]
        position = claim.end
        if claim.problem is not None:
            between = between.rstrip(" \t")
        elif not length or parts[-1].endswith("\n"):
            between = between.lstrip(" \t" if length else None)
        parts.append(between)
        length += len(between)
        if claim.problem is None:
            start, end = length, length + claim.end - claim.start
            moved = tuple(replace(it, claim_start=start, claim_end=end) for it in claim.citations)
            claims.append(Claim(start, end, moved, None, claim.bad_markers))
            parts.append(answer.text[claim.start : claim.end])
            length = end
    parts.append(answer.text[position:])
    text = "".join(parts)
    return CheckedAnswer(text.rstrip(), tuple(claims))


def _claim_spans(text: str) -> list[tuple[int, int]]:
    """Sentences; markers that stand before a sentence belong to the one they follow."""
    spans: list[tuple[int, int]] = []
    for start, end in sentence_spans(text):
        leading = _LEADING_MARKERS.match(text, start, end)
        if leading and spans:
            taken = start + len(leading.group().rstrip())
            spans[-1] = (spans[-1][0], taken)
            if leading.end() < end:
                spans.append((leading.end(), end))
        else:
            spans.append((start, end))
    return spans


def _located(quotation: Quotation, passages: Sequence[Source]) -> _Span | None:
    if not 1 <= quotation.passage <= len(passages):
        return None
    return locate(quotation.quote, passages[quotation.passage - 1].text)


def _claim(
    text: str,
    start: int,
    end: int,
    located: Sequence[_Located],
    passages: Sequence[Source],
) -> Claim | None:
    sentence = text[start:end]
    markers = list(dict.fromkeys(int(found) for found in _MARKER.findall(sentence)))
    if not markers:
        says_nothing = (
            sentence.rstrip("\"'\u201d)").endswith((":", "?"))
            or len(set(terms(sentence))) < _MIN_TERMS
        )
        return None if says_nothing else Claim(start, end, (), UnsupportedReason.NO_CITATION)
    citations: list[Citation] = []
    bad: list[int] = []
    reasons: list[UnsupportedReason] = []
    for marker in markers:
        quotations = [found for found in located if found[0].marker == marker]
        found, reason = _cited(quotations, start, end, passages)
        citations += found
        if reason is not None:
            reasons.append(reason)
        if not any(citation.verified for citation in found):
            bad.append(marker)
    supported = any(citation.verified for citation in citations)
    problem = None if supported else reasons[0]
    return Claim(start, end, tuple(citations), problem, tuple(bad))


def _cited(
    quotations: Sequence[_Located], start: int, end: int, passages: Sequence[Source]
) -> tuple[list[Citation], UnsupportedReason | None]:
    if not quotations:
        return [], UnsupportedReason.NO_QUOTE
    citations: list[Citation] = []
    reason: UnsupportedReason | None = None
    for quotation, span in quotations:
        if not 1 <= quotation.passage <= len(passages):
            reason = UnsupportedReason.NO_SUCH_PASSAGE
            continue
        passage = passages[quotation.passage - 1]
        if span is None:
            reason = UnsupportedReason.QUOTE_NOT_FOUND
        citations.append(
            Citation(
                claim_start=start,
                claim_end=end,
                source=passage,
                quote=passage.text[slice(*span)] if span else quotation.quote,
                quote_start=span[0] if span else None,
                quote_end=span[1] if span else None,
                verified=span is not None,
            )
        )
    return citations, reason
