"""Names as students also write them: short, misspelt, by initials, spelt out; «» marks each."""

from collections.abc import Iterator

from agents.grading.naming import Identity

LIKENESSES = {
    ("Katherine Elizabeth Morgan", "k.morgan@uni.edu"): [
        "Thanks for reading, «Katie»",
        "My friends call me «Kate Morgan» and so may you.",
        "Author: «K.E.M.»",
        "«K. E. Morgan»\nEssay on routing",
        "«KEM», group 4",
        "by «Kath-\nerine Mor-\ngan»",
        "by «Katherine\n   Morgan»",
        "// «Katherine»\n// «Morgan»\nint main()",
        "«K A T H E R I N E   M O R G A N»",
        "by «Katherin Morgan»",
        "by «Kathrine Morgan»",
        "NAME: «MORGAN KATHERINE E.»\nDATE: 1 MAY",
        "/* hw3.c\n * @author «KMorgan» <«k.morgan@uni.edu»>\n */",
        '---\nauthor: "«morgan, katherine»"\n---',
        "def test_«katherine_morgan»(): pass",
        "\\author{«K.~E.~Morgan»}",
        "«K4therine M0rgan»",
        "«nagroM enirehtaK»",
        "<b>«Kather</b>ine Morgan»",
        "«\u041aatherine \u041corgan»",
        "«Kath\u200berine Mor\xadgan»",
        "«" + "".join(chr(0x1D3FF + ord(c) - 64) for c in "KATHERINE") + " Morgan»",
    ],
    ("William Robertson", "wrobertson@uni.edu"): [
        "«Bill Robertson»'s essay",
        "Regards, «Will»",
        "«Robertson»'s proof is here",
        "«Willaim Robertson»",
        "Mr «Robertsen» submitted",
    ],
    ("Alexandros Papadopoulos", "apapado@uni.gr"): [
        "Written by «Alex P.»",
    ],
    ("Elizabeth Nguyen", "lnguyen@uni.edu"): [
        "«Liz Nguyen», section 3",
    ],
    ("Robert Singh", "rsingh@uni.edu"): [
        "Signed: «Bob»",
    ],
    ("Margaret O'Brien", "mobrien@uni.edu"): [
        "«Peggy O'Brien» wrote this",
    ],
    ("Michael Chen", "mchen@uni.edu"): [
        "- «Mike»",
    ],
    ("Aleksandr Ivanov", "aivanov@uni.ru"): [
        "This is «Sasha Ivanov»'s work.",
    ],
    ("John Fitzgerald Doe", "jdoe@uni.edu"): [
        "submitted by «J.F. Doe»",
        "submitted by «J F Doe».",
        "«Doe, J.F.» (2024) Homework 3",
        "«Doe, J.» Homework 3",
    ],
    ("Maria Garcia Lopez", "mgl@uni.es"): [
        "Autora: «M. Garcia L.»",
        "«M.G.L.»",
        "«Garcia Lopez, Maria»",
        "«GARCÍA LÓPEZ María»",
    ],
    ("Priya Raghunathan", "priya.r@uni.in"): [
        "by «Priya R»",
        "mail me: «priya dot r at uni dot in»",
        "«priya.r (at) uni.in»",
        "«priya.r[at]uni[dot]in»",
        "user «priya_r» on the forum",
        "see github.com/«priya-raghunathan»/hw3",
        "# Author: «praghunathan»",
        "C:\\Users\\«priyaraghunathan»\\hw3.py",
        "«Priya Raghunatan»",
        "«Priya Ragunathan»",
    ],
    ("Priya Raghunathan", "praghunathan7@uni.in"): [
        "login «praghunathan7»",
    ],
    ("Jörg Müller", "jmueller@tu.de"): [
        "«joerg.mueller»@gmail.com",
        "«Joerg Mueller»",
        "«Jorg Muller» wrote",
    ],
    ("Søren Ødegård", "sodegard@uio.no"): [
        "«Soren Odegaard»",
    ],
    ("Александр Пушкин", "apushkin@msu.ru"): [
        "«Aleksandr Pushkin»",
        "«Alexander Pushkin»",
    ],
    ("Yuliya Shevchenko", "yshev@knu.ua"): [
        "автор: «Юлия Шевченко»",
    ],
    ("Γιώργος Παπαδόπουλος", "gpapad@uoa.gr"): [
        "«Giorgos Papadopoulos»",
        "«ΓΙΩΡΓΟΣ ΠΑΠΑΔΟΠΟΥΛΟΣ»",
    ],
    ("Mohammed Al-Rashid", "malrashid@kau.sa"): [
        "«Muhammad Al Rashid»",
    ],
    ("Zhang Wei", "zwei@pku.cn"): [
        "«Wei Zhang» 2024",
    ],
    ("Çağla Öztürk", "cozturk@metu.tr"): [
        "«CAGLA OZTURK»",
    ],
    ("James Harris", "jharris@uni.edu"): [
        "«James Harris»\u2019 answer",
    ],
    ("Anna van der Berg", "avdberg@tudelft.nl"): [
        "«A. v.d. Berg»",
        "«Vandenberg»? no: «Van der Berg», A.",
    ],
    ("Jean-Pierre Dupont-Moretti", "jpdm@ens.fr"): [
        "«JP Dupont»",
        "«Jean Pierre Dupont Moretti»",
        "«DUPONTMORETTI_JeanPierre»_hw2.pdf",
    ],
}

STILL_MISSED = ["KEM", "Vandenberg", "K4therine M0rgan", "nagroM enirehtaK", "Kather</b>ine Morgan"]


def likenesses() -> Iterator[tuple[str, list[tuple[int, int]], Identity]]:
    """(text, spans of what is to go, whose)."""
    for (name, email), marked in LIKENESSES.items():
        for each in marked:
            text, spans = "", []
            for piece in each.replace("»", "«").split("«"):
                spans.append((len(text), len(text) + len(piece)))
                text += piece
            yield text, spans[1::2], Identity(name, email)
