"""Web pages: the text a reader would see. Nothing is fetched, run or followed."""

import re
from typing import IO, Any

from lxml import etree, html

from agents.documents.canonical import Composer, one_line
from agents.documents.encodings import decode
from agents.documents.extracted import (
    BlockKind,
    ExtractedText,
    ExtractionCode,
    ExtractionFailure,
    Limits,
)
from agents.documents.media_types import HTML

_CHARSET = re.compile(rb"""<meta[^>]{1,200}?charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_UNSEEN = {
    "script", "style", "template", "noscript", "head", "svg", "math-annotation", "object", "iframe",
    "audio", "video", "canvas", "datalist", "dialog", "input", "select", "textarea",
}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = {
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em",
    "font", "i", "img", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp",
    "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
}  # fmt: skip
_CELLS = {"td", "th"}
_BREAK, _CELL = "\x0b", "\x1f"
_HIDDEN = re.compile(
    r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|font-size\s*:\s*0(?![.\d])"
    r"|opacity\s*:\s*0(?![.\d]))",
    re.IGNORECASE,
)


def read_web_page(file: IO[bytes], limits: Limits) -> ExtractedText:
    """Raises ExtractionFailure."""
    data = file.read(limits.max_bytes + 1)
    said = _CHARSET.search(data[:4096])
    text, note = decode(data, declared=said.group(1).decode() if said else None)
    parser = html.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    page = _Page(limits)
    encoded = text.encode("utf-8", "replace").replace(b"\x00", b"")
    if encoded.strip():
        try:
            root = html.document_fromstring(encoded, parser=parser)
        except etree.ParserError:
            root = None  # nothing but comments
        _refuse_depth(parser)
        if root is not None:
            page.read(root)
    return page.composer.finish(HTML, [note] if note else [])


def _refuse_depth(parser: Any) -> None:
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise ExtractionFailure(
            ExtractionCode.DAMAGED,
            "The page's elements are nested more than 2,000 deep.",
            "Save the page again from a browser, or upload its text.",
        )


class _Page:
    """Collects text until a block ends."""

    def __init__(self, limits: Limits) -> None:
        self.composer = Composer(limits)
        self._parts: list[str] = []
        self._rows = 0
        self._code = 0
        self._tight = False

    def read(self, root: Any) -> None:
        """Walks the tree once, without recursion."""
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            tag = element.tag if isinstance(element.tag, str) else "script"
            if event == "start":
                if tag in _UNSEEN or _is_hidden(element):
                    walk.skip_subtree()
                    element.text = None
                    element.set("hidden", "")
                    continue
                self._enter(tag)
                self._parts.append(element.text or "")
            else:
                if element.get("hidden") is None:
                    self._leave(tag)
                self._parts.append(element.tail or "")
        self._flush(BlockKind.PROSE)

    def _enter(self, tag: str) -> None:
        if tag == "br":
            self._parts.append(_BREAK)
        elif tag in _CELLS:
            self._parts.append(_CELL)
        elif self._rows:
            self._parts.append(" " if tag not in _INLINE else "")
            self._rows += tag == "tr"
        elif tag not in _INLINE:
            self._flush(BlockKind.CODE if self._code else BlockKind.PROSE)
            self._tight = tag == "li"
            self._rows += tag == "tr"
            self._code += tag == "pre"

    def _leave(self, tag: str) -> None:
        if self._rows:
            self._rows -= tag == "tr"
            if not self._rows:
                self._flush(BlockKind.ROW)
            elif tag not in _INLINE:
                self._parts.append(" ")
        elif tag in _HEADINGS:
            self._flush(BlockKind.HEADING, _HEADINGS[tag])
        elif tag not in _INLINE and tag != "br":
            self._flush(BlockKind.CODE if self._code else BlockKind.PROSE)
            self._code -= tag == "pre" and self._code > 0

    def _flush(self, kind: BlockKind, level: int = 0) -> None:
        raw, self._parts = "".join(self._parts), []
        if kind is BlockKind.CODE:
            self.composer.add(kind, raw)
            return
        if kind is BlockKind.ROW:
            cells = (one_line(cell) for cell in raw.split(_CELL))
            text, separator = " | ".join(cell for cell in cells if cell), "\n"
        else:
            lines = (one_line(line) for line in raw.split(_BREAK))
            text, separator = "\n".join(line for line in lines if line), "\n\n"
            separator = "\n" if self._tight else separator
        self.composer.add(kind, text, level=level, separator=separator)


def _is_hidden(element: Any) -> bool:
    return element.get("hidden") is not None or bool(_HIDDEN.search(element.get("style") or ""))
