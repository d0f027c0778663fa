"""Where the table stands in a workbook: headers of several rows, families of sheets (F-45)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, make_resource, read_bytes, sound
from workbooks import KINDS, Sheet, make_book

from guiji.catalog.models import Layout
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.columns import Expected
from guiji.sources.formats.layout import join_headers

every_kind = pytest.mark.parametrize("kind", KINDS)
POPULATION = expect("区划", "常住人口/男", "常住人口/女", "备注")
TWO_ROWS = [
    ("区划", "常住人口", "", "备注"),
    ("", "男", "女", ""),
]
MERGED = [(0, 0, 1, 0), (0, 1, 0, 2), (0, 3, 1, 3)]


def read(tmp_path: Path, kind: str, expected: Expected, *sheets: Sheet, **layout: Any) -> tuple[Any, ReadReport]:
    return read_bytes(tmp_path, make_book(kind, *sheets), expected, f"a.{kind}", type=kind, layout=layout)


def refuse(tmp_path: Path, kind: str, expected: Expected, *sheets: Sheet, **layout: Any) -> tuple[str, str]:
    with pytest.raises(DeliveryRefused) as caught:
        read(tmp_path, kind, expected, *sheets, **layout)
    return caught.value.rule_id, str(caught.value)


# --- headers of several rows --------------------------------------------------------------------------


@every_kind
def test_f45_a_merged_upper_cell_counts_for_all_columns_below(tmp_path: Path, kind: str) -> None:
    rows = [*TWO_ROWS, ("康巴什", 10, 20, ""), ("伊金霍洛", 30, 40, "含外来")]
    read_rows, report = read(tmp_path, kind, POPULATION, Sheet(rows, merged=MERGED), header_rows=2)
    assert sound(read_rows, POPULATION) == [("康巴什", "10", "20", None), ("伊金霍洛", "30", "40", "含外来")]
    assert [r["_line"] for r in read_rows] == [3, 4]
    assert report.skipped == {}


@every_kind
def test_f45_titles_over_a_header_of_two_rows(tmp_path: Path, kind: str) -> None:
    rows = [("人口统计表", "", "", ""), ("单位：人",), *TWO_ROWS, ("康巴什", 10, 20, ""), ("合计", 10, 20, "")]
    merged = [(0, 0, 0, 3), *((t + 2, lf, b + 2, r) for t, lf, b, r in MERGED)]
    layout = {"header_rows": 2, "total": "合计", "metadata": {"单位": "单位：(.+)"}}
    expected = expect("区划", "常住人口/男", "常住人口/女", "备注", "单位")
    read_rows, report = read(tmp_path, kind, expected, Sheet(rows, merged=merged), **layout)
    assert sound(read_rows, expected) == [("康巴什", "10", "20", None, "人")]
    assert report.skipped == {"title": 1, "metadata": 1, "total": 1}


@every_kind
def test_an_upper_cell_that_is_not_merged_counts_for_its_own_column(tmp_path: Path, kind: str) -> None:
    rows = [*TWO_ROWS, ("康巴什", 10, 20, "")]
    rule, said = refuse(tmp_path, kind, POPULATION, Sheet(rows, merged=MERGED[:1]), header_rows=2)
    assert rule == "delivery.missing_column"
    assert "常住人口/女" in said


@every_kind
def test_the_joiner_is_declared_and_three_rows_are_joined(tmp_path: Path, kind: str) -> None:
    rows = [
        ("区划", "人口", "", ""),
        ("", "常住", "", "户籍"),
        ("", "男", "女", ""),
        ("康巴什", 1, 2, 3),
    ]
    expected = expect("区划", "人口·常住·男", "人口·常住·女", "人口·户籍")
    merged = [(0, 0, 2, 0), (0, 1, 0, 3), (1, 1, 1, 2), (1, 3, 2, 3)]
    read_rows, _ = read(tmp_path, kind, expected, Sheet(rows, merged=merged), header_rows=3, header_joiner="·")
    assert sound(read_rows, expected) == [("康巴什", "1", "2", "3")]


@every_kind
def test_joined_names_can_be_unpivoted(tmp_path: Path, kind: str) -> None:
    expected = expect("区划", "性别", {"title": "人数", "type": "int64"})
    unpivot = {"keep": ["区划"], "columns": "常住人口/(.)", "into": "性别", "value": "人数"}
    rows = [*(r[:3] for r in TWO_ROWS), ("康巴什", 10, 20), ("东胜", "", 5)]
    read_rows, _ = read(tmp_path, kind, expected, Sheet(rows, merged=MERGED[:2]), header_rows=2, unpivot=unpivot)
    assert sound(read_rows, expected) == [("康巴什", "男", "10"), ("康巴什", "女", "20"), ("东胜", "女", "5")]


@every_kind
def test_f45_a_blank_line_over_a_header_of_two_rows_is_no_part_of_it(tmp_path: Path, kind: str) -> None:
    """Joined with the line above it, the upper row alone already has every column that is kept."""
    expected = expect("区划", "性别", {"title": "人数", "type": "int64"})
    unpivot = {"keep": ["区划"], "columns": "^常住人口/(.)$", "into": "性别", "value": "人数"}
    rows = [("", "", ""), *(r[:3] for r in TWO_ROWS), ("康巴什", 10, 20)]
    merged = [(t + 1, lf, b + 1, r) for t, lf, b, r in MERGED[:2]]
    read_rows, _ = read(tmp_path, kind, expected, Sheet(rows, merged=merged), header_rows=2, unpivot=unpivot)
    assert sound(read_rows, expected) == [("康巴什", "男", "10"), ("康巴什", "女", "20")]


def test_joined_names_line_by_line() -> None:
    layout = Layout(header_rows=2)
    lines = [["甲", "乙", ""], ["", "丙", "丁"], ["1", "2", "3"]]
    assert join_headers(layout, lines, [((0, 1), (0, 2))]) == [["甲", "乙/丙", "乙/丁"], ["1", "丙/2", "丁/3"]]
    assert join_headers(layout, lines[:1], []) == []
    assert join_headers(Layout(), lines, [((0, 1), (0, 2))]) == lines
    # a range that reaches beyond what was read of the sheet is cut there
    assert join_headers(layout, lines, [((0, 1), (0, 90)), ((70, 0), (71, 0)), ((0, 9), (0, 12))])[0] == [
        "甲",
        "乙/丙",
        "乙/丁",
    ]


# --- families of sheets -------------------------------------------------------------------------------

TOWNS = expect("姓名", "编号", "乡镇")


def town(name: str, *rows: tuple[Any, ...], header: tuple[str, ...] = ("姓名", "编号"), **more: Any) -> Sheet:
    return Sheet([header, *rows], name=name, **more)


@every_kind
def test_f45_every_visible_sheet_that_matches_is_read_with_its_own_header(tmp_path: Path, kind: str) -> None:
    sheets = [
        Sheet([("说明：按乡镇分表",)], name="说明"),
        town("哈巴格希街道", ("张三", "1"), ("李四", "2")),
        Sheet([("某某名册", ""), ("编号", "姓名"), ("3", "王五"), ("4", "赵六")], name="青春山街道"),
        town("旧街道", ("孙七", "5"), hidden=True),
    ]
    rows, report = read(tmp_path, kind, TOWNS, *sheets, sheets="(?P<乡镇>.+)街道")
    assert sound(rows, TOWNS) == [
        ("张三", "1", "哈巴格希"),
        ("李四", "2", "哈巴格希"),
        ("王五", "3", "青春山"),
        ("赵六", "4", "青春山"),
    ]
    assert [(r["_origin"].partition("#")[2], r["_line"]) for r in rows] == [
        ("哈巴格希街道", 2),
        ("哈巴格希街道", 3),
        ("青春山街道", 3),
        ("青春山街道", 4),
    ]
    assert report.skipped == {"title": 1}
    assert [n.partition("：")[2] for n in report.notes] == [
        "名称不符合约定的工作表未采集：说明",
        "隐藏的工作表未采集：旧街道",
    ]


@every_kind
def test_a_broken_row_takes_no_value_from_the_name_of_its_sheet(tmp_path: Path, kind: str) -> None:
    rows, _ = read(tmp_path, kind, TOWNS, town("甲镇", ("张三", 1e17), ("李四", "2")), sheets="(?P<乡镇>.)镇")
    assert aside(rows) == [(2, "precision_lost")]
    assert [(r["姓名"], r["乡镇"]) for r in rows] == [("张三", None), ("李四", "甲")]


@every_kind
def test_a_matching_sheet_without_the_header_refuses_the_file(tmp_path: Path, kind: str) -> None:
    sheets = [town("甲镇", ("张三", "1")), Sheet([("户主", "门牌"), ("李四", "2")], name="乙镇")]
    rule, said = refuse(tmp_path, kind, TOWNS, *sheets, sheets="(?P<乡镇>.)镇")
    assert rule == "delivery.missing_column"
    assert "工作表“乙镇”" in said
    rule, said = refuse(tmp_path, kind, TOWNS, *sheets, sheets="(?P<乡镇>.)村")
    assert rule == "delivery.structure"
    assert "甲镇、乙镇" in said


@every_kind
def test_f45_two_sheets_with_the_header_are_ambiguous_until_one_is_named(tmp_path: Path, kind: str) -> None:
    expected = expect("姓名", "编号")
    sheets = [town("甲", ("张三", "1")), town("乙", ("李四", "2")), town("丙", ("王五", "3"), hidden=True)]
    rule, said = refuse(tmp_path, kind, expected, *sheets)
    assert rule == "delivery.structure"
    assert "甲、乙" in said
    rows, report = read(tmp_path, kind, expected, *sheets, sheet="乙")
    assert sound(rows, expected) == [("李四", "2")]
    rows, report = read(tmp_path, kind, expected, *sheets, sheet="丙")
    assert sound(rows, expected) == [("王五", "3")]
    assert report.notes == [f"文件 a.{kind}：工作表“丙”是隐藏的，按约定读取"]
    rule, said = refuse(tmp_path, kind, expected, *sheets, sheet="丁")
    assert "有：甲、乙、丙" in said


@every_kind
def test_a_workbook_with_hidden_sheets_only_has_no_table(tmp_path: Path, kind: str) -> None:
    first = Sheet([("说明",)], name="说明")
    rule, _ = refuse(tmp_path, kind, expect("姓名", "编号"), first, town("甲", ("张三", "1"), hidden=True))
    assert rule == "delivery.missing_column"


# --- what the catalog allows --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"type": "csv", "layout": {"sheets": ".*"}}, "sheets is for spreadsheets"),
        ({"type": "csv", "layout": {"header_rows": 2}}, "header_rows is for spreadsheets"),
        ({"type": "xlsx", "layout": {"sheet": "a", "sheets": "b"}}, "exclude each other"),
        ({"type": "ods", "layout": {"sheets": "(?P<镇>"}}, "regular expression"),
        ({"type": "xls", "layout": {"sheets": "(?P<镇>.*)"}}, "no field reads the column '镇'"),
        ({"type": "xlsb", "layout": {"sheets": "(?P<编号>.*)", "header_rows": 3}}, ""),
        ({"type": "csv", "layout": {"fill_merged": ["姓名"]}}, "fill_merged is for spreadsheets"),
        ({"type": "xls", "layout": {"fill_merged": ["姓名", "名"]}}, "no column '名'"),
        ({"type": "xlsx", "layout": {"fill_merged": ["姓名"]}}, ""),
    ],
)
def test_the_catalog_says_what_is_wrong_with_a_layout(form: dict[str, Any], problem: str) -> None:
    from guiji.catalog.checker import Checker
    from guiji.catalog.checks_source import _check_layout
    from guiji.catalog.models import FilesSource

    model = make_resource({"kind": "files", "directory": "/", "pattern": "x", "format": form}, ["姓名", "编号"]).model
    assert isinstance(model.source, FilesSource)
    found: list[str] = []

    class Noting(Checker):
        def __init__(self) -> None:
            pass

        def add(self, path: Any, message: str, **_: Any) -> None:
            found.append(message)

    _check_layout(Noting(), model, model.source, ["姓名", "编号"])
    assert ([problem in f for f in found] == [True]) if problem else found == []
