"""How names are written in Latin letters without marks, and which names are ordinary words."""

import unicodedata

# One letter at a time, in the spelling passports use most (ICAO Doc 9303, part 3, section 6).
_LETTERS = dict(
    zip("абвгдезийклмнопрстуфыэіѣґў", "abvgdeziiklmnoprstufyeiegu", strict=True)
) | {
    "ё": "e", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "",
    "ю": "iu", "я": "ia", "є": "ie", "ї": "i", "ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj",
    "ћ": "c", "џ": "dz",
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i",
    "κ": "k", "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s",
    "ς": "s", "τ": "t", "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i",
    "ħ": "h", "ŋ": "n", "ə": "a",
}  # fmt: skip
# Other spellings of the same letters, all of them at once.
_OTHERS = (
    {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"},
    {"ю": "yu", "я": "ya", "й": "y", "ё": "yo", "х": "h", "ц": "c", "ы": "y", "є": "ye", "ї": "yi",
     "χ": "h", "υ": "u", "η": "e", "β": "b"},
    {"ю": "ju", "я": "ja", "й": "j", "ё": "jo", "х": "ch", "ж": "z", "ч": "c", "ш": "s"},
)  # fmt: skip

# Names that are words of English prose, where only their place tells that they are names.
_ORDINARY = """
will mark rose may grace hope faith joy bill art frank rich rob sue pat dawn ivy lily daisy
iris violet pearl ruby amber crystal summer autumn april june august young long short strong
king queen bishop page baker cook hunter carter mason taylor stone wood hill ford lake brook
marsh field banks rivers day knight price white black green brown gray grey gold silver love
power best good wise sharp bright pain case chance christian drew earnest ernest gene guy jack
jean jay lance miles miller nick norm peg penny pierce ray reed robin rusty sandy skip star
sterling storm sunny terry van victor wade ward warren west north east south woods waters
winter major judge law lane bush bond bell ball berry cross curry dean fields fox frost glass
graves hall hand head house hull keen key lamb little low mann moon moore moss nice noble park
parks pool pope potter rush sage salt shepherd small snow speed spring steel street swan temple
test trip wall walls weaver webb wells wolf worth
an as at be by do go he ho in is it ma me my no of on or pa so to up us we
ban bin can data for hang has her him his hung kin long man many men min nor not page sing son song
sun sung tan than the them then tang ting tong was win you
"""
ORDINARY = frozenset(_ORDINARY.split())


def is_mark(character: str) -> bool:
    """An accent, a vowel sign, and what else is written on a letter."""
    return unicodedata.category(character).startswith("M")


def romanised(text: str) -> tuple[str, ...]:
    """The ways `text` is written in small Latin letters, the plainest first; at least one."""
    lowered = unicodedata.normalize("NFC", text.replace("İ", "i").replace("I", "i").casefold())
    source = unicodedata.normalize("NFC", text).lower()
    forms = [_plain(lowered, {})]
    forms += [_plain(source, other) for other in _OTHERS]
    return tuple(dict.fromkeys(forms))


def _plain(text: str, other: dict[str, str]) -> str:
    pieces = []
    for character in unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text)):
        if character in other:
            pieces.append(other[character])
        elif character in _LETTERS:
            pieces.append(_LETTERS[character])
        else:
            bare = unicodedata.normalize("NFKD", character)
            pieces += [_LETTERS.get(c, c) for c in bare if not is_mark(c)]
    return "".join(pieces)
