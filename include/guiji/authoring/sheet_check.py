"""What is to be told of a catalog sheet: cells that nobody understands, codes that stand twice, and what it says otherwise
than the catalog. Each with its line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guiji.authoring.guide import BY_TITLE, COLUMNS, find_doubts
from guiji.authoring.sheet_in import Sheet, SheetResource
from guiji.authoring.sheet_out import resource_rows

if TYPE_CHECKING:
    from guiji.catalog.models import Resource


def list_doubts(resource: SheetResource) -> list[str]:
    """What of a resource's cells nobody can understand, or lacks, with its line."""
    told = [f"{resource.place()} {column}：{what}" for column, what in find_doubts(resource.cells)]
    if resource.parted:
        told.append(f"{resource.place()} 信息项名称：写在一格内，已拆为 {len(resource.items)} 项，请核对")
        told += [
            f"{resource.place()} {column}：写了 {n} 个，与 {len(resource.items)} 个信息项对不上，未分到各项，请逐项填写"
            for column, n in resource.unparted.items()
        ]
    for item, line in zip(resource.items, resource.lines, strict=True):
        told += [
            f"{resource.place(line)} {column}：{what}"
            for column, what in find_doubts(resource.cells, item)
            if column not in resource.unparted
        ]
        if own := item.get("共享类型"):
            told.append(
                f"{resource.place(line)} 共享类型：信息项“{item['信息项名称']}”为“{own}”，资源为"
                f"“{resource.cells.get('共享类型', '')}”；平台按资源共享、按分级脱敏，请核对分级或拆成两个资源"
            )
    return list(dict.fromkeys(told))


def list_twins(resources: Sequence[SheetResource]) -> list[str]:
    """Codes that stand for two resources of the sheet."""
    by_code: dict[str, list[SheetResource]] = {}
    for resource in resources:
        if code := plain_code(resource.cells.get("信息资源代码", "")):
            by_code.setdefault(code, []).append(resource)
    return [
        f"{'、'.join(r.place() for r in same)} 信息资源代码：{len(same)} 个资源用了同一代码“{code}”，请改成各不相同的"
        for code, same in by_code.items()
        if len(same) > 1
    ]


def plain_code(code: str) -> str:
    """A code as it is compared: without blanks and full-width digits."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", code))


def compare_resource(existing: Resource, resource: SheetResource, read: Sheet) -> list[str]:
    """What the sheet says otherwise than the catalog, in the columns that the sheet has; empty where nothing is."""
    extra = list(read.extra)
    titles = [c.title for c in COLUMNS if c.title in read.columns] + extra
    columns = [BY_TITLE[t] for t in titles if t in BY_TITLE]
    rows = resource_rows(existing, columns)
    own = existing.model.registered
    differences = []
    if len(rows) != len(resource.items):
        differences.append(f"信息项数：目录 {len(rows)} 个，表中 {len(resource.items)} 个（{resource.place()}起）")
    said: set[tuple[str, str, str]] = set()
    for row, item, line, spec in zip(rows, resource.items, resource.lines, existing.model.fields, strict=False):
        cells = {c.title: text for c, text in zip(columns, row, strict=True)}
        cells |= {t: spec.registered.get(t, own.get(t, "")) for t in extra}
        for title in titles:
            written = item.get(title, resource.cells.get(title, ""))
            if written != cells[title] and (title, cells[title], written) not in said:
                said.add((title, cells[title], written))
                differences.append(f"{resource.place(line)} {title}：目录“{cells[title]}”，表中“{written}”")
    return differences
