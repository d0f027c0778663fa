"""Which rows of a sheet are data: blank ones, totals, footnotes and headers that stand again are none.

Looks at columns, many rows at a time; a row is looked at by itself only where a cell of it makes it suspect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.cells import column_text, is_blank, title_text
from guiji.sources.formats.header_again import HeaderWatch
from guiji.sources.formats.layout import Table, join_headers, skip
from guiji.sources.formats.line_notes import LineNotes, is_title, looks_like, may_be_title

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import FieldSpec
    from guiji.records import ReadReport
    from guiji.sources.formats.workbook import Cell

Columns = Sequence[Sequence[Any]]
Merged = Sequence[tuple["Cell", "Cell"]]


@dataclass(frozen=True)
class SheetLines:
    """Looks through the rows of one table. ``header``: the texts of its header lines, as they stand in the sheet."""

    table: Table
    headers: HeaderWatch
    notes: LineNotes
    flawed: dict[int, dict[int, str]]
    header: tuple[tuple[str, ...], ...]
    merged: Merged

    def find(self, columns: Columns, number: int, report: ReadReport) -> tuple[list[int] | None, int | None]:
        """(indexes of the rows of data, None for all; index of the first declared footnote). Counts the lines that are
        none. ``number`` is that of the first row, from 0."""
        layout = self.table.layout
        blank = _find_blank(columns, number, self.flawed)
        total: list[bool] = []
        end = None
        if layout.total or layout.footnote:
            titles = [column_text(column, None)[0] for column in columns]
            if layout.footnote:
                end = _first_footnote(self.table, titles)
            if layout.total:
                total = self.table.find_totals(titles).to_pylist()
        again = self._find_headers(columns, number, end)
        again |= self._find_titles(columns, number, end, again, report)
        if not blank and not total and end is None and not again:
            return None, None
        lines = []
        for i in range(len(columns[0]) if end is None else end):
            if i in again:
                continue
            if i in blank:
                skip(report, "blank")
            elif total and total[i]:
                skip(report, "total")
                self.notes.totals.add([number + i + 1])
            else:
                lines.append(i)
        return lines, end

    def starts_header(self, rows: Columns) -> bool:
        """True where one of the rows at the end of a piece may begin a header of several rows that goes on behind."""
        return any(self._is_first_line(row) for row in rows)

    # --- the header again --------------------------------------------------------------------------------

    def _find_headers(self, columns: Columns, number: int, end: int | None) -> set[int]:
        """Indexes of the rows above the footnotes that are the header again. Raises DeliveryRefused for another header."""
        if self.table.layout.header_rows > 1:
            return self._find_blocks(columns, number, end)
        is_name = self.headers.is_name
        named = {
            i
            for p in self.headers.positions
            if self.headers.may_hold_names(columns[p])
            for i, cell in enumerate(columns[p][:end])
            if is_name(cell)
        }
        return {i for i in sorted(named) if self._take_header(columns, i, number)}

    def _take_header(self, columns: Columns, i: int, number: int) -> bool:
        """The row is the header cell by cell, or has its columns: dates may be spelled in another way than above."""
        line = _trim(_titles(columns, i))
        if len(line) > 1 and line == self.header[0]:
            return self.headers.take_same(number + i + 1)
        cells = [self.headers.spell(c) if isinstance(c := column[i], date) else title_text(c) for column in columns]
        return self.headers.take(cells, number + i + 1)

    def _find_blocks(self, columns: Columns, number: int, end: int | None) -> set[int]:
        """The same for a header of several rows: all of its rows, one below the other."""
        first = self._first_cells
        n = self.table.layout.header_rows
        starts = {
            i
            for p in first
            for i, cell in enumerate(columns[p][:end])
            if isinstance(cell, str) and cell.strip() in first[p]
        }
        found: set[int] = set()
        for i in sorted(starts):
            block = [_titles(columns, k) for k in range(i, min(i + n, len(columns[0])))]
            if i in found or len(block) < n:
                continue
            same = tuple(map(_trim, block)) == self.header
            at = number + i
            merged = [((t - at, a), (b - at, c)) for (t, a), (b, c) in self.merged if at <= t < at + n]
            joined = join_headers(self.table.layout, block, merged)[0]
            while joined and not joined[-1]:
                joined.pop()
            if (same and self.headers.take_same(at + 1)) or self.headers.take(joined, at + 1):
                found |= set(range(i, i + n))
        return found

    @cached_property
    def _first_cells(self) -> dict[int, frozenset[str]]:
        """Columns that are read -> what stands there in the first line of the header, in those where something does."""
        first = self.header[0]
        names = frozenset(filter(None, first))
        return {p: names for p in range(len(first)) if first[p]} if names else {}

    def _is_first_line(self, row: Sequence[Any]) -> bool:
        return any(isinstance(row[p], str) and row[p].strip() in names for p, names in self._first_cells.items())

    # --- totals and footnotes that nobody declared --------------------------------------------------------

    def _find_titles(
        self, columns: Columns, number: int, end: int | None, known: set[int], report: ReadReport
    ) -> set[int]:
        """Indexes of the rows that look like totals or footnotes, are not declared, and can be no data: their key is
        blank or can't be valid. What only looks like one stays a row and is named."""
        layout = self.table.layout
        aside: set[int] = set()
        for i in may_be_title(columns, end):
            if i in known:
                continue
            filled = next((column[i] for column in columns if not is_blank(column[i])), "")
            if not isinstance(filled, str):
                continue
            title = next((t for t in ("total", "footnote") if is_title(layout, t, filled)), None)
            if title is not None and self._has_no_key(columns, i):
                skip(report, title)
                (self.notes.sure_totals if title == "total" else self.notes.sure_footnotes).add([number + i + 1])
                aside.add(i)
            elif looks_like(layout, "total", filled):
                self.notes.like_totals.add([number + i + 1])
            elif columns[0][i] != "" and looks_like(layout, "footnote", filled):
                self.notes.like_footnotes.add([number + i + 1])
        return aside

    def _has_no_key(self, columns: Columns, i: int) -> bool:
        """True where a row certainly has no key: a column of it is blank, or holds a word where a number must stand."""
        fields, index = self.table.expected.fields, self.table.match.index
        return any(
            _cannot_be(fields[name], title_text(columns[index[name]][i]))
            for name in self.table.expected.keys
            if name in index and name in fields
        )


def _cannot_be(field: FieldSpec, text: str) -> bool:
    """True for a text that can't be a key's value in this field."""
    text = text.strip()
    if not text or text in field.null_tokens:
        return True
    if field.type != "string" or field.identifier:
        return not any(c.isdigit() for c in text)
    if field.length and len(text) > field.length:
        return True
    try:
        return field.pattern is not None and re.fullmatch(field.pattern, text) is None
    except re.error:  # a pattern that RE2 knows and Python does not
        return False


def _titles(columns: Columns, i: int) -> list[str]:
    return [title_text(column[i]) for column in columns]


def _trim(line: Sequence[str]) -> tuple[str, ...]:
    """The texts of a line without blanks around them and without blank cells at its end."""
    texts = [t.strip() for t in line]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def trim_header(lines: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The lines of a header as ``SheetLines`` compares them."""
    return tuple(map(_trim, lines))


def is_empty(column: Sequence[Any]) -> bool:
    """True for a column without any value; a number 0 and a no are values."""
    return not any(column) and set(map(type, column)) == {str}


def _first_footnote(table: Table, columns: Sequence[pa.Array]) -> int | None:
    """Index of the first row that begins a footnote: by its first cell, or by all its cells together."""
    import pyarrow.compute as pc

    whole = pc.binary_join_element_wise(*columns, "", null_handling="replace", null_replacement="")
    found = pc.or_(table.find_footnotes(columns[0]), table.find_footnotes(whole))
    first: int = pc.index(found, True).as_py()
    return None if first < 0 else first


def _find_blank(columns: Columns, number: int, flawed: dict[int, dict[int, str]]) -> set[int]:
    """Indexes of the rows without a value; an error is a value. Looks at as few columns as will do."""
    blank = set(range(len(columns[0])))
    for column in columns:
        if is_empty(column):
            continue
        kinds = set(map(type, column))
        if str not in kinds or (len(kinds) == 1 and all(map(str.strip, column))):
            return set()
        blank = {i for i in blank if is_blank(column[i])}
        if not blank:
            return blank
    return {i for i in blank if number + i not in flawed} if flawed else blank
