"""More hostile files, made by somebody who knows the formats: parts that lie, repeat and nest."""

import io
import json
import struct
import warnings
import zipfile
import zlib

from agents.documents.canonical import canonical
from tests.agents.documents.hostile import (
    GERMAN,
    HEBREW,
    JAPANESE,
    MAIN,
    WORDS,
    Hostile,
    always,
    changed,
    docx,
    main_part,
    pdf,
    utf8_text,
    xlsx,
)
from tests.agents.documents.written import write_pptx

_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SHEET = "xl/worksheets/sheet1.xml"
TYPES = "[Content_Types].xml"
STRINGS = "xl/sharedStrings.xml"
_MANY = 100_000


def pptx() -> bytes:
    return write_pptx([["Title", WORDS]]).data


def sheet(cells: str) -> bytes:
    return f'<worksheet xmlns="{_SHEET}"><sheetData>{cells}</sheetData></worksheet>'.encode()


def row(cells: str, number: int = 1) -> str:
    return f'<row r="{number}">{cells}</row>'


def shared(strings: str, prologue: str = "") -> bytes:
    """A workbook whose one cell shows the first of these shared strings."""
    head = f'<?xml version="1.0"?>{prologue}<sst xmlns="{_SHEET}">'
    cells = row('<c r="A1" t="s"><v>0</v></c>')
    data = xlsx()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        types = package.read(TYPES).decode()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    further = f'<Override PartName="/{STRINGS}" ContentType="{kind}"/></Types>'
    changes = {
        TYPES: types.replace("</Types>", further).encode(),
        STRINGS: f"{head}{strings}</sst>".encode(),
        SHEET: sheet(cells),
    }
    return changed(data, changes)


def calculated(address: str) -> bytes:
    """Formulas without and with a result; the latter is what was shown."""
    cells = f'<c r=\'A1\'><f>WEBSERVICE("{address}")&amp;"UNSEEN"</f></c>'
    cells += f"<c r='B1' t='str'><f>HYPERLINK(\"{address}\")</f><v>{WORDS}</v></c>"
    cells += "<c r='C1' t='e'><f>1/0</f><v>#DIV/0!</v></c>"
    return changed(xlsx(), {SHEET: sheet(row(cells))})


def linked(address: str) -> bytes:
    """A workbook that shows a cell of another workbook at an address."""
    relations = f"""<Relationships
        xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1"
        Type="{_RELATIONS}/externalLinkPath" Target="{address}" TargetMode="External"/>
        </Relationships>"""
    book = f'<externalLink xmlns="{_SHEET}" xmlns:r="{_RELATIONS}"><externalBook r:id="rId1"/>'
    data = xlsx()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        workbook = package.read("xl/workbook.xml").decode()
        known = package.read("xl/_rels/workbook.xml.rels").decode()
    further = (
        f'<Relationship Id="rX" Type="{_RELATIONS}/externalLink"'
        ' Target="externalLinks/externalLink1.xml"/></Relationships>'
    )
    references = f'<externalReferences xmlns:r="{_RELATIONS}"><externalReference r:id="rX"/>'
    workbook = workbook.replace("</sheets>", f"</sheets>{references}</externalReferences>")
    return changed(
        data,
        {
            "xl/workbook.xml": workbook.encode(),
            "xl/_rels/workbook.xml.rels": known.replace("</Relationships>", further).encode(),
            "xl/externalLinks/externalLink1.xml": f"{book}</externalLink>".encode(),
            "xl/externalLinks/_rels/externalLink1.xml.rels": relations.encode(),
        },
    )


def titled(title: str, sheets: int = 1) -> bytes:
    """A workbook whose sheets have this name."""
    data = xlsx()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        workbook = package.read("xl/workbook.xml").decode()
    at = workbook.index("<sheets>") + 8
    end = workbook.index("</sheets>")
    one = workbook[at:end]
    name = one.index('name="') + 6
    one = one[:name] + title + one[one.index('"', name) :]
    return changed(
        data, {"xl/workbook.xml": (workbook[:at] + one * sheets + workbook[end:]).encode()}
    )


def film(address: str) -> bytes:
    """Slides with 190 MB of video that a slide refers to."""
    name = "ppt/slides/_rels/slide1.xml.rels"
    data = pptx()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        relations = package.read(name).decode()
        types = package.read(TYPES).decode()
    kind = "http://schemas.microsoft.com/office/2007/relationships/media"
    further = f'<Relationship Id="rF" Type="{kind}" Target="../media/film.mp4"/></Relationships>'
    return changed(
        data,
        {
            "ppt/media/film.mp4": bytes(190_000_000),
            name: relations.replace("</Relationships>", further).encode(),
            TYPES: types.replace(
                "<Default ", '<Default Extension="mp4" ContentType="video/mp4"/><Default ', 1
            ).encode(),
        },
    )


def long_notes(address: str) -> bytes:
    """Slides with 100 MB of speaker notes, which are not read."""
    data = pptx()
    name = "ppt/notesSlides/notesSlide1.xml"
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        notes = package.read(name)
    one = b"<a:p><a:r><a:t>" + b"UNSEEN " * 140_000 + b"</a:t></a:r></a:p>"
    return changed(data, {name: notes.replace(b"</p:txBody>", one * 98 + b"</p:txBody>", 1)})


def doctype(padding: int) -> str:
    """Entities behind so much comment, one of them a file of this machine."""
    return (
        f'<!--{"x" * padding}--><!DOCTYPE x [<!ENTITY a "ha">'
        '<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    )


LAUGHS = (
    f"<!--{'x' * 70_000}--><!DOCTYPE x [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
    + "]>"
)


def renamed_main(address: str) -> bytes:
    """The main part of a Word file under a name that is not XML's, with entities."""
    data = main_part(doctype(0), f"{WORDS}&a;&e;")
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        main = package.read(MAIN)
        types = package.read(TYPES).decode()
        relations = package.read("_rels/.rels").decode()
    return changed(
        data,
        {
            MAIN: None,
            "word/document.bin": main,
            TYPES: types.replace(f"/{MAIN}", "/word/document.bin").encode(),
            "_rels/.rels": relations.replace(MAIN, "word/document.bin").encode(),
        },
    )


def twice(address: str) -> bytes:
    """Two main parts of one name: a reader that checks one may open the other."""
    out = io.BytesIO(docx())
    with zipfile.ZipFile(out, "a") as package:
        data = package.read(MAIN)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package.writestr(MAIN, data.replace(b"hop by hop", b"twice by hop"))
    return out.getvalue()


def absurd_names(address: str) -> bytes:
    names = ["../../../etc/passwd", "/etc/passwd", "C:\\x", "a" * 60_000, "\u202ex", "con", "a//b"]
    return changed(docx(), dict.fromkeys(names, b"UNSEEN"))


def zip64_lies(address: str) -> bytes:
    """The end of the directory says it holds 2^60 entries far away."""
    data = docx()
    at = data.rindex(b"PK\x05\x06")
    end = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 62, 9)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    tail = data[at : at + 4] + b"\xff" * 16 + data[at + 20 :]
    return data[:at] + end + locator + tail


def polyglot(address: str) -> bytes:
    """A PDF to one reader and a Word file to another."""
    return pdf() + docx()


def crafted_pdf(content: bytes, *objects: bytes, resources: bytes = b"") -> bytes:
    """A PDF of one page with this content stream, compressed; further objects begin at 5."""
    packed = zlib.compress(content, 1)
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<<"
        b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>" + resources + b">>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed),
        *objects,
    ]
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(bodies) + 1, at)
    return bytes(out)


_SHOWN = b"BT /F 12 Tf 50 700 Td (Packets are forwarded hop by hop.) Tj ET\n"


def form(content: bytes) -> bytes:
    return (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</A 5 0 R/B 6 0 R>>"
        b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>/Length %d>>stream\n%s\n"
        b"endstream" % (len(content), content)
    )


def recursive_forms(address: str) -> bytes:
    """Two forms that each draw the other, many times."""
    return crafted_pdf(
        _SHOWN + b"/A Do\n", form(b"/B Do " * 50), form(b"/A Do " * 50),
        resources=b"/XObject<</A 5 0 R/B 6 0 R>>",
    )  # fmt: skip


def doubling_forms(address: str) -> bytes:
    """Forms that each draw the next ten times: 10^9 pieces of text in a few kilobytes."""
    first, last = 5, 13
    bodies = []
    for number in range(first, last + 1):
        drawn = b"/N Do " * 10 if number < last else _SHOWN
        bodies.append(form(drawn).replace(b"/A 5 0 R/B 6 0 R", b"/N %d 0 R" % (number + 1)))
    return crafted_pdf(_SHOWN + b"/N Do\n", *bodies, resources=b"/XObject<</N 5 0 R>>")


def notebook(cells: object) -> bytes:
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def cell_nested(depth: int) -> bytes:
    """A cell whose source nests a hundred thousand lists."""
    made = notebook([{"cell_type": "code", "source": "HERE"}]).decode()
    return made.replace('"HERE"', "[" * depth + '"x"' + "]" * depth).encode()


CRAFTED = (
    Hostile(
        "Excel, 200,000 shared strings", "a.xlsx",
        lambda _: shared(f"<si><t>{WORDS}</t></si>" * 200_000), "READY", holds="hop by hop",
    ),
    Hostile(
        "Excel, a shared string of 90 MB", "a.xlsx",
        lambda _: shared(f"<si><t>{'x' * 90_000_000}</t></si>"), "FAILED", "TOO_MUCH_TEXT",
    ),
    Hostile("Excel, formulas", "a.xlsx", calculated, "READY", holds="hop by hop"),
    Hostile("Excel, linked to another", "a.xlsx", linked, "READY", holds="hop by hop"),
    Hostile(
        "Excel, a column beyond the last", "a.xlsx",
        lambda _: changed(xlsx(), {SHEET: sheet(row(
            f'<c r="AAAAAAA1" t="inlineStr"><is><t>{WORDS}</t></is></c>'))}),
        "FAILED", "DAMAGED",
    ),
    Hostile(
        "Excel, a sheet's name of 9 MB", "a.xlsx", lambda _: titled("x" * 9_000_000),
        "READY", holds="hop by hop",
    ),
    Hostile("Excel, a sheet without a name", "a.xlsx", lambda _: titled(""), "READY", holds="hop"),
    Hostile(
        "Excel, a sheet's name out of order", "a.xlsx",
        lambda _: titled("A&#10;e&#769;\u202e&#xFDD0;" + "y" * 3_000), "READY", holds="hop by hop",
    ),
    Hostile("Excel, 2,000 sheets", "a.xlsx", lambda _: titled("s", 2_000), "READY", holds="hop"),
    Hostile(
        "Excel, entity behind a comment", "a.xlsx",
        lambda _: shared("<si><t>&a;&e;</t></si>", doctype(70_000)), "FAILED", "DAMAGED",
        lacks="root:",
    ),
    Hostile(
        "Excel, entity in a sheet", "a.xlsx",
        lambda _: changed(xlsx(), {SHEET: doctype(70_000).encode() + sheet(row(
            '<c r="A1" t="inlineStr"><is><t>&a;&e;</t></is></c>'))}),
        "FAILED", "DAMAGED", lacks="root:",
    ),
    Hostile(
        "Excel, billion laughs behind a comment", "a.xlsx",
        lambda _: shared("<si><t>&a9;</t></si>", LAUGHS), "FAILED", "DAMAGED",
    ),
    Hostile(
        "Word, entity behind a comment", "a.docx",
        lambda _: main_part(doctype(70_000), f"{WORDS}&a;&e;"), "READY",
        holds=WORDS, lacks="root:",
    ),
    Hostile("Word, main part under another name", "a.docx", renamed_main, "READY",
            holds="hop by hop", lacks="root:"),
    Hostile("Word, two main parts of one name", "a.docx", twice, "READY", holds="by hop"),
    Hostile("Word, parts of absurd names", "a.docx", absurd_names, "READY", holds="hop by hop"),
    Hostile("Word, ZIP64 directory that lies", "a.docx", zip64_lies, "FAILED", "DAMAGED"),
    Hostile("slides with 190 MB of video", "a.pptx", film, "READY", holds="hop by hop"),
    Hostile("slides with 98 MB of notes", "a.pptx", long_notes, "READY", holds="hop by hop"),
    Hostile("PDF and Word file in one", "a.pdf", polyglot, "READY", holds="hop by hop"),
    Hostile("PDF and Word file, named .docx", "a.docx", polyglot, "READY", holds="hop by hop"),
    Hostile("PDF, forms that draw each other", "a.pdf", recursive_forms, "FAILED", "DAMAGED"),
    Hostile("PDF, a billion pieces by forms", "a.pdf", doubling_forms, "FAILED", "DAMAGED"),
    Hostile(
        "PDF, 50 MB of drawing", "a.pdf",
        lambda _: crafted_pdf(_SHOWN + b"q 1 0 0 1 0 0 cm Q " * 2_600_000), "READY", holds="hop by",
    ),
    Hostile(
        "PDF, 50 MB of saved states", "a.pdf", lambda _: crafted_pdf(b"q " * 25_000_000 + _SHOWN),
        "FAILED", "DAMAGED",
    ),
    Hostile(
        "PDF, a million texts on a page", "a.pdf", lambda _: crafted_pdf(_SHOWN * 1_000_000),
        "FAILED", "DAMAGED",
    ),
    Hostile(
        "mail with a page in it", "a.eml",
        always(b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n"
               b"--a\nContent-Type: message/rfc822\n\n" * 1_000), "REFUSED", "UNSUPPORTED_FILE",
    ),
    Hostile("mail named .txt", "a.txt", always(
        b"MIME-Version: 1.0\nContent-Type: message/rfc822\n\n" * 1_000), "READY", holds="rfc822"),
    Hostile(
        "picture with scripts (SVG)", "a.svg",
        always(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"),
        "REFUSED", "UNSUPPORTED_FILE",
    ),
    Hostile("bidirectional controls", "a.txt", utf8_text(
        f"{HEBREW}\u202e{WORDS}\u202c\u2066x\u2069\u200f"), "READY", holds=WORDS.strip()),
    *(
        Hostile(f"NUL bytes in {suffix}", f"a.{suffix}", always(
            b"# A\n\n" + WORDS.encode() * 9 + b"\x00 \x00"), "READY", holds=WORDS, lacks="\x00")
        for suffix in ("md", "html", "py", "csv", "tsv", "tex", "json")
    ),
    Hostile("NUL bytes in ipynb", "a.ipynb", always(
        notebook([{"cell_type": "code", "source": WORDS * 9}]) + b"\x00"), "FAILED", "DAMAGED"),
    Hostile("NUL written in JSON in ipynb", "a.ipynb", always(
        notebook([{"cell_type": "code", "source": WORDS + "\x00\ud800" + WORDS}])),
        "READY", holds=WORDS.strip(), lacks="\x00"),
    Hostile(
        "accents, 64 on each of 20,000 letters", "a.txt",
        utf8_text("".join(f"e{chr(0x301) * 32}{chr(0x323) * 32}\n" for _ in range(20_000))),
        "READY", holds=canonical(f"e{chr(0x301) * 32}{chr(0x323) * 32}"),
    ),
    Hostile("nothing but variation selectors", "a.txt", utf8_text("\ufe0f" * 999_999),
            "NO_TEXT", "EMPTY"),
    Hostile("nothing but zero-width marks", "a.txt", utf8_text("\u200b\u200d\u2060" * 333_333),
            "NO_TEXT", "EMPTY"),
    Hostile("Hangul in pieces", "a.txt", utf8_text("\u1112\u1161\u11ab" * 300_000),
            "READY", holds="\ud55c" * 9),
    Hostile("UTF-16 without a mark", "a.txt", always(GERMAN.encode("utf-16-le") * 9),
            "READY", holds=GERMAN.strip()),
    Hostile("UTF-16 without a mark, not Latin", "a.txt", always(JAPANESE.encode("utf-16-be") * 9),
            "REFUSED", "UNSUPPORTED_FILE"),
    Hostile("UTF-16 of half a character", "a.txt", always(
        GERMAN.encode("utf-16") + b"\x00\xd8"), "FAILED", "BAD_ENCODING"),
    Hostile("page in an encoding that is none", "a.html", always(
        b"<meta charset=punycode>" + b"a\xff-" * 300_000), "FAILED", "BAD_ENCODING"),
    Hostile("page in an encoding of escapes", "a.html", always(
        b"<meta charset=unicode_escape><p>\\ud800\\x00 caf\xe9 " + WORDS.encode() * 9),
        "READY", holds="\\ud800\\x00 café"),
    Hostile("garbage of letters", "a.txt", utf8_text("".join(
        chr(0x100 + n * 7919 % 0xA000) for n in range(200_000))), "READY"),
    Hostile("notebook of 10^5 cells", "a.ipynb", lambda _: notebook(
        [{"cell_type": "markdown", "source": str(n or WORDS)} for n in range(_MANY)]),
        "READY", holds="hop by hop"),
    Hostile("notebook, a source 10^5 deep", "a.ipynb", lambda _: cell_nested(_MANY),
            "FAILED", "DAMAGED"),
    Hostile("notebook, a source 500 deep", "a.ipynb", lambda _: cell_nested(500), "READY"),
    Hostile("web page, 10^5 open inline elements", "a.html", utf8_text(
        "<b><i><font>" * 33_333 + WORDS), "FAILED", "DAMAGED"),
    Hostile("web page, an attribute of 10 MB", "a.html", utf8_text(
        f"<p title='{'x' * 10_000_000}'>{WORDS}</p>"), "READY", holds="hop by hop"),
    Hostile("web page, 10^5 attributes", "a.html", utf8_text(
        f"<p {' '.join(f'a{n}=1' for n in range(_MANY))}>{WORDS}</p>"), "FAILED", "TIME_LIMIT",
            limits={"cpu_seconds": 2}),
    Hostile("CSV, one field of 15 MB", "a.csv", utf8_text('a,"' + "x" * 15_000_000),
            "FAILED", "TOO_MUCH_TEXT"),
    Hostile("CSV, one field of 1 MB", "a.csv", utf8_text('a,"' + "x" * 1_000_000), "READY"),
    Hostile("CSV, quotes in each place", "a.csv", utf8_text('"' * 1_000_000), "READY"),
    Hostile("source of 300,000 lines", "a.py", utf8_text("a\n" * 300_000), "READY",
            holds="a\na"),
    Hostile("text of one line", "a.txt", utf8_text("x" * 1_000_000), "READY"),
    Hostile("text of 9 million spaces", "a.txt", utf8_text("a" + " " * 9_000_000 + "b"), "READY"),
    *(
        Hostile(f"Markdown, 10^5 of {piece!r}", "a.md",
                utf8_text(f"{WORDS}\n\n{piece * _MANY}"), "READY",
                holds="hop by hop")
        for piece in (
            "**a ", "[a](", "![", "<!--", "`", "> ", "- ", "#", "*_", "\\", "[a]: <", "~~~\n", "|-"
        )
    ),
    Hostile("Markdown, headings below headings", "a.md", utf8_text(
        "".join(f"{'#' * (n % 6 + 1)} {WORDS}\n" for n in range(20_000))), "READY", holds="hop by"),
    Hostile("text of dots and capitals", "a.txt", utf8_text("A. B.C. Dr. 1.2. ... " * 20_000),
            "READY"),
)  # fmt: skip
