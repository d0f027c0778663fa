"""Numbers and dates under number formats: the text that is shown where it is known, else the row is set aside."""

from __future__ import annotations

import datetime as dt
import io
import math
import random
import re
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import given
from hypothesis import strategies as st
from workbooks import KINDS, Sheet, Shown, make_book

from guiji.errors import DeliveryRefused
from guiji.sources.formats.cells import cell_text, column_text, format_text
from guiji.sources.formats.number_format import BUILT_IN, is_telling, render_date, shown_date, shown_number
from guiji.structure import PRECISION_LOST

ABC = expect("姓名", "编号", "地址")
CODED = expect("姓名", {"title": "编号", "codes": "x", "length": 6})
AMOUNT = expect("姓名", {"title": "编号", "type": "int64"})
MARCH = dt.date(2026, 3, 1)
every_kind = pytest.mark.parametrize("kind", KINDS)


def read(tmp_path: Path, kind: str, content: bytes, expected: Any = ABC, **form: Any) -> Any:
    return read_bytes(tmp_path, content, expected, f"a.{kind}", type=kind, **form)


@every_kind
def test_f20_zeros_that_a_format_shows_are_kept_in_text_fields(tmp_path: Path, kind: str) -> None:
    rows = [
        ("a", Shown(592.0, "000000", "000592"), "街"),
        ("b", Shown(-7.0, "000", "-007"), "街"),
        ("c", Shown(1234567.0, "000000", "1234567"), "街"),
        ("d", Shown(0.0, "000000", "000000"), "街"),
        ("e", Shown(5.25, "000.00", "005.25"), "街"),
        ("f", Shown(1.1, "0.00", "1.10"), "街"),
        ("g", 592.0, Shown(1234.5, "#,##0.00", "1,234.50")),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows])))
    assert sound(got, ABC) == [
        ("a", "000592", "街"),
        ("b", "-007", "街"),
        ("c", "1234567", "街"),
        ("d", "000000", "街"),
        ("e", "005.25", "街"),
        ("f", "1.10", "街"),
        ("g", "592", "1234.5"),
    ]


@every_kind
def test_f20_a_padded_code_has_its_length_and_a_number_field_its_number(tmp_path: Path, kind: str) -> None:
    content = make_book(kind, Sheet([("姓名", "编号"), ("a", Shown(592.0, "000000", "000592")), ("b", 592.0)]))
    got, _ = read(tmp_path, kind, content, CODED)
    assert (sound(got, CODED), aside(got)) == ([("a", "000592")], [(3, "leading_zero_lost")])
    got, _ = read(tmp_path, kind, content, AMOUNT)
    assert sound(got, AMOUNT) == [("a", "592"), ("b", "592")]


@every_kind
def test_f20_what_a_format_adds_or_rearranges_is_set_aside(tmp_path: Path, kind: str) -> None:
    rows = [
        ("a", Shown(20260115.0, "0000-00-00", "2026-01-15"), "街"),
        ("b", Shown(5.0, '"A"000', "A005"), "街"),
        ("c", Shown(592.5, "000000", "000593"), "街"),
        ("d", Shown(12.0, '0"元"', "12元"), "街"),
        ("e", "000592", "街"),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows])))
    assert aside(got) == [(n, "number_format") for n in (2, 3, 4, 5)]
    assert sound(got, ABC) == [("e", "000592", "街")]
    assert [r["姓名"] for r in got] == ["a", "b", "c", "d", "e"]


@every_kind
def test_f23_a_date_in_a_text_field_is_whole_or_shown_or_set_aside(tmp_path: Path, kind: str) -> None:
    rows = [
        ("a", Shown(MARCH, "yyyy/m/d", "2026/3/1"), "街"),
        ("b", Shown(MARCH, 'yyyy"年"m"月"', "2026年3月"), "街"),
        ("c", Shown(MARCH, 'm"月"d"日"', "3月1日"), "街"),
        ("d", Shown(dt.date(2026, 3, 5), "yyyy-mm", "2026-03"), "街"),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows])))
    assert sound(got, ABC) == [("a", "2026-03-01", "街"), ("b", "2026年3月", "街")]
    assert aside(got) == [(4, "number_format"), (5, "number_format")]


def test_f20_formats_are_found_in_every_row_and_in_sheets_written_any_way(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.append(list(ABC.columns))
    for i in range(1, 20_001):
        sheet.append([f"人{i}", i, "街" if i % 2 else None])
        if i % 3:
            sheet.cell(i + 1, 2).number_format = "000000"
    out = io.BytesIO()
    made.save(out)
    want = [(f"人{i}", f"{i:06}" if i % 3 else str(i), "街" if i % 2 else None) for i in range(1, 20_001)]
    got, _ = read(tmp_path, "xlsx", out.getvalue())
    assert sound(got, ABC) == want
    with zipfile.ZipFile(out) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    other = re.sub(rb'<c r="(\w+)" s="(\d+)"', rb'<c s="\2" r="\1"', members[name])
    assert other != members[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, content in members.items():
            archive.writestr(n, other if n == name else content)
    got, _ = read(tmp_path, "xlsx", out.getvalue())
    assert sound(got, ABC) == want


@pytest.mark.parametrize("odd", [[], [-5], [0.5], [1e15], ["x"], [True], [None]])
def test_f20_a_whole_column_of_padded_codes_says_what_its_cells_say(odd: list[Any]) -> None:
    values = [*range(1200), *odd]
    field = ABC.fields["编号"]
    formats = dict.fromkeys(range(len(values)), "0000")
    text, wrong = format_text(values, *column_text(values, field), field, formats)
    single = [format_text([v], *column_text([v], field), field, {0: "0000"}) for v in values]
    assert text.to_pylist() == [t.to_pylist()[0] for t, _ in single]
    assert wrong == {i: w[0] for i, (_, w) in enumerate(single) if w}
    assert text.to_pylist()[:1200] == [f"{i:04}" for i in range(1200)]


# --- digits beyond fifteen ------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("number", [12345678901234.56, 123456789012345.67, -12345678901234.56, 0.1234567890123456])
def test_f19_a_sixteenth_digit_before_or_behind_the_point_is_named(tmp_path: Path, kind: str, number: float) -> None:
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, ("张三", number, "街"), ("李四", "1", "街")])))
    assert (aside(got), sound(got, ABC)) == ([(2, "precision_lost")], [("李四", "1", "街")])


@every_kind
def test_f19_decimals_lose_no_digit_that_they_keep(tmp_path: Path, kind: str) -> None:
    expected = expect("姓名", {"title": "金额", "type": "decimal128(20,2)"})
    rows = [("a", 12345678901234.56), ("b", 1 / 3), ("c", 0.1 + 0.2), ("d", 1234567890123.45), ("e", 9876543210.1 * 3)]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([expected.columns, *rows])), expected)
    assert aside(got) == [(2, "precision_lost")]
    assert sound(got, expected) == [
        ("b", "0.333333333333333"),
        ("c", "0.3"),
        ("d", "1234567890123.45"),
        ("e", "29629629630.3"),
    ]


RATIOS = {
    "of whole numbers": lambda r: r.randint(1, 10**6) / r.randint(2, 10**6),
    "of amounts": lambda r: (r.randint(1, 10**6) / 100) / (r.randint(1, 10**4) / 100),
    "in percent": lambda r: r.randint(1, 10**5) / r.randint(1, 10**5) * 100,
    "that are added": lambda r: r.randint(1, 999) / r.randint(1, 999) + r.randint(1, 999) / r.randint(1, 999),
    "of large amounts": lambda r: r.randint(1, 10**11) / r.randint(1, 10**6),
    "logarithms": lambda r: math.log(r.randint(2, 10**6)),
    "degrees": lambda r: 109 + r.random(),
    "products": lambda r: r.randint(1, 10**7) / 100 * (r.randint(1, 10**5) / 1000),
}


@pytest.mark.parametrize("kind", RATIOS)
def test_f19_a_ratio_is_its_fifteen_digits_and_has_lost_none(kind: str) -> None:
    draw = random.Random(kind)
    values = [RATIOS[kind](draw) for _ in range(10_000)]
    field = ABC.fields["编号"]
    texts, broken = column_text(values, field)
    assert broken == {}
    assert [Decimal(t) for t in texts.to_pylist()] == [Decimal(f"{v:.15g}") for v in values]
    if kind not in ("of large amounts", "logarithms", "degrees"):  # which one cell does not show
        assert [cell_text(v, field) for v in values[:1000]] == [(t, None) for t in texts.to_pylist()[:1000]]


@every_kind
def test_f19_thirds_and_sevenths_stand_in_text_fields(tmp_path: Path, kind: str) -> None:
    rows = [("a", 1 / 3, 12 / 7), ("b", 2 / 3, 100 / 3), ("c", -1 / 3, "街")]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows])))
    assert sound(got, ABC) == [
        ("a", "0.333333333333333", "1.71428571428571"),
        ("b", "0.666666666666667", "33.3333333333333"),
        ("c", "-0.333333333333333", "街"),
    ]


def test_f19_a_digit_beyond_fifteen_that_was_written_is_named() -> None:
    draw = random.Random(19)
    field = ABC.fields["编号"]

    def named(values: list[float]) -> int:
        return sum(rule == PRECISION_LOST for rule in column_text(values, field)[1].values())

    def write(first: int, last: int, places: int) -> float:  # sixteen digits, the last of them neither noise nor 0
        return float(f"{draw.randint(first, last)}{draw.randint(2, 8)}e-{places}")

    amounts = [sign * write(10**14, 10**15 - 1, 2) for sign in (1, -1) for _ in range(5000)]
    assert named(amounts) == len(amounts)
    # where few doubles are near sixteen digits; not one in a hundred is a simple ratio by chance
    shares = [write(10**14, 124 * 10**12, 16) for _ in range(5000)]
    assert named(shares) > 0.99 * len(shares)
    whole = [float(draw.randint(10**15, 10**18)) for _ in range(5000)]
    assert named(whole) == len(whole)


# --- dates and times in the rows ---------------------------------------------------------------------------

FAR = [("x", "1", "街")] * 100  # the formats of the first rows are kept for the header's sake


@every_kind
def test_f23_a_moment_in_a_text_field_has_one_spelling_in_all_rows(tmp_path: Path, kind: str) -> None:
    moment = ("a", dt.datetime(2024, 1, 5, 13, 14, 15), dt.datetime(2024, 1, 5))
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, moment, *FAR, moment])))
    want = ("a", "2024-01-05 13:14:15", "2024-01-05")
    assert sound(got, ABC) == [want, *FAR, want]


@pytest.mark.parametrize("kind", ["xlsx", "xls", "xlsb"])
def test_f23_a_day_before_the_calendar_and_a_time_of_a_later_day_are_set_aside(tmp_path: Path, kind: str) -> None:
    rows = [
        ("a", Shown(0.0, "yyyy-mm-dd"), "街"),
        ("b", Shown(-1.0, "yyyy/m/d"), "街"),
        ("c", Shown(0.5, 'yyyy"年"m"月"d"日"'), "街"),
        ("d", Shown(1.5, "h:mm"), "街"),
        ("e", Shown(0.5, "h:mm:ss"), "街"),
        ("f", Shown(1.5, "yyyy-mm-dd hh:mm"), "街"),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows, *FAR, *rows])))
    want = [("e", "12:00:00", "街"), ("f", "1900-01-01 12:00:00", "街")]
    assert sound(got, ABC) == [*want, *FAR, *want]
    assert aside(got) == [(n, "number_format") for n in (2, 3, 4, 5, 108, 109, 110, 111)]


@pytest.mark.parametrize("kind", ["xlsx", "xls", "xlsb"])
def test_f23_chinese_digits_are_no_part_of_a_date(tmp_path: Path, kind: str) -> None:
    rows = [
        ("a", Shown(0.3, '[DBNum1][$-804]h"时"mm"分";@'), "街"),
        ("b", Shown(dt.date(2026, 3, 5), '[DBNum1][$-804]yyyy"年"m"月"'), "街"),
        ("c", Shown(dt.date(2026, 3, 5), '[DBNum1][$-804]yyyy"年"m"月"d"日"'), "街"),
        ("d", Shown(5.0, "[DBNum1]0"), "街"),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([ABC.columns, *rows])))
    assert sound(got, ABC) == [("a", "07:12:00", "街"), ("c", "2026-03-05", "街")]
    assert aside(got) == [(3, "number_format"), (5, "number_format")]


@every_kind
def test_f23_a_date_cell_is_a_date_whatever_spelling_the_field_asks_of_texts(tmp_path: Path, kind: str) -> None:
    expected = expect(
        "姓名",
        {"title": "日期", "type": "date32", "formats": ["%Y年%m月%d日", "%Y%m%d"]},
        {"title": "时间", "type": "timestamp", "formats": ["%Y%m%d", "%Y/%m/%d %H:%M:%S"]},
    )
    rows = [
        ("a", dt.date(2024, 1, 5), dt.datetime(2024, 1, 5, 13, 14, 15)),
        ("b", "20240105", dt.date(2024, 1, 5)),
        ("c", dt.datetime(2024, 1, 5, 13, 0), "20240105"),
        ("d", 20240105, ""),
    ]
    got, _ = read(tmp_path, kind, make_book(kind, Sheet([expected.columns, *rows])), expected)
    assert sound(got, expected) == [
        ("a", "2024年01月05日", "2024/01/05 13:14:15"),
        ("b", "20240105", "20240105"),
        ("c", "2024-01-05 13:00:00", "20240105"),  # no day alone: the field's formats will not have it
        ("d", "20240105", None),
    ]


# --- dates in the header ---------------------------------------------------------------------------------

WIDE = expect("地区", "月份", {"title": "数值", "type": "int64"})
PIVOT: dict[str, Any] = {"unpivot": {"keep": ["地区"], "columns": r"(\d{4}-\d{2})", "into": "月份", "value": "数值"}}


@every_kind
@pytest.mark.parametrize(
    ("form", "shown"), [("yyyy-mm", "{y}-{m:02}"), ('yyyy"年"m"月"', "{y}年{m}月"), ("mmm-yy", "x")]
)
def test_f23_a_date_cell_in_the_header_is_the_column_that_is_declared(
    tmp_path: Path, kind: str, form: str, shown: str
) -> None:
    months = [Shown(dt.date(2026, m, 1), form, shown.format(y=2026, m=m)) for m in (1, 2)]
    content = make_book(kind, Sheet([("", Shown(MARCH, "yyyy-mm-dd", "2026-03-01")), ("地区", *months), ("甲", 5, 6)]))
    got, _ = read(tmp_path, kind, content, WIDE, layout=PIVOT)
    assert sound(got, WIDE) == [("甲", "2026-01", "5"), ("甲", "2026-02", "6")]
    named = expect("地区", {"title": "2026年1月", "type": "int64"}, {"title": "2026年2月", "type": "int64"})
    got, _ = read(tmp_path, kind, content, named)
    assert sound(got, named) == [("甲", "5", "6")]


@every_kind
def test_f23_date_cells_in_the_lower_row_of_a_header_and_in_a_header_that_stands_again(
    tmp_path: Path, kind: str
) -> None:
    months = [dt.date(2026, m, 1) for m in (1, 2)]
    rows = [("地区", "产值", ""), ("", *months), ("甲", 5, 6), ("地区", "产值", ""), ("", *months), ("乙", 7, 8)]
    layout = {"header_rows": 2, "header_joiner": "", "unpivot": {**PIVOT["unpivot"], "columns": r"产值(\d{4}-\d{2}).*"}}
    merged = [(0, 1, 0, 2), (3, 1, 3, 2)]
    got, report = read(tmp_path, kind, make_book(kind, Sheet(rows, merged=merged)), WIDE, layout=layout)
    assert [tuple(r[c] for c in WIDE.columns) for r in got if r["_broken"] is None] == [
        ("甲", "2026-01", "5"),
        ("甲", "2026-02", "6"),
        ("乙", "2026-01", "7"),
        ("乙", "2026-02", "8"),
    ]
    assert report.skipped == {"repeated_header": 2}
    plain = [("地区", *months), ("甲", 5, 6), ("地区", *months), ("乙", 7, 8)]
    got, report = read(tmp_path, kind, make_book(kind, Sheet(plain)), WIDE, layout=PIVOT)
    assert sound(got, WIDE) == [
        ("甲", "2026-01", "5"),
        ("甲", "2026-02", "6"),
        ("乙", "2026-01", "7"),
        ("乙", "2026-02", "8"),
    ]
    assert report.skipped == {"repeated_header": 1}


def test_f23_a_day_in_the_header_is_no_month(tmp_path: Path) -> None:
    content = make_book("xlsx", Sheet([("地区", dt.date(2026, 1, 15)), ("甲", 5)]))
    with pytest.raises(DeliveryRefused) as caught:
        read(tmp_path, "xlsx", content, WIDE, layout=PIVOT)
    assert caught.value.rule_id == "delivery.undeclared_column"
    assert "2026-01-15" in str(caught.value)


# --- formats by themselves -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["General", "0", "@", "#,##0", "0%", "0.00E+00", "_ ¥* #,##0.00_ ", "0_);[Red](0)", "#"]
)
def test_formats_that_only_dress_a_number_leave_it(code: str) -> None:
    assert not is_telling(code)
    assert shown_number(592.0, "592", code) == ("592", None)


@pytest.mark.parametrize(
    "code", ["[DBNum1]0", ";;;", "# ?/?", "[>99]000;0", "000-0000", '0.0"万"', "[$-804]aaaa", "00\\A"]
)
def test_formats_whose_text_is_another_are_not_guessed(code: str) -> None:
    assert is_telling(code)
    assert shown_number(592.0, "592", code) == (None, "structure.number_format")


@given(st.integers(-(10**14), 10**14), st.integers(2, 18), st.sampled_from(["", "_ ", ";@", "[Red]"]))
def test_padding_is_what_python_pads(value: int, width: int, more: str) -> None:
    code = more + "0" * width if more.startswith("[") else "0" * width + more
    said, rule = shown_number(float(value), str(value), code)
    if value < 0 and more == ";@":
        assert (said, rule) == (str(value), None)
    else:
        assert (said, rule) == (f"{value:0{width + (value < 0)}d}", None)


@given(st.dates(dt.date(1900, 3, 1)), st.sampled_from(["yyyy-mm-dd", "yyyy/m/d", 'yyyy"年"m"月"d"日"', "yyyymmdd;@"]))
def test_whole_dates_are_iso_and_rendered_as_declared(value: dt.date, code: str) -> None:
    assert shown_date(value, code) == (value.isoformat(), None)
    said = render_date(value, code) or ""
    numbers = [int(n) for n in re.findall(r"\d+", said)]
    assert numbers == ([int(f"{value:%Y%m%d}".lstrip("0"))] if "mmdd" in code else [value.year, value.month, value.day])


def test_every_format_that_is_only_numbered_is_known_as_what_it_is() -> None:
    said: Callable[[str], Any] = lambda code: shown_date(MARCH, code)[0]  # noqa: E731
    assert {n for n, code in BUILT_IN.items() if said(code) == "2026年3月"} == {27, 36, 50, 52, 57}
    assert {n for n, code in BUILT_IN.items() if said(code) == "2026-03-01"} == {14, 15, 22, 30, 31}
