"""Where a text names a person: the ways a name is written, as patterns over the folded text."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from agents.grading.invisible import is_invisible
from agents.grading.transliteration import ORDINARY, is_mark, romanised

_SPELLING = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\uff07\u00b4`"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\uff0d\ufe63"), "-"),
}
_BROKEN = re.compile("[-\u2010\u00ad][ \t]{0,8}\r?\n[ \t]{0,8}(?=\\w)")
_INSIDE = r"[\s'.\-]{0,2}"
_BETWEEN = r"[\s,.'_\-]{1,4}"
_BEGINS, _ENDS = r"(?<![^\W_])", r"(?![^\W_])"


@dataclass(frozen=True)
class Identity:
    """What a student is known by."""

    name: str
    email: str


@dataclass(frozen=True)
class Folded:
    """A text as it sounds: small Latin letters without marks, a word broken at a line's end
    mended. `origin[i]` is the index in `source` of what `text[i]` came from."""

    source: str
    text: str
    origin: Sequence[int]

    def span(self, found: re.Match[str], group: int = 0) -> tuple[int, int]:
        """Where a non-empty match stands in the source."""
        start, end = found.span(group)
        return self.origin[start], self.origin[end - 1] + 1

    def is_capital(self, at: int) -> bool:
        """Whether a capital letter stands there in the source."""
        return self.source[self.origin[at]].isupper()

    def opens(self, at: int) -> bool:
        """Whether it may be capital because a sentence begins."""
        before = self.text[max(0, at - 8) : at].rstrip(" \t\"'(")
        return not before or before[-1] in ".!?\n:"


def hearings(source: str) -> Iterator[Folded]:
    """`source` (NFC) as it sounds; and again where something unseen, or a line's end, may stand
    inside a name as well as between it and its neighbour."""
    yield folded(source)
    apart = "".join(" " if is_invisible(character) else character for character in source)
    apart = _BROKEN.sub(lambda found: " " * len(found.group()), apart)
    if apart != source:
        yield folded(apart)


def folded(source: str) -> Folded:
    """`source` (NFC) as it sounds."""
    pieces: list[str] = []
    origin: list[int] = []
    index = 0
    while index < len(source):
        character = source[index]
        if character.isascii() and character.isalnum():
            pieces.append(character.lower())
            origin.append(index)
            index += 1
            continue
        broken = _BROKEN.match(source, index) if pieces and pieces[-1].isalnum() else None
        if broken is not None:
            index = broken.end()
            continue
        if not is_invisible(character) and not is_mark(character):
            sound = _sound(character)
            pieces += sound
            origin += [index] * len(sound)
        index += 1
    return Folded(source, "".join(pieces), origin)


def _sound(character: str) -> str:
    if character.isalnum():
        return romanised(unicodedata.normalize("NFKC", character))[0]
    return unicodedata.normalize("NFKC", character.translate(_SPELLING))


def names(text: Folded, identity: Identity) -> Iterator[tuple[int, int]]:
    """Spans of the source that name the person; they may overlap and touch."""
    written = _written(identity)
    for found in written.sure.finditer(text.text):
        yield text.span(found)
    for found in written.together.finditer(text.text):
        if _is_together(text, found, written):
            yield text.span(found)
    for found in written.unit.finditer(text.text):
        if _is_name(text, found):
            yield text.span(found, 1)
    for found in written.initialled.finditer(text.text):
        if _is_initialled(text, found):
            yield text.span(found)
    yield from _signatures(text, written.initials)


def _is_together(text: Folded, found: re.Match[str], written: "_Written") -> bool:
    """`Ann Lee`, and `will rose` only where both are capital."""
    units = list(written.unit_alone.finditer(text.text, *found.span()))
    return all(text.is_capital(unit.start()) for unit in units) or any(
        unit.group() not in ORDINARY and len(unit.group()) > 2 for unit in units
    )


def _is_name(text: Folded, found: re.Match[str]) -> bool:
    """An ordinary word is a name where it is capital in a sentence; a short one where capital."""
    word, at = found.group(2), found.start()
    if found.group(1) != word:
        return text.is_capital(at) and len(word) > 2 and word not in ORDINARY
    if word in ORDINARY:
        return text.is_capital(at) and not text.opens(at)
    return len(word) > 2 or not word.isascii() or text.is_capital(at)


def _is_initialled(text: Folded, found: re.Match[str]) -> bool:
    initial = "before" if found.group("before") else "after"
    at = found.start(initial)
    dotted = "." in found.group(f"{initial}_dot")
    word = found.group(0)
    plain = not dotted and found.group(initial) in "ai"  # "I" and "A" are words
    starts = text.is_capital(at) and not plain
    name_at = found.start("name_after" if initial == "before" else "name_before")
    return starts and (text.is_capital(name_at) or not ORDINARY & set(re.split(r"\W+", word)))


def _signatures(text: Folded, initials: str) -> Iterator[tuple[int, int]]:
    """A line that has nothing but initials."""
    if len(initials) < 2:
        return
    inside = r"[ .\-]{0,3}"
    both = {initials, initials[0] + initials[-1]}
    lines = "|".join(inside.join(map(re.escape, letters)) for letters in sorted(both))
    for found in re.finditer(rf"(?m)^[ \t\-]*(({lines})\.?)[ \t]*$", text.text):
        start, end = text.span(found, 1)
        if text.source[start:end].upper() == text.source[start:end]:
            yield start, end


@dataclass(frozen=True)
class _Written:
    sure: re.Pattern[str]
    together: re.Pattern[str]
    unit: re.Pattern[str]
    unit_alone: re.Pattern[str]
    initialled: re.Pattern[str]
    initials: str


@lru_cache(maxsize=64)
def _written(identity: Identity) -> _Written:
    units = units_of(identity.name)
    forms = sorted({form for unit in units for form in forms_of(unit)}, key=len, reverse=True)
    unit = "|".join(map(_pattern, forms)) or r"(?!)"
    initial = "[" + "".join({re.escape(form[0]) for form in forms}) + "]" if forms else r"(?!)"
    sure = [*_handles(units), *_local(identity.email), *map(_spelled, forms)]
    sure += [_letters(each) for each in units if len(each) > 2]
    unspaced = [re.escape(whole) for whole in _unspaced(units)]
    return _Written(
        sure=re.compile("|".join([f"{_BEGINS}(?:{'|'.join(sure) or '(?!)'}){_ENDS}", *unspaced])),
        together=re.compile(rf"{_BEGINS}(?:{unit})(?:{_BETWEEN}(?:{unit}))+{_ENDS}"),
        unit=re.compile(rf"{_BEGINS}(({unit})(?:e?s)?){_ENDS}"),
        unit_alone=re.compile(unit),
        initialled=re.compile(
            rf"{_BEGINS}(?:(?P<before>{initial})(?P<before_dot>\.\s?|[\s_]{{1,2}})(?P<name_after>{unit})"
            rf"|(?P<name_before>{unit})[\s,_]{{1,3}}(?P<after>{initial})(?P<after_dot>\.|){_ENDS}){_ENDS}"
        ),
        initials="".join(romanised(each)[0][0] for each in units),
    )


def units_of(name: str) -> list[str]:
    """The words of a name, without initials."""
    spelled = unicodedata.normalize("NFC", name).translate(_SPELLING)
    words = [word.strip("'-.") for word in re.split(r"[\s,._]+", spelled)]
    return [word for word in words if len(word) > 1 or _is_ideograph(word)]


def _is_ideograph(word: str) -> bool:
    return bool(word) and unicodedata.name(word[0], "").startswith(("CJK", "HANGUL", "HIRAGANA"))


def forms_of(unit: str) -> set[str]:
    """The unit and its parts of more than one letter, in small Latin letters."""
    parts = [unit, *(part for part in re.split(r"['\-]", unit) if len(part) > 1)]
    return {form for part in parts for form in romanised(part) if form}


def _pattern(form: str) -> str:
    return _INSIDE.join(map(re.escape, re.split(r"['\-]", form)))


def _spelled(form: str) -> str:
    """`L e e`: letters that stand apart."""
    bare = re.sub(r"['\-]", "", form)
    return r"[\s.\-_]{1,3}".join(map(re.escape, bare)) if len(bare) > 2 else "(?!)"


def _letters(unit: str) -> str:
    """Letters of another alphabet that stand apart, of which each may be written by several."""
    each = ["|".join(map(re.escape, romanised(letter))) for letter in unit if letter.isalnum()]
    return r"[\s.\-_']{1,4}".join(f"(?:{form})" for form in each if form)


def _handles(units: Sequence[str]) -> Iterator[str]:
    """`annlee`, `lee.ann7`, `alee`, `annl`: as in addresses."""
    for first, last in permutations(units, 2):
        for one in romanised(first):
            for other in romanised(last):
                yield rf"{_pattern(one)}[._\-]?{_pattern(other)}\d{{0,4}}"
                if len(other) > 2:
                    yield rf"{re.escape(one[0])}[._\-]?{_pattern(other)}\d{{0,4}}"
                    yield rf"{_pattern(other)}[._\-]?{re.escape(one[0])}\d{{0,4}}"
    if len(units) > 2:
        for forms in zip(*(_plain_and_other(unit) for unit in units), strict=True):
            yield r"[._\-]?".join(map(_pattern, forms)) + r"\d{0,4}"


def _plain_and_other(unit: str) -> tuple[str, str]:
    forms = romanised(unit)
    return forms[0], forms[min(1, len(forms) - 1)]


def _local(email: str) -> Iterator[str]:
    """The part of an address before the `@`, where it is long enough to name somebody."""
    local = folded(unicodedata.normalize("NFC", email.partition("@")[0])).text
    words = re.findall(r"[^\W_]+", local)
    together = "".join(words)
    usual = together.rstrip("0123456789")
    if len(together) >= 5 and usual not in ORDINARY:
        digits = together[len(usual) :] if len(usual) < 5 else r"\d{0,4}"
        exact = r"[._\-']?".join(map(re.escape, words))
        yield exact
        yield exact.removesuffix(together[len(usual) :]) + digits if usual else exact


def _unspaced(units: Sequence[str]) -> Iterator[str]:
    """A name in a script that puts no spaces between words."""
    whole = "".join(units)
    if len(whole) > 1 and all(map(_is_ideograph, units)):
        yield romanised(whole)[0]
