"""The language of a passage: its document's, unless its letters clearly belong to another script.

A script tells the language only where one language uses it; elsewhere the tag says the script
(BCP 47: `und-Cyrl`), so that nothing is stemmed by the wrong rules.
"""

import re
from typing import Final

_SCRIPTS: Final = {
    "Jpan": re.compile("[\u3041-\u30ff]"),
    "Kore": re.compile("[\uac00-\ud7a3\u1100-\u11ff]"),
    "Hani": re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]"),
    "Cyrl": re.compile("[\u0400-\u052f]"),
    "Grek": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "Hebr": re.compile("[\u0590-\u05ff]"),
    "Arab": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "Deva": re.compile("[\u0900-\u097f]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Latn": re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
}
_LANGUAGE: Final = {
    "Jpan": "ja",
    "Kore": "ko",
    "Hani": "zh",
    "Grek": "el",
    "Hebr": "he",
    "Thai": "th",
}
_WRITTEN: Final = {
    **{language: script for script, language in _LANGUAGE.items()},
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "ky", "mn"), "Cyrl"),
    **dict.fromkeys(("ar", "fa", "ur", "ps"), "Arab"),
    **dict.fromkeys(("hi", "mr", "ne"), "Deva"),
    "sr": "", "yi": "Hebr",
}  # fmt: skip
_MOST: Final = 0.6
_FEWEST: Final = 20


def language_of(text: str, expected: str) -> str:
    """A BCP 47 tag for `text`, of a document in the language `expected`.

    Another than `expected` only when at least 60 % of 20 or more letters are of a script that
    language is not written in.
    """
    counts = {script: len(found.findall(text)) for script, found in _SCRIPTS.items()}
    if counts["Jpan"] * 10 > counts["Hani"]:  # Japanese mixes kana and Chinese characters
        counts["Jpan"] += counts.pop("Hani")
    script, letters = max(counts.items(), key=lambda item: item[1])
    if letters < _FEWEST or letters < _MOST * sum(counts.values()):
        return expected
    base = expected.partition("-")[0].lower()
    if script == _WRITTEN.get(base, "Latn") or (base == "sr" and script in {"Latn", "Cyrl"}):
        return expected
    return _LANGUAGE.get(script, f"und-{script}")
