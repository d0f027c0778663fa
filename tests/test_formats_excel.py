"""xlsx: what Excel destroyed is named, what it never calculated is refused, the rest is exact text."""

from __future__ import annotations

import datetime as dt
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from delivering import aside, expect, read_bytes, sound

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats import workbook

ABC = expect("姓名", "编号", "地址")
Write = Callable[[Any, Any], None]


def book(tmp_path: Path, write: Write, **options: Any) -> bytes:
    path = tmp_path / "made.xlsx"
    with xlsxwriter.Workbook(path, {"strings_to_formulas": False, **options}) as made:
        write(made, made.add_worksheet("表"))
    return path.read_bytes()


def rows_in(
    tmp_path: Path, *rows: tuple[Any, ...], expected: Expected = ABC, header: tuple[str, ...] | None = None, **form: Any
) -> Any:
    def write(_: Any, sheet: Any) -> None:
        for i, row in enumerate([header or expected.columns, *rows]):
            for j, value in enumerate(row):
                sheet.write(i, j, value)

    return read_bytes(tmp_path, book(tmp_path, write), expected, "a.xlsx", type="xlsx", **form)


def refused(tmp_path: Path, content: bytes, rule: str, expected: Expected = ABC) -> str:
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, content, expected, "a.xlsx", type="xlsx")
    assert caught.value.rule_id == rule
    return str(caught.value)


def test_cells_are_exact_text_with_sheet_and_line(tmp_path: Path) -> None:
    rows, _ = rows_in(tmp_path, ("张三", "000123", 150602), ("NA", 12.5, True), ("李四", 0.1, None))
    assert sound(rows, ABC) == [("张三", "000123", "150602"), ("NA", "12.5", "true"), ("李四", "0.1", None)]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("a.xlsx#表", n) for n in (2, 3, 4)]


@pytest.mark.parametrize("number", [110105199001010017, 1e15, -1e15, 2.5e20])
def test_f19_a_rounded_number_publishes_nothing(tmp_path: Path, number: float) -> None:
    rows, _ = rows_in(tmp_path, ("张三", float(number), "街"), ("李四", "110105199001010017", "街"))
    assert aside(rows) == [(2, "precision_lost")]
    assert [(r["姓名"], r["编号"]) for r in rows] == [("张三", None), ("李四", "110105199001010017")]


def test_leading_zeros_are_missed_where_the_length_tells(tmp_path: Path) -> None:
    expected = expect("姓名", {"title": "代码", "codes": "ethnic", "length": 2})
    rows, _ = rows_in(tmp_path, ("a", 1), ("b", "01"), ("c", 11), expected=expected)
    assert aside(rows) == [(2, "leading_zero_lost")]
    assert sound(rows, expected) == [("b", "01"), ("c", "11")]


def test_f23_dates_become_iso_and_a_code_that_became_a_date_is_lost(tmp_path: Path) -> None:
    expected = expect("姓名", {"title": "日期", "type": "date32"}, {"title": "代码", "codes": "x", "required": False})

    def write(made: Any, sheet: Any) -> None:
        day = made.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, expected.columns)
        sheet.write_datetime(1, 1, dt.datetime(2024, 2, 29), day)
        sheet.write_datetime(2, 1, dt.datetime(2024, 2, 29, 1, 2, 3), day)
        sheet.write(3, 1, 45351)
        sheet.write(4, 1, "2024年2月29日")
        sheet.write_datetime(5, 2, dt.datetime(2024, 1, 2), day)
        for i in range(1, 6):
            sheet.write(i, 0, str(i))

    for options in ({}, {"date_1904": True}):
        rows, _ = read_bytes(tmp_path, book(tmp_path, write, **options), expected, "a.xlsx", type="xlsx")
        assert [r["日期"] for r in rows] == ["2024-02-29", "2024-02-29 01:02:03", "45351", "2024年2月29日", None]
        assert aside(rows) == [(6, "turned_into_date")]


# --- F-44 formulas ------------------------------------------------------------------------------------


def test_f44_formulas_without_a_result_refuse_the_sheet(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        sheet.write_row(1, 0, ("张三", "1", "街"))
        sheet.write_formula(1, 1, "=1+1")

    assert "第 2 行第 2 列" in refused(tmp_path, book(tmp_path, write), "delivery.uncalculated_formula")
    made = openpyxl.Workbook()
    made.active.append(list(ABC.columns))
    made.active.append(["张三", "=1+1", "街"])
    made.save(tmp_path / "o.xlsx")
    refused(tmp_path, (tmp_path / "o.xlsx").read_bytes(), "delivery.uncalculated_formula")


def test_f44_formulas_with_a_result_and_outside_the_table_are_fine(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_formula(0, 0, "=1+1")
        sheet.write_row(1, 0, ABC.columns)
        sheet.write_row(2, 0, ("张三", "1", "街"))
        sheet.write_formula(2, 1, "=1+1", None, 2)

    rows, _ = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx")
    assert sound(rows, ABC) == [("张三", "2", "街")]


def test_error_cells_are_set_aside_not_blank(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        sheet.write_row(1, 0, ("张三", "1", "街"))
        sheet.write_formula(1, 1, "=NA()", None, "#N/A")

    rows, _ = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx")
    assert aside(rows) == [(2, "cell_error")]


# --- F-45 layout --------------------------------------------------------------------------------------


def test_f45_titles_hidden_sheets_totals_and_footnotes(tmp_path: Path) -> None:
    def write(made: Any, sheet: Any) -> None:
        sheet.merge_range(0, 0, 0, 2, "二〇二六年十月人员表")
        sheet.write_row(2, 0, ABC.columns)
        sheet.write_row(3, 0, ("张三", "1", "街"))
        sheet.write_row(5, 0, ("合计", "1", ""))
        sheet.write_row(6, 0, ("", "合计", 1))
        sheet.write(7, 0, "注：不含外来人员")
        sheet.write(8, 0, "来源：某局")
        hidden = made.add_worksheet("旧表")
        hidden.write_row(0, 0, ABC.columns)
        hidden.write_row(1, 0, ("李四", "2", "街"))
        hidden.hide()

    layout = {"total": "合计", "footnote": "^注："}
    rows, report = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx", layout=layout)
    assert sound(rows, ABC) == [("张三", "1", "街")]
    assert report.skipped == {"title": 1, "blank": 2, "total": 2, "footnote": 2}
    assert [n for n in report.notes if "旧表" in n] != []
    assert "2 行按约定作为合计行，未采集（第 6、7 行）" in report.notes[-1]


def test_f45_lines_like_totals_are_rows_set_aside_or_left_out_by_their_key(tmp_path: Path) -> None:
    lines = [("总 计", "1", ""), ("总计量所", "2", ""), ("", "小计", "3"), ("填表人：某", "4", "")]

    def write(_: Any, sheet: Any) -> None:
        for i, row in enumerate((ABC.columns, *lines)):
            sheet.write_row(i, 0, row)

    rows, report = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx")
    assert [r["_line"] for r in rows] == [2, 3, 5]
    assert report.skipped == {"total": 1}  # that without a key can be no row
    told = [n.partition("：")[2].partition("，")[0] for n in report.notes]
    assert told == ["1 行是合计行（第 4 行）", "1 行像是脚注行（第 5 行）"]
    assert aside(rows) == [(2, "total_line")]


def test_f45_merged_cells_in_the_data_are_set_aside(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        sheet.merge_range(1, 0, 3, 0, "张三")
        for i in (1, 2, 3):
            sheet.write_row(i, 1, (str(i), "街"))

    rows, _ = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx")
    assert aside(rows) == [(3, "merged_cell"), (4, "merged_cell")]


def test_f45_two_sheets_with_the_header_are_ambiguous_until_one_is_named(tmp_path: Path) -> None:
    def write(made: Any, sheet: Any) -> None:
        for n, one in enumerate((sheet, made.add_worksheet("表2"))):
            one.write_row(0, 0, ABC.columns)
            one.write_row(1, 0, (f"人{n}", "1", "街"))

    content = book(tmp_path, write)
    assert "表2" in refused(tmp_path, content, "delivery.structure")
    rows, _ = read_bytes(tmp_path, content, ABC, "a.xlsx", type="xlsx", layout={"sheet": "表2"})
    assert sound(rows, ABC) == [("人1", "1", "街")]


def test_cells_beyond_the_header_and_missing_columns(tmp_path: Path) -> None:
    rows, _ = rows_in(tmp_path, ("张三", "1", "街", "多余"), ("李四", "2", "街"))
    assert aside(rows) == [(2, "ragged")]
    with pytest.raises(DeliveryRefused) as caught:
        rows_in(tmp_path, ("张三", "1", "街"), header=("姓名", "编号", "住址"))
    assert caught.value.rule_id == "delivery.missing_column"


# --- damaged and hostile workbooks --------------------------------------------------------------------


def test_cut_encrypted_and_foreign_files_are_refused(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        for i in range(1, 500):
            sheet.write_row(i, 0, (f"人{i}", os.urandom(8).hex(), "街"))

    whole = book(tmp_path, write)
    for cut in (0, 100, len(whole) // 2, len(whole) - 30):
        refused(tmp_path, whole[:cut], "delivery.half_a_file")
    refused(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "delivery.half_a_file")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    refused(tmp_path, (tmp_path / "z.zip").read_bytes(), "delivery.structure")
    hurt = bytearray(whole)
    for i in range(200, len(hurt) - 2000, 97):
        hurt[i] ^= 0xFF
    with pytest.raises(DeliveryRefused):
        read_bytes(tmp_path, bytes(hurt), ABC, "a.xlsx", type="xlsx")


@pytest.mark.timeout(30)
def test_a_workbook_that_claims_billions_of_cells_is_refused(tmp_path: Path) -> None:
    def write(_: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        sheet.write(1_048_575, 16_383, "x")

    assert "16384 列" in refused(tmp_path, book(tmp_path, write), "delivery.too_large")


def test_a_bomb_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 1000)
    refused(tmp_path, book(tmp_path, lambda _, sheet: sheet.write(0, 0, "x")), "delivery.too_large")


# --- what two readers would read differently -----------------------------------------------------------


def test_a_number_with_a_fraction_is_no_date(tmp_path: Path) -> None:
    expected = expect("姓名", {"title": "年月", "type": "date32", "formats": ["%Y.%m", "%Y%m%d"]})
    rows, _ = rows_in(tmp_path, ("a", 2024.1), ("b", "2024.10"), ("c", 20241001), expected=expected)
    only_numbers, _ = rows_in(tmp_path, ("a", 2024.1), ("b", 20241001), expected=expected)
    assert (aside(rows), sound(rows, expected)) == ([(2, "number_for_date")], [("b", "2024.10"), ("c", "20241001")])
    assert (aside(only_numbers), sound(only_numbers, expected)) == ([(2, "number_for_date")], [("b", "20241001")])


def test_durations_are_hours_not_days(tmp_path: Path) -> None:
    def write(made: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ABC.columns)
        hours = made.add_format({"num_format": "[h]:mm"})
        for column, minutes in enumerate((25 * 60 + 30, 90, 48 * 60)):
            sheet.write_datetime(1, column, dt.timedelta(minutes=minutes), hours)

    rows, _ = read_bytes(tmp_path, book(tmp_path, write), ABC, "a.xlsx", type="xlsx")
    assert sound(rows, ABC) == [("25:30:00", "01:30:00", "48:00:00")]


@pytest.mark.parametrize("aside_way", [b"", b"<!-- read by the parser -->"], ids=["scanned", "parsed"])
@pytest.mark.parametrize("doubled", [{b'"B3"': b'"A3"'}, {b'r="3"': b'r="2"', b'"A3"': b'"A2"', b'"B3"': b'"B2"'}])
def test_a_row_or_cell_that_stands_twice_refuses_the_sheet(
    tmp_path: Path, doubled: dict[bytes, bytes], aside_way: bytes
) -> None:
    def write(_: Any, sheet: Any) -> None:
        for i, row in enumerate([ABC.columns, ("a", 1), ("b", 2)]):
            sheet.write_row(i, 0, row)

    (tmp_path / "sound.xlsx").write_bytes(book(tmp_path, write))
    with zipfile.ZipFile(tmp_path / "sound.xlsx") as made, zipfile.ZipFile(tmp_path / "hurt.xlsx", "w") as hurt:
        for name in made.namelist():
            data = made.read(name)
            if name.endswith("sheet1.xml"):
                for old, new in doubled.items():
                    assert data.count(old) == 1
                    data = data.replace(old, new)
                data = data.replace(b"<sheetData>", aside_way + b"<sheetData>")
            hurt.writestr(name, data)
    assert "重复出现" in refused(tmp_path, (tmp_path / "hurt.xlsx").read_bytes(), "delivery.structure")
