"""JSON written column by column, as pandas' ``DataFrame.to_json()`` does where nobody says ``orient``.

Read as a record it would be one sound row whose cells hold whole columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.masking import show_name
from guiji.sources.columns import Expected


def demand_record(record: Mapping[str, Any], expected: Expected, what: str) -> None:
    """Raises DeliveryRefused where the only ``record`` of a file is a table written by columns. A record has something
    beside objects and lists: its key, at least."""
    named = ((expected.source_name(key), value) for key, value in record.items())
    cells = [value for column, value in named if column is not None and expected.fields[column].type != "geometry"]
    by_label = bool(cells) and all(isinstance(c, dict) for c in cells)
    by_position = bool(cells) and all(isinstance(c, list) for c in cells) and len(set(map(len, cells))) == 1
    if not (by_label or by_position):
        return
    if len(cells) == 1 and not _is_column(cells[0]):  # the one field of a resource may be an object
        return
    raise refuse_columns(what)


def are_columns(lists: Collection[str], expected: Expected) -> bool:
    """True for the names of an object's ``lists`` where they are columns, or the three parts of ``orient="split"``."""
    named = {expected.source_name(name) for name in lists} - {None}
    return len(named) > 1 or {"columns", "data"} <= set(lists)


def refuse_columns(what: str) -> DeliveryRefused:
    """The error for a table that is written by columns."""
    return DeliveryRefused(
        f"{what}：数据是按列写的（每个数据项下列出各行的值），不是一行一个对象，例如 pandas 的 to_json() 不加参数时就这样写。"
        '现有数据继续有效；请按行导出（一行一个对象；pandas 用 orient="records"）后重新提供。',
        rule_id="delivery.structure",
    )


def find_list_in_record(members: Collection[str], lists: Collection[str], expected: Expected) -> str | None:
    """The only list of an object that has all declared columns beside it: the object is a record, not what is around
    records."""
    named = {expected.source_name(name) for name in members}
    (only,) = lists if len(lists) == 1 else ("",)
    rest = set(expected.columns) - named - {expected.source_name(only)}
    return only if only and len(named - {None}) > 1 and not rest else None


def refuse_list_in_record(name: str, what: str) -> DeliveryRefused:
    """The error for a document that is one record with a list in it."""
    return DeliveryRefused(
        f"{what}：整个文件是一条记录，其中的“{show_name(name)}”是列表，不能当作记录列表。现有数据继续有效；"
        "请把各条记录放在一个列表中（即使只有一条）后重新提供。",
        rule_id="delivery.structure",
    )


def _is_column(cell: Any) -> bool:
    """True for an object whose names are the numbers of rows, from 0."""
    return isinstance(cell, dict) and list(cell) == [str(i) for i in range(len(cell))]
