"""Which sheets of a workbook hold the table, and where its header stands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from guiji.authoring.headers import Merged, find_sheet_header, refuse_twice, refuse_without_header
from guiji.authoring.value_names import list_names
from guiji.errors import UsageError
from guiji.masking import show_name

#: how many rows of a sheet are looked at for its form
_HEAD_LINES = 400
SHEET_COLUMN = "工作表"


@dataclass(frozen=True)
class _SheetTable:
    """A sheet whose header is found: its first row, how many rows it takes, and the names."""

    top: int
    rows: int
    names: tuple[str, ...]
    records: list[list[str]]
    merged: tuple[str, ...] = ()  # columns in which a cell is merged over several rows of data


class FoundSheets(NamedTuple):
    """How the table of a workbook is read. ``written`` are the names of sheets that stand in ``layout``."""

    layout: dict[str, Any]
    columns: list[str]
    notes: list[str]
    above: list[str]  # lines over the header
    written: list[str]


def find_tables(path: Path, what: str, wanted: str | None) -> FoundSheets:
    """The table of the sheet that is wanted, or of the visible one whose header is found: the longest where several have
    one, all of them where it is the same. Raises UsageError for a sheet that is not there, DeliveryRefused for a workbook
    that can't be opened or has no header."""
    from guiji.sources.formats.cells import title_text
    from guiji.sources.formats.workbook import open_workbook

    book = open_workbook(path, what)
    names = [s.name for s in book.sheets if s.visible]
    if wanted is not None and wanted not in [s.name for s in book.sheets]:
        raise UsageError(
            f"{what} has no sheet {wanted!r}. Sheets: {', '.join(map(show_name, names))}. Nothing was written; give one of them."
        )
    tables: dict[str, _SheetTable] = {}
    records: list[list[str]] = []
    for name in names if wanted is None else [wanted]:
        opened = book.open_sheet(name)
        records = [[title_text(v) for v in row] for row in itertools.islice(opened.rows, _HEAD_LINES)]
        header = find_sheet_header(records, opened.merged)
        if header is not None:
            merged = _merged_columns(header[0] + header[1], header[2], opened.merged)
            tables[name] = _SheetTable(header[0], header[1], tuple(n for n in header[2] if n), records, merged)
    if not tables:
        refuse_twice(records, what)
        raise refuse_without_header(what)
    sheet, table = max(tables.items(), key=lambda t: len(t[1].records))
    alike = [n for n, t in tables.items() if (t.rows, sorted(t.names)) == (table.rows, sorted(table.names))]
    layout, notes, written = _choose_sheets(sheet, table, alike, names, wanted)
    merged = tuple(dict.fromkeys(column for n in (sheet, *alike) for column in tables[n].merged))
    if merged:
        layout["fill_merged"] = list(merged)
        notes.append(f"{'、'.join(layout['fill_merged'])} 有合并单元格：登记为一格属于它覆盖的每一行，请核对")
    above = [" ".join(c for c in r if c.strip()) for r in table.records[: table.top]]
    return FoundSheets(layout, list(table.names), notes, above, written)


def _merged_columns(start: int, names: Sequence[str], merged: Merged) -> tuple[str, ...]:
    """The named columns in which a cell is merged over several rows from ``start`` on, in their order."""
    found = {left for (top, left), (bottom, _) in merged if bottom > top >= start and left < len(names)}
    return tuple(names[column] for column in sorted(found) if names[column])


def _choose_sheets(
    sheet: str, table: _SheetTable, alike: Sequence[str], names: Sequence[str], wanted: str | None
) -> tuple[dict[str, Any], list[str], list[str]]:
    """(``layout``, notes, the names in ``layout``): one sheet, or those that hold the same table, their names in a column of its own."""
    layout: dict[str, Any] = {"header_rows": table.rows} if table.rows > 1 else {}
    where = (
        f"表头在第 {table.top + 1} 行"
        if table.rows == 1
        else f"表头在第 {table.top + 1} 至 {table.top + table.rows} 行"
    )
    sums = [n for n in alike if re.search("汇总|合计|总表|全市|全部", n)]
    parts = [n for n in alike if n not in sums]
    others = [n for n in names if n not in parts]
    if wanted is not None or len(parts) < 2:
        notes = [f"工作表“{show_name(sheet)}”，{where}"]
        if rest := [n for n in names if n != sheet]:
            notes.append(f"另有工作表 {list_names(rest)}，未登记；一张表登记为一个资源（--sheet）")
        written = [sheet] if rest or wanted else []
        return {**({"sheet": sheet} if written else {}), **layout}, notes, written
    left_out = f"(?!(?:{'|'.join(map(re.escape, others))})$)" if others else ""
    notes = [f"{len(parts)} 张工作表的表头相同，{where}：一并登记，表名作为信息项“{SHEET_COLUMN}”"]
    if others:
        notes.append(f"其余工作表未登记：{list_names(others)}" + ("（其中汇总表会使行重复）" if sums else ""))
    return {"sheets": f"{left_out}(?P<{SHEET_COLUMN}>.+)", **layout}, notes, others
