"""The open catalogue (开放目录): what the catalog declares open to society, item by item and counted by department.

Only fields of level 1 are open; what is 不予共享 is never listed, whatever ``opening`` says. A department needs
LEAST_PER_DEPARTMENT open items.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.catalog.models import SharingType
from guiji.errors import UsageError
from guiji.render import render_table

if TYPE_CHECKING:
    from guiji.catalog import Catalog

LEAST_PER_DEPARTMENT = 2
PUBLIC = 1


@dataclass(frozen=True)
class OpenItem:
    """One resource that is open: which of its fields, and under which condition."""

    department: str
    resource_id: str
    code: str
    name: str
    fields: tuple[str, ...]  # titles of what is open
    withheld: int  # fields of a higher level
    condition: str | None
    cycle: str

    @property
    def way(self) -> str:
        return "有条件开放" if self.condition else "无条件开放"


def list_open(catalog: Catalog) -> list[OpenItem]:
    """What is open, by department and resource."""
    found = []
    for resource in catalog.resources.values():
        model = resource.model
        if not model.opening.open or model.sharing.type is SharingType.NONE:
            continue
        shown = tuple(f.title for f in model.fields if f.sensitivity <= PUBLIC)
        if shown:
            found.append(
                OpenItem(
                    resource.department.id,
                    model.id,
                    model.code,
                    model.name,
                    shown,
                    len(model.fields) - len(shown),
                    model.opening.condition,
                    model.update_cycle.value,
                )
            )
    return sorted(found, key=lambda i: i.resource_id)


def count_open(catalog: Catalog, items: Sequence[OpenItem]) -> list[tuple[str, int, str]]:
    """Of every department: its name, its open items, and whether they are too few."""
    counts = [(d.name, sum(i.department == d.id for i in items)) for d in catalog.departments.values()]
    return [(name, n, "" if n >= LEAST_PER_DEPARTMENT else f"不足 {LEAST_PER_DEPARTMENT} 项") for name, n in counts]


_ITEMS = (
    "部门",
    "资源编码",
    "信息资源代码",
    "信息资源名称",
    "开放方式",
    "开放条件",
    "开放信息项",
    "不开放信息项数",
    "更新周期",
)
_COUNTS = ("部门", "开放目录数", "备注")


def _lines(catalog: Catalog, items: Sequence[OpenItem]) -> list[tuple[Any, ...]]:
    return [
        (
            catalog.departments[i.department].short_name,
            i.resource_id,
            i.code,
            i.name,
            i.way,
            i.condition or "",
            "、".join(i.fields),
            i.withheld,
            i.cycle,
        )
        for i in items
    ]


def render_open(catalog: Catalog, items: Sequence[OpenItem]) -> str:
    """Both tables as text, without the fields, which are many."""
    brief = [(*line[:6], len(i.fields), *line[7:]) for line, i in zip(_lines(catalog, items), items, strict=True)]
    heads = [h if h != "开放信息项" else "开放信息项数" for h in _ITEMS]
    return "\n\n".join((render_table(heads, brief), render_table(_COUNTS, count_open(catalog, items))))


def write_open(catalog: Catalog, items: Sequence[OpenItem], path: Path) -> None:
    """Both tables as sheets of a workbook, whole or not at all. Texts are never live (F-68)."""
    import xlsxwriter

    temporary = path.with_name(f".{path.name}.tmp")
    try:
        book = xlsxwriter.Workbook(str(temporary), {"strings_to_formulas": False, "strings_to_urls": False})
        bold, plain = (
            book.add_format({"bold": True, "bottom": 1}),
            book.add_format({"text_wrap": True, "valign": "top"}),
        )
        for title, heads, lines in (
            ("开放目录", _ITEMS, _lines(catalog, items)),
            ("部门统计", _COUNTS, count_open(catalog, items)),
        ):
            page = book.add_worksheet(title)
            for column, head in enumerate(heads):
                page.set_column(column, column, 48 if head == "开放信息项" else 2.2 * len(head) + 8)
                page.write_string(0, column, head, bold)
            for row, line in enumerate(lines, 1):
                for column, value in enumerate(line):
                    write = page.write_number if isinstance(value, int) else page.write_string
                    write(row, column, value, plain)
            page.freeze_panes(1, 0)
            page.set_landscape()
            page.fit_to_pages(1, 0)
        book.close()
        os.replace(temporary, path)
    except OSError as exc:
        raise UsageError(f"{path} can't be written: {exc.strerror}. Nothing was written; give another file.") from exc
    finally:
        temporary.unlink(missing_ok=True)
