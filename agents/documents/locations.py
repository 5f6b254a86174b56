"""Where in the original a passage stands, as its readers count: pages, slides, cells, lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from agents.documents.extracted import LOCATION_KINDS, Anchor, ExtractedText, LocationKind


@dataclass(frozen=True, slots=True)
class Location:
    """From `first` to `last`, counted from 1 and inclusive: pages, slides, notebook cells, lines,
    or the rows of a sheet (None: its name only). `label` is how people write it."""

    kind: LocationKind
    label: str
    first: int | None
    last: int | None


_WORDS = {
    LocationKind.PAGE: ("page", "pages"),
    LocationKind.SLIDE: ("slide", "slides"),
    LocationKind.NOTEBOOK_CELL: ("cell", "cells"),
    LocationKind.LINE_RANGE: ("line", "lines"),
}


class Locator:
    """Finds the places of spans that are asked for in the order of the text."""

    def __init__(self, source: ExtractedText) -> None:
        self._source = source
        self._coming = iter(source.anchors)
        self._held: list[Anchor] = []
        self._next = next(self._coming, None)
        self._line, self._counted = 1, 0

    def locate(self, start: int, end: int) -> Location | None:
        """The place of the span, which begins no earlier than the last one; None without places."""
        if self._source.by_line:
            return self._lines(start, end)
        self._held = [anchor for anchor in self._held if anchor.end > start]
        for anchor in self._taken(end):
            if anchor.end > start:
                self._held.append(anchor)
        touched = [anchor for anchor in self._held if anchor.start < end]
        if not touched:
            return None
        kind = LOCATION_KINDS[touched[0].kind]
        if kind is LocationKind.CELL_RANGE:
            return self._cells(touched)
        return _counted(kind, touched[0].number, touched[-1].number)

    def _taken(self, end: int) -> Iterator[Anchor]:
        while self._next is not None and self._next.start < end:
            yield self._next
            self._next = next(self._coming, None)

    def _lines(self, start: int, end: int) -> Location:
        self._line += self._source.text.count("\n", self._counted, start)
        self._counted = start
        last = self._line + self._source.text.count("\n", start, end)
        return _counted(LocationKind.LINE_RANGE, self._line, last)

    def _cells(self, touched: list[Anchor]) -> Location:
        name = self._source.names[touched[0].name]
        rows = [anchor for anchor in touched if anchor.number]
        if not rows:
            return Location(LocationKind.CELL_RANGE, name, None, None)
        first, last = rows[0].number, rows[-1].number
        left = column_letters(min(anchor.first_column for anchor in rows))
        right = column_letters(max(anchor.last_column for anchor in rows))
        cells = (
            f"{left}{first}" if (left, first) == (right, last) else f"{left}{first}:{right}{last}"
        )
        return Location(LocationKind.CELL_RANGE, f"{name}!{cells}", first, last)


def column_letters(number: int) -> str:
    """A column of a sheet as Excel names it: 1 is A, 27 is AA."""
    letters = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _counted(kind: LocationKind, first: int, last: int) -> Location:
    one, many = _WORDS[kind]
    label = f"{one} {first}" if first == last else f"{many} {first}-{last}"
    return Location(kind, label, first, last)
