"""Is a text English? Function words and letters decide; no model, no table of a language.

Only what is built on English rules or an English embedder asks this, to say where it can't judge.
"""

# ruff: noqa: RUF001 - Turkish has an i without a dot

import re
from typing import Final

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ENGLISH_WORDS: Final = """\
    the of and to is are it that for with as by this from at which you your how what why when
    where who whose does did can could should would will not have has had be been or if than
    then between into its there their they we my does about give explain write tell show find
    make made each other"""
_OTHER_WORDS: Final = """\
    der die das den dem des ein eine einen einem einer eines und ist sind wie wer wo wann warum
    wieso welche welcher welches welchen nicht mit von zu für auf im am zum zur bei als auch oder
    aber man ich mir mich du sich kann wird werden macht gibt es wenn um aus nach über unter worin
    le la les un une et est sont que qui quoi quel quelle quels quelles comment pourquoi quand où
    dans pour par sur avec ne pas plus au aux ce cette ces il elle on je tu mon ma mes son sa ses
    si ou entre fut faut el los las unos unas del y qué cuál cuáles cómo cuándo quién dónde por
    para con sin se lo su sus más mi como os um uma da dos das em na não qual quais porém gli di
    che cosa perché come dove quando chi per nel della dei delle è het een van op met voor niet
    zijn wat hoe waarom welke dat ve ile bir bu şu için ne nedir nasıl neden hangi mı mu mü midir
    mıdır kim kimdi nerede olarak kadar daha çok ise sonra önce göre var yok olur değil kaç kaçtır
    gibi ya veya iki z jest co jak dlaczego kiedy kto gdzie czy nie się och att det som ett är hur
    varför vad vem af er hvad hvordan hvorfor hvem og"""
_ENGLISH: Final = frozenset(_ENGLISH_WORDS.split())
_OTHERS: Final = frozenset(_OTHER_WORDS.split())
_LATIN_ENDS: Final = "\u0250"


def is_english(text: str) -> bool:
    """Whether `text` reads as English. Bare terms ("TCP handshake") do; other scripts don't, nor
    does a text in which other languages' function words and letters outweigh English ones."""
    letters = [char for char in text if char.isalpha()]
    if sum(char < _LATIN_ENDS for char in letters) < 0.7 * len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    english = sum(word in _ENGLISH for word in words)
    other = sum(word in _OTHERS or not word.isascii() for word in words)
    return english >= other
