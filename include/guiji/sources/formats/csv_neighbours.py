"""Lines that are only a part of a row. A program that writes a cell with a line break and no quotes around it makes two
lines of one row; broken in its last cell, the first of them has all the cells that the header asks for, broken in its
first cell, the second has. So the row beside such a part is in doubt, and is set aside with it.

What could be read beyond doubt is kept: all cells but the last of the row above, all but the first of the row below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from guiji.sources.formats.line_titles import cannot_be
from guiji.structure import BROKEN_LINE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from guiji.sources.formats.layout import Table

Beside = Literal["above", "both"]


def find_beside(table: Table, cells: Sequence[str | None] | str, text: str, delimiter: str) -> Beside | None:
    """Which of the rows beside a line that was set aside may be a part of the same row. A line of one cell may belong to
    either; one of several cells, that can't begin a row, to the one above. A row that lacks its last cells begins as a
    row does, and makes nothing else doubtful."""
    if table.width == 1:
        return None
    if isinstance(cells, str):
        return None if delimiter in text else "both"
    if len(cells) == 1:
        return "both"
    first = (cells[0] or "").strip()
    name = next((n for n, p in table.match.index.items() if p == 0), None)
    if not first or len(cells) >= table.width or name not in table.expected.fields:
        return None
    return "above" if cannot_be(table.expected.fields[name], first) else None


@dataclass
class Neighbours:
    """The rows in doubt of one file, found block by block; a row's number is that of its first line."""

    first_in_doubt: set[int] = field(default_factory=set)  # rows whose first cell may be half of one
    last_in_doubt: set[int] = field(default_factory=set)
    last: int | None = None  # the last row or line of the blocks so far that is not blank
    is_open: bool = False  # that is a part which may belong to what comes next

    def pass_rows(self, first: int, count: int) -> None:
        """A block of rows, a line each."""
        if self.is_open:
            self.first_in_doubt.add(first)
        self.last, self.is_open = first + count - 1, False

    def pass_lines(
        self,
        number: int,
        blank: np.ndarray[Any, Any],
        spans: Mapping[int, int],
        parts: Sequence[tuple[int, int, Beside]],
    ) -> None:
        """A block of lines, the first of which has this number. ``spans``: last line -> first line of rows of several
        lines; ``parts``: first and last line of each part of a row, and what beside it is in doubt."""
        import numpy as np

        filled = np.flatnonzero(~blank)
        if not len(filled):
            return
        if self.is_open:
            self.first_in_doubt.add(number + int(filled[0]))
        self.is_open = False
        for start, end, beside in parts:
            at = int(np.searchsorted(filled, start))
            above = number + _first_line(spans, filled[at - 1]) if at else self.last
            if above is not None:
                self.last_in_doubt.add(above)
            below = int(np.searchsorted(filled, end, "right"))
            if beside == "both" and below < len(filled):
                self.first_in_doubt.add(number + int(filled[below]))
            elif beside == "both":
                self.is_open = True
        self.last = number + _first_line(spans, filled[-1])

    def set_aside(self, table: Table, batch: pa.RecordBatch, delimiter: str) -> pa.RecordBatch:
        """``batch``, of one row or more, with those in doubt set aside where the doubtful cell is one that is read."""
        import numpy as np
        import pyarrow as pa

        lines = batch.column("_line").to_numpy()
        for position, numbers in ((0, self.first_in_doubt), (table.width - 1, self.last_in_doubt)):
            here = {n for n in numbers if n <= lines[-1]}
            name = _column_at(table, position)
            if here and name:
                which = np.isin(lines, list(here)) & batch.column("_broken").is_null().to_numpy(zero_copy_only=False)
                if which.any():
                    batch = mark_broken(batch, pa.array(which), BROKEN_LINE, delimiter, [name])
            numbers -= here
        return batch


def _first_line(spans: Mapping[int, int], last: int) -> int:
    return spans.get(int(last), int(last))


def _column_at(table: Table, position: int) -> str | None:
    """What the column at ``position`` is called in a batch as read; None where it is not read."""
    names = dict(zip(table.read_positions, table.read_columns, strict=True))
    return names.get(position) or (f"__p{position}" if position in table.match.pivoted else None)


def mark_broken(
    batch: pa.RecordBatch, which: pa.BooleanArray, rule_id: str, delimiter: str, lost: Sequence[str]
) -> pa.RecordBatch:
    """``batch`` with these rows set aside by the rule; the cells of the columns ``lost`` are in doubt."""
    import pyarrow as pa
    import pyarrow.compute as pc

    system = ("_origin", "_line", "_broken", "_raw", "__first")
    cells = [n for n in batch.schema.names if n not in system and not n.startswith("__other")]
    raw = pc.binary_join_element_wise(*(pc.fill_null(batch.column(c), "") for c in cells), delimiter)
    arrays = []
    for name in batch.schema.names:
        column = batch.column(name)
        if name == "_broken":
            column = pc.if_else(which, rule_id, column)
        elif name == "_raw":
            column = pc.if_else(which, raw, column)
        elif name in lost:
            column = pc.if_else(which, pa.scalar(None, pa.string()), column)
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
