"""Files that are broken, enormous, misnamed or made to do harm, and what becomes of each."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pypdf import PdfReader, PdfWriter
from pypdf.actions import JavaScript
from pypdf.generic import ArrayObject, NameObject

from tests.agents.documents.written import write_docx, write_html, write_pdf, write_pptx, write_xlsx

HEBREW = "שלום עולם, זהו טקסט בעברית על רשתות מחשבים. "
GERMAN = "Die Größe der Öffnung hängt von der Länge ab. "
JAPANESE = "これは日本語のテキストです。講義の資料を読んでください。"
WORDS = "Packets are forwarded hop by hop. "
JPEG = b"\xff\xd8\xff" + bytes(99)
ARCHIVE = b"PK\x03\x04" + bytes(99)
MAIN = "word/document.xml"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_NESTED = 100_000


@dataclass(frozen=True)
class Hostile:
    """A file, the state its document ends in (REFUSED: at the upload) and the reason.

    `holds` must be in the text and `lacks` not; `address` in a file is that of a server which must
    not be asked for anything.
    """

    what: str
    file_name: str
    make: Callable[[str], bytes]
    state: str
    code: str | None = None
    holds: str = ""
    lacks: str = "UNSEEN"
    limits: Mapping[str, int] = field(default_factory=dict)


def changed(package: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """A ZIP package with other or further parts."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            if name not in changes:
                new.writestr(name, old.read(name))
        for name, data in changes.items():
            if data is not None:
                new.writestr(name, data)
    return out.getvalue()


def docx(address: str = "") -> bytes:
    return write_docx([["Heading", WORDS]]).data


def xlsx(address: str = "") -> bytes:
    return write_xlsx([[["cell", WORDS]]]).data


def pdf(address: str = "") -> bytes:
    return write_pdf([["Packets are forwarded hop by hop."]]).data


def encrypted_pdf(address: str) -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(pdf())))
    writer.encrypt("secret", algorithm="RC4-128")
    return _pdf(writer)


def armed_pdf(address: str) -> bytes:
    """JavaScript that runs on opening, an attachment, and a link."""
    writer = PdfWriter(PdfReader(io.BytesIO(pdf())))
    writer.add_open_action(JavaScript(f"app.launchURL('{address}'); UNSEEN"))
    writer.add_attachment("UNSEEN.txt", b"UNSEEN")
    return _pdf(writer)


def looping_pdf(address: str) -> bytes:
    """A page tree that contains itself."""
    writer = PdfWriter(PdfReader(io.BytesIO(pdf())))
    pages = writer.root_object["/Pages"].get_object()
    pages[NameObject("/Kids")] = ArrayObject([pages.indirect_reference] * 2)
    return _pdf(writer)


def _pdf(writer: PdfWriter) -> bytes:
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def compound(address: str) -> bytes:
    """As Office writes a file with a password: an OLE file with an encrypted package in it."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le")


def locked_docx(address: str) -> bytes:
    """Its parts are marked as encrypted by the ZIP's own means."""
    return docx().replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")


def lying_docx(address: str) -> bytes:
    """The directory says that the main part is small."""
    big = b"<w:document>" + b"x" * 2_000_000
    data = bytearray(changed(docx(), {MAIN: big}))
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(MAIN.encode()))
    data[at + 24 : at + 28] = (1_000).to_bytes(4, "little")
    return bytes(data)


def main_part(prologue: str, text: str) -> bytes:
    """A Word file whose main part begins with a prologue."""
    body = f"<w:document {_W}><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>"
    return changed(docx(), {MAIN: f'<?xml version="1.0"?>{prologue}{body}'.encode()})


def laughs(address: str) -> bytes:
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
    )
    return main_part(f"<!DOCTYPE x [{entities}]>", "&a9;")


def external_entity(address: str) -> bytes:
    return main_part(f'<!DOCTYPE x [<!ENTITY e SYSTEM "{address}">]>', "&e;")


def external_template(address: str) -> bytes:
    """A template and a picture that are to be fetched."""
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    data = docx()
    name = "word/_rels/document.xml.rels"
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        relations = package.read(name).decode()
    further = "".join(
        f'<Relationship Id="x{n}" Type="{kind}/{what}" Target="{address}" TargetMode="External"/>'
        for n, what in enumerate(("attachedTemplate", "image", "subDocument"))
    )
    return changed(
        data, {name: relations.replace("</Relationships>", f"{further}</Relationships>").encode()}
    )


def web_page(address: str) -> bytes:
    hidden = "<p hidden>UNSEEN</p><div style='display:none'><p>UNSEEN</p></div><!-- UNSEEN -->"
    return (
        f"<html><head><base href='{address}'><meta http-equiv=refresh content='0;url={address}'>"
        f"<link rel=stylesheet href='{address}'><script src='{address}'>UNSEEN</script></head>"
        f"<body onload='UNSEEN'><iframe src='{address}'>UNSEEN</iframe><img src='{address}'>"
        f"{hidden}<p>{WORDS}</p><noscript>UNSEEN</noscript></body></html>"
    ).encode()


def sheet_with(rows: str, dimension: str) -> bytes:
    """A workbook whose one sheet declares a dimension and holds these rows."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = (
        f'<worksheet xmlns="{space}"><dimension ref="{dimension}"/>'
        f"<sheetData>{rows}</sheetData></worksheet>"
    )
    return changed(xlsx(), {"xl/worksheets/sheet1.xml": sheet.encode()})


def cell(where: str) -> str:
    row = re.sub(r"\D", "", where)
    return f'<row r="{row}"><c r="{where}" t="inlineStr"><is><t>{WORDS}</t></is></c></row>'


def notebook(address: str) -> bytes:
    outputs = [{"output_type": "stream", "text": ["UNSEEN" * 3_000_000]}]
    made = {"cell_type": "code", "source": WORDS, "outputs": outputs}
    return json.dumps({"nbformat": 4, "cells": [made]}).encode()


def always(data: bytes) -> Callable[[str], bytes]:
    return lambda _address: data


def utf8_text(text: str) -> Callable[[str], bytes]:
    return always(text.encode())


def sparse(path: Path, size: int, begin: bytes = b"a,b") -> Path:
    """A file of this size which takes no room on the disk."""
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(size)
    return path


HOSTILE = (
    Hostile("PDF with a password", "a.pdf", encrypted_pdf, "FAILED", "ENCRYPTED"),
    Hostile("Word file with a password", "a.docx", compound, "FAILED", "ENCRYPTED"),
    Hostile("Word file, parts locked", "a.docx", locked_docx, "FAILED", "ENCRYPTED"),
    Hostile("old Word file", "a.doc", always(compound("")[:600]), "REFUSED", "UNSUPPORTED_FILE"),
    Hostile("PDF, its first 300 bytes", "a.pdf", lambda a: pdf(a)[:300], "FAILED", "DAMAGED"),
    Hostile("PDF, only its first line", "a.pdf", always(b"%PDF-1.7\n"), "FAILED", "DAMAGED"),
    Hostile("Word file, first half", "a.docx", lambda a: docx(a)[:9_000], "FAILED", "DAMAGED"),
    Hostile("Excel file, first half", "a.xlsx", lambda a: xlsx(a)[:3_000], "FAILED", "DAMAGED"),
    Hostile(
        "Word file, main part broken", "a.docx",
        lambda _: changed(docx(), {MAIN: b"<w:document><w:body>"}), "FAILED", "DAMAGED",
    ),
    Hostile(
        "Word file without main part", "a.docx",
        lambda _: changed(docx(), {MAIN: None}), "FAILED", "DAMAGED",
    ),
    Hostile("empty text", "a.txt", always(b""), "NO_TEXT", "EMPTY"),
    Hostile("empty PDF", "a.pdf", always(b""), "NO_TEXT", "EMPTY"),
    Hostile("Word file without text", "a.docx", lambda _: write_docx([]).data, "NO_TEXT", "EMPTY"),
    Hostile(
        "scanned PDF", "a.pdf", lambda _: write_pdf([[]], pictures=(1,)).data, "NO_TEXT", "NO_TEXT"
    ),
    Hostile("picture", "a.png", always(b"\x89PNG\r\n\x1a\n" + bytes(99)), "NO_TEXT", "NO_TEXT"),
    Hostile(
        "ZIP bomb as Word file (flat)", "a.docx",
        lambda _: changed(docx(), {MAIN: bytes(201_000_000)}), "FAILED", "TOO_LARGE",
    ),
    Hostile(
        "ZIP bomb as Word file (nested)", "a.docx",
        lambda _: changed(
            docx(), {"word/embeddings/a.zip": changed(docx(), {"b": bytes(90_000_000)})}
        ),
        "READY", holds=WORDS.strip(),
    ),
    Hostile(
        "ZIP bomb as Excel file", "a.xlsx",
        lambda _: changed(xlsx(), {"xl/sharedStrings.xml": bytes(201_000_000)}),
        "FAILED", "TOO_LARGE",
    ),
    Hostile(
        "20,001 parts in a Word file", "a.docx",
        lambda _: changed(docx(), {f"word/{n}.bin": b"" for n in range(20_001)}),
        "FAILED", "TOO_LARGE",
    ),
    Hostile("ZIP directory that lies", "a.docx", lying_docx, "FAILED", "DAMAGED"),
    Hostile(
        "Word file of 20 million paragraphs", "a.docx",
        lambda _: changed(
            docx(), {MAIN: f"<w:document {_W}><w:body>".encode() + b"<w:p/>" * 20_000_000
                     + b"</w:body></w:document>"},
        ),
        "FAILED", "MEMORY_LIMIT",
    ),
    Hostile(
        "web page of 4 million paragraphs", "a.html", utf8_text("<p>x" * 4_000_000),
        "FAILED", "MEMORY_LIMIT",
    ),
    Hostile("PDF named .txt", "a.txt", pdf, "READY", holds="hop by hop"),
    Hostile("Excel file named .docx", "a.docx", xlsx, "READY", holds="hop by hop"),
    Hostile("text named .pdf", "a.pdf", utf8_text(WORDS), "REFUSED", "UNSUPPORTED_FILE"),
    Hostile("picture named .pdf", "a.pdf", always(JPEG), "NO_TEXT", "NO_TEXT"),
    Hostile("ZIP archive", "a.zip", always(ARCHIVE), "REFUSED", "UNSUPPORTED_FILE"),
    Hostile(
        "PDF of 10,000 pages", "a.pdf",
        lambda _: write_pdf([["a page"]] * 10_000).data, "FAILED", "TOO_MANY_PAGES",
    ),
    Hostile(
        "PDF of 1,000 pages", "a.pdf", lambda _: write_pdf([["a page"]] * 1_000).data, "READY",
        holds="a page",
    ),
    Hostile("right-to-left text", "a.txt", utf8_text(HEBREW), "READY", holds=HEBREW.strip()),
    Hostile(
        "right-to-left slides", "a.pptx",
        lambda _: write_pptx([[HEBREW.strip(), "x"]]).data, "READY",
        holds=HEBREW.strip(),
    ),
    Hostile("UTF-16", "a.txt", always(GERMAN.encode("utf-16")), "READY", holds=GERMAN.strip()),
    Hostile("Latin-1", "a.txt", always((GERMAN * 3).encode("latin-1")), "READY", holds=GERMAN),
    Hostile("Shift-JIS", "a.txt", always(JAPANESE.encode("cp932")), "READY", holds=JAPANESE),
    Hostile(
        "UTF-8 and Latin-1 in one file", "a.txt",
        always(GERMAN.encode() + GERMAN.encode("latin-1")), "FAILED", "BAD_ENCODING",
    ),
    Hostile("web page in Shift-JIS", "a.html", always(
        b"<meta charset=shift_jis><p>" + JAPANESE.encode("cp932")), "READY", holds=JAPANESE),
    Hostile("a few NUL bytes", "a.txt", always(
        WORDS.encode() * 9 + b"\x00"), "READY", holds=WORDS, lacks="\x00"),
    Hostile("nothing but NUL bytes", "a.txt", always(bytes(9_999)), "REFUSED", "UNSUPPORTED_FILE"),
    Hostile("20 MB of text", "a.txt", utf8_text(WORDS * 600_000), "FAILED", "TOO_MUCH_TEXT"),
    Hostile("stacked accents", "a.txt", utf8_text("e" + "\u0301" * 99_999), "FAILED", "DAMAGED"),
    Hostile("PDF with JavaScript and attachments", "a.pdf", armed_pdf, "READY", holds="hop by hop"),
    Hostile("PDF whose page tree holds itself", "a.pdf", looping_pdf, "FAILED", "DAMAGED"),
    Hostile("Word file, external entity", "a.docx", external_entity, "FAILED", "DAMAGED"),
    Hostile("Word file, billion laughs", "a.docx", laughs, "FAILED", "DAMAGED"),
    Hostile("Word file, external template", "a.docx", external_template, "READY", holds="hop"),
    Hostile("web page that leads elsewhere", "a.html", web_page, "READY", holds="hop by hop"),
    Hostile(
        "web page 100,000 deep", "a.html", utf8_text("<div>" * _NESTED + "deep"),
        "FAILED", "DAMAGED",
    ),
    Hostile("web page of scripts", "a.html", utf8_text("<script>1</script>"), "NO_TEXT", "EMPTY"),
    Hostile(
        "web page 1,000 deep", "a.html",
        utf8_text("<div>" * 1_000 + "deep" + "</div>" * 1_000), "READY", holds="deep",
    ),
    Hostile("notebook with 18 MB of output", "a.ipynb", notebook, "READY", holds=WORDS.strip()),
    Hostile("notebook 100,000 deep", "a.ipynb", utf8_text("[" * _NESTED), "FAILED", "DAMAGED"),
    Hostile("notebook that is none", "a.ipynb", utf8_text('{"cells": 7}'), "FAILED", "DAMAGED"),
    Hostile("CSV of a million columns", "a.csv", utf8_text("7," * 1_000_000), "READY", holds="7,7"),
    Hostile("CSV, a quote never closed", "a.csv", utf8_text('"a\n' * 9_999), "READY", holds='"a'),
    Hostile(
        "Excel file, huge dimension", "a.xlsx",
        lambda _: sheet_with(cell("B2"), "A1:XFD1048576"), "READY", holds="hop by hop",
    ),
    Hostile(
        "Excel file, last cell filled", "a.xlsx",
        lambda _: sheet_with(cell("B2") + cell("XFD1048576"), "B2"), "READY", holds="hop by hop",
    ),
    Hostile(
        "Excel file, row 10^15", "a.xlsx", lambda _: sheet_with(cell(f"B{10**15}"), "B2"),
        "FAILED", "TIME_LIMIT", limits={"cpu_seconds": 2},
    ),
    Hostile("web page, plain", "a.html", lambda _: write_html([["A", "b q1"]]).data, "READY"),
)  # fmt: skip
