"""Catalog sheets as departments fill them in: nothing is lost, nothing written over, every doubt told with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from test_catalog_import import DAY, answer_all, grid_of, place, write_grid
from test_catalog_new import fields_of

from guiji.authoring.catalog_import import import_sheet, list_resources
from guiji.authoring.new import Draft
from guiji.authoring.sheet_in import SheetResource, _part_items, read_sheet
from guiji.authoring.sheet_out import write_sheet
from guiji.catalog import check_catalog, load_catalog
from guiji.catalog.strict_yaml import parse_yaml
from guiji.settings import Settings

__all__ = ["place"]

TITLES = [
    "类", "项", "信息资源名称", "信息资源代码", "信息资源提供方", "信息资源摘要", "信息资源格式", "信息项名称", "数据类型", "数据长度", "共享类型", "共享条件",
    "更新周期", "发布日期",
]  # fmt: skip


def row(name: str, code: str, item: str, **cells: str) -> list[str]:
    said = {
        "类": "基础信息资源", "项": "人口", "信息资源名称": name, "信息资源代码": code, "信息资源提供方": "测试局", "信息资源摘要": "一行一人",
        "信息资源格式": "数据库", "信息项名称": item, "数据类型": "字符型C", "数据长度": "20", "共享类型": "无条件共享", "共享条件": "", "更新周期": "每月",
        "发布日期": "2024-01-01", **cells,
    }  # fmt: skip
    return [said[t] for t in TITLES]


def drafted(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8")
    plain: Any = parse_yaml(text.encode(), path.name).plain()
    return plain, fields_of(Draft(text, 0, 0, 0, 0))


def test_every_sheet_of_a_workbook_is_read(tmp_path: Path, place: Settings) -> None:
    source = tmp_path / "目录.xlsx"
    with xlsxwriter.Workbook(str(source)) as book:
        book.add_worksheet("填表说明").write(0, 0, "请按指南填写")
        for sheet, rows in (
            ("人口", [row("甲", "1/1", "姓名"), row("甲", "1/1", "性别")]),
            ("法人", [row("乙", "1/2", "名称", 共享类型="部分共享"), ["合计"]]),
        ):
            page = book.add_worksheet(sheet)
            for r, cells in enumerate([TITLES, *rows]):
                page.write_row(r, 0, cells)
    done = import_sheet(place, source)
    assert ([p.name for p in done.written], done.skipped_lines) == (["r1_1.yml", "r1_2.yml"], ("法人!3",))
    assert done.doubts == ["工作表“法人”第 2 行 共享类型：“部分共享”不认识，可填：无条件共享、有条件共享、不予共享"]
    assert [len(r.items) for r in read_sheet(source).resources] == [2, 1]
    assert [len(r.items) for r in read_sheet(source, "法人").resources] == [1]


def test_what_is_not_understood_or_lacks_is_told_with_its_row(tmp_path: Path, place: Settings) -> None:
    rows = [
        TITLES,
        row("甲", "1/1", "姓名", 共享类型="不予共享"),
        row("乙", "1/2", "名称", 共享类型="有条件共享", 更新周期="每10年"),
        row("丙", "1/3", "时间", 数据类型="未知型", 数据长度="50字", 发布日期="去年"),
        row("丁", "1/2", "名称", 共享类型="", 更新周期=""),
    ]
    done = import_sheet(place, write_grid(tmp_path / "a.xlsx", rows))
    assert done.doubts == [
        "第 2 行 共享条件：不予共享须写明依据的法律、行政法规或政策",
        "第 3 行 更新周期：“每10年”不认识，可填：实时、每日、每周、每月、每季度、每半年、每年、不定期、不更新",
        "第 3 行 共享条件：有条件共享须写明共享条件（另在资源文件中补充共享范围和使用用途）",
        "第 4 行 发布日期：“去年”不认识，可填：如 2026-01-31 的日期",
        "第 4 行 数据类型：“未知型”不认识，暂按字符型登记",
        "第 4 行 数据长度：“50字”不是长度，未登记",
        "第 5 行 共享类型：没有填写，可填：无条件共享、有条件共享、不予共享",
        "第 5 行 更新周期：没有填写，可填：实时、每日、每周、每月、每季度、每半年、每年、不定期、不更新",
        "第 3 行、第 5 行 信息资源代码：2 个资源用了同一代码“1/2”，请改成各不相同的",
    ]
    assert all(f"# ？ {told}" in "".join(p.read_text() for p in done.written) for told in done.doubts[:-1])


@pytest.mark.parametrize(
    ("written", "sharing", "cycle"),
    [
        ({"共享类型": "无条件 共享", "更新周期": "每 日"}, "无条件共享", "每日"),
        ({"共享类型": "有条件共享（默认）", "更新周期": "每月更新"}, "有条件共享", "每月"),
        ({"共享类型": "不予\n共享", "更新周期": "每　年"}, "不予共享", "每年"),
    ],
)
def test_labels_with_blanks_and_notes_are_understood(
    written: dict[str, str], sharing: str, cycle: str, tmp_path: Path, place: Settings
) -> None:
    source = write_grid(tmp_path / "a.xlsx", [TITLES, row("甲", "１/１", "姓名", 数据长度="１８", **written)])
    [path] = import_sheet(place, source).written
    plain, fields = drafted(path)
    assert (plain["sharing"]["type"], plain["update_cycle"], fields["姓名"]["length"]) == (sharing, cycle, 18)
    answer_all(place.catalog)
    out = tmp_path / "out.xlsx"
    write_sheet(list_resources(load_catalog(place.catalog), "ab"), out, "目录", DAY)
    [before], [after] = grid_of(source), grid_of(out)
    assert [(b, a) for b, a in zip(before, after, strict=True) if b and b != a] == []


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("姓名、性别、出生日期、住址（省、市、县）", ["姓名", "性别", "出生日期", "住址（省、市、县）"]),
        ("1.姓名\n2.性别\n3.出生日期", ["姓名", "性别", "出生日期"]),
        ("姓名；性别；民族；", ["姓名", "性别", "民族"]),
        ("类型、级别", ["类型、级别"]),
        ("性别\n（男/女）", ["性别\n（男/女）"]),
    ],
)
def test_items_in_one_cell_become_a_field_each(cell: str, items: list[str], tmp_path: Path, place: Settings) -> None:
    source = write_grid(tmp_path / "a.xlsx", [TITLES, row("甲", "1/1", cell, 数据类型="", 数据长度="")])
    done = import_sheet(place, source)
    assert list(drafted(done.written[0])[1]) == items
    assert done.doubts == (
        [f"第 2 行 信息项名称：写在一格内，已拆为 {len(items)} 项，请核对"] if len(items) > 1 else []
    )
    answer_all(place.catalog)
    assert [str(p) for p in check_catalog(place.catalog)] == []
    assert (import_sheet(place, source).written, import_sheet(place, source).differing) == ([], {})


Word = st.text(st.characters(categories=["Lo"], max_codepoint=0x9FFF, min_codepoint=0x4E00), min_size=1, max_size=6)


@given(st.lists(Word, min_size=3, max_size=8, unique=True), st.sampled_from("、;；\n"), st.booleans())
def test_any_list_of_names_is_parted_and_keeps_its_types(names: Sequence[str], by: str, typed: bool) -> None:
    types = by.join(f"C{n}" for n in range(len(names))) if typed else "字符型C"
    resource = SheetResource(7, {}, [{"信息项名称": by.join(names), "数据类型": types, "备注": "x"}], [7])
    _part_items(resource)
    assert [i["信息项名称"] for i in resource.items] == list(names)
    assert [i["数据类型"] for i in resource.items] == [f"C{n}" if typed else "字符型C" for n in range(len(names))]
    assert ([i["备注"] for i in resource.items], resource.lines) == (["x"] * len(names), [7] * len(names))


def test_f67_an_item_that_is_not_shared_gets_the_highest_level(tmp_path: Path, place: Settings) -> None:
    rows = [
        TITLES,
        row("甲", "1/1", "许可编号"),
        row("甲", "1/1", "患者"),
        row("甲", "1/1", "护照号"),
        row("甲", "1/1", "内部意见", 共享类型="不予共享"),
    ]
    source = write_grid(tmp_path / "a.xlsx", rows)
    done = import_sheet(place, source)
    fields = drafted(done.written[0])[1]
    assert {c: f["sensitivity"] for c, f in fields.items()} == {"许可编号": 3, "患者": 3, "护照号": 4, "内部意见": 4}
    assert done.doubts == [
        "第 5 行 共享类型：信息项“内部意见”为“不予共享”，资源为“无条件共享”；平台按资源共享、按分级脱敏，请核对分级或拆成两个资源"
    ]
    answer_all(place.catalog)
    out = tmp_path / "out.xlsx"
    write_sheet(list_resources(load_catalog(place.catalog), "ab"), out, "目录", DAY)
    pairs = [p for x, y in zip(grid_of(source), grid_of(out), strict=True) for p in zip(x, y, strict=True) if p[0]]
    assert len(pairs) == 4 * 13
    assert [p for p in pairs if p[0] != p[1]] == []


@pytest.mark.parametrize("level", ["1", "3", "4", ""])
def test_f67_an_item_that_is_not_shared_is_of_level_4_whatever_level_is_written(
    level: str, tmp_path: Path, place: Settings
) -> None:
    rows = [
        [*TITLES, "安全级别"],
        [*row("甲", "1/1", "许可编号"), "1"],
        [*row("甲", "1/1", "内部意见", 共享类型="不予共享"), level],
        [*row("甲", "1/1", "处理级别"), "2"],
    ]
    [path] = import_sheet(place, write_grid(tmp_path / "a.xlsx", rows)).written
    _, fields = drafted(path)
    assert {c: f.get("sensitivity", 1) for c, f in fields.items()} == {"许可编号": 1, "内部意见": 4, "处理级别": 2}
    # the cell is kept as it was written
    assert fields["内部意见"]["registered"].get("安全级别", "4") == (level or "4")
    assert (f"安全级别一栏为 {level}" in path.read_text(encoding="utf-8")) == (level in ("1", "3"))


@pytest.mark.parametrize(
    ("column", "cell", "n"),
    [
        ("数据类型", "字符型C\n日期型D", 2),
        ("数据类型", "字符型C\n\n日期型D", 2),
        ("数据长度", "50、2、10、8", 4),
        ("安全级别", "3\n4", 2),
        ("主键序", "1\n2", 2),
        ("信息项字段名", "xm\nxb", 2),
    ],
)
def test_words_that_fit_no_number_of_items_are_kept_and_told(
    column: str, cell: str, n: int, tmp_path: Path, place: Settings
) -> None:
    cells = dict(zip(TITLES, row("甲", "1/1", "姓名\n性别\n生日"), strict=True)) | {column: cell}
    source = write_grid(tmp_path / "a.xlsx", [list(cells), list(cells.values())])
    done = import_sheet(place, source)
    fields = drafted(done.written[0])[1]
    assert {title: f["registered"][column] for title, f in fields.items()} == dict.fromkeys(
        ("姓名", "性别", "生日"), cell
    )
    assert done.doubts == [
        "第 2 行 信息项名称：写在一格内，已拆为 3 项，请核对",
        f"第 2 行 {column}：写了 {n} 个，与 3 个信息项对不上，未分到各项，请逐项填写",
    ]
    answer_all(place.catalog)
    assert (import_sheet(place, source).written, import_sheet(place, source).differing) == ([], {})


def test_a_sheet_that_comes_twice_doubles_nothing(tmp_path: Path, place: Settings) -> None:
    """Before the questions are answered, after they are, and after an engineer wrote on by hand."""
    source = write_grid(tmp_path / "a.xlsx", [TITLES, row("甲", "1/1", "姓名"), row("乙", "", "名称")])
    first = import_sheet(place, source)
    again = import_sheet(place, source)
    assert (again.written, again.waiting) == ([], ["ab.r1_1", "ab.r3"])
    answer_all(place.catalog)
    for path in first.written:
        path.write_text(path.read_text() + "rules: []\n# 手写\n", encoding="utf-8")
    before = {p: p.read_bytes() for p in place.catalog.rglob("*.yml")}
    wide = write_grid(tmp_path / "b.xlsx", [TITLES, row("甲", "１ /１", "姓名"), row("乙", "", "名称")])
    third = import_sheet(place, wide)
    assert third.waiting == []
    assert {p: p.read_bytes() for p in before} == before
    assert list(third.differing) == ["ab.r1_1"]
    assert third.differing["ab.r1_1"] == ["第 2 行 信息资源代码：目录“1/1”，表中“１ /１”"]
