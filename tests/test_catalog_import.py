"""A department's catalog sheet to resource files and back, without loss, whatever its cells and its header look like."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from test_catalog_new import DEPARTMENT, answer

from guiji.authoring.catalog_import import import_sheet, list_resources
from guiji.authoring.guide import COLUMNS, render_cells, render_item_cells
from guiji.authoring.sheet_in import read_sheet
from guiji.authoring.sheet_out import resource_rows, write_sheet
from guiji.catalog import check_catalog, load_catalog
from guiji.catalog.questions import OPEN
from guiji.errors import DeliveryRefused, UsageError
from guiji.settings import ROOT, Settings

EXAMPLE = ROOT / "include" / "catalog"
DAY = date(2026, 11, 1)
GUIDE = [c.title for c in COLUMNS if not c.own]
ITEM = {c.title for c in COLUMNS if c.item}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    """Settings with a catalog of one department and no resource; nothing here needs a warehouse."""
    catalog = tmp_path / "catalog"
    (catalog / "ab").mkdir(parents=True)
    (catalog / "ab" / "department.yml").write_text(DEPARTMENT, encoding="utf-8")
    return replace(Settings.from_env({"GUIJI_HOME": str(tmp_path / "home")}), catalog=catalog)


def answer_all(catalog: Path) -> None:
    """Every open place of every file, answered as a person would."""
    for file in catalog.glob("*/*.yml"):
        text = file.read_text(encoding="utf-8")
        whole = answer(
            text.replace(f"kind: {OPEN}", "kind: files\n  directory: /\n  pattern: x"),
            key=next(iter(re.findall(r"  - \{name: (\w+)", text)), ""), short_name="简称", leader="某人", section="某股", email="a@b.example", legal_basis="某法", credit_code="X",
            published="2026-01-01", scope="市直各部门", purpose="核验", condition="经同意", format="CSV",
        )  # fmt: skip
        file.write_text(whole, encoding="utf-8")


def write_grid(path: Path, rows: Sequence[Sequence[Any]], merged: Sequence[tuple[int, int, int, int]] = ()) -> Path:
    """A workbook with these cells; ``merged`` are ranges whose first cell speaks."""
    with xlsxwriter.Workbook(str(path)) as book:
        page = book.add_worksheet("目录")
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for top, left, bottom, right in merged:
            page.merge_range(top, left, bottom, right, "")
        for r, row in enumerate(rows):
            for c, cell in enumerate(row):
                if isinstance(cell, date):
                    page.write_datetime(r, c, cell, day)
                elif isinstance(cell, int):
                    page.write_number(r, c, cell)
                elif cell:
                    page.write_string(r, c, cell)
    return path


def grid_of(path: Path) -> list[list[str]]:
    """A sheet as the guide's columns say it: a line of cells per 信息项, what is merged or repeated on each."""
    read = read_sheet(path)
    return [[i.get(t, r.cells.get(t, "")) for t in (*GUIDE, *read.extra)] for r in read.resources for i in r.items]


# --- catalog -> sheet -> catalog ------------------------------------------------------------------------


def test_the_shipped_catalog_comes_back_equal(tmp_path: Path, place: Settings) -> None:
    """Catalog to sheet to catalog: every column of every resource and 信息项, and the only open question is supply."""
    catalog = load_catalog(EXAMPLE)
    sheet = tmp_path / "目录.xlsx"
    lines = write_sheet(list_resources(catalog, None), sheet, "政务信息资源目录", DAY)
    assert lines == sum(len(r.model.fields) for r in catalog.resources.values()) > 100
    bare = tmp_path / "bare"
    for folder in EXAMPLE.iterdir():
        if (folder / "department.yml").exists():
            (bare / folder.name).mkdir(parents=True)
            shutil.copy(folder / "department.yml", bare / folder.name)
    done = import_sheet(replace(place, catalog=bare), sheet)
    assert len(done.written) == len(catalog.resources)
    asked = {p.message for p in check_catalog(bare) if not p.warning}
    assert asked == {f"source.kind is not answered yet ({OPEN})"} | {m for m in asked if "crs" in m}
    answer_all(bare)
    again = load_catalog(bare)
    assert [str(p) for p in again.problems if not p.warning] == []
    assert list(again.resources) == list(catalog.resources)
    for resource_id, resource in catalog.resources.items():
        other = again.resources[resource_id]
        assert render_cells(other) == render_cells(resource)
        assert [render_item_cells(other.model, f) for f in other.model.fields] == [
            render_item_cells(resource.model, f) for f in resource.model.fields
        ]
        assert (other.model.registered, other.model.sharing, other.model.opening) == (
            {}, resource.model.sharing, resource.model.opening,
        )  # fmt: skip


def test_what_the_catalog_has_is_compared_and_never_written_over(tmp_path: Path, place: Settings) -> None:
    catalog = tmp_path / "city"
    shutil.copytree(EXAMPLE, catalog)
    settings = replace(place, catalog=catalog)
    before = {f: f.read_bytes() for f in catalog.rglob("*.yml")}
    sheet = tmp_path / "gaj.xlsx"
    write_sheet(list_resources(load_catalog(catalog), "gaj"), sheet, "目录", DAY)
    same = import_sheet(settings, sheet)
    assert (same.written, same.unchanged, same.differing) == ([], ["gaj.household"], {})
    book = openpyxl.load_workbook(sheet)
    page = book.active
    assert page is not None
    changed = {(c.row, c.column) for row in page.iter_rows() for c in row if c.value in ("每月", "曾用名")}
    assert len(changed) == 2
    for row, column in changed:
        page.cell(row, column).value = {"每月": "每日", "曾用名": "旧名"}[str(page.cell(row, column).value)]
    book.save(sheet)
    other = import_sheet(settings, sheet)
    assert other.differing == {
        "gaj.household": ["第 5 行 更新周期：目录“每月”，表中“每日”", "第 7 行 信息项名称：目录“曾用名”，表中“旧名”"]
    }
    assert {f: f.read_bytes() for f in catalog.rglob("*.yml")} == before


# --- sheet -> catalog -> sheet ---------------------------------------------------------------------------

UGLY_HEADER = [
    ["某局政务信息资源目录"],
    ["填表日期：2026年10月"],
    ["序号", "信息资源分类", "", "", "", "信息资源名称*", "信息资源代码", "提供方", "提供方代码", "信息资源摘要", "信息资源格式", "信息项信息",
     "", "", "共享属性", "", "", "开放属性", "", "更新周期", "发布日期", "关联资源代码", "备注", "密级"],
    ["", "类", "项", "目", "细目", "", "", "", "", "", "", "信息项名称", "数据类型", "数据长度", "共享类型", "共享条件", "共享方式", "是否向社会开放",
     "开放条件", "", "", "", "", ""],
]  # fmt: skip
HEADER_MERGED = [(2, 1, 2, 4), (2, 11, 2, 13), (2, 14, 2, 16), (2, 17, 2, 18)] + [
    (2, c, 3, c) for c in (0, 5, 6, 7, 8, 9, 10, 19, 20, 21, 22, 23)
]
_ONE = [
    "基础信息资源",
    "人口",
    "公安",
    "户籍",
    "户籍人口",
    "100/1",
    "测试局",
    "11150600MB0000000A",
    "一人一行\n含注销",
    "数据库",
]
_TWO = [
    "主题信息资源",
    "生态",
    "",
    "",
    "排污口",
    "200/7",
    "测试局（二级单位）",
    "11150600MB0000000A",
    "=1+1",
    "电子表格-xlsx",
]
UGLY = [
    ["1", *_ONE, "姓名", "字符型C", "50", "有条件", "经同意", "接口", "否", "", "每天", date(2022, 6, 1), "100/2；100/3", "首行", "一般"],
    ["", *[""] * 10, "公民身份号码", "C", "18", *[""] * 8, "", "敏感"],
    ["", *[""] * 10, "出生日期", "日期型D", "8", *[""] * 8, "", "一般"],
    ["2", *_TWO, "排污口编码", "varchar(32)", "", "不予共享", "《某条例》第三条", "", "是", "脱敏后", "每10年", "2022年7月1日", "", "", "一般"],
    ["2", *_TWO, "排放量", "数值型N", "12,2", "不予共享", "《某条例》第三条", "", "是", "脱敏后", "每10年", "2022年7月1日", "", "", "一般"],
    ["3", *_TWO[:4], "无信息项的资源", "200/8", *_TWO[6:], "", "", "", "无条件共享", "", "", "", "", "不定期", "", "", "", ""],
]  # fmt: skip


def expand(rows: Sequence[Sequence[Any]], merged_below: Sequence[int]) -> list[list[str]]:
    """The guide's columns of a grid, blanks below a resource's first line filled, and what the reader adds."""
    titles = [below or above for above, below in zip(UGLY_HEADER[2], UGLY_HEADER[3], strict=True)]
    titles = [
        {"信息资源名称*": "信息资源名称", "提供方": "信息资源提供方", "提供方代码": "信息资源提供方代码"}.get(t, t)
        for t in titles
    ]
    filled: list[list[str]] = []
    for n, row in enumerate(rows):
        cells = dict(zip(titles, (c.isoformat() if isinstance(c, date) else str(c) for c in row), strict=True))
        if n in merged_below:
            above = dict(zip((*GUIDE, "序号", "备注", "密级"), filled[-1], strict=True))
            cells = {t: c or (above[t] if t not in (*ITEM, "密级") else "") for t, c in cells.items()}
        filled.append([cells[t] for t in (*GUIDE, "序号", "备注", "密级")])
    return filled


def test_an_ugly_sheet_comes_out_cell_by_cell(tmp_path: Path, place: Settings) -> None:
    """Two header lines, merged and repeated cells, words of its own, unknown columns: all of it comes back."""
    merged = [*HEADER_MERGED, *((4, c, 6, c) for c in (*range(11), *range(14, 23)))]
    source = write_grid(tmp_path / "in.xlsx", [*UGLY_HEADER, *UGLY], merged)
    want = expand(UGLY, merged_below=(1, 2))
    assert grid_of(source) == want
    done = import_sheet(place, source)
    assert [p.name for p in done.written] == ["r100_1.yml", "r200_7.yml", "r200_8.yml"]
    answer_all(place.catalog)
    assert [str(p) for p in check_catalog(place.catalog)] == []
    out = tmp_path / "out.xlsx"
    write_sheet(list_resources(load_catalog(place.catalog), "ab"), out, "目录", DAY)
    got = grid_of(out)
    # what was open has been answered since; everything else is as it was
    answered = {(5, GUIDE.index("信息项名称")), (5, GUIDE.index("发布日期"))}
    assert {(r, c) for r, row in enumerate(want) for c, cell in enumerate(row) if got[r][c] != cell} == answered
    again = import_sheet(place, out)
    assert (again.written, again.differing) == ([], {})


def test_what_the_words_mean_is_understood(tmp_path: Path, place: Settings) -> None:
    merged = [*HEADER_MERGED, *((4, c, 6, c) for c in (*range(11), *range(14, 23)))]
    import_sheet(place, write_grid(tmp_path / "in.xlsx", [*UGLY_HEADER, *UGLY], merged))
    text = (place.catalog / "ab" / "r100_1.yml").read_text(encoding="utf-8")
    for line in (
        "update_cycle: 每日", "published: 2022-06-01", "type: 有条件共享", "scope: 待填", "purpose: 待填",
        'related: ["100/2", "100/3"]', "type: date32", "length: 50", "identifier: citizen_id",
    ):  # fmt: skip
        assert line in text
    other = (place.catalog / "ab" / "r200_7.yml").read_text(encoding="utf-8")
    for line in ("update_cycle: 待填", "published: 2022-07-01", "legal_basis: 《某条例》第三条", '"decimal128(12,2)"'):
        assert line in other


def test_a_new_department_is_drafted_with_its_questions(tmp_path: Path, place: Settings) -> None:
    grid = [UGLY_HEADER[3][:], *UGLY[3:5]]
    grid[0] = [below or above for above, below in zip(UGLY_HEADER[2], UGLY_HEADER[3], strict=True)]
    for row in grid[1:]:
        row[7:9] = ["新设局", "11150600MB00000XYZ"]
    source = write_grid(tmp_path / "in.xlsx", grid)
    with pytest.raises(UsageError, match=r"新设局.*--department"):
        import_sheet(place, source)
    assert [f.name for f in place.catalog.rglob("*")] == ["ab", "department.yml"]
    done = import_sheet(place, source, "xs")
    assert [str(p.relative_to(place.catalog)) for p in done.written] == ["xs/department.yml", "xs/r200_7.yml"]
    asked = [p.message for p in check_catalog(place.catalog) if p.file.endswith("department.yml")]
    assert asked == [
        f"{w} is not answered yet ({OPEN})" for w in ("leader", "section", "contacts[0].name", "contacts[0].email")
    ]


def test_another_departments_lines_are_left_out_and_told(tmp_path: Path, place: Settings) -> None:
    (place.catalog / "cd").mkdir()
    text = DEPARTMENT.replace("id: ab", "id: cd").replace("测试局", "另一局").replace("0000000A", "0000000B")
    (place.catalog / "cd" / "department.yml").write_text(text, encoding="utf-8")
    titles = ["信息资源名称", "信息资源提供方", "信息项名称"]
    source = write_grid(tmp_path / "in.xlsx", [titles, ["甲", "测试局", "一"], ["乙", "另一局", "二"]])
    done = import_sheet(place, source, "ab")
    assert ([p.parent.name for p in done.written], done.left_out) == (["ab"], ["第 3 行 乙（另一局）"])


def test_lines_that_are_nothing_are_told(tmp_path: Path, place: Settings) -> None:
    rows = [
        ["信息资源名称", "信息项名称", "备注"],
        ["甲", "一", ""],
        ["", "", "共 1 个资源"],
        ["", "", ""],
        ["甲", "二", ""],
    ]
    done = import_sheet(place, write_grid(tmp_path / "in.xlsx", rows), "ab")
    assert (len(done.written), done.skipped_lines) == (1, (3,))


def test_a_workbook_without_a_catalog_is_refused(tmp_path: Path, place: Settings) -> None:
    with pytest.raises(DeliveryRefused, match="信息资源名称"):
        import_sheet(place, write_grid(tmp_path / "in.xlsx", [["姓名", "年龄"], ["甲", 3]]), "ab")


def test_the_sheet_is_ready_to_print_and_never_live(tmp_path: Path) -> None:
    catalog = load_catalog(EXAMPLE)
    resources = list_resources(catalog, "gaj")
    out = tmp_path / "out.xlsx"
    write_sheet(resources, out, "公安局政务信息资源目录", DAY)
    page: Any = openpyxl.load_workbook(out).active
    assert page.freeze_panes == "F5"
    spans = {str(r) for r in page.merged_cells.ranges}
    fields = len(resources[0].model.fields)
    assert {f"E5:E{4 + fields}", "A3:D3", "K3:M3"} <= spans
    assert not any(re.match(r"K5:", s) for s in spans)
    assert all(c.data_type in ("s", "n", "inlineStr") for row in page.iter_rows() for c in row)
    assert [len(line) for line in resource_rows(resources[0], COLUMNS)] == [len(COLUMNS)] * fields
