"""Word, PowerPoint and Excel files as the ZIP packages they are, checked before they are opened.

Only what the directory says is read here: what unpacks to too much is refused before it is. The
directory cannot understate: no more than its size is unpacked of a part, and its checksum fails.
"""

import re
from typing import IO, Final
from zipfile import BadZipFile, ZipFile, ZipInfo

from agents.documents.extracted import ExtractionCode, ExtractionFailure, Limits
from agents.documents.media_types import DOCX, OLE, PPTX, READ_TYPES, SHOWN, XLSX, ZIP

MAX_PARTS: Final = 20_000
MAX_MARKUP: Final = 200_000_000
"""Bytes of XML in a package, unpacked: a tree of it takes several times as much memory."""

_PROLOGUE = 65_536
_MAIN = {
    b"wordprocessingml.document.main+xml": DOCX,
    b"presentationml.presentation.main+xml": PPTX,
    b"presentationml.slideshow.main+xml": PPTX,
    b"spreadsheetml.sheet.main+xml": XLSX,
}
_DAMAGED: Final = "Open it in its program, save it again and upload that."


def package_type(file: IO[bytes], limits: Limits) -> str:
    """The media type of an Office package, whose parts are safe to open. Raises ExtractionFailure.

    ENCRYPTED, DAMAGED, TOO_LARGE, UNSUPPORTED_TYPE, WRONG_TYPE.
    """
    head = file.read(8)
    file.seek(0)
    if head.startswith(OLE):
        raise _compound(file.read(limits.max_bytes))
    if not head.startswith(ZIP):
        raise ExtractionFailure(
            ExtractionCode.WRONG_TYPE,
            "The file is named as an Office file, but its content is not one.",
            "Give the file the name of what it is and upload it again.",
        )
    try:
        with ZipFile(file) as package:
            parts = package.infolist()
            _check_sizes(parts, limits)
            found = _main_type(package)
            for part in parts:
                _refuse_doctype(package, part)
    except (BadZipFile, KeyError, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise damaged("an Office file") from error
    file.seek(0)
    return found


def damaged(what: str) -> ExtractionFailure:
    """What a file whose parts do not fit together is refused with."""
    return ExtractionFailure(
        ExtractionCode.DAMAGED, f"The file is damaged: it cannot be read as {what}.", _DAMAGED
    )


def _compound(data: bytes) -> ExtractionFailure:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return ExtractionFailure(
            ExtractionCode.ENCRYPTED,
            "The file is protected by a password.",
            "Remove the password and upload it again.",
        )
    return ExtractionFailure(
        ExtractionCode.UNSUPPORTED_TYPE,
        "The file's content is an old Office file, which is not read.",
        "Save it as .docx, .pptx or .xlsx and upload that.",
    )


def _check_sizes(parts: list[ZipInfo], limits: Limits) -> None:
    if any(part.flag_bits & 1 for part in parts):
        raise ExtractionFailure(
            ExtractionCode.ENCRYPTED,
            "Parts of the file are protected by a password.",
            "Remove the password and upload it again.",
        )
    unpacked = sum(part.file_size for part in parts)
    markup = sum(part.file_size for part in parts if _is_markup(part))
    if len(parts) > MAX_PARTS or unpacked > limits.max_unpacked or markup > MAX_MARKUP:
        raise ExtractionFailure(
            ExtractionCode.TOO_LARGE,
            f"The file unpacks to {len(parts):,} parts of {unpacked:,} bytes; the limits are "
            f"{MAX_PARTS:,} parts, {limits.max_unpacked:,} bytes and {MAX_MARKUP:,} of text.",
            "Split the document, or remove large pictures and videos.",
        )


def _main_type(package: ZipFile) -> str:
    if "[Content_Types].xml" not in package.namelist():
        raise _other("The file's content is a ZIP archive, which is not read.")
    types = package.read("[Content_Types].xml")
    for main, media_type in _MAIN.items():
        if main in types:
            return media_type
    if b"macroEnabled" in types or b"template.main" in types:
        raise _other("Office files with macros and templates are not read.")
    raise _other("This kind of Office file is not read.")


def _other(message: str) -> ExtractionFailure:
    return ExtractionFailure(
        ExtractionCode.UNSUPPORTED_TYPE, message, f"Save it as {_list_of_types()}. {READ_TYPES}"
    )


def _list_of_types() -> str:
    return " or ".join(SHOWN[kind] for kind in (DOCX, PPTX, XLSX))


def _is_markup(part: ZipInfo) -> bool:
    return part.filename.lower().endswith((".xml", ".rels", ".vml"))


def _refuse_doctype(package: ZipFile, part: ZipInfo) -> None:
    """Office files have no document type; it is what entities are declared in."""
    if not _is_markup(part):
        return
    with package.open(part) as opened:
        prologue = opened.read(_PROLOGUE).replace(b"\x00", b"")
    if re.search(rb"<!(?:DOCTYPE|ENTITY)", prologue):
        raise ExtractionFailure(
            ExtractionCode.DAMAGED,
            "The file declares entities, which no Office program writes.",
            _DAMAGED,
        )
