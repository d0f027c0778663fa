"""Cells that are merged with others below the header: which of them have no value of their own, and whose they show.

A file keeps the value of a merged range in its first cell; in the others a reader finds nothing, though people see the
value there. Where nothing is shown, or every cell holds the shown value itself, nothing is wrong. In a column of
``layout.fill_merged`` a range over several rows counts for each of them; any other such cell breaks a rule.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.cells import is_blank
from guiji.sources.formats.workbook import refuse_workbook
from guiji.structure import MERGED_CELL

if TYPE_CHECKING:
    import numpy as np

    from guiji.records import ReadReport
    from guiji.sources.formats.workbook import Cell

#: ranges, each counted once for every column that is read: a few dozen MB
MAX_RANGES = 1_000_000
Columns = Sequence[Sequence[Any]]
Merged = Iterable[tuple["Cell", "Cell"]]
Flawed = Mapping[int, Mapping[int, str]]  # row -> position -> the rule that the cell breaks


@dataclass
class Covered:
    """What merged ranges say of the rows of one batch."""

    wrong: dict[int, dict[int, str]] = field(default_factory=dict)  # row -> position -> rule
    #: position -> row -> the row that it shows, the value there
    filled: dict[int, dict[int, tuple[int, Any]]] = field(default_factory=dict)
    rows: set[int] = field(default_factory=set)  # of data that were filled

    def fill(self, position: int, cells: Sequence[Any], rows: Sequence[int]) -> tuple[Sequence[Any], Sequence[int]]:
        """(the cells of a column, the row that each is taken from); ``rows`` are their own."""
        if not (found := self.filled.get(position)):
            return cells, rows
        pairs = [found.get(row, (row, cell)) for row, cell in zip(rows, cells, strict=True)]
        self.rows.update(found.keys() & set(rows))
        return [cell for _, cell in pairs], [row for row, _ in pairs]


@dataclass
class MergedCells:
    """The ranges of one sheet that reach below its header, by the columns that are read. Rows and columns from 0."""

    #: position -> top, bottom and column of the first cell of each range, from above to below; none overlaps another
    ranges: dict[int, np.ndarray[Any, Any]]
    fills: Mapping[int, str]  # positions in which a range counts for all of its rows -> their names
    head: Columns  # rows above the data
    covered: Covered = field(default_factory=Covered)  # of the batch that was looked at last
    _filled: int = 0
    _first: dict[Cell, Any] = field(default_factory=dict)  # values of ranges that go on in the next batch

    def look(self, columns: Columns, number: int, flawed: Flawed) -> Covered:
        """What holds for the next rows; ``number`` is that of the first. Batches are looked at in the order of the sheet."""
        self._filled += len(self.covered.rows)
        covered = self.covered = Covered()
        kept: dict[Cell, Any] = {}
        rows = range(number, number + len(columns[0]))
        for position in self.ranges:
            for top, bottom, left in self._within(position, rows):
                value = self._value(columns, number, (top, left))
                if bottom >= rows.stop:
                    kept[top, left] = value
                rule = flawed.get(top, {}).get(left)
                if rule is None and is_blank(value):
                    continue
                for row in range(max(top + (left == position), rows.start), min(bottom + 1, rows.stop)):
                    own = columns[position][row - number]
                    if own == value and type(own) is type(value) and rule is None:
                        continue
                    if rule is None and position in self.fills and left == position and is_blank(own):
                        covered.filled.setdefault(position, {})[row] = top, value
                    else:
                        covered.wrong.setdefault(row, {})[position] = rule or MERGED_CELL
        self._first = kept
        return covered

    def report(self, report: ReadReport, what: str) -> None:
        """Says how many rows were filled, and in which columns that may be."""
        if rows := self._filled + len(self.covered.rows):
            columns = "、".join(self.fills.values())
            report.notes.append(f"{what}：{rows:,} 行中的合并单元格（{columns}）按约定填入所属的值")

    def _within(self, position: int, rows: range) -> Iterator[tuple[int, int, int]]:
        """The ranges of a column that reach into ``rows``."""
        bounds = self.ranges[position]
        first, last = bounds[:, 1].searchsorted(rows.start), bounds[:, 0].searchsorted(rows.stop)
        yield from map(tuple, bounds[first:last].tolist())

    def _value(self, columns: Columns, number: int, first: Cell) -> Any:
        row, column = first
        if row >= number:
            return columns[column][row - number] if column < len(columns) else ""
        if first in self._first:
            return self._first[first]
        return self.head[row][column] if row < len(self.head) and column < len(self.head[row]) else ""


def find_merged(
    merged: Merged, start: int, positions: Collection[int], fills: Mapping[int, str], head: Columns, what: str
) -> MergedCells:
    """The merged ranges of a sheet whose data begin in row ``start``; ``positions`` are the columns that are read, ``fills``
    names those in which a range counts for all of its rows, ``head`` are the rows above ``start``.

    Raises DeliveryRefused where two ranges overlap, which no spreadsheet program writes, or there are too many."""
    import numpy as np

    below = sorted(r for r in merged if r[1][0] >= start and r[0] != r[1])
    _refuse_overlap(below, what)
    found: dict[int, array[int]] = {}
    ordered = sorted(positions)
    count = 0
    for (top, left), (bottom, right) in below:
        reached = ordered[bisect_left(ordered, left) : bisect_right(ordered, right)]
        count += len(reached)
        if count > MAX_RANGES:
            refuse_workbook(
                what, f"合并单元格超过 {MAX_RANGES:,} 处", "请取消合并并在每一行填写完整", "delivery.too_large"
            )
        for position in reached:
            if bottom > top or position > left:
                found.setdefault(position, array("q")).extend((top, bottom, left))
    return MergedCells({p: np.array(a, np.int64).reshape(-1, 3) for p, a in found.items()}, fills, head)


def _refuse_overlap(below: Sequence[tuple[Cell, Cell]], what: str) -> None:
    """``below`` are in the order of their first cells."""
    open_now: list[tuple[int, int, int]] = []  # left, right, bottom of the ranges that the row may still be in
    for (top, left), (bottom, right) in below:
        at = bisect_left(open_now, (left,))
        if at and open_now[at - 1][1] >= left:
            at -= 1
        end = at
        while end < len(open_now) and open_now[end][0] <= right:
            if open_now[end][2] >= top:
                refuse_workbook(
                    what,
                    f"第 {top + 1} 行第 {max(left, open_now[end][0]) + 1} 列的单元格同时属于两处合并",
                    "请取消该处合并、填写完整并保存",
                )
            end += 1
        open_now[at:end] = [(left, right, bottom)]
