"""Where the table stands in a file: header by declared names, metadata and title lines above it, footnotes and
total lines below, wide tables turned into observations. What is no row is counted, with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, HeaderMatch, count_matches, header_columns, match_header, normalise_name
from guiji.sources.formats.line_titles import has_no_key

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Layout, Unpivot
    from guiji.records import ReadReport

#: how far down a header is looked for
HEADER_WITHIN = 60


@dataclass(frozen=True)
class Table:
    """How to read the lines below the header of one table."""

    expected: Expected
    layout: Layout
    match: HeaderMatch
    constants: dict[str, str]  # columns that metadata lines fill
    read_columns: tuple[str, ...]  # names of the cells that are taken from a line, in order
    read_positions: tuple[int, ...]
    header: tuple[str, ...]  # the normalised names, of all columns

    @property
    def width(self) -> int:
        return self.match.width

    def is_footnote(self, text: str) -> bool:
        return bool(self.layout.footnote and re.search(self.layout.footnote, text.strip()))

    def is_total(self, *cells: str | None) -> bool:
        """True where the first cell of a line, or the first that is not blank, is the title of a total line."""
        filled = next((c for c in cells if c and c.strip()), "")
        pattern = self.layout.total
        return bool(pattern) and any(re.fullmatch(pattern or "", (c or "").strip()) for c in (*cells[:1], filled))

    def find_totals(self, columns: Sequence[pa.Array]) -> pa.BooleanArray:
        """``is_total`` of every line; ``columns`` are all of the file's, in its order."""
        import pyarrow.compute as pc

        first, filled = columns[0], first_filled(columns)
        found = self._find_total_titles(first)
        return found if filled is first else pc.or_(found, self._find_total_titles(filled))

    def _find_total_titles(self, cells: pa.Array) -> pa.BooleanArray:
        return match_column(cells, rf"\A(?:{self.layout.total})\z", self.is_total)

    def find_footnotes(self, first_cells: pa.Array) -> pa.BooleanArray:
        """``is_footnote`` of a whole column; null counts as no."""
        return match_column(first_cells, self.layout.footnote or "", self.is_footnote)


def first_filled(columns: Sequence[pa.Array]) -> pa.Array:
    """Of every line the first cell that is not blank; null where all are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = columns[0]
    for n, column in enumerate(columns):
        blank = pc.equal(pc.fill_null(pc.utf8_trim_whitespace(column), ""), "")
        if not pc.any(blank).as_py():
            return column if n == 0 else pc.coalesce(found, column)
        filled = pc.if_else(blank, pa.scalar(None, column.type), column)
        found = filled if n == 0 else pc.coalesce(found, filled)
    return found


def match_column(cells: pa.Array, pattern: str, is_match: Callable[[str], bool]) -> pa.BooleanArray:
    """Which cells hold ``pattern`` (RE2), or are what ``is_match`` says where RE2 does not know it; null is no."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = pc.match_substring_regex(pc.utf8_trim_whitespace(cells), pattern)
    except pa.ArrowInvalid:  # a pattern that Python knows and RE2 does not
        found = pa.array([cell is not None and is_match(cell) for cell in cells.to_pylist()], pa.bool_())
    return pc.fill_null(found, False)


def skip(report: ReadReport, reason: str, lines: int = 1) -> None:
    """Counts lines that are not rows."""
    if lines:
        report.skipped[reason] = report.skipped.get(reason, 0) + lines


def join_headers(
    layout: Layout, lines: Sequence[Sequence[str]], merged: Sequence[tuple[tuple[int, int], tuple[int, int]]]
) -> list[list[str]]:
    """Line by line, the column names if the header began there: the names of ``layout.header_rows`` lines, joined from
    above to below. A merged cell counts for all columns it covers, in its own line; blank cells add nothing."""
    n = layout.header_rows
    if n == 1:
        return [list(line) for line in lines]
    spread = [list(line) for line in lines]
    for (top, left), (_, right) in merged:
        if top < len(spread) and left < len(spread[top]):
            stop = min(right + 1, len(spread[top]))
            spread[top][left:stop] = [spread[top][left]] * (stop - left)
    joined = []
    for first in range(len(lines) - n + 1):
        # only above the last line does a cell stand for others: what covers there is a group of columns
        rows = [[c.strip() for c in row] for row in (*spread[first : first + n - 1], lines[first + n - 1])]
        joined.append([layout.header_joiner.join(filter(None, cells)) for cells in zip(*rows, strict=True)])
    return joined


def find_header(expected: Expected, layout: Layout, lines: Sequence[Sequence[str]]) -> int | None:
    """Index of the header among the first lines: the first with the most declared names, at least half of them; of lines
    with equally many the first with the most columns to unpivot (a blank line over a header of several rows)."""
    looked_for, required = header_columns(expected, layout)
    scores = [count_matches(expected, layout, cells) for cells in lines]
    best = max(scores, default=0)
    # one name is enough only where little more is asked for: a title can hold a column's name
    if best == 0 or best * 2 < min(len(looked_for), len(required) or len(looked_for)):
        return None
    if layout.unpivot is None:
        return scores.index(best)
    wide = [sum(bool(re.fullmatch(layout.unpivot.columns, c.strip())) for c in cells) for cells in lines]
    return max((i for i, score in enumerate(scores) if score == best), key=wide.__getitem__)


def refuse_headless(expected: Expected, layout: Layout, what: str) -> DeliveryRefused:
    """The error for a file in which no header is found."""
    looked_for, _ = header_columns(expected, layout)
    names = [c for c in expected.columns if c in looked_for]
    shown = "、".join(names[:8]) + ("等" if len(names) > 8 else "")
    return DeliveryRefused(
        f"{what}：前 {HEADER_WITHIN} 行中没有找到表头（应包含列：{shown}）。现有数据继续有效；请按约定的表头重新提供。",
        rule_id="delivery.missing_column",
    )


def build_table(
    expected: Expected,
    layout: Layout,
    above: Sequence[str],
    header: Sequence[str],
    report: ReadReport,
    what: str,
    named: Mapping[str, str] | None = None,
) -> Table:
    """The table under ``header``; ``above`` are the texts of the lines over it, counted as skipped; ``named`` are columns
    whose value is known already (from the sheet's name)."""
    constants: dict[str, str] = dict(named or {})
    for text in above:
        found = False
        for column, pattern in layout.metadata.items():
            if column not in constants and (m := re.search(pattern, text.strip())):
                constants[column] = (m.group(1) if m.re.groups else m.group()).strip()
                found = True
        skip(report, "metadata" if found else "title" if text.strip(" ,;\t") else "blank")
    if absent := [c for c in layout.metadata if c not in constants]:
        raise DeliveryRefused(
            f"{what}：表头上方没有找到说明项 {'、'.join(absent)}。现有数据继续有效；请保留文件开头的说明行后重新提供。",
            rule_id="delivery.missing_metadata",
        )
    match = match_header(expected, layout, header, report, what)
    names = [c for c in (*expected.columns, *(layout.unpivot.keep if layout.unpivot else ())) if c in match.index]
    ordered = tuple(dict.fromkeys(names))
    return Table(
        expected,
        layout,
        match,
        constants,
        ordered,
        tuple(match.index[c] for c in ordered),
        tuple(map(normalise_name, header)),
    )


def check_above(table: Table, lines: Sequence[tuple[int, Sequence[str]]], report: ReadReport, what: str) -> None:
    """Names the lines over the header that look like rows; ``lines`` are number and cells of all that stand there.

    Raises DeliveryRefused where they are more than a header of several lines, or its translation, may have, or where
    they stand under another header: several files pasted together, the columns of the first of which nobody knows.
    """
    named = {n: count_matches(table.expected, table.layout, cells) for n, cells in lines}
    rows = [n for n, cells in lines if not named[n] and _may_be_row(table, cells)]
    other = next((n for n, names in named.items() if names > 1), None)
    shown = "、".join(map(str, rows[:20])) + (" 等" if len(rows) > 20 else "")
    if len(rows) > 2 or (other is not None and any(n > other for n in rows)):
        raise DeliveryRefused(
            f"{what}：表头之上还有像数据的行（第 {shown} 行），可能是几份数据拼接在一起，或前一个表头写错了列名，其下各列无法对应。"
            "现有数据继续有效；请在数据之前保留一个正确的表头后重新提供。",
            rule_id="delivery.structure",
        )
    if rows:
        report.notes.append(f"{what}：第 {shown} 行在表头之上却像数据，未采集；如是数据，请移到表头之下后重新提供")


def _may_be_row(table: Table, cells: Sequence[str]) -> bool:
    """True for a line with most cells of a row, those of its key among them, that does not only say what is what (单位：元)."""
    filled = [cell for cell in cells if cell.strip()]
    return (
        len(cells) == table.width
        and len(filled) > max(1, len(cells) // 2)
        and not all("：" in cell or ":" in cell for cell in filled)
        and not has_no_key(table, cells)
    )


def shape_batch(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch as read (``read_columns``, pivoted columns ``__p<position>``, system columns) as the declared columns.

    Metadata constants and missing optional columns are filled in; an unpivot makes a row of every cell that is not
    blank, in the order of the file, and keeps a broken row as the one row it is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if table.layout.unpivot:
        batch = _unpivot(table, table.layout.unpivot, batch)
    n = batch.num_rows
    have = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    arrays = []
    columns = table.expected.columns
    for column in columns:
        if column in table.constants:
            value = pa.repeat(pa.scalar(table.constants[column], pa.string()), n)
            sound = pc.is_null(have["_broken"])
            arrays.append(value if pc.all(sound).as_py() is not False else pc.if_else(sound, value, None))
        else:
            arrays.append(have.get(column, pa.nulls(n, pa.string())))
    system = ("_origin", "_line", "_broken", "_raw")
    return pa.RecordBatch.from_arrays([*arrays, *(have[c] for c in system)], names=[*columns, *system])


def _unpivot(table: Table, unpivot: Unpivot, batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.table(batch)
    keep = [
        *unpivot.keep,
        *(c for c in table.read_columns if c not in unpivot.keep),
        "_origin",
        "_line",
        "_broken",
        "_raw",
    ]
    broken = pc.is_valid(whole["_broken"])
    parts = []
    for position, said in table.match.pivoted.items():
        cells = whole[f"__p{position}"]
        there = pc.and_(pc.invert(broken), pc.not_equal(pc.fill_null(pc.utf8_trim_whitespace(cells), ""), ""))
        part = whole.select(keep).append_column(unpivot.into, pa.repeat(pa.scalar(said, pa.string()), len(whole)))
        parts.append(part.append_column(unpivot.value, cells).filter(there))
    aside = whole.filter(broken)
    nothing = pa.nulls(len(aside), pa.string())
    parts.append(aside.select(keep).append_column(unpivot.into, nothing).append_column(unpivot.value, nothing))
    joined = pa.concat_tables(parts)
    import numpy as np

    # stable: the observations of a line stay in the order of its columns
    order = np.argsort(joined["_line"].to_numpy(), kind="stable")
    ordered = joined.take(pa.array(order)).combine_chunks()
    batches = ordered.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=joined.schema)
