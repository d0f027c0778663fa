"""The catalog as a department's catalog sheet: the guide's columns, a line per 信息项, ready to print and to send."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.authoring.guide import BY_TITLE, COLUMNS, Column, render_cells, render_item_cells
from guiji.errors import UsageError

if TYPE_CHECKING:
    from datetime import date

    from guiji.catalog.models import Resource

_XML_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TITLE_ROWS, _HEADER_ROWS = 2, 2
#: the columns that stay in sight when one scrolls to the right
_FROZEN = 5


def list_columns(resources: Sequence[Resource]) -> list[Column]:
    """The guide's columns, this platform's, then whatever further columns departments' sheets had."""
    known = {c.title for c in COLUMNS}
    extra: dict[str, Column] = {}
    for resource in resources:
        for title in resource.model.registered:
            if title not in known:
                extra.setdefault(title, Column(title, "其他", width=16))
        for spec in resource.model.fields:
            for title in spec.registered:
                if title not in known:
                    extra[title] = Column(title, "其他", item=True, width=16)
    return [*COLUMNS, *extra.values()]


def resource_rows(resource: Resource, columns: Sequence[Column]) -> list[list[str]]:
    """The lines of one resource, every cell filled, also those that are shown merged."""
    own = {**render_cells(resource), **resource.model.registered}
    rows = []
    for spec in resource.model.fields:
        cells = {**own, **render_item_cells(resource.model, spec), **spec.registered}
        rows.append([cells.get(c.title, "") for c in columns])
    return rows


def write_sheet(resources: Sequence[Resource], path: Path, title: str, day: date) -> int:
    """Writes the workbook, readable as it stands; returns the number of lines. Texts are never live (F-68)."""
    import xlsxwriter

    columns = list_columns(resources)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        book = xlsxwriter.Workbook(str(temporary), {"strings_to_formulas": False, "strings_to_urls": False})
        book.set_properties({"title": title, "subject": "政务信息资源目录"})
        lines = _write_page(book, resources, columns, title, day)
        book.close()
        os.replace(temporary, path)
    except OSError as exc:
        raise UsageError(f"{path} can't be written: {exc.strerror}. Nothing was written; give another file.") from exc
    finally:
        temporary.unlink(missing_ok=True)
    return lines


def _write_page(book: Any, resources: Sequence[Resource], columns: Sequence[Column], title: str, day: date) -> int:
    formats = _make_formats(book)
    page = book.add_worksheet("信息资源目录")
    page.hide_gridlines(2)
    page.set_row(0, 30)
    _text(page, 0, 0, title, formats["title"])
    items = sum(len(r.model.fields) for r in resources)
    note = (
        f"{day:%Y-%m-%d} 导出，{len(resources)} 个信息资源、{items} 个信息项。列名依据《政务信息资源目录编制指南（试行）》"
        "（发改高技术〔2017〕1272号）；“归集平台登记”各列为本平台所需，修改后可原样导入。"
    )
    _text(page, 1, 0, note, formats["note"])
    _write_header(page, columns, formats)
    row = _TITLE_ROWS + _HEADER_ROWS
    for number, resource in enumerate(resources):
        cells = resource_rows(resource, columns)
        for i, column in enumerate(columns):
            kind = _kind(column, number)
            values = [line[i] for line in cells]
            if not column.item and len(values) > 1 and len(set(values)) == 1:
                page.merge_range(row, i, row + len(values) - 1, i, "", formats[kind])
                _text(page, row, i, values[0], formats[kind])
                continue
            for n, value in enumerate(values):
                _text(page, row + n, i, value, formats[kind])
        _set_heights(page, row, cells, columns)
        row += len(cells)
    page.freeze_panes(_TITLE_ROWS + _HEADER_ROWS, _FROZEN)
    page.set_landscape()
    page.set_paper(8)
    page.fit_to_pages(1, 0)
    page.repeat_rows(_TITLE_ROWS, _TITLE_ROWS + _HEADER_ROWS - 1)
    page.set_footer("&C第 &P 页，共 &N 页")
    return row - _TITLE_ROWS - _HEADER_ROWS


def _set_heights(page: Any, row: int, cells: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    """Rows high enough for what a merged cell holds: a spreadsheet does not fit them by itself."""
    need = 1.0
    for i, column in enumerate(columns):
        text = cells[0][i]
        width = sum(2 if ord(c) > 255 else 1 for c in text)
        need = max(need, (width // max(4, column.width - 2) + 1) / (len(cells) if not column.item else 1))
    if need > 1:
        for n in range(len(cells)):
            page.set_row(row + n, min(200.0, 15.0 * need + 2))


def _make_formats(book: Any) -> dict[str, Any]:
    base = {"font_name": "微软雅黑", "font_size": 10, "valign": "vcenter", "text_wrap": True, "border": 1}
    base |= {"border_color": "#D0D5DD", "num_format": "@"}
    head = {**base, "bold": True, "align": "center", "font_color": "#FFFFFF"}
    formats = {
        "title": {"font_name": "微软雅黑", "font_size": 16, "bold": True, "font_color": "#0F3D68", "valign": "vcenter"},
        "note": {"font_name": "微软雅黑", "font_size": 9, "font_color": "#667085"},
        "header": {**head, "bg_color": "#0F3D68"},
        "group": {**head, "bg_color": "#1F5C92"},
        "own": {**head, "bg_color": "#667085"},
        "cell0": base,
        "cell1": {**base, "bg_color": "#F5F8FC"},
        "name0": {**base, "bold": True},
        "name1": {**base, "bold": True, "bg_color": "#F5F8FC"},
        "middle0": {**base, "align": "center"},
        "middle1": {**base, "align": "center", "bg_color": "#F5F8FC"},
    }
    return {name: book.add_format(form) for name, form in formats.items()}


_MIDDLE = (
    "数据类型",
    "数据长度",
    "共享类型",
    "共享方式",
    "是否向社会开放",
    "更新周期",
    "发布日期",
    "安全级别",
    "主键序",
)


def _kind(column: Column, number: int) -> str:
    kind = "name" if column.title == "信息资源名称" else "middle" if column.title in _MIDDLE else "cell"
    return f"{kind}{number % 2}"


def _write_header(page: Any, columns: Sequence[Column], formats: dict[str, Any]) -> None:
    top, below = _TITLE_ROWS, _TITLE_ROWS + 1
    page.set_row(top, 20)
    page.set_row(below, 20)
    i = 0
    while i < len(columns):
        column = columns[i]
        page.set_column(i, i, column.width)
        if column.group is None:
            page.merge_range(top, i, below, i, "", formats["header"])
            _text(page, top, i, column.title, formats["header"])
            i += 1
            continue
        last = i
        while last + 1 < len(columns) and columns[last + 1].group == column.group:
            last += 1
        own = BY_TITLE[column.title].own if column.title in BY_TITLE else True
        form = formats["own" if own else "group"]
        if last > i:
            page.merge_range(top, i, top, last, "", form)
        _text(page, top, i, column.group, form)
        for n in range(i, last + 1):
            page.set_column(n, n, columns[n].width)
            _text(page, below, n, columns[n].title, form)
        i = last + 1


def _text(page: Any, row: int, column: int, text: str, form: Any) -> None:
    if text:
        page.write_string(row, column, _XML_ILLEGAL.sub("\ufffd", text)[:32_767], form)
    else:
        page.write_blank(row, column, None, form)
