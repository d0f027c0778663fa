"""The workbook that goes with a notice: every row to mend, where it is, what is demanded, room for the answer.

Texts are never live: no formula, no link, whatever a department's data hold (F-68). Values are masked.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

from guiji.cells import clean_cell, height_of
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from guiji.city import City
    from guiji.notices.model import Digest, Sheet

COLUMNS = (
    ("序号", 7),
    ("位置（文件:行 / 表:行）", 42),
    ("信息项", 20),
    ("原值（已脱敏）", 24),
    ("校验规则", 36),
    ("依据", 26),
    ("判定", 9),
    ("如何更正", 40),
    ("整改说明（请填写）", 30),
    ("整改人", 12),
    ("批次 / 规则编号", 34),
)
WIDTHS = tuple(float(width) for _, width in COLUMNS)
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f']")


def name_sheets(titles: list[str]) -> list[str]:
    """Names Excel accepts: 31 characters, no ``[]:*?/\\'``, each once whatever its case."""
    names: list[str] = []
    for title in titles:
        base = _FORBIDDEN.sub(" ", title).strip()[:31] or "整改清单"
        name, n = base, 1
        while name.lower() in {x.lower() for x in names}:
            n += 1
            name = f"{base[: 30 - len(str(n))]}_{n}"
        names.append(name)
    return names


def write_fix_sheet(digest: Digest, city: City) -> bytes:
    """The workbook as bytes: one sheet per resource; the same digest gives the same bytes."""
    import xlsxwriter

    buffer = BytesIO()
    book = xlsxwriter.Workbook(
        buffer,
        {
            "constant_memory": True,
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    created = digest.composed_at.astimezone(TIME_ZONE).replace(tzinfo=None, microsecond=0)
    book.set_properties({"title": "整改清单", "author": city.centre, "company": city.centre, "created": created})
    formats = _make_formats(book)
    for sheet, name in zip(digest.sheets, name_sheets([s.title for s in digest.sheets]), strict=True):
        _write_sheet(book.add_worksheet(name), sheet, formats, digest)
    book.close()
    return buffer.getvalue()


def _make_formats(book: Any) -> dict[str, Any]:
    base = {"font_name": "微软雅黑", "font_size": 10, "valign": "top", "border": 1, "border_color": "#D0D5DD"}
    return {
        "title": book.add_format({"font_name": "微软雅黑", "font_size": 14, "bold": True, "font_color": "#0F3D68"}),
        "note": book.add_format({"font_name": "微软雅黑", "font_size": 9, "font_color": "#667085"}),
        "header": book.add_format(
            {
                **base,
                "bold": True,
                "bg_color": "#0F3D68",
                "font_color": "#FFFFFF",
                "text_wrap": True,
                "valign": "vcenter",
            }
        ),
        "cell": book.add_format({**base, "text_wrap": True}),
        "value": book.add_format({**base, "text_wrap": True, "font_color": "#B42318", "num_format": "@"}),
        "answer": book.add_format({**base, "text_wrap": True, "bg_color": "#FFFAEB"}),
        "grey": book.add_format({**base, "font_color": "#98A2B3", "font_size": 8}),
    }


def _write_sheet(page: Any, sheet: Sheet, formats: dict[str, Any], digest: Digest) -> None:
    for position, (_, width) in enumerate(COLUMNS):
        page.set_column(position, position, width)
    page.write_string(0, 0, clean_cell(f"{sheet.title}　整改清单"), formats["title"])
    shown = f"共 {sheet.total:,} 条"
    if sheet.total > len(sheet.rows):
        shown += f"，此处列出前 {len(sheet.rows):,} 条，其余请在平台查看"
    note = f"{digest.addressee_name}　{digest.composed_at:%Y-%m-%d}　{shown}。请在业务系统源头更正，黄色列供填写。"
    page.write_string(1, 0, clean_cell(note), formats["note"])
    for position, (title, _) in enumerate(COLUMNS):
        page.write_string(2, position, title, formats["header"])
    kinds = ("cell", "cell", "cell", "value", "cell", "cell", "cell", "cell", "answer", "answer", "grey")
    for number, row in enumerate(sheet.rows, 1):
        cells = (str(number), *row[:7], "", "", row[7])
        page.set_row(2 + number, height_of(zip(cells[:-1], WIDTHS, strict=False)))
        page.write_number(2 + number, 0, number, formats["cell"])
        for position in range(1, len(cells)):
            _write_text(page, 2 + number, position, cells[position], formats[kinds[position]])
    last = 2 + max(1, len(sheet.rows))
    page.autofilter(2, 0, last, len(COLUMNS) - 1)
    page.freeze_panes(3, 2)
    page.set_landscape()
    page.set_paper(9)
    page.fit_to_pages(1, 0)
    page.repeat_rows(2)


def _write_text(page: Any, row: int, column: int, text: str, form: Any) -> None:
    if text:
        page.write_string(row, column, clean_cell(text), form)
    else:
        page.write_blank(row, column, None, form)
