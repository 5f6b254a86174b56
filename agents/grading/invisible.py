"""Characters a reader does not see, and text as a reader sees it with a map to the original."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

DATAMARK: Final = "\u02c6"
"""Stands for each space inside a suspected instruction, so that a model sees it is data.
Hines et al., "Defending Against Indirect Prompt Injection Attacks With Spotlighting" (2024)."""

_TAGS: Final = range(0xE0000, 0xE0080)
_VARIATION: Final = frozenset([*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
_FILLERS: Final = frozenset([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFFA0])
_SPELLING: Final = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u00b4`"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
    ord(DATAMARK): " ",
}


def is_tag(character: str) -> bool:
    """A character of the Unicode Tags block, which mirrors ASCII invisibly."""
    return ord(character) in _TAGS


def is_invisible(character: str) -> bool:
    """Format characters (Cf), tags, variation selectors, fillers and control characters."""
    point = ord(character)
    if point in _TAGS or point in _VARIATION or point in _FILLERS:
        return True
    category = unicodedata.category(character)
    return category == "Cf" or (category == "Cc" and not character.isspace())


def invisible_in(text: str) -> frozenset[str]:
    """The invisible characters that stand somewhere in the text."""
    return frozenset(filter(is_invisible, set(text)))


@dataclass(frozen=True, slots=True)
class Seen:
    """`text` as it looks: compatibility forms folded, runs of whitespace one space, invisible
    characters gone, quotes and dashes in one spelling. `origin[i]` is the index in the source of
    the character that `text[i]` came from.
    """

    text: str
    origin: tuple[int, ...]

    def find(self, needle: str, start: int = 0) -> tuple[int, int] | None:
        """(start, end) in the source of the first occurrence of an already folded needle."""
        at = self.text.find(needle, start) if needle else -1
        return None if at < 0 else self.source_span(at, at + len(needle))

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the source that the non-empty span `text[start:end]` came from."""
        return self.origin[start], self.origin[end - 1] + 1


def seen(source: str) -> Seen:
    """`source` as it looks. Combining marks are kept; the source should be NFC."""
    characters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(source):
        for visible in _shown(character):
            if visible == " " and (not characters or characters[-1] == " "):
                continue
            characters.append(visible)
            origin.append(index)
    if characters and characters[-1] == " ":
        characters.pop()
        origin.pop()
    return Seen("".join(characters), tuple(origin))


@lru_cache(maxsize=4_096)
def _shown(character: str) -> str:
    """What is seen of a character: nothing, or its folded form with a space for whitespace."""
    if is_invisible(character):
        return ""
    return "".join(" " if piece.isspace() else piece for piece in _folded(character))


def _folded(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character.translate(_SPELLING))
    return folded.translate(_SPELLING)
