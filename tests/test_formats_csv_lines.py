"""Lines of a CSV file that are no rows, or only a part of one: left out and named, or set aside with what is beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.columns import Expected
from guiji.sources.formats import encoding as encoding_module

ABC = expect("姓名", "编号", "地址", key=["f1"])
NAMED = expect("地区", "数量", "备注")
PEOPLE = expect(
    {"title": "序号", "type": "int64"}, {"title": "证件号码", "identifier": "citizen_id"}, "姓名", key=["f1"]
)


@pytest.fixture(params=[4 << 20, 40], ids=["one block", "many blocks"], autouse=True)
def _block(request: pytest.FixtureRequest) -> Iterator[None]:
    before, encoding_module.BLOCK = encoding_module.BLOCK, request.param
    yield
    encoding_module.BLOCK = before


def read(
    tmp_path: Path, expected: Expected, *lines: str, end: str = "\n", last: bool = True, **form: Any
) -> tuple[list[dict[str, Any]], ReadReport]:
    delimiter = form.get("delimiter", ",")
    text = end.join((delimiter.join(expected.columns), *lines)) + (end if last else "")
    return read_bytes(tmp_path, text.encode(), expected, **form)


def told(report: ReadReport) -> list[str]:
    return [note.partition("：")[2].partition("，")[0] for note in report.notes]


# --- totals, signatures, counters, rules ------------------------------------------------------------------

FOOT = (
    "制表人：某",
    "审核人：某,,填报日期：2026年",
    "共 2 条",
    "第 1 页 共 1 页",
    "(2 rows affected)",
    "已选择 2 行。",
)


@pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
@pytest.mark.parametrize("foot", FOOT)
def test_f45_what_stands_below_a_table_is_left_out_and_named(tmp_path: Path, foot: str, last: bool) -> None:
    for line in (foot, foot + "," * (2 - foot.count(",")), f",{foot}"):
        rows, report = read(tmp_path, ABC, "张三,1,东街", "李四,2,街", "", line, last=last)
        assert (sound(rows, ABC), aside(rows)) == ([("张三", "1", "东街"), ("李四", "2", "街")], [])
        assert (report.skipped, told(report)) == ({"footnote": 1, "blank": 1}, ["1 行是脚注、签署行（第 5 行）"])


def test_f45_totals_without_a_key_are_left_out_and_what_may_be_data_stays(tmp_path: Path) -> None:
    lines = [
        "1,110105199001010017,张三",
        "小　计,,1人",
        "2,110105199001010025,合计",
        ",合计：,2",
        "合计,2",
        ",,总计,2",
        "备注：不含外来人员,,",
    ]
    rows, report = read(tmp_path, PEOPLE, *lines)
    assert sound(rows, PEOPLE) == [("1", "110105199001010017", "张三"), ("2", "110105199001010025", "合计")]
    assert (aside(rows), report.skipped) == ([], {"total": 4, "footnote": 1})
    assert told(report) == ["4 行是合计行（第 3、5、6、7 行）", "1 行是脚注、签署行（第 8 行）"]


def test_f45_a_total_in_a_key_of_text_is_set_aside_with_its_key_until_the_layout_says_what_it_is(
    tmp_path: Path,
) -> None:
    lines = ["甲,1,", "合计,3,", "总计公司,4,", "合计乡,5,合计", "小 计：,6,"]
    rows, report = read(tmp_path, NAMED, *lines)
    want = [("甲", "1", ""), ("总计公司", "4", ""), ("合计乡", "5", "合计")]
    assert (sound(rows, NAMED), aside(rows)) == (want, [(3, "total_line"), (6, "total_line")])
    assert [(r["地区"], r["_raw"]) for r in rows if r["_broken"]] == [("合计", "合计,3,"), ("小 计：", "小 计：,6,")]
    assert (report.skipped, report.notes) == ({}, [])
    rows, _ = read(tmp_path, NAMED, *lines, layout={"total": ""})
    assert (sound(rows, NAMED), aside(rows)) == ([tuple(line.split(",")) for line in lines], [])
    rows, report = read(tmp_path, NAMED, *lines, layout={"total": "合计|小 计："})
    assert (sound(rows, NAMED), aside(rows), report.skipped) == (want, [], {"total": 2})


def test_f45_a_total_behind_other_columns_of_the_key_is_set_aside_and_an_identified_unit_is_not(tmp_path: Path) -> None:
    cube = expect({"title": "年", "type": "int64"}, "地区", "数量", key=["f0", "f1"])
    rows, _ = read(tmp_path, cube, "2026,甲,1", "2026,合计,3", "2026,乙,2")
    assert (sound(rows, cube), aside(rows)) == ([("2026", "甲", "1"), ("2026", "乙", "2")], [(3, "total_line")])
    unit = expect({"title": "信用代码", "identifier": "credit_code"}, "名称", key=["f0", "f1"])
    rows, report = read(tmp_path, unit, "11150600MB0000000A,合计", ",合计")
    assert (sound(rows, unit), aside(rows), report.skipped) == ([("11150600MB0000000A", "合计")], [], {"total": 1})


def test_rows_like_totals_and_footnotes_are_named_where_they_have_a_key(tmp_path: Path) -> None:
    lines = ["合计,1,", "小计算机维修部,2,街", ",总计：,7", "备注：无,4,", "注册处,5,街", "制表人：某,6,"]
    rows, report = read(tmp_path, expect("姓名", "编号", "地址", key=["f2"]), *[f"{x}x" for x in lines])
    assert [r["_line"] for r in rows] == [2, 3, 4, 5, 6, 7]
    assert told(report) == ["2 行像是合计行（第 2、4 行）", "2 行像是脚注行（第 5、7 行）"]
    assert [n for n in report.notes if "某" in n] == []


def test_a_line_of_remarks_alone_is_left_out_for_what_it_is_though_its_key_is_filled(tmp_path: Path) -> None:
    lines = ["张三,1,东街", "注：本表,说明：x,备注：y", "共 3 条,,", "备注：,2,西街", ",说明：无,"]
    rows, report = read(tmp_path, expect("姓名", "编号", "地址"), *lines)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("备注：", "2", "西街")]
    assert (aside(rows), report.skipped) == ([], {"footnote": 3})
    no_key, no_data, like = report.notes
    assert no_key.startswith("文件 a.csv：1 行是脚注、签署行（第 6 行），主键为空或不可能有效，不是数据，未采集；")
    assert no_data == (
        "文件 a.csv：2 行是脚注、签署行（第 3、4 行），各单元格都是说明、签署或计数的写法（如“注：”“制表人：”“共 3 条”），"
        "不是数据，未采集；如是数据，请去掉这类写法后重新提供"
    )
    assert like.startswith("文件 a.csv：1 行像是脚注行（第 5 行）")


@pytest.mark.parametrize(
    ("lines", "form"),
    [
        (["---,----,----", "张三,1,东街"], {}),  # sqlcmd
        (["------ ,=====,------", "张三,1,东街", "=============="], {}),
        (["+----+----+", "张三|1|东街", "+----+----+"], {"delimiter": "|"}),
        (["---|:--:|---", "张三|1|东街"], {"delimiter": "|"}),
    ],
)
def test_f45_rules_of_dashes_are_no_rows(tmp_path: Path, lines: list[str], form: dict[str, str]) -> None:
    rows, report = read(tmp_path, ABC, *lines, **form)
    assert (sound(rows, ABC), aside(rows), report.skipped) == ([("张三", "1", "东街")], [], {"rule": len(lines) - 1})
    rows, _ = read(tmp_path, ABC, "张三,1,东街", "--,2,--", "**,3,", "-,-,-")
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("--", "2", "--"), ("**", "3", ""), ("-", "-", "-")]


@pytest.mark.parametrize("blank", ["", "  ", "\t", "　", " , ,　", ",,", '"","",""', ",,,,"])
def test_a_line_of_blanks_is_blank(tmp_path: Path, blank: str) -> None:
    rows, report = read(tmp_path, ABC, "张三,1,东街", blank, "李四,2,街", blank, last=False)
    assert (sound(rows, ABC), aside(rows)) == ([("张三", "1", "东街"), ("李四", "2", "街")], [])
    assert report.skipped == {"blank": 1 + (blank != "")}


# --- half a row -------------------------------------------------------------------------------------------


def test_f39_a_line_of_one_cell_makes_the_rows_beside_it_doubtful(tmp_path: Path) -> None:
    lines = ["张三,1,东街", "李四,2,东", "街", "王五,3,街", "赵六,4,南街"]
    rows, _ = read(tmp_path, ABC, *lines)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("赵六", "4", "南街")]
    assert aside(rows) == [(3, "broken_line"), (4, "ragged"), (5, "broken_line")]
    kept = [(r["姓名"], r["编号"], r["地址"], r["_raw"]) for r in rows if r["_broken"]]
    assert kept == [
        ("李四", "2", None, "李四,2,东"),
        (None, None, None, "街"),
        (None, "3", "街", "王五,3,街"),
    ]


@pytest.mark.parametrize("between", [[], [""], ["", "", "  "]])
def test_f39_a_paragraph_between_is_no_row_either(tmp_path: Path, between: list[str]) -> None:
    rows, _ = read(tmp_path, ABC, "张三,1,东街", '李四,2,"东\n街，一段"', *between, "二段", *between, "王五,3,街")
    at = 5 + len(between)
    assert sound(rows, ABC) == [("张三", "1", "东街")]
    assert aside(rows) == [(3, "broken_line"), (at, "ragged"), (at + 1 + len(between), "broken_line")]


def test_f39_what_can_not_begin_a_row_makes_the_row_above_doubtful(tmp_path: Path) -> None:
    numbered = expect({"title": "序号", "type": "int64"}, "名称", "数量", "备注", key=["f0"])
    rows, _ = read(tmp_path, numbered, "1,甲,2,见附件", "另报,请查收", "2,乙,3,", "3,丙,4", "4,丁,5,")
    assert [r[0] for r in sound(rows, numbered)] == ["2", "4"]
    assert aside(rows) == [(2, "broken_line"), (3, "ragged"), (5, "ragged")]


def test_f39_a_cell_that_is_not_read_makes_nothing_doubtful(tmp_path: Path) -> None:
    expected = expect("姓名", "编号", contract="discard")
    content = "姓名,编号,备注\n张三,1,东\n街\n李四,2,\n".encode()
    rows, _ = read_bytes(tmp_path, content, expected)
    assert (sound(rows, expected), aside(rows)) == ([("张三", "1")], [(3, "ragged"), (4, "broken_line")])


def test_a_remark_below_the_table_is_a_footnote_and_one_amid_it_may_be_half_a_row(tmp_path: Path) -> None:
    rows, report = read(tmp_path, ABC, "张三,1,东街", "备注：以上不含外来人员", "", "说明：无")
    assert (sound(rows, ABC), aside(rows)) == ([("张三", "1", "东街")], [])
    assert (report.skipped, told(report)) == ({"footnote": 2, "blank": 1}, ["2 行是脚注、签署行（第 3、5 行）"])
    rows, report = read(tmp_path, ABC, "张三,1,东街", "备注：搬迁", "李四,2,街", "王五,3,街")
    assert (sound(rows, ABC), report.skipped) == ([("王五", "3", "街")], {})
    assert aside(rows) == [(2, "broken_line"), (3, "ragged"), (4, "broken_line")]


def test_f22_a_null_mark_is_no_text_unless_somebody_says_what_it_is(tmp_path: Path) -> None:
    lines = [r"张三,1,\N", r"李四,2,C:\Name", r'\N,3,"\N"', "王五,4,N"]
    rows, _ = read(tmp_path, ABC, *lines)
    assert sound(rows, ABC) == [("李四", "2", r"C:\Name"), ("王五", "4", "N")]
    assert aside(rows) == [(2, "null_mark"), (4, "null_mark")]
    assert [(r["编号"], r["_raw"]) for r in rows if r["_broken"]] == [("1", r"张三,1,\N"), ("3", r"\N,3,\N")]
    known = expect("姓名", "编号", {"title": "地址", "null_tokens": [r"\N"]}, key=["f1"])
    rows, _ = read(tmp_path, known, *lines[:2])
    assert (sound(rows, known), aside(rows)) == ([("张三", "1", r"\N"), ("李四", "2", r"C:\Name")], [])
    rows, _ = read(tmp_path, ABC, r"张三	1	\N", delimiter="\t", escape="\\", quote="")
    assert (sound(rows, ABC), aside(rows)) == ([("张三", "1", None)], [])


text = st.text(st.sampled_from("张三a1 ，\n"), min_size=1, max_size=6).filter(lambda t: t.strip())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(text, st.integers(), text), min_size=1, max_size=8), st.sampled_from([",", "|", "\t"]))
def test_f39_line_breaks_without_quotes_never_leave_half_a_cell(
    tmp_path: Path, table: list[tuple[str, int, str]], delimiter: str
) -> None:
    """A program that writes cells as they are: what is accepted is a whole row of the table, blanks around it apart, and
    every row is accepted or named by one of its lines."""
    named = [(a, f"{n}#{number}", b) for n, (a, number, b) in enumerate(table)]
    try:
        rows, _ = read(tmp_path, ABC, *(delimiter.join(row) for row in named), quote="", delimiter=delimiter)
    except DeliveryRefused as error:
        assert error.rule_id == "delivery.half_a_file"  # noqa: PT017
        return
    whole = {tuple(c.strip() for c in row) for row in named}
    got = [tuple(c.strip() for c in row) for row in sound(rows, ABC)]
    assert set(got) <= whole
    assert len(got) == len(set(got))
    lost = {row[1] for row in named} - {row[1] for row in got}
    raws = "\n".join(r["_raw"] for r in rows if r["_broken"])
    assert all(number in raws for number in lost)
