"""Which lines of a batch as read are rows: headers that stand again, totals, footnotes and what is below them are none.

Column operations find what is suspect; only those lines are looked at whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from guiji.sources.formats.csv_neighbours import mark_broken
from guiji.sources.formats.csv_records import Reading, names_in_order, read_names
from guiji.sources.formats.layout import first_filled, skip
from guiji.sources.formats.line_titles import SUSPECT, TOTAL_CELL, judge_line, total_key_positions
from guiji.sources.formats.tokenizer import split_cells
from guiji.structure import NULL_MARK, RAGGED, TOTAL_LINE

if TYPE_CHECKING:
    import pyarrow as pa

#: what MySQL, PostgreSQL and Hive write for no value
NULL_MARK_TEXT = r"\N"
NULL_MARK_BYTES = NULL_MARK_TEXT.encode()


def sift_batch(reading: Reading, batch: pa.RecordBatch, data: bytes, encoding: str = "utf-8") -> pa.RecordBatch:
    """The rows of a batch of the lines ``data``: without headers, totals, footnotes and what is
    below them. Lines that may be totals are set aside."""
    batch = _drop_headers(reading, batch, data, encoding)
    batch = _cut_footnotes(reading, _drop_unnamed_and_totals(reading, batch))
    if batch.num_rows:
        batch = _drop_titles(reading, batch, data, encoding)
    return _set_null_marks_aside(reading, batch) if NULL_MARK_BYTES in data and batch.num_rows else batch


def _drop_headers(reading: Reading, batch: pa.RecordBatch, data: bytes, encoding: str) -> pa.RecordBatch:
    """The rows without the lines that are the header again, down to the first footnote."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    watched = range(1, 1 + len(reading.headers.positions))  # behind the first cell
    rows = {row for i in watched for row in reading.headers.find_names(batch.column(i))}
    if rows and reading.table.layout.footnote:
        end = pc.index(reading.table.find_footnotes(batch.column("__first")), True).as_py()
        rows = {row for row in rows if end < 0 or row < end}
    if not rows:
        return batch
    keep = np.ones(batch.num_rows, bool)
    for i, number, cells in _split_lines(reading, batch, sorted(rows), data, encoding):
        keep[i] = isinstance(cells, str) or not reading.headers.take(cells, number)
    return batch if keep.all() else batch.filter(pa.array(keep))


def _split_lines(
    reading: Reading, batch: pa.RecordBatch, rows: Sequence[int], data: bytes, encoding: str
) -> Iterator[tuple[int, int, Sequence[str | None] | str]]:
    """(row, number, cells or the rule they break) of the first lines of these rows, as they stand in ``data``."""
    lines = data.split(b"\n")
    for i in rows:
        number = batch.column("_line")[i].as_py()
        text = lines[number - reading.line].decode("gb18030" if encoding == "gb18030" else "utf-8", "replace")
        yield i, number, split_cells(text.removesuffix("\r"), reading.dialect)


def _drop_unnamed_and_totals(reading: Reading, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Sets rows aside that have a value where the header has no name; drops and counts total lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if reading.table.match.unnamed:
        stray = pa.repeat(False, batch.num_rows)
        for p in reading.table.match.unnamed:
            cell = pc.fill_null(pc.utf8_trim_whitespace(batch.column(f"__u{p}")), "")
            stray = pc.or_(stray, pc.not_equal(cell, ""))
        if pc.any(stray).as_py():
            stray = pc.and_(stray, pc.is_null(batch.column("_broken")))
            batch = mark_broken(batch, stray, RAGGED, reading.dialect.delimiter, read_names(reading.table))
    if reading.table.layout.total and batch.num_rows:
        columns = [batch.column(name) for name in names_in_order(reading.table)]
        total = pc.and_(reading.table.find_totals(columns), pc.is_null(batch.column("_broken")))
        if dropped := pc.sum(total).as_py():
            skip(reading.report, "total", dropped)
            reading.notes.totals.add(batch.column("_line").filter(total).to_pylist())
            batch = batch.filter(pc.invert(total))
    return batch


def _drop_titles(reading: Reading, batch: pa.RecordBatch, data: bytes, encoding: str) -> pa.RecordBatch:
    """The rows without lines that can be no data though nobody declared them; what may be a total is set aside."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    suspect = _find_suspects(reading, batch)
    if suspect is None:
        return batch
    suspect = pc.and_(suspect, pc.is_null(batch.column("_broken")))
    keep, doubtful = np.ones(batch.num_rows, bool), np.zeros(batch.num_rows, bool)
    rows = np.flatnonzero(suspect.to_numpy(zero_copy_only=False)).tolist()
    if not rows:
        return batch
    for i, number, cells in _split_lines(reading, batch, rows, data, encoding):
        title = None if isinstance(cells, str) else judge_line(reading.table, cells, number == reading.first)
        keep[i] = not reading.notes.leave_out(title, number, reading.report)
        doubtful[i] = title == "doubtful"
    if doubtful.any():
        batch = mark_broken(batch, pa.array(doubtful), TOTAL_LINE, reading.dialect.delimiter, ())
    return batch if keep.all() else batch.filter(pa.array(keep))


def _find_suspects(reading: Reading, batch: pa.RecordBatch) -> pa.BooleanArray | None:
    """The rows that ``judge_line`` must look at: by their first cell that is not blank, where all that are read are
    blank, or by a cell of the key; None where there are none."""
    import pyarrow.compute as pc

    first = batch.column("__first")
    found = pc.match_substring_regex(first, SUSPECT)
    filled = first_filled([batch.column(name) for name in names_in_order(reading.table)])
    if filled is not first:
        found = pc.or_kleene(found, pc.fill_null(pc.match_substring_regex(filled, SUSPECT), True))
    names = dict(zip(reading.table.read_positions, reading.table.read_columns, strict=True))
    for position in total_key_positions(reading.table):
        if position:
            found = pc.or_kleene(found, pc.match_substring_regex(batch.column(names[position]), TOTAL_CELL))
    found = pc.fill_null(found, False)
    return found if pc.any(found).as_py() else None


def _set_null_marks_aside(reading: Reading, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Sets rows aside with a cell that is ``\\N``: what MySQL, PostgreSQL and Hive write for no value is no text, unless an
    escape is declared or the field knows it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if reading.dialect.escape:
        return batch
    table = reading.table
    fields = [(name, table.expected.fields.get(name)) for name in table.read_columns]
    if table.layout.unpivot:
        value = table.expected.fields.get(table.layout.unpivot.value)
        fields += [(f"__p{p}", value) for p in table.match.pivoted]
    broken = pa.repeat(False, batch.num_rows)
    for name, field in fields:
        if field is not None and NULL_MARK_TEXT not in field.null_tokens:
            broken = pc.or_(broken, pc.fill_null(pc.equal(batch.column(name), NULL_MARK_TEXT), False))
    broken = pc.and_(broken, pc.is_null(batch.column("_broken")))
    if not pc.any(broken).as_py():
        return batch
    return mark_broken(batch, broken, NULL_MARK, reading.dialect.delimiter, ())


def _cut_footnotes(reading: Reading, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows above the first footnote; what is below is counted as skipped."""
    if not reading.table.layout.footnote or not batch.num_rows:
        return batch
    import pyarrow.compute as pc

    found = pc.index(reading.table.find_footnotes(batch.column("__first")), True).as_py()
    if found < 0:
        return batch
    reading.in_footnotes = True
    skip(reading.report, "footnote", batch.num_rows - found)
    below = batch.slice(found + 1)
    rows = pc.and_(pc.is_valid(below.columns[1]), pc.is_null(below.column("_broken")))
    reading.rows_after_footnote += pc.sum(rows).as_py() or 0
    return batch.slice(0, found)


def skip_footnotes(reading: Reading, lines: Sequence[bytes]) -> None:
    """Counts lines below the first footnote."""
    width = reading.table.width
    for line in lines:
        blank = not line.strip(b" ,;\t\r")
        skip(reading.report, "blank" if blank else "footnote")
        reading.rows_after_footnote += not blank and line.count(reading.dialect.delimiter.encode()) == width - 1
