"""What a file is: by its first bytes, then by its name, then by what was declared.

The content decides. A PDF named notes.txt is a PDF; a text named notes.pdf is refused, because the
one who named it expects something else to be in it.
"""

from pathlib import PurePath
from typing import Final

from agents.documents.encodings import refuse_binary, utf16_without_mark
from agents.documents.extracted import ExtractionCode, ExtractionFailure

PDF: Final = "application/pdf"
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX: Final = f"{_OFFICE}wordprocessingml.document"
PPTX: Final = f"{_OFFICE}presentationml.presentation"
XLSX: Final = f"{_OFFICE}spreadsheetml.sheet"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"
NOTEBOOK: Final = "application/x-ipynb+json"
CSV: Final = "text/csv"
TSV: Final = "text/tab-separated-values"
SOURCE: Final = "text/x-source"
IMAGE: Final = "image/"

OFFICE: Final = frozenset({DOCX, PPTX, XLSX})
_MAIN_PARTS = {DOCX: b"word/document.xml", PPTX: b"ppt/presentation.xml", XLSX: b"xl/workbook.xml"}
_BINARY = {PDF, *OFFICE}
SHOWN: Final = {
    PDF: "a PDF", DOCX: "a Word document", PPTX: "a PowerPoint presentation",
    XLSX: "an Excel workbook", HTML: "a web page", NOTEBOOK: "a Jupyter notebook",
}  # fmt: skip

_SUFFIXES = {
    ".pdf": PDF, ".docx": DOCX, ".pptx": PPTX, ".xlsx": XLSX, ".html": HTML, ".htm": HTML,
    ".xhtml": HTML, ".md": MARKDOWN, ".markdown": MARKDOWN, ".txt": PLAIN, ".text": PLAIN,
    ".log": PLAIN, ".rst": PLAIN, ".tex": PLAIN, ".ipynb": NOTEBOOK, ".csv": CSV, ".tsv": TSV,
    ".tab": TSV, ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".gif": "image/gif", ".webp": "image/webp", ".tif": "image/tiff", ".tiff": "image/tiff",
}  # fmt: skip
_SOURCE_SUFFIXES = frozenset(
    {
        ".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".kts",
        ".scala", ".groovy", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cs", ".fs", ".vb",
        ".go", ".rs", ".swift", ".m", ".mm", ".rb", ".php", ".pl", ".pm", ".lua", ".r", ".jl",
        ".hs", ".ml", ".mli", ".clj", ".ex", ".exs", ".erl", ".dart", ".zig", ".nim", ".sql",
        ".sh", ".bash", ".zsh", ".fish", ".ps1", ".bat", ".asm", ".s", ".v", ".sv", ".vhd",
        ".vhdl", ".f", ".f90", ".pas", ".ada", ".lisp", ".scm", ".rkt", ".pro", ".css", ".scss",
        ".less", ".vue", ".svelte", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg",
        ".xml", ".proto", ".graphql", ".tf", ".cmake", ".gradle", ".mk", ".dockerfile",
    }
)  # fmt: skip
_SOURCE_NAMES = frozenset({"makefile", "dockerfile", "cmakelists.txt", "rakefile", "gemfile"})
_ALIASES = {
    "text/x-markdown": MARKDOWN, "application/xhtml+xml": HTML, "application/csv": CSV,
    "application/json": SOURCE, "application/xml": SOURCE, "text/xml": SOURCE,
    "text/x-python": SOURCE, "text/javascript": SOURCE, "application/javascript": SOURCE,
}  # fmt: skip
_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b\x08", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"Rar!\x1a\x07", "a RAR file"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"{\\rtf", "an RTF document"),
)
OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")

READ_TYPES: Final = (
    "Upload PDF, Word (.docx), PowerPoint (.pptx), Excel (.xlsx), a web page, Markdown, plain "
    "text, a notebook (.ipynb), CSV or source code."
)


def recognise(file_name: str, declared: str | None, head: bytes) -> str:
    """The media type a file is read as, from its name, its declared type and its first bytes.

    64 KiB are enough. Which Office file a ZIP is, is only sure once it is opened
    (`office_packages`). Raises ExtractionFailure: UNSUPPORTED_TYPE, WRONG_TYPE.
    """
    named = _named(file_name, declared)
    found = _sniffed(head, named)
    if found is not None:
        return found
    if named in _BINARY or (named or "").startswith(IMAGE):
        if not head.strip():
            return named or PLAIN  # an empty file, which reading says
        shown = SHOWN.get(named or "", "an image")
        raise ExtractionFailure(
            ExtractionCode.WRONG_TYPE,
            f"The file is named or declared as {shown}, but its content is not.",
            "Give the file the name of what it is and upload it again.",
        )
    if named is None and _looks_like_html(head):
        return HTML
    if named is None:
        shown = (declared or "").partition(";")[0].strip() or PurePath(file_name).suffix
        raise _unsupported(f"Files of type {(shown or 'unknown')[:80]} are not read.")
    if not utf16_without_mark(head) and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse_binary(head.decode("latin-1"))
    return named


def _named(file_name: str, declared: str | None) -> str | None:
    """Browsers declare what they make of the suffix, or nothing, so the suffix comes first."""
    path = PurePath(file_name.lower())
    if path.suffix in _SUFFIXES and path.name not in _SOURCE_NAMES:
        return _SUFFIXES[path.suffix]
    if path.suffix in _SOURCE_SUFFIXES or path.name in _SOURCE_NAMES:
        return SOURCE
    base = (declared or "").partition(";")[0].strip().lower()
    if base in _ALIASES or base in _GENERIC:
        return _ALIASES.get(base)
    known = {*_SUFFIXES.values(), SOURCE}
    return base if base in known else None


def _sniffed(head: bytes, named: str | None) -> str | None:
    if b"%PDF-" in (head[:1024] if named == PDF else head[:5]):
        return PDF
    if head.startswith(ZIP):
        return _zipped(head, named)
    if head.startswith(OLE):
        return _compound(head, named)
    for magic, image in _IMAGES:
        if head.startswith(magic):
            return image
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise _unsupported(f"The file's content is {what}, which is not read.")
    return None


def _zipped(head: bytes, named: str | None) -> str:
    for media_type, main in _MAIN_PARTS.items():
        if main in head:
            return media_type
    if named in OFFICE:
        return str(named)
    if b"[Content_Types].xml" in head[:4096]:
        return DOCX
    raise _unsupported("The file's content is a ZIP archive, which is not read.")


def _compound(head: bytes, named: str | None) -> str:
    """Old Office files, and new ones with a password, are OLE compound files."""
    if named in OFFICE or "EncryptedPackage".encode("utf-16-le") in head:
        return str(named) if named in OFFICE else DOCX
    raise _unsupported(
        "The file's content is an old Office file, which is not read.",
        "Save it as .docx, .pptx or .xlsx and upload that.",
    )


def _looks_like_html(head: bytes) -> bool:
    start = head[:1024].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _unsupported(message: str, advice: str = READ_TYPES) -> ExtractionFailure:
    return ExtractionFailure(ExtractionCode.UNSUPPORTED_TYPE, message, advice)
