"""Sheets of a workbook (xlsx, xls, xlsb, ods) as batches of text with the system columns.

The sheets are chosen and their headers found before a row is given; then one sheet after another is read, a batch
of rows at a time, column by column. What a cell was before it became text, and what is wrong with it, is the matter
of ``cells`` and of ``workbook``.
"""

from __future__ import annotations

import gc
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.masking import show_name
from guiji.sources.columns import Expected
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.cell_formats import CellFormats
from guiji.sources.formats.cells import column_text, format_text, title_text
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.header_again import HeaderWatch
from guiji.sources.formats.layout import (
    HEADER_WITHIN,
    Table,
    build_table,
    check_above,
    find_header,
    join_headers,
    refuse_headless,
    shape_batch,
    skip,
)
from guiji.sources.formats.leap_day import LeapDays, show_leap_days
from guiji.sources.formats.line_notes import LineNotes
from guiji.sources.formats.merged import Covered, MergedCells, find_merged
from guiji.sources.formats.number_format import is_telling, spell_header
from guiji.sources.formats.sheet_lines import WHOLE_ROW, SheetLines, is_empty, trim_header
from guiji.sources.formats.workbook import Cell, OpenSheet, Workbook, open_workbook, refuse_workbook
from guiji.sources.frames import text_schema
from guiji.structure import CELL_ERROR, OUT_OF_RANGE, RAGGED, UNCALCULATED

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import FieldSpec, Format, Layout
    from guiji.records import ReadReport

#: small enough that the cells of a batch stay in the processor's cache while they are turned into columns
BATCH_ROWS = 8192
#: kinds of cells that may show another text than the value they hold
_SHOWN_OTHERWISE = {int, float, date, datetime, time}
#: stands for any format of whole dates: none of them is kept
_WHOLE_DATE = "yyyy-mm-dd"
Columns = Sequence[Sequence[Any]]


def read_excel(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the sheets that hold the declared columns. Raises DeliveryRefused for a damaged, encrypted or
    oversized workbook, formulas that were never calculated, no header, or more than one sheet with it that nobody
    asked for. Hidden sheets are never read unless they are named; each is noted."""
    what = f"文件 {origin}"
    clock = Clock(what, fmt.max_seconds)
    workbook = open_workbook(path, what, clock)
    if workbook.kind != fmt.type:
        report.notes.append(f"{what}：约定的格式是 {fmt.type}，实际是 {workbook.kind}，已按 {workbook.kind} 读取")
    opened = deque(_choose_sheets(workbook, expected, fmt, what, report))
    ready = deque(_open_table(sheet, header, expected, fmt, origin, what, report) for sheet, header in opened)
    opened.clear()
    return _read_sheets(ready, clock, report)


def _read_sheets(ready: deque[_Reading], clock: Clock, report: ReadReport) -> Iterator[pa.RecordBatch]:
    while ready:
        for batch in clock.watch(_read_rows(ready.popleft(), report)):  # popped: what was read need not stay in memory
            with clock.stopped():
                yield batch


# --- which sheets ----------------------------------------------------------------------------------------


def _choose_sheets(
    workbook: Workbook, expected: Expected, fmt: Format, what: str, report: ReadReport
) -> list[tuple[OpenSheet, int]]:
    """The sheets to read, each with the place of its header."""
    layout = fmt.layout
    visible = [s.name for s in workbook.sheets if s.visible]
    hidden = [s.name for s in workbook.sheets if not s.visible]
    if layout.sheet is not None:
        wanted = [layout.sheet]
        if layout.sheet not in visible + hidden:
            names = "、".join(map(show_name, visible + hidden))
            refuse_workbook(what, f"没有工作表“{layout.sheet}”（有：{names}）", "请使用约定的工作表名")
        if layout.sheet in hidden:
            report.notes.append(f"{what}：工作表“{layout.sheet}”是隐藏的，按约定读取")
            hidden.remove(layout.sheet)
    elif layout.sheets is not None:
        wanted = [n for n in visible if re.fullmatch(layout.sheets, n.strip())]
        if not wanted:
            names = "、".join(map(show_name, visible)) or "没有可见的工作表"
            refuse_workbook(what, f"没有名称符合“{layout.sheets}”的工作表（有：{names}）", "请使用约定的工作表名")
        if others := [n for n in visible if n not in wanted]:
            report.notes.append(f"{what}：名称不符合约定的工作表未采集：{'、'.join(map(show_name, others))}")
    else:
        wanted = visible
    if hidden:
        report.notes.append(f"{what}：隐藏的工作表未采集：{'、'.join(map(show_name, hidden))}")
    found = []
    cells = 0
    for name in wanted:
        sheet = workbook.open_sheet(name)
        sheet.head = list(islice(sheet.rows, HEADER_WITHIN + layout.header_rows - 1))
        header = find_header(expected, layout, join_headers(layout, _spell_head(sheet, expected, layout), sheet.merged))
        if header is not None:
            found.append((sheet, header))
            cells += sheet.facts.cells
        elif layout.sheets is not None:
            raise refuse_headless(expected, layout, f"{what} 工作表“{show_name(name)}”")
        if cells > limits.MAX_CELLS:
            refuse_workbook(what, f"各工作表合计超过 {limits.MAX_CELLS} 个单元格", "请拆分", "delivery.too_large")
    if not found:
        raise refuse_headless(expected, layout, what)
    if layout.sheets is None:
        if len(found) > 1:
            both = "、".join(show_name(sheet.name) for sheet, _ in found)
            refuse_workbook(
                what, f"有多个工作表都含有约定的表头（{both}），无法判断以哪个为准", "请只保留一个，或约定工作表名"
            )
        if others := [n for n in wanted if n != found[0][0].name]:
            report.notes.append(f"{what}：没有约定表头的工作表未采集：{'、'.join(map(show_name, others))}")
    return found


# --- one sheet -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """One sheet whose header is found. Positions are columns of the sheet."""

    sheet: OpenSheet
    table: Table
    start: int  # number of the first row below the header, from 0
    names: list[str]  # of the columns that are read, and their positions and fields
    positions: list[int]
    fields: list[FieldSpec | None]
    inside: frozenset[int]  # positions with a name in the header
    flawed: dict[int, dict[int, str]]  # row -> position -> the rule that the cell breaks
    merged: MergedCells
    lines: SheetLines
    formats: TextFormats
    leap_days: LeapDays
    origin: str
    what: str


@dataclass
class TextFormats:
    """The formats of the cells in text columns, read when a number or a date stands in one for the first time."""

    sheet: OpenSheet
    positions: frozenset[int]
    found: CellFormats | None = None

    def find(self, position: int, cells: Sequence[Any], numbers: Sequence[int]) -> dict[int, str]:
        """Index -> format, of the ``cells`` of a column; ``numbers`` are the rows that they are taken from."""
        kinds = set(map(type, cells))
        if position not in self.positions or not _SHOWN_OTHERWISE & kinds:
            return {}
        if self.found is None:
            self.found = self.sheet.facts.formats(self.positions)
        codes = self.found.find(position, min(numbers), max(numbers) + 1)
        told = {i: codes[n] for i, n in enumerate(numbers) if n in codes and is_telling(codes[n])} if codes else {}
        if time in kinds and not self.found.typed:  # a reader gives any number below 1 as a time
            told |= {i: _WHOLE_DATE for i, cell in enumerate(cells) if isinstance(cell, time) and i not in told}
        return told


def _spell_head(sheet: OpenSheet, expected: Expected, layout: Layout) -> list[list[str]]:
    """The texts of the first rows; a date that is the name of a column is spelled as the declared ones are."""
    titles = [[title_text(v) for v in row] for row in sheet.head]
    # a row of data has no column's name beside its dates
    named = [r for r, row in enumerate(titles) if any(t and expected.source_name(t) is not None for t in row)]
    near = sorted({r + k for r in named for k in range(layout.header_rows) if r + k < len(titles)})
    dates = [(r, c, v) for r in near for c, v in enumerate(sheet.head[r]) if isinstance(v, date)]
    if dates:
        formats = sheet.facts.formats(None)
        wide = re.compile(layout.unpivot.columns) if layout.unpivot else None

        def is_known(name: str) -> bool:
            return bool(wide and wide.fullmatch(name)) or expected.source_name(name) is not None

        for r, c, value in dates:
            if not isinstance(value, datetime) or value.time() == time(0):
                titles[r][c] = spell_header(value, formats.find(c, r, r + 1).get(r, ""), is_known)
    return titles


def _open_table(
    sheet: OpenSheet, header: int, expected: Expected, fmt: Format, origin: str, file: str, report: ReadReport
) -> _Reading:
    layout = fmt.layout
    what = f"{file} 工作表“{sheet.name if layout.sheet else show_name(sheet.name)}”"
    titles = [[title_text(v) for v in row] for row in sheet.head[: header + layout.header_rows]]
    above = [" ".join(t for t in row if t) for row in titles[:header]]
    spelled = _spell_head(sheet, expected, layout)[: header + layout.header_rows]
    names = join_headers(layout, spelled, sheet.merged)[header]
    while names and not names[-1]:
        names.pop()
    said = re.fullmatch(layout.sheets, sheet.name.strip()) if layout.sheets else None
    groups = {k: v.strip() for k, v in said.groupdict().items() if v} if said else {}
    table = build_table(expected, layout, above, names, report, what, groups)
    check_above(table, list(enumerate(titles[:header], 1)), report, what)
    value_field = expected.fields.get(layout.unpivot.value) if layout.unpivot else None
    positions = [*table.read_positions, *table.match.pivoted]
    start = header + layout.header_rows
    _refuse_uncalculated(sheet, start, positions, what)
    flawed = _find_flawed(sheet, start, positions)
    fields = [expected.fields.get(c) for c in table.read_columns] + [value_field] * len(table.match.pivoted)
    filled = {table.match.index[c]: c for c in layout.fill_merged if c in table.match.index}
    texts = frozenset(p for p, f in zip(positions, fields, strict=True) if f is not None and f.type == "string")
    return _Reading(
        sheet,
        table,
        start,
        [*table.read_columns, *(f"__p{p}" for p in table.match.pivoted)],
        positions,
        fields,
        frozenset(range(table.width)) - set(table.match.unnamed),
        flawed,
        find_merged(sheet.merged, start, positions, filled, sheet.head[:start], what),
        SheetLines(
            table,
            HeaderWatch(table, what, layout.header_rows),
            LineNotes(),
            flawed,
            trim_header(titles[header:]),
            sheet.merged,
            start,
        ),
        TextFormats(sheet, texts),
        LeapDays(sheet),
        f"{origin}#{sheet.name}",
        what,
    )


def _refuse_uncalculated(sheet: OpenSheet, start: int, positions: Sequence[int], what: str) -> None:
    wanted = set(positions)
    bad = min((c for c in sheet.facts.uncalculated if c[0] >= start and c[1] in wanted), default=None)
    if bad is not None:
        refuse_workbook(
            what,
            f"第 {bad[0] + 1} 行第 {bad[1] + 1} 列等处是没有计算结果的公式",
            "请在 Excel 中打开、计算并保存（或粘贴为数值）",
            "delivery.uncalculated_formula",
        )


def _find_flawed(sheet: OpenSheet, start: int, positions: Sequence[int]) -> dict[int, dict[int, str]]:
    """Cells whose value is none, though the reader gives one: errors and doubtful formulas."""
    wanted = set(positions)
    flawed: dict[int, dict[int, str]] = {}

    def mark(cell: Cell, rule: str) -> None:
        if cell[0] >= start and cell[1] in wanted:
            flawed.setdefault(cell[0], {}).setdefault(cell[1], rule)

    for cell in sheet.facts.errors:
        mark(cell, CELL_ERROR)
    for cell in sheet.facts.doubtful:
        mark(cell, UNCALCULATED)
    return flawed


def _read_rows(reading: _Reading, report: ReadReport) -> Iterator[pa.RecordBatch]:
    sheet, table = reading.sheet, reading.table
    rows = chain(sheet.head[reading.start :], sheet.rows)
    number = reading.start
    sheet.head = []
    while columns := _take_columns(rows, reading.lines):
        for lost in sheet.lost:
            reading.flawed[lost] = dict.fromkeys(reading.positions, OUT_OF_RANGE)
        sheet.lost.clear()
        lines, end = reading.lines.find(columns, number, report)
        covered = reading.merged.look(columns, number, reading.flawed)
        if lines is None or lines:
            yield shape_batch(table, _make_batch(reading, columns, number, lines, covered))
        if end is not None:
            blank = filled = 0
            for row in chain(zip(*(column[end:] for column in columns), strict=True), rows):
                empty = all(v == "" for v in row)
                blank, filled = blank + empty, filled + (not empty)
            skip(report, "footnote", filled)
            skip(report, "blank", blank)
            break
        number += len(columns[0])
    reading.lines.headers.report(report)
    reading.merged.report(report, reading.what)
    report.notes += reading.lines.notes.say(reading.what)


def _take_columns(rows: Iterator[list[Any]], watch: SheetLines) -> list[tuple[Any, ...]]:
    """The columns of the next rows; none at the end, and none of a sheet without columns. A header of several rows is
    never cut in two.

    The garbage collector looks at nothing meanwhile: thousands of new lists, all of which go at once, would call it
    again and again, and there is no cycle among them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        taken = list(islice(rows, BATCH_ROWS))
        more = watch.table.layout.header_rows - 1
        while more and len(taken) >= BATCH_ROWS and watch.starts_header(taken[-more:]):
            behind = list(islice(rows, more))
            taken += behind
            if len(behind) < more:
                break
        return list(zip(*taken, strict=True))
    finally:
        if collects:
            gc.enable()


def _make_batch(
    reading: _Reading, columns: Columns, number: int, lines: list[int] | None, covered: Covered
) -> pa.RecordBatch:
    """The rows of data as text; those that break a rule keep only what is beyond doubt."""
    import numpy as np
    import pyarrow as pa

    if lines is not None:
        columns = [[column[i] for i in lines] for column in columns]
    n = len(columns[0])
    numbers = range(number, number + n) if lines is None else [number + i for i in lines]
    if hidden := reading.sheet.facts.hidden:
        reading.lines.notes.hidden.add(k + 1 for k in numbers if k in hidden)
    texts: list[Any] = []
    flawed = reading.flawed, covered.wrong
    flaws = [i for i, k in enumerate(numbers) if k in flawed[0] or k in flawed[1]] if any(flawed) else []
    wrong = {i: rule for i in flaws if (rule := reading.flawed.get(numbers[i], {}).get(WHOLE_ROW))}
    for position, field in zip(reading.positions, reading.fields, strict=True):
        cells, rows = covered.fill(position, columns[position], numbers)
        text, broken = column_text(cells, field)
        if field is not None and (formats := reading.formats.find(position, cells, rows)):
            text, broken = format_text(cells, text, broken, field, formats)
        lost = {i: r for i in flaws for found in flawed if (r := found.get(numbers[i], {}).get(position))}
        if leap_days := reading.leap_days.find(position, cells, rows):
            columns = [show_leap_days(c, leap_days) if p == position else c for p, c in enumerate(columns)]
            lost |= leap_days
        if lost:
            text = _blank_out(text, lost)
        for i, rule in (broken | lost).items():
            wrong.setdefault(i, rule)
        texts.append(text)
    ragged = {
        i: wrong.get(i, RAGGED)
        for position, column in enumerate(columns)
        if position not in reading.inside and not is_empty(column)
        for i, value in enumerate(column)
        if value != ""
    }
    if ragged:  # a value where the header has no name: which column the others belong to is in doubt too
        texts = [_blank_out(text, ragged) for text in texts]
        wrong |= ragged
    raw = {i: "\t".join(title_text(column[i]) for column in columns).replace("\x00", "␀") for i in wrong}
    return pa.record_batch(
        [
            *texts,
            pa.repeat(pa.scalar(reading.origin, pa.string()), n),
            pa.array(np.asarray(numbers, np.int64) + 1),
            _sparse(wrong, n),
            _sparse(raw, n),
        ],
        schema=text_schema(reading.names),
    )


def _blank_out(text: pa.Array, rows: dict[int, str]) -> pa.Array:
    import pyarrow as pa

    values = text.to_pylist()
    for i in rows:
        values[i] = None
    return pa.array(values, pa.string())


def _sparse(values: dict[int, str], n: int) -> pa.Array:
    import pyarrow as pa

    return pa.array([values.get(i) for i in range(n)], pa.string()) if values else pa.nulls(n, pa.string())
