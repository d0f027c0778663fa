"""A header among the rows: the same one is skipped and named, another one refuses the file; a value is no header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from delivering import aside, expect, read_bytes, sound

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats import encoding as encoding_module

ABC = expect("姓名", "编号", "地址")
AB = ("姓名,编号,地址", "张三,1,东街")
SAME = ["姓名,编号,地址", '"姓名","编号","地址"', "\ufeff 姓名,编 号,地址　"]
MOVED = [
    "编号,姓名,地址",
    "地址,编号,姓名",
    "备注,姓名,编号,地址",
    "姓名,编号",
    "姓名,编号,备注",
    '"编号","姓名","地址"',
]


@pytest.fixture(params=["utf-8", "gb18030"])
def encoding(request: pytest.FixtureRequest) -> str:
    said: str = request.param
    return said


@pytest.fixture(params=[4 << 20, 64], ids=["one block", "many blocks"])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "BLOCK", request.param)


def refused(tmp_path: Path, content: bytes, expected: Expected, name: str = "a.csv", **form: Any) -> str:
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, content, expected, name, **form)
    assert caught.value.rule_id == "delivery.structure"
    return str(caught.value)


@pytest.mark.parametrize("line", SAME)
@pytest.mark.usefixtures("_block")
def test_the_same_header_in_the_middle_of_a_csv_file_is_skipped_and_named(
    tmp_path: Path, line: str, encoding: str
) -> None:
    lines = [AB[0], *["张三,1,东街"] * 20, line, *["李四,2,西街"] * 20]
    rows, report = read_bytes(tmp_path, ("\r\n".join(lines) + "\r\n").encode(encoding), ABC, encoding=encoding)
    assert sound(rows, ABC) == [("张三", "1", "东街")] * 20 + [("李四", "2", "西街")] * 20
    assert (aside(rows), [r["_line"] for r in rows]) == ([], [*range(2, 22), *range(23, 43)])
    assert report.skipped == {"repeated_header": 1}
    assert report.notes == ["文件 a.csv：第 22 行又是表头（共 1 行），已跳过"]


@pytest.mark.parametrize("line", MOVED)
@pytest.mark.usefixtures("_block")
def test_a_header_with_its_columns_in_other_places_refuses_the_csv_file(
    tmp_path: Path, line: str, encoding: str
) -> None:
    lines = [AB[0], *["张三,1,东街"] * 20, line, *["2,李四,西街"] * 20]
    said = refused(tmp_path, ("\n".join(lines) + "\n").encode(encoding), ABC, encoding=encoding)
    assert "第 22 行起又出现一个列的" in said
    assert "现有数据继续有效" in said


def test_a_value_that_is_a_column_s_name_is_a_value(tmp_path: Path) -> None:
    rows, report = read_bytes(tmp_path, "姓名,编号,地址\n姓名,1,街\n张,编号,街\n,,地址\n".encode(), ABC)
    assert sound(rows, ABC) == [("姓名", "1", "街"), ("张", "编号", "街"), ("", "", "地址")]
    two = expect("字段", "类型")
    rows, _ = read_bytes(tmp_path, "字段,类型\n类型,文本\n字段,文本\n".encode(), two)
    assert sound(rows, two) == [("类型", "文本"), ("字段", "文本")]
    assert report.skipped == {}


def test_columns_that_nobody_declared_hide_no_header(tmp_path: Path) -> None:
    expected = expect("姓名", "编号", "地址", contract="discard")
    head = "甲,姓名,乙,编号,地址\n1,张三,2,3,街\n"
    rows, report = read_bytes(tmp_path, f"{head}甲,姓名,乙,编号,地址\n".encode(), expected)
    assert (sound(rows, expected), report.skipped) == ([("张三", "3", "街")], {"repeated_header": 1})
    refused(tmp_path, f"{head}姓名,甲,编号,乙,地址\n李四,1,4,2,街\n".encode(), expected)


def test_other_periods_in_a_wide_table_refuse_it(tmp_path: Path) -> None:
    expected = expect("地区", "年", "值")
    layout = {"unpivot": {"columns": r"(\d{4})年", "into": "年", "value": "值", "keep": ["地区"]}}
    head = "地区,2023年,2024年\n甲,1,2\n"
    rows, _ = read_bytes(tmp_path, f"{head}地区,2023年,2024年\n乙,3,4\n".encode(), expected, layout=layout)
    assert sound(rows, expected) == [("甲", "2023", "1"), ("甲", "2024", "2"), ("乙", "2023", "3"), ("乙", "2024", "4")]
    refused(tmp_path, f"{head}地区,2024年,2025年\n乙,3,4\n".encode(), expected, layout=layout)


def test_what_stands_below_the_footnotes_is_no_header(tmp_path: Path) -> None:
    content = "姓名,编号,地址\n张三,1,东街\n注：完,,\n编号,姓名,地址\n2,李四,街\n".encode()
    rows, report = read_bytes(tmp_path, content, ABC, layout={"footnote": "^注"})
    assert (sound(rows, ABC), report.skipped) == ([("张三", "1", "东街")], {"footnote": 3})


def test_a_header_in_the_middle_of_a_sheet_is_skipped_or_refuses_it(tmp_path: Path) -> None:
    def sheet(*rows: tuple[Any, ...]) -> bytes:
        with xlsxwriter.Workbook(tmp_path / "made.xlsx") as made:
            page = made.add_worksheet("表")
            for i, row in enumerate(rows):
                page.write_row(i, 0, row)
        return (tmp_path / "made.xlsx").read_bytes()

    first = (ABC.columns, ("张三", 1, "东街"))
    rows, report = read_bytes(tmp_path, sheet(*first, *first), ABC, "a.xlsx", type="xlsx")
    assert [(r["_line"], *sound([r], ABC)) for r in rows] == [(n, ("张三", "1", "东街")) for n in (2, 4)]
    assert report.skipped == {"repeated_header": 1}
    assert report.notes == ["文件 a.xlsx 工作表“表”：第 3 行又是表头（共 1 行），已跳过"]
    moved = sheet(*first, ("编号", "姓名", "地址"), (2, "李四", "西街"))
    assert "第 3 行起又出现一个列的顺序不同的表头" in refused(tmp_path, moved, ABC, "a.xlsx", type="xlsx")


# --- above the header -------------------------------------------------------------------------------------

ROW, OTHER_ROW = "张三,1,东街", "李四,2,西街"


@pytest.mark.parametrize(
    ("above", "named"),
    [
        (["姓名,编号,住址", ROW], "2"),  # a header with a wrong name, then the right one: the first has fewer names
        (['"名\n单",,', "姓名,编号,备注", ROW, OTHER_ROW], "4、5"),
        ([ROW, OTHER_ROW, "王五,3,街"], "1、2、3"),
    ],
)
def test_rows_above_the_header_refuse_the_file(tmp_path: Path, above: list[str], named: str) -> None:
    said = refused(tmp_path, "\n".join([*above, *AB, ""]).encode(), ABC)
    assert f"表头之上还有像数据的行（第 {named} 行）" in said
    assert "现有数据继续有效" in said


@pytest.mark.parametrize(
    ("above", "note"),
    [
        (["名单,,", "单位：某局,日期：2026年,人：某", "姓名,编号,", "共三列,,"], ""),
        (["name,code,address"], "1"),
        (["name,code,address", "text,text,text"], "1、2"),
    ],
)
def test_titles_above_the_header_are_no_rows_and_what_looks_like_one_is_named(
    tmp_path: Path, above: list[str], note: str
) -> None:
    rows, report = read_bytes(tmp_path, "\n".join([*above, *AB, ""]).encode(), ABC)
    assert (sound(rows, ABC), report.skipped) == ([("张三", "1", "东街")], {"title": len(above)})
    told = f"文件 a.csv：第 {note} 行在表头之上却像数据，未采集；如是数据，请移到表头之下后重新提供"
    assert report.notes == ([told] if note else [])


def test_rows_above_the_header_refuse_a_sheet_too(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "made.xlsx") as made:
        page = made.add_worksheet("表")
        for i, row in enumerate([("姓名", "编号", "住址"), ("张三", "1", "东街"), ABC.columns, ("李四", "2", "街")]):
            page.write_row(i, 0, row)
    content = (tmp_path / "made.xlsx").read_bytes()
    assert "（第 2 行）" in refused(tmp_path, content, ABC, "a.xlsx", type="xlsx")
