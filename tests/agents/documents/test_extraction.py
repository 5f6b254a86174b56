"""Files become canonical text or a refusal a person understands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.documents.extraction import (
    MARKDOWN,
    PLAIN,
    ExtractionCode,
    ExtractionFailure,
    PageSpan,
    extract,
    media_type_of,
)


def refused(data: bytes, **options: object) -> ExtractionFailure:
    with pytest.raises(ExtractionFailure) as caught:
        extract(data, **{"media_type": MARKDOWN, **options})
    assert caught.value.message.endswith(".")
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_same_text_from_every_accepted_encoding(encoding):
    data = "# Größe\r\n\r\nnai\u0308ve\r文字 🙂\u2028end".encode(encoding)
    assert extract(data, media_type="text/markdown; charset=x").text == (
        "# Größe\n\nnaïve\n文字 🙂\nend"
    )


@given(st.text())
def test_text_is_canonical(text):
    try:
        found = extract(text.encode("utf-8", "replace"), media_type=PLAIN).text
    except ExtractionFailure:
        return
    assert found == unicodedata.normalize("NFC", found)
    assert not set(found) & set("\x00\r\x0b\x0c\x85\u2028\u2029\x1b")
    assert extract(found.encode(), media_type=PLAIN).text == found


def test_stray_controls_are_dropped_and_form_feeds_are_pages():
    source = extract(b"one" * 50 + b"\x00\f" + b"two", media_type=PLAIN)
    assert source.text == "one" * 50 + "\ntwo"
    assert source.pages == (PageSpan(1, 0, 151), PageSpan(2, 151, 154))
    assert extract(b"one\ftwo", media_type=MARKDOWN).pages == ()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"%PDF-1.7\n%abc", ExtractionCode.NOT_TEXT),
        (b"PK\x03\x04 docx", ExtractionCode.NOT_TEXT),
        (bytes(range(256)) * 10, ExtractionCode.NOT_TEXT),
        (b"\x00" * 100, ExtractionCode.NOT_TEXT),
        (b"", ExtractionCode.EMPTY),
        (b"\xef\xbb\xbf \n\t", ExtractionCode.EMPTY),
        ("\u200b\u200d \u2060".encode(), ExtractionCode.EMPTY),
        ("für\nGröße".encode("cp1252"), ExtractionCode.BAD_ENCODING),
        ("plain words".encode("utf-16-le"), ExtractionCode.BAD_ENCODING),
        ("plain words".encode("utf-32"), ExtractionCode.BAD_ENCODING),
        (b"\xff\xfea", ExtractionCode.BAD_ENCODING),
        (b"\xff\xfe" + b"w\x00" * 200 + b"\x00\xd8a\x00", ExtractionCode.BAD_ENCODING),
        (b"\xed\xa0\x80 a lone surrogate in UTF-8", ExtractionCode.BAD_ENCODING),
        (("e" + "\u0301\u0327" * 200_000).encode(), ExtractionCode.NOT_TEXT),
    ],
)
def test_refusals(data, code):
    assert refused(data).code is code


def test_bad_encoding_names_the_line():
    assert "line 3" in refused(b"a\nb\nc\xff\xff").message


def test_size_and_type_limits():
    assert refused(b"12345", max_bytes=4).code is ExtractionCode.TOO_LARGE
    assert extract(b"12345", media_type=PLAIN, max_bytes=5).text == "12345"
    assert refused(b"a", media_type="application/pdf").code is ExtractionCode.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    ("filename", "declared", "expected"),
    [
        ("notes.MD", None, MARKDOWN),
        ("notes.md", "text/plain; charset=utf-8", MARKDOWN),
        ("notes.md", "application/octet-stream", MARKDOWN),
        ("notes", "text/x-markdown", MARKDOWN),
        ("notes.txt", "", PLAIN),
        ("notes", "text/plain", PLAIN),
    ],
)
def test_media_type_of(filename, declared, expected):
    assert media_type_of(filename, declared) == expected


@pytest.mark.parametrize(
    ("filename", "declared"), [("a.pdf", None), ("a.md", "application/pdf"), ("a", None)]
)
def test_media_type_refused(filename, declared):
    with pytest.raises(ExtractionFailure) as caught:
        media_type_of(filename, declared)
    assert caught.value.code is ExtractionCode.UNSUPPORTED_TYPE
