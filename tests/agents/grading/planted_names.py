"""Names planted in ordinary sentences, in the ways students write them."""

import unicodedata
from collections.abc import Iterator

from agents.grading.naming import Identity

PEOPLE = [
    ("Ann Lee", "ann.lee@example.edu"),
    ("Ayşe Yılmaz", "ayse.yilmaz@example.edu"),
    ("Jürgen Müller", "jmueller@example.edu"),
    ("Søren Kjærgaard", "soren.k@example.edu"),
    ("Łukasz Wójcik", "wojcik77@example.edu"),
    ("Екатерина Юрьева", "e.yureva@example.edu"),
    ("Γιώργος Παπαδόπουλος", "papadopoulos@example.edu"),
    ("Siobhán O'Connor", "soconnor@example.edu"),
    ("María José García-Lorca", "mjgarcia@example.edu"),
    ("Nguyễn Thị Minh", "nguyen.minh@example.edu"),
    ("Quetzalina Ximenes", "qximenes@example.edu"),
    ("William Baker", "wbaker@example.edu"),
]
SENTENCES = [
    "The router, as {} found in the lab, forwards the packet to the next hop.",
    "As I, {}, wrote before, congestion control halves the window.",
    "Written by {}\nThe answer is that TCP retransmits what was lost.",
]
LATIN = {
    "Екатерина Юрьева": "Ekaterina Yureva",
    "Γιώργος Παπαδόπουλος": "Giorgos Papadopoulos",
    "Jürgen Müller": "Juergen Mueller",
    "Søren Kjærgaard": "Soeren Kjaergaard",
}


def plain(name: str) -> str:
    """Without marks, in Latin letters."""
    spelled = LATIN.get(name, name).replace("ı", "i").replace("Ł", "L").replace("ø", "o")
    bare = unicodedata.normalize("NFKD", spelled)
    return "".join(c for c in bare if not unicodedata.combining(c))


def variants(name: str, email: str) -> Iterator[tuple[str, str]]:
    """(kind, what is written)."""
    first, *_, last = name.split()
    yield "as it is", name
    yield "upper case", name.upper()
    yield "lower case", name.lower()
    yield "surname first", f"{last}, {first}"
    yield "surname alone", last
    yield "initial and surname", f"{first[0]}. {last}"
    yield "transliterated", plain(name)
    yield "possessive", f"{last}'s"
    yield "over two lines", f"{first}\n{last}"
    yield "broken by a hyphen", f"{first} {last[:2]}-\n{last[2:]}"
    yield "spaced out", " ".join(last)
    yield "zero-width inside", f"{first} {last[:2]}\u200b{last[2:]}"
    yield "underscore", f"{plain(first)}_{plain(last)}"
    yield "run together", plain(first) + plain(last)
    yield "handle", (plain(first)[0] + plain(last)).lower()
    yield "address", email
    yield "local part", email.partition("@")[0]
    yield "another address", f"{plain(last).lower()}.home@mail.example.org"
    yield "fullwidth", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in plain(last))


def planted() -> Iterator[tuple[str, str, int, int, Identity]]:
    """(kind, text, start and end of what is to go, whose)."""
    for name, email in PEOPLE:
        for kind, written in variants(name, email):
            for sentence in SENTENCES:
                before, after = sentence.split("{}")
                text = unicodedata.normalize("NFC", before + written + after)
                start = len(unicodedata.normalize("NFC", before))
                end = len(text) - len(unicodedata.normalize("NFC", after))
                end -= len("'s") if kind == "possessive" else 0
                yield kind, text, start, end, Identity(name, email)


ORDINARY_TEXT = (
    "The router will lower the time to live by one. It may drop the packet; the sender will then "
    "wait for three duplicate acknowledgements. In a good design the baker's algorithm avoids "
    "deadlock. Ann arbor is a layout. Mark the end of the frame. A long queue at the lee side of "
    "a hill shows congestion. King and Queen are chess pieces: e4, e5, 3.14159265358, 10.0.0.1, "
    "2001:db8::1. William of Ockham preferred few assumptions. See page 12, question 3."
)
