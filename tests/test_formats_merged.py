"""Merged cells among the rows: what people see there is read, or the row is set aside; nothing is silently blank."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import given as drawn
from hypothesis import strategies as st
from workbooks import KINDS, Fault, Sheet, Shown, make_book

from guiji.catalog.models import Layout
from guiji.errors import DeliveryRefused
from guiji.sources.formats import excel
from guiji.sources.formats import merged as merged_cells
from guiji.sources.formats.merged import find_merged

ABC = expect("姓名", "编号", "地址")
every_kind = pytest.mark.parametrize("kind", KINDS)
Range = tuple[int, int, int, int]


def read(tmp_path: Path, kind: str, rows: list[Any], *merged: Range, expected: Any = ABC, **layout: Any) -> Any:
    content = make_book(kind, Sheet(rows, merged=merged))
    return read_bytes(tmp_path, content, expected, f"a.{kind}", type=kind, layout=layout)


@every_kind
def test_f45_a_merged_cell_that_is_blank_hides_nothing(tmp_path: Path, kind: str) -> None:
    rows, report = read(tmp_path, kind, [ABC.columns, ("a", "1", ""), ("b", "2", ""), ("c", "", "")], (1, 2, 3, 2))
    assert sound(rows, ABC) == [("a", "1", None), ("b", "2", None), ("c", None, None)]
    assert (aside(rows), report.skipped) == ([], {})


@pytest.mark.parametrize("kind", ["xlsx", "xlsb", "ods"])  # xlwt empties what it merges
def test_f45_cells_that_hold_what_the_merged_cell_shows_are_rows(tmp_path: Path, kind: str) -> None:
    rows, _ = read(tmp_path, kind, [ABC.columns, ("a", 1, "街"), ("b", 2, "街"), ("c", 3, "路")], (1, 2, 3, 2))
    assert sound(rows, ABC) == [("a", "1", "街"), ("b", "2", "街")]
    assert aside(rows) == [(4, "merged_cell")]


@every_kind
def test_f45_a_cell_merged_over_two_columns_is_the_value_of_neither(tmp_path: Path, kind: str) -> None:
    rows, _ = read(tmp_path, kind, [ABC.columns, ("a", "无", ""), ("b", "2", "街")], (1, 1, 1, 2))
    assert (aside(rows), sound(rows, ABC)) == ([(2, "merged_cell")], [("b", "2", "街")])
    freely = expect("姓名", "编号", contract="discard")
    rows, _ = read(tmp_path, kind, [ABC.columns, ("a", "无", ""), ("b", "2", "街")], (1, 1, 1, 2), expected=freely)
    assert sound(rows, freely) == [("a", "无"), ("b", "2")]


@every_kind
def test_f45_declared_merged_cells_count_for_all_of_their_rows(tmp_path: Path, kind: str) -> None:
    expected = expect("编号", "部门", "代码", {"title": "日期", "type": "date32"})
    day = dt.date(2026, 3, 1)
    given = [
        expected.columns,
        ("1", "民政局", Shown(7.0, "000", "007"), day),
        ("2", "", "", ""),
        ("小计", "", "", ""),
        ("4", "教育局", "008", day),
        ("5", "", "", day),
        ("", "", "", ""),
    ]
    merged: list[Range] = [(1, 1, 3, 1), (1, 2, 3, 2), (1, 3, 2, 3), (4, 1, 6, 1)]
    rows, report = read(
        tmp_path, kind, given, *merged, expected=expected, total="小计", fill_merged=["部门", "代码", "日期"]
    )
    assert sound(rows, expected) == [
        ("1", "民政局", "007", "2026-03-01"),
        ("2", "民政局", "007", "2026-03-01"),
        ("4", "教育局", "008", "2026-03-01"),
        ("5", "教育局", None, "2026-03-01"),
    ]
    assert (aside(rows), report.skipped["total"]) == ([], 1)
    assert [n.partition("：")[2] for n in report.notes if "合并" in n] == [
        "2 行中的合并单元格（部门、代码、日期）按约定填入所属的值"
    ]


@every_kind
def test_f45_only_the_declared_columns_are_filled(tmp_path: Path, kind: str) -> None:
    given = [ABC.columns, ("a", "1", "街"), ("b", "", ""), ("c", "3", "")]
    rows, _ = read(tmp_path, kind, given, (1, 1, 2, 1), (1, 2, 3, 2), fill_merged=["地址"])
    assert sound(rows, ABC) == [("a", "1", "街"), ("c", "3", "街")]
    assert aside(rows) == [(3, "merged_cell")]


@every_kind
def test_f45_an_error_in_a_merged_cell_is_one_in_all_of_its_rows(tmp_path: Path, kind: str) -> None:
    rows, _ = read(
        tmp_path, kind, [ABC.columns, ("a", "1", Fault()), ("b", "2", "")], (1, 2, 2, 2), fill_merged=["地址"]
    )
    assert aside(rows) == [(2, "cell_error"), (3, "cell_error")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8192])
@pytest.mark.parametrize("filled", [[], ["地址"]])
def test_f45_merged_cells_reach_across_the_pieces_of_a_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, filled: list[str]
) -> None:
    monkeypatch.setattr(excel, "BATCH_ROWS", size)
    given = [(f"人{n}", str(n), f"街{n}" if n in (0, 3, 8) else "") for n in range(12)]
    rows, _ = read(tmp_path, "xlsx", [ABC.columns, *given], (1, 2, 3, 2), (4, 2, 8, 2), fill_merged=filled)
    shown = ["街0"] * 3 + ["街3"] * 5 + ["街8", None, None, None]
    want = [(f"人{n}", str(n), street) for n, street in enumerate(shown)]
    if not filled:
        assert aside(rows) == [(n + 2, "merged_cell") for n in (1, 2, 4, 5, 6, 7)]
        want = [row for n, row in enumerate(want) if n not in (1, 2, 4, 5, 6, 7)]
    assert sound(rows, ABC) == want


def test_f45_a_cell_merged_over_a_hundred_thousand_rows_is_found_too(tmp_path: Path) -> None:
    given = [(f"人{n}", str(n), "") for n in range(100_002)]
    given[0] = ("人0", "0", "街")
    rows, _ = read(tmp_path, "xlsx", [ABC.columns, *given], (1, 2, 100_002, 2))
    assert sound(rows, ABC) == [("人0", "0", "街")]
    assert len(aside(rows)) == 100_001


def test_f45_a_merge_that_begins_in_the_header_hides_the_row_below(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "xlsx", [ABC.columns, ("", "1", "街"), ("b", "2", "路")], (0, 0, 1, 0))
    assert (aside(rows), sound(rows, ABC)) == ([(2, "merged_cell")], [("b", "2", "路")])
    assert Layout().fill_merged == []


OVERLAPPING: dict[str, list[Range]] = {
    "第 3 行第 2 列": [(1, 0, 2, 1), (2, 1, 3, 2)],
    "第 4 行第 2 列": [(3, 0, 3, 2), (1, 1, 3, 1)],
    "第 2 行第 1 列": [(0, 0, 1, 0), (1, 0, 1, 1)],
}


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "xlsx"])  # xlsxwriter refuses to write it
@pytest.mark.parametrize("cell", OVERLAPPING)
def test_f45_a_cell_of_two_merged_ranges_refuses_the_sheet(tmp_path: Path, kind: str, cell: str) -> None:
    with pytest.raises(DeliveryRefused, match=f"{cell}的单元格同时属于两处合并。现有数据继续有效"):
        read(tmp_path, kind, [ABC.columns, *[("a", "1", "街")] * 3], *OVERLAPPING[cell])


def test_f45_thousands_of_ranges_over_the_same_cells_cost_nothing(tmp_path: Path) -> None:
    out = io.BytesIO()
    ranges = b'<mergeCell ref="A2:C3001"/>' * 3000
    with (
        zipfile.ZipFile(io.BytesIO(make_book("xlsx", Sheet([ABC.columns, *[("a", "1", "街")] * 3000])))) as made,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in made.namelist():
            end = b"</sheetData>"
            archive.writestr(name, made.read(name).replace(end, end + b"<mergeCells>" + ranges + b"</mergeCells>"))
    with pytest.raises(DeliveryRefused, match="第 2 行第 1 列的单元格同时属于两处合并"):
        read_bytes(tmp_path, out.getvalue(), ABC, "a.xlsx", type="xlsx", max_seconds=5)


def test_f45_ranges_that_touch_or_stand_above_the_data_refuse_nothing(tmp_path: Path) -> None:
    title = ("标题", "", "")
    given = [title, ABC.columns, ("a", "1", ""), ("", "2", ""), ("c", "", ""), ("d", "", "")]
    merged: list[Range] = [(0, 0, 0, 2), (2, 0, 3, 0), (2, 2, 5, 2), (4, 1, 5, 1)]
    rows, _ = read(tmp_path, "xlsx", given, *merged, fill_merged=["姓名"])
    assert sound(rows, ABC) == [("a", "1", None), ("a", "2", None), ("c", None, None), ("d", None, None)]


@drawn(st.lists(st.tuples(*[st.integers(0, 8)] * 4), max_size=8))
def test_f45_an_overlap_is_found_wherever_it_is(corners: list[tuple[int, int, int, int]]) -> None:
    ranges = [((min(a, c), min(b, d)), (max(a, c), max(b, d))) for a, b, c, d in corners]
    ranges = [r for r in ranges if r[0] != r[1]]
    cells = [(row, c) for (t, le), (b, ri) in ranges for row in range(t, b + 1) for c in range(le, ri + 1)]
    if len(cells) == len(set(cells)):
        found = find_merged(ranges, 0, range(9), {}, [], "文件")
        assert sum(map(len, found.ranges.values())) == sum(ri - le + (b > t) for (t, le), (b, ri) in ranges)
    else:
        with pytest.raises(DeliveryRefused, match="同时属于两处合并"):
            find_merged(ranges, 0, range(9), {}, [], "文件")


def test_f45_ranges_are_counted_before_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [((row, 0), (row + 1, 2)) for row in range(0, 8, 2)]
    monkeypatch.setattr(merged_cells, "MAX_RANGES", 12)
    assert set(find_merged(pairs, 0, [0, 1, 2], {}, [], "文件").ranges) == {0, 1, 2}
    monkeypatch.setattr(merged_cells, "MAX_RANGES", 11)
    with pytest.raises(DeliveryRefused, match="合并单元格超过 11 处") as refused:
        find_merged(pairs, 0, [0, 1, 2], {}, [], "文件")
    assert refused.value.rule_id == "delivery.too_large"
