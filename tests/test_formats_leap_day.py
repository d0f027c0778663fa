"""1900-02-29, which spreadsheets show for day 60 of their calendar: a day that never was is no other day."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from delivering import aside, expect, read_bytes, sound
from test_formats_xls import make_excel95
from workbooks import Sheet, Shown, make_book, zip_members

TEXTS = expect("编号", "日期")
DATES = expect("编号", {"title": "日期", "type": "date32"})
DAY = "yyyy-mm-dd"
ROWS = [
    ("a", Shown(59.0, DAY)),
    ("b", Shown(60.0, DAY)),
    ("c", Shown(60.75, "yyyy-mm-dd hh:mm")),
    ("d", Shown(61.0, DAY)),
    ("e", 60.0),
]


@pytest.mark.parametrize("expected", [TEXTS, DATES])
@pytest.mark.parametrize("kind", ["xlsx", "xls", "xlsb"])
def test_a_day_that_never_was_is_set_aside_and_shown_as_it_stands(tmp_path: Path, kind: str, expected: Any) -> None:
    book = make_book(kind, Sheet([expected.columns, *ROWS]))
    rows, _ = read_bytes(tmp_path, book, expected, f"a.{kind}", type=kind)
    assert sound(rows, expected) == [("a", "1900-02-28"), ("d", "1900-03-01"), ("e", "60")]
    assert aside(rows) == [(3, "out_of_range"), (4, "out_of_range")]
    assert [r["_raw"] for r in rows if r["_broken"]] == ["b\t1900-02-29", "c\t1900-02-29"]


def test_it_is_found_in_cells_without_a_place(tmp_path: Path) -> None:
    book = make_book("xlsx", Sheet([DATES.columns, *ROWS]))
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    members[name] = re.sub(rb'<c r="\w+"', b"<c", bytes(members[name]))
    rows, _ = read_bytes(tmp_path, zip_members(members), DATES, "a.xlsx", type="xlsx")
    assert sound(rows, DATES) == [("a", "1900-02-28"), ("d", "1900-03-01"), ("e", "60")]
    assert aside(rows) == [(3, "out_of_range"), (4, "out_of_range")]


def test_it_is_found_in_excel_95(tmp_path: Path) -> None:
    rows = [TEXTS.columns, ("a", dt.datetime(1900, 2, 28)), ("b", dt.datetime(1900, 3, 1))]  # numbers 60 and 61
    got, _ = read_bytes(tmp_path, make_excel95(rows, "gb18030", 936), TEXTS, "a.xls", type="xls")
    assert sound(got, TEXTS) == [("b", "1900-03-01")]
    assert aside(got) == [(2, "out_of_range")]


def test_days_that_count_from_1904_know_the_28_february_of_1900(tmp_path: Path) -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"date_1904": True}) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": DAY})
        for i, row in enumerate([TEXTS.columns, ("a", 60), ("b", 61)]):
            sheet.write_row(i, 0, row, day)
    rows, _ = read_bytes(tmp_path, out.getvalue(), TEXTS, "a.xlsx", type="xlsx")
    assert sound(rows, TEXTS) == [("a", "1904-03-01"), ("b", "1904-03-02")]
