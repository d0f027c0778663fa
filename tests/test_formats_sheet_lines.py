"""Lines of a sheet that are no data: headers of several rows that stand again, totals and signatures without a key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from workbooks import KINDS, Sheet, make_book

from guiji.errors import DeliveryRefused
from guiji.sources.formats import excel

TWO = expect("地区", "人口/男", "人口/女")
UPPER, LOWER = ("地区", "人口", ""), ("", "男", "女")
every_kind = pytest.mark.parametrize("kind", KINDS)


def read(
    tmp_path: Path, kind: str, rows: Sequence[Sequence[Any]], expected: Any, merged: Any = (), **layout: Any
) -> Any:
    content = make_book(kind, Sheet(rows, merged=merged))
    return read_bytes(tmp_path, content, expected, f"a.{kind}", type=kind, layout=layout)


def span(row: int) -> list[tuple[int, int, int, int]]:
    """The merged cells of a two-row header that begins in this row."""
    return [(row, 1, row, 2), (row, 0, row + 1, 0)]


@every_kind
@pytest.mark.parametrize("again_merged", [True, False])
def test_f45_a_header_of_two_rows_on_every_page_is_left_out(tmp_path: Path, kind: str, again_merged: bool) -> None:
    rows = [UPPER, LOWER, ("甲", "1", "2"), UPPER, LOWER, ("乙", "3", "4"), UPPER, LOWER]
    merged = span(0) + (span(3) + span(6) if again_merged else [])
    got, report = read(tmp_path, kind, rows, TWO, merged, header_rows=2)
    assert [(r["_line"], r["_broken"]) for r in got] == [(3, None), (6, None)]
    assert sound(got, TWO) == [("甲", "1", "2"), ("乙", "3", "4")]
    assert report.skipped == {"repeated_header": 4}
    assert "第 4、7 行起又是表头（共 4 行）" in report.notes[-1]


@pytest.mark.parametrize("before", range(4))
def test_f45_a_header_of_two_rows_is_found_across_the_pieces_of_a_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(excel, "BATCH_ROWS", 3)
    data = [(f"甲{i}", "1", "2") for i in range(before)]
    rows = [UPPER, LOWER, *data, UPPER, LOWER, ("乙", "3", "4")]
    got, report = read(tmp_path, "xlsx", rows, TWO, [*span(0), *span(2 + before)], header_rows=2)
    assert sound(got, TWO) == [*data, ("乙", "3", "4")]
    assert [r["_line"] for r in got] == [*range(3, 3 + before), 5 + before]
    assert report.skipped == {"repeated_header": 2}


def test_f45_another_header_of_two_rows_refuses_the_sheet(tmp_path: Path) -> None:
    rows = [UPPER, LOWER, ("甲", "1", "2"), UPPER, ("", "女", "男"), ("乙", "4", "3")]
    with pytest.raises(DeliveryRefused) as caught:
        read(tmp_path, "xlsx", rows, TWO, [*span(0), *span(3)], header_rows=2)
    assert (caught.value.rule_id, "第 4 行起" in str(caught.value)) == ("delivery.structure", True)


def test_f45_a_row_that_only_shares_a_word_with_the_header_is_data(tmp_path: Path) -> None:
    rows = [UPPER, LOWER, ("地区", "1", "2"), ("乙", "男", "女")]
    got, report = read(tmp_path, "xlsx", rows, TWO, span(0), header_rows=2)
    assert sound(got, TWO) == [("地区", "1", "2"), ("乙", "男", "女")]
    assert report.skipped == {}


# --- totals and signatures that nobody declared -----------------------------------------------------------

PEOPLE = expect(
    {"title": "序号", "type": "int64"}, {"title": "证件号码", "identifier": "citizen_id"}, "姓名", key=["f1"]
)
NAMED = expect("地区", "数量")


@every_kind
def test_f45_totals_and_signatures_without_a_key_are_left_out_and_named(tmp_path: Path, kind: str) -> None:
    rows = [
        PEOPLE.columns,
        (1, "110105199001010017", "张三"),
        ("小　计", "", "1人"),
        (2, "110105199001010025", "合计"),
        ("", "合计：", "2"),
        ("备注：不含外来人员", "", ""),
        ("填表人：某某", "", "审核人：某某"),
    ]
    got, report = read(tmp_path, kind, rows, PEOPLE)
    assert sound(got, PEOPLE) == [("1", "110105199001010017", "张三"), ("2", "110105199001010025", "合计")]
    assert (len(got), report.skipped) == (2, {"total": 2, "footnote": 2})
    assert [n.partition("：")[2].partition("，")[0] for n in report.notes] == [
        "2 行是合计行（第 3、5 行）",
        "2 行是脚注、签署行（第 6、7 行）",
    ]


@every_kind
def test_f45_a_total_in_a_key_of_text_is_set_aside_with_its_key_until_the_layout_says_what_it_is(
    tmp_path: Path, kind: str
) -> None:
    rows = [NAMED.columns, ("合计", "3"), ("小计", ""), ("注：甲", "1"), ("合计乡", "2"), ("", "合计乡"), ("", "5")]
    got, report = read(tmp_path, kind, rows, NAMED)
    want = [("注：甲", "1"), ("合计乡", "2"), (None, "合计乡"), (None, "5")]
    assert (sound(got, NAMED), aside(got)) == (want, [(2, "total_line"), (3, "total_line")])
    assert [(r["地区"], r["_raw"]) for r in got if r["_broken"]] == [("合计", "合计\t3"), ("小计", "小计\t")]
    assert report.skipped == {}
    data, _ = read(tmp_path, kind, rows, NAMED, total="")
    assert (sound(data, NAMED), aside(data)) == ([("合计", "3"), ("小计", None), *want], [])
    left, report = read(tmp_path, kind, rows, NAMED, total="合计|小计")
    assert (sound(left, NAMED), aside(left), report.skipped) == (want, [], {"total": 2})


FORM = expect("地区", "单位", "产值", "增速", key=["f0"])


@every_kind
@pytest.mark.parametrize(
    "line", [("甲", "乙", "1", "2"), ("甲", "乙", 1, "2=1/3"), ("栏次", "", 1, 2), ("甲", "乙", "(1)", "（2）")]
)
def test_f45_the_line_that_numbers_the_columns_is_no_row(tmp_path: Path, kind: str, line: tuple[Any, ...]) -> None:
    rows = [FORM.columns, line, ("东胜区", "亿元", "5", "6")]
    got, report = read(tmp_path, kind, rows, FORM)
    assert (sound(got, FORM), report.skipped) == ([("东胜区", "亿元", "5", "6")], {"numbering": 1})
    assert [n.partition("：")[2].partition("，")[0] for n in report.notes] == ["1 行是栏次行（第 2 行）"]


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_f45_a_row_of_letters_and_numbers_with_its_key_is_never_left_out(tmp_path: Path, kind: str) -> None:
    graded = expect("等级", "类别", "数量", "备注", key=["f0", "f1"])
    rows = [("甲", "甲", "5", "x"), ("甲", "乙", "1", "2"), ("乙", "甲", "1", "2"), ("栏次", "1", "2", "3")]
    if kind == "csv":
        text = "\n".join(",".join(row) for row in [graded.columns, *rows]) + "\n"
        got, report = read_bytes(tmp_path, text.encode(), graded)
    else:
        got, report = read(tmp_path, kind, [graded.columns, *rows], graded)
    assert (sound(got, graded), report.skipped) == (rows, {})
    assert [n for n in report.notes if "像是栏次" in n and "3、5" in n] != []


@every_kind
@pytest.mark.parametrize("line", [("1", "2", "3", "4"), (1, 2, 3, 4), ("甲", 1, 2, 3), ("甲", "乙", "丙", "丁")])
def test_f45_what_may_be_a_row_of_numbers_stays_one_and_is_named(
    tmp_path: Path, kind: str, line: tuple[Any, ...]
) -> None:
    rows = [FORM.columns, line, ("东胜区", "亿元", "5", "6"), ("甲", "1", "", "")]
    got, report = read(tmp_path, kind, rows, FORM)
    want = [tuple(map(str, line)), ("东胜区", "亿元", "5", "6"), ("甲", "1", None, None)]
    assert (sound(got, FORM), report.skipped) == (want, {})
    assert [n.partition("：")[2] for n in report.notes] == [
        "第 2 行的内容是 1、2、3……或甲、乙、丙，像是栏次，按数据行处理；如不是数据，请删去后重新提供"
    ]
    got, report = read(tmp_path, kind, [PEOPLE.columns, (1, 2, 3), (1, "110105199001010017", "张三")], PEOPLE)
    assert sound(got, PEOPLE) == [("1", "2", "3"), ("1", "110105199001010017", "张三")]


def test_f45_without_a_key_in_the_sheet_nothing_is_left_out(tmp_path: Path) -> None:
    keyless = expect({"title": "省", "constant": "浙江"}, "地区", "数量", key=["f0"])
    got, report = read(tmp_path, "xlsx", [("地区", "数量"), ("合计", ""), ("", "合计")], keyless)
    assert ([(r["地区"], r["数量"]) for r in got], report.skipped) == ([("合计", None), (None, "合计")], {})


def test_f45_a_total_that_was_not_declared_is_none_of_the_data_either(tmp_path: Path) -> None:
    rows = [PEOPLE.columns, ("小计", "", ""), ("总计", "", "")]
    got, report = read(tmp_path, "xlsx", rows, PEOPLE, total="总计")
    assert ([r["_line"] for r in got], report.skipped) == ([], {"total": 2})
    assert [n.partition("：")[2].partition("，")[0] for n in report.notes] == [
        "1 行按约定作为合计行",
        "1 行是合计行（第 2 行）",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_f45_hidden_rows_are_rows_and_are_named(tmp_path: Path, kind: str) -> None:
    expected = expect("姓名", "编号")
    given = [expected.columns, *((f"人{n}", str(n)) for n in range(30)), ("", "")]
    content = make_book(kind, Sheet(given, hidden_rows=[0, *range(3, 28), 31]))
    got, report = read_bytes(tmp_path, content, expected, f"a.{kind}", type=kind)
    assert sound(got, expected) == given[1:31]
    lines = "、".join(map(str, range(4, 24)))
    assert report.notes == [
        f"文件 a.{kind} 工作表“表”：25 行在表中被隐藏或筛选掉（第 {lines} 行等），按数据行处理；如不是数据，请删去后重新提供"
    ]
