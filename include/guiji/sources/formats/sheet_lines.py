"""Which rows of a sheet are data: blank ones, totals, footnotes and headers that stand again are none.

Looks at columns, many rows at a time; a row is looked at by itself only where a cell of it makes it suspect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.cells import column_text, is_blank, title_text
from guiji.sources.formats.header_again import HeaderWatch
from guiji.sources.formats.layout import Table, join_headers, skip
from guiji.sources.formats.line_notes import LineNotes
from guiji.sources.formats.line_titles import find_suspects, judge_line, total_key_positions
from guiji.structure import TOTAL_LINE

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.records import ReadReport
    from guiji.sources.formats.workbook import Cell

Columns = Sequence[Sequence[Any]]
Merged = Sequence[tuple["Cell", "Cell"]]
#: stands for a position in ``flawed``: the rule is broken by the row, and its cells are beyond doubt
WHOLE_ROW = -1


@dataclass(frozen=True)
class SheetLines:
    """Looks through the rows of one table. ``header``: the texts of its header lines, as they stand in the sheet."""

    table: Table
    headers: HeaderWatch
    notes: LineNotes
    flawed: dict[int, dict[int, str]]
    header: tuple[tuple[str, ...], ...]
    merged: Merged
    start: int = 0  # number of the first row below the header

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
        declared = {i for i, is_total in enumerate(total) if is_total}
        again |= self._find_titles(columns, number, end, again | declared, report)
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
        """Indexes of the rows that can be no data though nobody declared them. What may be a row and may be a total is
        set aside by ``flawed``; what only looks like one stays a row and is named."""
        aside: set[int] = set()
        suspects = find_suspects(columns, total_key_positions(self.table), end)
        if number == self.start:  # the columns may be numbered there
            suspects = sorted({0, *suspects} if end != 0 else suspects)
        for i in suspects:
            if i in known:
                continue
            title = judge_line(self.table, _titles(columns, i), number + i == self.start)
            if self.notes.leave_out(title, number + i + 1, report):
                aside.add(i)
            elif title == "doubtful":
                self.flawed.setdefault(number + i, {}).setdefault(WHOLE_ROW, TOTAL_LINE)
        return aside


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
