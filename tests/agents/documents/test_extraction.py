"""Files become canonical text or a refusal a person understands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.documents.chunking import chunk
from agents.documents.extracted import ExtractionCode, ExtractionFailure, NoteCode
from agents.documents.languages import language_of
from agents.documents.media_types import (
    CSV,
    DOCX,
    HTML,
    MARKDOWN,
    NOTEBOOK,
    PDF,
    PLAIN,
    SOURCE,
    recognise,
)
from tests.agents.documents.written import read, write_docx, write_pdf

GERMAN = "Die Größe der Öffnung hängt von der Länge ab. Über die Straße führt eine Brücke. "
RUSSIAN = "Это русский текст о компьютерных сетях и протоколах передачи данных. "
JAPANESE = "これは日本語のテキストです。講義の資料を読んでください。"


def refused(data: bytes, name: str = "x.md", **limits: int) -> ExtractionFailure:
    with pytest.raises(ExtractionFailure) as caught:
        read(data, name, **limits)
    assert caught.value.message.endswith(".")
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_same_text_from_every_accepted_encoding(encoding):
    data = "# Größe\r\n\r\nnai\u0308ve\r文字 🙂\u2028end".encode(encoding)
    found = read(data, "x.md", "text/markdown; charset=x")
    assert found.text == "# Größe\n\nnaïve\n文字 🙂\nend"
    assert found.notes == ()


@given(st.text())
def test_text_is_canonical(text):
    try:
        found = read(text.encode("utf-8", "replace")).text
    except ExtractionFailure:
        return
    assert found == unicodedata.normalize("NFC", found)
    assert not set(found) & set("\x00\r\x0b\x0c\x85\u2028\u2029\x1b")
    assert read(found.encode()).text == found


def test_stray_controls_are_dropped_and_form_feeds_are_pages():
    source = read(b"one" * 50 + b"\x00\f" + b"two")
    assert source.text == "one" * 50 + "\ntwo"
    assert [(a.number, a.start, a.end) for a in source.anchors] == [(1, 0, 151), (2, 151, 154)]
    assert read(b"one\ftwo", "x.md").by_line


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes(range(256)) * 10, ExtractionCode.WRONG_TYPE),
        (b"\x00\x01" * 100, ExtractionCode.WRONG_TYPE),
        (b"", ExtractionCode.EMPTY),
        (b"\x00" * 100, ExtractionCode.EMPTY),
        (b"\xef\xbb\xbf \n\t", ExtractionCode.EMPTY),
        ("\u200b\u200d \u2060".encode(), ExtractionCode.EMPTY),
        ("für\nGröße".encode("cp1252"), ExtractionCode.BAD_ENCODING),
        ("plain words".encode("utf-32"), ExtractionCode.BAD_ENCODING),
        (b"\xff\xfea", ExtractionCode.BAD_ENCODING),
        (b"\xff\xfe" + b"w\x00" * 200 + b"\x00\xd8a\x00", ExtractionCode.BAD_ENCODING),
        (b"\xed\xa0\x80 a lone surrogate in UTF-8", ExtractionCode.BAD_ENCODING),
        ("Größe\n".encode() * 9 + "Größe\n".encode("cp1252") * 9, ExtractionCode.BAD_ENCODING),
        (("e" + "\u0301\u0327" * 200_000).encode(), ExtractionCode.DAMAGED),
    ],
)
def test_refusals(data, code):
    assert refused(data).code is code


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        ("这是中文文本，请阅读课程材料。网络协议的基本原理。", "gb18030"),
        ("plain words", "utf-16-le"),
        ("plain words", "utf-16-be"),
    ],
)
def test_an_encoding_that_can_be_told_is_guessed_and_said_so(text, encoding):
    found = read((text * 3).encode(encoding))
    assert found.text == (text * 3).strip() or found.text == text * 3
    assert [note.code for note in found.notes] == [NoteCode.ENCODING_GUESSED]


def test_bad_encoding_names_the_line():
    assert "line 3" in refused(b"a\nb\nc\xff\xff").message


def test_limits():
    assert refused(b"12345", max_bytes=4).code is ExtractionCode.TOO_LARGE
    assert read(b"12345", max_bytes=5).text == "12345"
    assert refused(b"12345", max_characters=4).code is ExtractionCode.TOO_MUCH_TEXT
    assert refused(b"a\n\n" * 9, max_blocks=8).code is ExtractionCode.TOO_MUCH_TEXT
    pdf = write_pdf([["a"]] * 4).data
    assert refused(pdf, "x.pdf", max_pages=3).code is ExtractionCode.TOO_MANY_PAGES
    docx = write_docx([["a"]]).data
    assert refused(docx, "x.docx", max_unpacked=9_999).code is ExtractionCode.TOO_LARGE


@pytest.mark.parametrize(
    ("filename", "declared", "head", "expected"),
    [
        ("notes.MD", None, b"text", MARKDOWN),
        ("notes.md", "text/plain; charset=utf-8", b"text", MARKDOWN),
        ("notes.md", "application/octet-stream", b"text", MARKDOWN),
        ("notes", "text/x-markdown", b"text", MARKDOWN),
        ("notes.txt", "", b"<html>", PLAIN),
        ("notes", "text/plain", b"text", PLAIN),
        ("notes.txt", "text/plain", b"%PDF-1.7", PDF),
        ("paper.pdf", None, b"junk before\n%PDF-1.7", PDF),
        ("paper.pdf", None, b"", PDF),
        ("page", None, b"\n<!DOCTYPE html><p>", HTML),
        ("table.csv", "application/vnd.ms-excel", b"a,b", CSV),
        ("a.ipynb", None, b"{}", NOTEBOOK),
        ("Makefile", None, b"all:", SOURCE),
        ("main.rs", "application/octet-stream", b"fn main() {}", SOURCE),
        ("essay.zip", None, write_docx([["a"]]).data, DOCX),
        ("scan.pdf", None, b"\x89PNG\r\n\x1a\n", "image/png"),
    ],
)
def test_content_then_name_then_declaration_say_what_a_file_is(filename, declared, head, expected):
    assert recognise(filename, declared, head) == expected


@pytest.mark.parametrize(
    ("filename", "declared", "head", "code"),
    [
        ("a.pdf", None, b"plain words", ExtractionCode.WRONG_TYPE),
        ("a", "application/pdf", b"plain words", ExtractionCode.WRONG_TYPE),
        ("a.docx", None, b"plain words", ExtractionCode.WRONG_TYPE),
        ("a.txt", None, bytes(range(256)), ExtractionCode.WRONG_TYPE),
        ("a", None, b"plain words", ExtractionCode.UNSUPPORTED_TYPE),
        ("a.exe", "application/octet-stream", b"MZ\x90\x00", ExtractionCode.UNSUPPORTED_TYPE),
        ("a.txt", None, b"PK\x03\x04 other", ExtractionCode.UNSUPPORTED_TYPE),
        ("a.doc", None, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ExtractionCode.UNSUPPORTED_TYPE),
        ("a.txt", None, b"\x1f\x8b\x08", ExtractionCode.UNSUPPORTED_TYPE),
    ],
)
def test_what_is_not_read_is_refused_by_its_first_bytes(filename, declared, head, code):
    with pytest.raises(ExtractionFailure) as caught:
        recognise(filename, declared, head)
    assert caught.value.code is code


def test_pages_that_are_pictures_are_named():
    written = write_pdf([["one"], [], [], [], ["five"], []], pictures=(2, 3, 6))
    found = read(written.data, "x.pdf")
    assert [note.code for note in found.notes] == [NoteCode.PAGES_WITHOUT_TEXT]
    assert "page 2-3, 6 " in found.notes[0].message  # the fourth is blank
    places = [c.location.label for c in chunk(found, count_tokens=len) if c.location]
    assert places == ["page 1", "page 5"]
    scanned = write_pdf([[], []], pictures=(1, 2))
    assert refused(scanned.data, "x.pdf").code is ExtractionCode.NO_TEXT
    assert refused(write_pdf([[]]).data, "x.pdf").code is ExtractionCode.EMPTY


@pytest.mark.parametrize(
    ("text", "expected", "language"),
    [
        ("A text about networks, in English.", "en", "en"),
        ("Ein Text in deutscher Sprache.", "de", "de"),
        (RUSSIAN, "en", "und-Cyrl"),
        (RUSSIAN, "uk-UA", "uk-UA"),
        (JAPANESE, "en", "ja"),
        (JAPANESE, "ja", "ja"),
        ("这是中文文本，请阅读课程材料。网络协议的基本原理。", "ja", "zh"),
        ("A text about networks, in English.", "ja", "und-Latn"),
        ("The word Сеть means network in Russian.", "en", "en"),
        ("E = mc² 12345 + 67890", "en", "en"),
    ],
)
def test_letters_of_another_script_tell_the_language(text, expected, language):
    assert language_of(text, expected) == language
