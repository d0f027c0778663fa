"""xlsx sheets as batches of text: typed cells become text exactly once, and what Excel has destroyed is named.

A number in a text or identifier column has lost digits beyond fifteen (精度已丢失, F-19) or its leading zeros
(前导零丢失); a code that Excel turned into a date is gone. Such a row is set aside, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.sources.columns import Expected
from guiji.sources.formats.layout import (
    HEADER_WITHIN,
    Table,
    build_table,
    find_header,
    refuse_headless,
    shape_batch,
    skip,
)
from guiji.sources.formats.tokenizer import find_flaw
from guiji.sources.formats.workbook import SheetFacts, check_container, inspect_sheet, refuse_workbook
from guiji.sources.frames import Rows, make_batch
from guiji.structure import CELL_ERROR, LEADING_ZERO_LOST, MERGED_CELL, PRECISION_LOST, RAGGED, TURNED_INTO_DATE

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import FieldSpec, Format
    from guiji.records import ReadReport

BATCH_ROWS = 32768
#: Excel keeps fifteen digits
LOST_FROM = 1e15
#: the 1904 or 1900 epoch shows as a time of day
_MIDNIGHT = time(0)


def read_excel(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the sheet that holds the declared columns. Raises DeliveryRefused for a damaged or oversized
    workbook, formulas that were never calculated, no header or more than one sheet with it."""
    import python_calamine as calamine

    what = f"文件 {origin}"
    check_container(path, what)
    try:
        workbook = calamine.CalamineWorkbook.from_path(str(path))
        names = [m.name for m in workbook.sheets_metadata if m.typ == calamine.SheetTypeEnum.WorkSheet]
        visible = [
            m.name
            for m in workbook.sheets_metadata
            if m.name in names and m.visible == calamine.SheetVisibleEnum.Visible
        ]
    except (calamine.CalamineError, OSError):
        refuse_workbook(what, "文件已损坏或已加密，无法读取", "请去掉密码、重新导出完整的文件", "delivery.half_a_file")
    sheet, rows, header, facts = _find_sheet(path, workbook, names, visible, expected, fmt, what)
    where = f"{what} 工作表“{sheet.name}”"
    if hidden := [n for n in names if n not in visible]:
        report.notes.append(f"{what}：隐藏的工作表未采集：{'、'.join(hidden)}")
    above = [" ".join(t for t in (_title(v) for v in row) if t) for row in rows[:header]]
    titles = [_title(v) for v in rows[header]]
    while titles and not titles[-1]:
        titles.pop()
    table = build_table(expected, fmt.layout, above, titles, report, where)
    return _read_rows(_Sheet(table, facts, _covered(sheet), f"{origin}#{sheet.name}", where), rows, header + 1, report)


def _find_sheet(
    path: Path, workbook: Any, names: list[str], visible: list[str], expected: Expected, fmt: Format, what: str
) -> tuple[Any, list[list[Any]], int, SheetFacts]:
    import python_calamine as calamine

    wanted = fmt.layout.sheet
    if wanted is not None and wanted not in names:
        refuse_workbook(what, f"没有工作表“{wanted}”（有：{'、'.join(names)}）", "请使用约定的工作表名")
    found = []
    for name in [wanted] if wanted is not None else visible:
        facts = inspect_sheet(path, name, what)
        try:
            sheet = workbook.get_sheet_by_name(name)
            rows = sheet.to_python(skip_empty_area=False)
        except (calamine.CalamineError, OSError):
            refuse_workbook(what, f"工作表“{name}”已损坏，无法读取", "请重新导出完整的文件", "delivery.half_a_file")
        header = find_header(expected, fmt.layout, [[_title(v) for v in row] for row in rows[:HEADER_WITHIN]])
        if header is not None:
            found.append((sheet, rows, header, facts))
    if not found:
        raise refuse_headless(expected, fmt.layout, what)
    if len(found) > 1:
        both = "、".join(f[0].name for f in found)
        refuse_workbook(
            what, f"有多个工作表都含有约定的表头（{both}），无法判断以哪个为准", "请只保留一个，或约定工作表名"
        )
    return found[0]


def _title(value: object) -> str:
    return cell_text(value, None)[0] or ""


def _covered(sheet: Any) -> dict[tuple[int, int], None]:
    """Cells below the first row of a merged range: their value is not written in them."""
    covered: dict[tuple[int, int], None] = {}
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or []:
        if bottom > top and (bottom - top) * (right - left + 1) <= 100_000:
            for row in range(top + 1, bottom + 1):
                covered |= dict.fromkeys((row, column) for column in range(left, right + 1))
    return covered


@dataclass(frozen=True)
class _Sheet:
    table: Table
    facts: SheetFacts
    covered: dict[tuple[int, int], None]
    origin: str
    what: str


def _read_rows(sheet: _Sheet, rows: list[list[Any]], start: int, report: ReadReport) -> Iterator[pa.RecordBatch]:
    table = sheet.table
    names = [*table.read_columns, *(f"__p{p}" for p in table.match.pivoted)]
    positions = [*table.read_positions, *table.match.pivoted]
    if any(r >= start and c in positions for r, c in sheet.facts.uncalculated):
        bad_row, bad_column = min(c for c in sheet.facts.uncalculated if c[0] >= start and c[1] in positions)
        refuse_workbook(
            sheet.what,
            f"第 {bad_row + 1} 行第 {bad_column + 1} 列等处是没有计算结果的公式",
            "请在 Excel 中打开、计算并保存（或粘贴为数值）",
            "delivery.uncalculated_formula",
        )
    value_field = table.expected.fields.get(table.layout.unpivot.value) if table.layout.unpivot else None
    fields = [table.expected.fields.get(c) for c in table.read_columns] + [value_field] * len(table.match.pivoted)
    inside = set(range(table.width)) - set(table.match.unnamed)
    gathered = Rows()
    for number in range(start, len(rows)):
        row = rows[number]
        if all(v == "" or (isinstance(v, str) and not v.strip()) for v in row) and not _has_error(sheet, number):
            skip(report, "blank")
            continue
        first = _title(row[0])
        line_text = "".join(_title(v) for v in row)
        if table.is_footnote(first) or table.is_footnote(line_text):
            below = [r for r in rows[number:] if any(v != "" for v in r)]
            skip(report, "footnote", len(below))
            skip(report, "blank", len(rows) - number - len(below))
            break
        if table.is_total(first):
            skip(report, "total")
            continue
        _add_row(sheet, gathered, row, number, positions, fields, inside)
        if len(gathered) >= BATCH_ROWS:
            yield shape_batch(table, make_batch(names, gathered, sheet.origin))
            gathered = Rows()
    if len(gathered):
        yield shape_batch(table, make_batch(names, gathered, sheet.origin))


def _has_error(sheet: _Sheet, number: int) -> bool:
    return bool(sheet.facts.errors) and any(row == number for row, _ in sheet.facts.errors)


def _add_row(
    sheet: _Sheet,
    gathered: Rows,
    row: Sequence[Any],
    number: int,
    positions: Sequence[int],
    fields: Sequence[FieldSpec | None],
    inside: set[int],
) -> None:
    flaw: str | None = None
    cells: list[str | None] = []
    text: str | None
    wrong: str | None
    for position, field in zip(positions, fields, strict=True):
        if (number, position) in sheet.facts.errors:
            text, wrong = None, CELL_ERROR
        elif (number, position) in sheet.covered:
            text, wrong = None, MERGED_CELL
        else:
            text, wrong = cell_text(row[position], field)
        cells.append(text)
        flaw = flaw or wrong
    if any(v != "" and p not in inside for p, v in enumerate(row)):  # a value where the header has no name
        flaw, cells = flaw or RAGGED, [None] * len(positions)
    if flaw is None:
        gathered.add(cells, number + 1)
    else:
        gathered.add_broken(cells, number + 1, flaw, "\t".join(_title(v) for v in row).replace("\x00", "␀"))


def cell_text(value: object, field: FieldSpec | None) -> tuple[str | None, str | None]:
    """(a cell's text, the rule it breaks): exactly what the cell says, None for an empty or destroyed one."""
    if isinstance(value, str):
        flaw = find_flaw([value]) if value else None
        return (None, flaw) if flaw else (value or None, None)
    if isinstance(value, bool):
        return ("true" if value else "false"), None
    if isinstance(value, int | float):
        return _number_text(value, field)
    if isinstance(value, datetime | date | time | timedelta):
        if field is not None and (field.codes or field.identifier):
            return None, TURNED_INTO_DATE
        if isinstance(value, datetime):
            whole = value.time() == _MIDNIGHT and (field is None or field.type != "timestamp")
            return (value.date().isoformat() if whole else value.isoformat(sep=" ")), None
        return (str(value) if isinstance(value, timedelta) else value.isoformat()), None
    return (None if value is None else str(value)), None


def _number_text(value: int | float, field: FieldSpec | None) -> tuple[str | None, str | None]:
    if field is not None and field.type == "float64":
        return repr(value), None
    if abs(value) >= LOST_FROM:
        return (None, PRECISION_LOST) if field is not None else (repr(value), None)
    # fifteen digits are what Excel shows and keeps; the rest is binary noise
    text = str(int(value)) if value == int(value) else format(Decimal(f"{value:.15g}"), "f")
    if field is not None and field.codes and field.length and len(text) < field.length:
        return None, LEADING_ZERO_LOST
    return text, None
