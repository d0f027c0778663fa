"""Sheets that are built here, row by row, from a file that no spreadsheet library reads well (``workbook_ods``,
``workbook_html``, ``workbook_xml``): the same limits for each, blank ends left out, a row that repeats held once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from guiji.sources.formats import workbook as limits
from guiji.sources.formats.cell_formats import CellFormats
from guiji.sources.formats.number_format import note_shown
from guiji.sources.formats.workbook import Cell, OpenSheet, SheetFacts, SheetName, refuse_size, refuse_text

LONGEST, WIDEST = 1_048_576, 16_384


@dataclass
class BuiltTable:
    """One sheet up to its last value. Rows and columns from 0."""

    name: str
    visible: bool = True
    rows: list[tuple[int, int, list[Any]]] = field(
        default_factory=list
    )  # (number, times, cells to the last value), ascending
    width: int = 0
    height: int = 0
    text: int = 0  # bytes, at most
    errors: set[Cell] = field(default_factory=set)
    uncalculated: set[Cell] = field(default_factory=set)
    merged: list[tuple[Cell, Cell]] = field(default_factory=list)
    formats: CellFormats = field(default_factory=lambda: CellFormats(typed=True))
    lost: set[int] = field(default_factory=set)  # rows with a date that no calendar knows
    hidden: set[int] = field(default_factory=set)  # rows that nobody sees
    codes: dict[str, int] = field(default_factory=dict)

    def add_row(self, number: int, cells: list[Any], marked: int = -1, times: int = 1) -> None:
        """Adds a row that stands ``times`` times from ``number`` on. ``marked``: the last column in which something else
        than a value is noted of it. Raises ValueError for a row outside of any sheet."""
        while cells and cells[-1] == "":
            cells.pop()
        if not cells and marked < 0 and number not in self.lost:
            return
        if number + times > LONGEST or len(cells) > WIDEST:
            raise ValueError("a row or cell outside of any sheet")
        self.rows.append((number, times, cells))
        self.height = number + times
        self.width = max(self.width, len(cells), marked + 1)
        self.text += times * sum(3 * len(c) for c in cells if isinstance(c, str))

    def add_shown(self, row: int, column: int, value: float | date, text: str) -> None:
        """Notes what the file shows for a cell where that says something else than its value."""
        if shown := note_shown(value, text):
            self.add_format(row, column, shown)

    def add_format(self, row: int, column: int, code: str) -> None:
        if (index := self.codes.get(code)) is None:
            index = self.codes[code] = len(self.formats.codes)
            self.formats.codes.append(code)
        self.formats.add(row, column, index)


@dataclass(frozen=True)
class BuiltWorkbook:
    kind: str
    tables: dict[str, BuiltTable]

    @property
    def sheets(self) -> tuple[SheetName, ...]:
        return tuple(SheetName(t.name, t.visible) for t in self.tables.values())

    def open_sheet(self, name: str) -> OpenSheet:
        table = self.tables[name]
        cells = table.height * table.width
        facts = SheetFacts(
            cells,
            frozenset(table.errors),
            frozenset(table.uncalculated),
            hidden=frozenset(table.hidden),
            formats=lambda _: table.formats,
        )
        return OpenSheet(name, facts, tuple(table.merged), _give_rows(table), lost=table.lost)


class MarkupReader(Protocol):
    """Hears the events of an XML parser."""

    def start(self, tag: str, attributes: dict[str, str], /) -> None: ...

    def end(self, tag: str, /) -> None: ...

    def characters(self, data: str, /) -> None: ...


def parse_markup(reader: MarkupReader, chunks: Iterator[bytes], namespace_separator: str | None = None) -> None:
    """Tells ``reader`` what the chunks of an XML file hold. Raises ValueError for a document type, which may hold entities
    (F-43), and ExpatError for what is no XML."""
    from xml.parsers import expat

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser = expat.ParserCreate(namespace_separator=namespace_separator)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    for chunk in chunks:
        parser.Parse(chunk, False)
    parser.Parse(b"", True)


def check_limits(tables: list[BuiltTable], what: str) -> None:
    """Raises DeliveryRefused once the sheets together are too large to be held."""
    last = tables[-1]
    if sum(t.height * t.width for t in tables) > limits.MAX_CELLS:
        refuse_size(what, last.name, last.height, last.width)
    if sum(t.text for t in tables) > limits.MAX_TEXT:
        refuse_text(what, last.name)


def _give_rows(table: BuiltTable) -> Iterator[list[Any]]:
    """Every row from the first on, all of the same width; what was given is let go."""
    at, blank = 0, [""] * table.width
    rows = table.rows
    table.rows = []
    rows.reverse()
    while rows:
        number, times, cells = rows.pop()
        for _ in range(at, number):
            yield list(blank)
        for _ in range(times):
            yield cells + blank[len(cells) :]
        at = number + times
