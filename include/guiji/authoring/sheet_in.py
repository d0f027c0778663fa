"""A department's catalog sheet as resources with their lines: the header found, merged and repeated cells understood.

A resource begins where its name or code is written anew. Its own cells are merged over its lines, repeated on each, or
written once; a line that says something else is kept as that line's own word. Nothing is dropped: an unknown column
goes along under its title, and lines that are no 信息项 are told with their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from guiji.authoring.guide import BY_TITLE, NEEDED, SPELLINGS, normalise_title
from guiji.errors import DeliveryRefused

_HEADER_WITHIN = 30
#: more lines than any department has 信息项
MAX_LINES = 200_000
#: as many words in one cell are names of several 信息项
FEWEST_PARTS = 3


@dataclass
class SheetResource:
    """One resource of the sheet: its cells by column title, and a line of cells per 信息项."""

    line: int  # in the sheet, from 1
    cells: dict[str, str]
    items: list[dict[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    sheet: str = ""  # where a workbook has several catalog sheets
    #: its 信息项 were written in one cell
    parted: bool = False
    #: columns whose cell has another number of words than there are 信息项 in theirs, and that number: each has the cell
    unparted: dict[str, int] = field(default_factory=dict)

    def place(self, line: int | None = None) -> str:
        """A line of it as a person finds it."""
        return (f"工作表“{self.sheet}”" if self.sheet else "") + f"第 {line or self.line} 行"


@dataclass(frozen=True)
class Sheet:
    """A catalog sheet. ``extra`` are columns that the guide does not know; ``skipped`` lines that are nothing."""

    resources: tuple[SheetResource, ...]
    columns: tuple[str, ...]
    extra: tuple[str, ...]
    skipped: tuple[int | str, ...]


def read_sheet(path: Path, sheet: str | None = None) -> Sheet:
    """The catalog of a workbook: every visible sheet that has its columns, or the one that is wanted. Raises
    DeliveryRefused where no sheet has the columns of a catalog."""
    from guiji.sources.formats.workbook import open_workbook

    what = f"文件 {path.name}"
    book = open_workbook(path, what)
    found: dict[str, Sheet] = {}
    for name in [s.name for s in book.sheets if s.visible] if sheet is None else [sheet]:
        opened = book.open_sheet(name)
        grid = []
        for row in opened.rows:
            grid.append([cell_text(v) for v in row])
            if len(grid) > MAX_LINES:
                break
        fill_merged(grid, opened.merged)
        header = find_columns(grid)
        if header is not None:
            last, titles = header
            found[name] = _gather(grid, last + 1, titles)
    if found:
        return _join_sheets(found)
    raise DeliveryRefused(
        f"{what}：没有找到目录表的表头（至少要有“{'”“'.join(NEEDED)}”两列，见《政务信息资源目录编制指南（试行）》）。"
        "没有生成任何内容；请按指南的列名整理后重试。",
        rule_id="delivery.missing_column",
    )


def _join_sheets(sheets: Mapping[str, Sheet]) -> Sheet:
    """The sheets one after another; what is said of a line then names its sheet."""
    if len(sheets) == 1:
        return next(iter(sheets.values()))
    for name, sheet in sheets.items():
        for resource in sheet.resources:
            resource.sheet = name
    return Sheet(
        tuple(r for s in sheets.values() for r in s.resources),
        tuple(dict.fromkeys(c for s in sheets.values() for c in s.columns)),
        tuple(dict.fromkeys(c for s in sheets.values() for c in s.extra)),
        tuple(f"{name}!{line}" for name, s in sheets.items() for line in s.skipped),
    )


def cell_text(value: Any) -> str:
    """A cell as the text it shows: whole numbers without a fraction, days as ISO dates."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()


def fill_merged(grid: list[list[str]], merged: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Writes the value of a merged range into all its cells."""
    for (top, left), (bottom, right) in merged:
        if top < len(grid) and left < len(grid[top]):
            for row in grid[top : bottom + 1]:
                row[left : right + 1] = [grid[top][left]] * len(row[left : right + 1])


def find_columns(grid: list[list[str]]) -> tuple[int, dict[int, str]] | None:
    """(last line of the header, position -> column title), whether the header has one line or two."""
    best: tuple[int, int, dict[int, str]] | None = None
    for i, upper in enumerate(grid[:_HEADER_WITHIN]):
        for rows in (1, 2):
            if i + rows > len(grid):
                continue
            lower = grid[i + rows - 1]
            titles = _name_columns(upper, lower)
            known = len(set(titles.values()) & set(BY_TITLE))
            if set(NEEDED) <= set(titles.values()) and (best is None or known > best[0]):
                best = (known, i + rows - 1, titles)
    return None if best is None else (best[1], best[2])


def _name_columns(upper: Sequence[str], lower: Sequence[str]) -> dict[int, str]:
    """What each column is called: by its lower title, or by both where only that is known."""
    titles: dict[int, str] = {}
    used: set[str] = set()
    for position, (above, below) in enumerate(zip(upper, lower, strict=True)):
        spoken = [below, f"{above}（{below}）", above] if above != below else [below]
        known = next((SPELLINGS[n] for s in spoken if (n := normalise_title(s)) in SPELLINGS), None)
        name = known if known and known not in used else (below or above)
        if not name:
            continue
        while name in used:  # an unknown title that stands twice
            name += "（重）"
        titles[position] = name
        used.add(name)
    return titles


def _gather(grid: list[list[str]], start: int, titles: dict[int, str]) -> Sheet:
    resource_columns = [t for t in titles.values() if t in BY_TITLE and not BY_TITLE[t].item]
    item_columns = [t for t in titles.values() if t in BY_TITLE and BY_TITLE[t].item]
    extra = [t for t in titles.values() if t not in BY_TITLE]
    found: list[SheetResource] = []
    skipped: list[int] = []
    for number, row in enumerate(grid[start:], start + 1):
        cells = {title: row[p] for p, title in titles.items() if p < len(row)}
        if not any(cells.values()):
            continue
        named, coded = cells["信息资源名称"], cells.get("信息资源代码", "")
        current = found[-1] if found else None
        begins = bool(named or coded) and (
            current is None
            or (named and named != current.cells["信息资源名称"])
            or (bool(coded) and coded != current.cells.get("信息资源代码", ""))
        )
        if begins:
            current = SheetResource(number, {t: cells[t] for t in resource_columns})
            found.append(current)
        if current is None or not (cells["信息项名称"] or begins):
            skipped.append(number)
            continue
        item = {t: cells[t] for t in (*item_columns, *extra)}
        # a line that says something else about its resource keeps its own word
        item |= {t: cells[t] for t in resource_columns if cells[t] and cells[t] != current.cells[t]}
        current.items.append(item)
        current.lines.append(number)
    for resource in found:
        _part_items(resource)
        _lift_common(resource, extra)
    return Sheet(tuple(found), tuple(titles.values()), tuple(extra), tuple(skipped))


def _part_items(resource: SheetResource) -> None:
    """信息项 that were all written in one cell, by lines or between 、, become a line each. Two words alone may be one name
    (类型、级别), and so may be what stands in brackets."""
    if len(resource.items) != 1:
        return
    item = resource.items[0]
    parts = _part(item["信息项名称"])
    if len(parts) < FEWEST_PARTS or len(set(parts)) < len(parts):
        return
    # types and lengths that were written as often belong to one each; whose the words of another number are, nobody knows
    columns = {t: _part(text) for t, text in item.items() if t in BY_TITLE and BY_TITLE[t].item}
    resource.items = [
        {
            **{t: text for t, text in item.items() if t not in columns},
            **{t: own[n] if len(own) == len(parts) else item[t] for t, own in columns.items()},
            "信息项名称": name,
        }
        for n, name in enumerate(parts)
    ]
    resource.lines = resource.lines * len(parts)
    resource.parted = True
    resource.unparted = {t: len(own) for t, own in columns.items() if 1 < len(own) != len(parts)}


def _part(text: str) -> list[str]:
    """Words between line ends, else between 、 or semicolons, outside brackets; without the numbers before them."""
    separator = "\n" if "\n" in text else "[、;；]"
    words = re.split(rf"(?:{separator})(?![^（(]*[）)])", text)
    return [
        w for word in words if (w := re.sub(r"^\s*[(（]?\d{1,3}[)）.、．]\s*", "", word).strip(" \u3000、;；,，。"))
    ]


def _lift_common(resource: SheetResource, extra: Sequence[str]) -> None:
    """An unknown column that says the same on every line, or speaks on the first only, is the resource's."""
    for title in extra:
        values = [item[title] for item in resource.items]
        if len(set(values)) == 1 or not any(values[1:]):
            resource.cells[title] = values[0]
            for item in resource.items:
                del item[title]
