"""Where a text nearly names a person: by a short form, misspelt, by initials beside their name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from agents.grading.naming import Identity, forms_of, units_of
from agents.grading.transliteration import ORDINARY, romanised

# Short forms that are no beginning of the name, by the beginning of what they are short for.
_SHORT = """
william:bill,billy,willy,liam robert:bob,bobby,robin richard:dick,rick,ricky margaret:peggy,maggie
elizabet:liz,lizzie,beth,betty,lisa michael:mike,mick,mickey james:jim,jimmy,jamie
john:jack,johnny,jon charles:chuck,charlie edward:ted,ned,teddy henry:harry,hank
kath:kate,katie,kit,kitty cath:cat,kate,katie ekaterin:katya,katia alexand:sasha,sandy,lex
aleksand:sasha,alex alejandr:alex anthony:tony dorothy:dot,dolly francis:frank joseph:joe,joey
thomas:tom,tommy theodor:ted,teddy susan:sue patrick:pat,paddy patricia:trish rebecca:becky,becca
jennifer:jen,jenny christ:chris,kit nichol:nick,nicky andrew:drew,andy abigail:gail lawrence:larry
daniel:danny samuel:sammy matthew:matt steven:steve stephen:steve dmitr:dima,mitya vladimir:vova
mikhail:misha ivan:vanya maria:masha,mary anna:anya,annie nikola:kolya,niko serge:seryozha
aleks:alyosha,lyosha francisco:paco,pancho jose:pepe ignacio:nacho guadalupe:lupe giuseppe:beppe
johann:hans giorgos:yorgos georgios:giorgos,yorgos konstantin:kostas,kostya dimitri:dimitris,dima
ioannis:yannis,giannis mohammed:mo
"""
_SHORT_FOR = {
    begins: frozenset(short.split(","))
    for begins, short in (entry.split(":") for entry in _SHORT.split())
}
_LEAST_MISSPELT = 7
_NEARBY = 60
_WORD = re.compile(r"[^\W\d_]{3,60}")
_BEFORE = re.compile(r"([^\W\d_]{3,})(?:[ \t~_\-]{1,3}|[ \t]{0,3}\n[ \t]{0,3})$")
_AFTER = re.compile(r"(?:[ \t~_\-]{1,3}|,[ \t]?)([^\W\d_]{3,})")
_INITIAL_BEFORE = re.compile(r"(?<![^\W_])([^\W\d_])(?:\.[ \t~\-]{0,2}|[ \t~_]{1,2})$")
_INITIAL_AFTER = re.compile(r",?[ \t]{0,2}([^\W\d_])(?:\.|(?![^\W_]))")
_ENDS_INITIAL = re.compile(r"(?<![^\W_])[^\W\d_]$")
_TOGETHER_BEFORE = re.compile(r"(?<![^\W_])([A-Z]{2,3})[ \t]$")
_OWN_WORDS = re.compile(
    r"\b(?:i am|i['\u2019]m|my name is|call me|signed|author|name)\b[ \t:,\"]{1,4}([^\W\d_]{3,})",
    re.IGNORECASE,
)
_SIGNED = re.compile(
    r"(?:^|[,:\u2013\u2014]|//|--|[ \t]-[ \t])[ \t*_~\-]{0,8}([^\W\d_]{3,})[ \t.!*_]{0,8}$",
    re.MULTILINE,
)
_AND_INITIAL = re.compile(r"(?<![^\W_])([^\W\d_]{3,})[ \t]([^\W\d_])(\.|(?![^\W_'\u2019]))")
_JOINED = r"\s?(?:[(\[]?\s?(?:dot|at)\s?[)\]]?|[.@_+\-])\s?"


@dataclass(frozen=True)
class _Known:
    forms: frozenset[str]
    initials: frozenset[str]
    dotted: re.Pattern[str]
    address: re.Pattern[str]


@lru_cache(maxsize=256)
def _known(identity: Identity) -> _Known:
    units = units_of(identity.name)
    forms = frozenset(form for unit in units for form in forms_of(unit) if len(form) > 2)
    first = [romanised(unit)[0][:1] for unit in units]
    parts = [romanised(part)[0][:1] for unit in units for part in re.split(r"['\-]", unit) if part]
    runs = {
        r"\.[ \t]?".join(re.escape(letter.upper()) for letter in run)
        for run in (first, parts)
        if len(run) > 2
    }
    words = [re.escape(word) for word in re.split(r"[.@_+\-]", identity.email) if word]
    return _Known(
        forms,
        frozenset([*first, *parts]),
        re.compile(rf"(?<![^\W_])(?:{'|'.join(sorted(runs)) or '(?!)'})\.(?![^\W_])"),
        re.compile(rf"(?<![^\W_]){_JOINED.join(words) or '(?!)'}(?![^\W_])", re.IGNORECASE),
    )


def addresses(source: str, identity: Identity) -> Iterator[tuple[int, int]]:
    """Where the person's own address is spelt out, as in `ann dot lee at example dot org`."""
    for found in _known(identity).address.finditer(source):
        yield found.span()


def likenesses(
    source: str, identity: Identity, named: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Spans that nearly name the person, given those that do."""
    known = _known(identity)
    if not known.forms:
        return
    misspelt = [f.span() for f in _WORD.finditer(source) if _is_misspelt(f.group(), identity)]
    for start, end in (*named, *misspelt):
        yield _with_neighbours(source, identity, start, end)
    for found in known.dotted.finditer(source):
        yield found.span()
    yield from _short_forms(source, known)


def _with_neighbours(source: str, identity: Identity, start: int, end: int) -> tuple[int, int]:
    """The span with the initials and the words around it that belong to the name."""
    known = _known(identity)
    while found := _INITIAL_BEFORE.search(source, max(0, start - 6), start):
        dotted = "." in found.group()
        if not _is_initial(found.group(1), known, dotted=dotted, own=not dotted):
            break
        start = found.start()
    if _ENDS_INITIAL.search(source, max(0, end - 2), end) and source[end : end + 1] == ".":
        end += 1
    while found := _INITIAL_AFTER.match(source, end):
        if not _is_initial(found.group(1), known, dotted="." in found.group(), own=True):
            break
        end = found.end()
    together = _TOGETHER_BEFORE.search(source, max(0, start - 6), start)
    if together and set(together.group(1).lower()) <= known.initials:
        start = together.start()
    before = _BEFORE.search(source, max(0, start - _NEARBY), start)
    if before and _belongs(before.group(1), identity):
        start = before.start()
    after = _AFTER.match(source, end, end + _NEARBY)
    if after and _belongs(after.group(1), identity):
        end = after.end()
    return start, end


def _is_initial(letter: str, known: _Known, *, dotted: bool, own: bool) -> bool:
    if not dotted and letter in "aAI":  # words, more often
        return False
    if romanised(letter)[0] in known.initials:
        return dotted or letter.isupper()
    return letter.isupper() and not own


@lru_cache(maxsize=4096)
def _belongs(word: str, identity: Identity) -> bool:
    """Whether a word beside a name is one of its words in another spelling, or short for one."""
    if not word[0].isupper():
        return False
    return any(
        _is_short(written, form) or (written not in ORDINARY and _alike(written, form))
        for written in romanised(word)
        for form in _known(identity).forms
    )


def _alike(written: str, form: str) -> bool:
    if written[0] != form[0]:
        return False
    one, other = _consonants(written), _consonants(form)
    same = len(one) > 2 and (one == other or _differs_by_one(one, other))
    return written[:3] == form[:3] or same or _differs_by_one(written, form)


def _consonants(word: str) -> str:
    return re.sub(r"(.)\1+", r"\1", word[0] + re.sub("[aeiouy]", "", word[1:]))


@lru_cache(maxsize=4096)
def _is_misspelt(word: str, identity: Identity) -> bool:
    if len(word) < _LEAST_MISSPELT - 1 or not word[0].isupper():
        return False
    written = romanised(word)[0]
    return written not in ORDINARY and any(
        len(form) >= _LEAST_MISSPELT and form[0] == written[0] and _differs_by_one(written, form)
        for form in _known(identity).forms
        if abs(len(form) - len(written)) < 2 and form not in ORDINARY
    )


def _differs_by_one(one: str, other: str) -> bool:
    """Whether a letter was left out, put in, taken for another, or changed places with the next."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1 or short == long:
        return False
    at = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2] == long[at : at + 2][::-1]
    return short[at + 1 :] == long[at + 1 :] or (swapped and short[at + 2 :] == long[at + 2 :])


def _is_short(written: str, form: str) -> bool:
    if 2 < len(written) < len(form) and len(form) > 4 and form.startswith(written):
        return True
    stem = re.sub(r"(?:ie|ey|y|i)$", "", written)
    if 2 < len(stem) < len(written) and len(form) > len(stem) + 1 and form.startswith(stem):
        return True
    return any(form.startswith(begins) and written in _SHORT_FOR[begins] for begins in _SHORT_FOR)


def _short_forms(source: str, known: _Known) -> Iterator[tuple[int, int]]:
    """Short forms alone, where somebody says or signs who they are."""
    for found in [*_SIGNED.finditer(source), *_OWN_WORDS.finditer(source)]:
        if _is_own_short(found.group(1), known):
            yield found.span(1)
    for found in _AND_INITIAL.finditer(source):
        initial = _is_initial(found.group(2), known, dotted=found.group(3) == ".", own=True)
        if initial and found.group(2).isupper() and _is_own_short(found.group(1), known):
            yield found.span()


def _is_own_short(word: str, known: _Known) -> bool:
    written = romanised(word)[0]
    return word[0].isupper() and any(_is_short(written, form) for form in known.forms)
