"""Find a quote in a text: verbatim, up to whitespace, the spelling of quotes and dashes, marks of
Markdown emphasis, and characters nobody sees.

Case, letters, digits, order and negations all count. Offsets are code points of the text as given.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

_SPELLING: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
_UNSEEN: Final = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff")
_EMPHASIS: Final = frozenset("*`")

MIN_CHARACTERS: Final = 12
MIN_WORDS: Final = 3
"""A quote needs so many normalised characters or words: "the" is in every passage."""


@dataclass(frozen=True, slots=True)
class _Normalised:
    """`text[i]` is the spelling of the source's character at `origin[i]`."""

    text: str
    origin: tuple[int, ...]


def normalised(text: str) -> str:
    """The form in which a quote and its passage are compared; `text` is NFC."""
    return _normalised(text).text


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Where `quote` first stands in `text`, or None.

    normalised(text[start:end]) == normalised(quote), save quotation marks around the quote that
    are not in the text. The span begins and ends at whole words. Quotes which are too short to
    say anything are not found.
    """
    wanted = normalised(unicodedata.normalize("NFC", quote))
    source = _normalised(text)
    for candidate in dict.fromkeys((wanted, wanted.strip("\"'").strip())):
        if len(candidate) < MIN_CHARACTERS and len(candidate.split()) < MIN_WORDS:
            continue
        at = source.text.find(candidate)
        while at >= 0:
            end = at + len(candidate)
            if not (_inside_word(source.text, at) or _inside_word(source.text, end)):
                return source.origin[at], source.origin[end - 1] + 1
            at = source.text.find(candidate, at + 1)
    return None


def _normalised(text: str) -> _Normalised:
    kept: list[str] = []
    origin: list[int] = []
    emphasised = not _EMPHASIS.isdisjoint(text)
    for index, character in enumerate(text.translate(_SPELLING)):
        if character in _UNSEEN or (
            emphasised and character in _EMPHASIS and not _between_words(text, index)
        ):
            continue
        folded = " " if character.isspace() else character
        if folded == " " and (not kept or kept[-1] == " "):
            continue
        kept.append(folded)
        origin.append(index)
    if kept and kept[-1] == " ":
        kept.pop()
        origin.pop()
    return _Normalised("".join(kept), tuple(origin))


def _between_words(text: str, index: int) -> bool:
    """A star in 2*3 is no emphasis."""
    return text[index - 1 : index].isalnum() and text[index + 1 : index + 2].isalnum()


def _inside_word(text: str, at: int) -> bool:
    return text[at - 1 : at].isalnum() and text[at : at + 1].isalnum()
