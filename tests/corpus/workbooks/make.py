"""Awkward workbooks as departments send them, saved by LibreOffice in each form it knows, with what must come of them.

``python make.py`` writes them anew; it needs ``soffice``, reading them does not. What stands in them is described once,
as an xlsx (``tests/workbooks.py``), which LibreOffice opens, calculates and saves in every form.
Columns are 姓名, 编号, 地址 unless the case says otherwise.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from workbooks import Fault, Formula, Sheet, Shown, make_book  # noqa: E402

#: extension -> the name by which LibreOffice knows the form
FORMS = {"xlsx": "xlsx", "xls": "xls", "ods": "ods", "fods": "fods", "xml": "xml:MS Excel 2003 XML", "html": "html"}
HEAD = ("姓名", "编号", "地址")
THREE = (("张三", "000001", "东街"), ("李四", "000592", "南街"), ("王五", "010101", "西街"))
ID = 110105199001010017


@dataclass(frozen=True)
class Case:
    """Sheets, the declared columns and ``format``, and what comes of every form: refused by a rule, or the sound rows,
    the rows set aside by line, and the lines counted as passed over."""

    sheets: tuple[Sheet, ...]
    sound: tuple[tuple[str | None, ...], ...] = ()
    aside: tuple[tuple[int, str], ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    columns: tuple[Any, ...] = HEAD
    layout: dict[str, Any] = field(default_factory=dict)
    forms: tuple[str, ...] = ("xlsx", "xls", "ods")
    refused: str | None = None


CASES: dict[str, Case] = {
    "plain": Case((Sheet([HEAD, *THREE]),), THREE, forms=tuple(FORMS)),
    "titles_remarks_and_totals": Case(
        (
            Sheet(
                [
                    ("某市灵活就业人员名册",),
                    ("填报单位：市人社局", None, "2026年10月"),
                    HEAD,
                    *THREE[:2],
                    (None, None, None),
                    THREE[2],
                    ("合计", "3", None),
                    ("注：编号为六位。",),
                ],
                merged=((0, 0, 0, 2), (8, 0, 8, 2)),
            ),
        ),
        tuple((*row, "市人社局") for row in THREE),
        skipped={"title": 1, "metadata": 1, "blank": 1, "total": 1, "footnote": 1},
        columns=(*HEAD, "填报单位"),
        layout={"metadata": {"填报单位": "填报单位：(\\S+)"}, "total": "合计"},
    ),
    "two_row_header": Case(
        (
            Sheet(
                [("地区", "常住人口", None, "户籍"), (None, "男", "女", None), ("东胜区", "000012", "000034", "甲")],
                merged=((0, 0, 1, 0), (0, 1, 0, 2), (0, 3, 1, 3)),
            ),
        ),
        (("东胜区", "000012", "000034", "甲"),),
        columns=("地区", "常住人口/男", "常住人口/女", "户籍"),
        layout={"header_rows": 2},
    ),
    "a_hidden_sheet_and_a_preface": Case(
        (
            Sheet([("说明",), ("本表由市人社局填报。",)], name="填表说明"),
            Sheet([HEAD, ("旧人", "999999", "老街")], name="去年", hidden=True),
            Sheet([HEAD, *THREE], name="名册"),
        ),
        THREE,
    ),
    "f19_numbers_that_lost_their_digits": Case(
        (
            Sheet(
                [
                    HEAD,
                    ("张三", ID, "东街"),
                    ("李四", str(ID), "南街"),
                    ("王五", Shown(592, "000000", "000592"), "西街"),
                ]
            ),
        ),
        (("李四", str(ID), "南街"), ("王五", "000592", "西街")),
        aside=((2, "precision_lost"),),
    ),
    "f23_dates_in_every_spelling": Case(
        (
            Sheet(
                [
                    ("姓名", "日期"),
                    ("a", Shown(dt.date(2024, 2, 29), "yyyy-mm-dd", "2024-02-29")),
                    ("b", "2024年2月29日"),
                    ("c", "2024/2/30"),
                    ("d", 45351),
                    ("e", "20240229"),
                    ("f", "农历二月初一"),
                ]
            ),
        ),
        (
            ("a", "2024-02-29"),
            ("b", "2024年2月29日"),
            ("c", "2024/2/30"),
            ("d", "45351"),
            ("e", "20240229"),
            ("f", "农历二月初一"),
        ),
        columns=("姓名", {"title": "日期", "type": "date32"}),
    ),
    "f44_formulas_and_errors": Case(
        (Sheet([HEAD, ("张三", Formula("1+2", 3), "东街"), ("李四", Fault("#DIV/0!"), "南街"), THREE[2]]),),
        (("张三", "3", "东街"), THREE[2]),
        aside=((3, "cell_error"),),
    ),
    "f45_merged_cells": Case(
        (Sheet([HEAD, THREE[0], ("李四", "2", None), ("王五", "3", "西街")], merged=((1, 2, 2, 2),)),),
        (THREE[0], ("王五", "3", "西街")),
        aside=((3, "merged_cell"),),
    ),
    "f45_merged_cells_that_are_meant": Case(
        (Sheet([HEAD, THREE[0], ("李四", "2", None), ("王五", "3", "西街")], merged=((1, 2, 2, 2),)),),
        (THREE[0], ("李四", "2", "东街"), ("王五", "3", "西街")),
        layout={"fill_merged": ["地址"]},
    ),
    "text_as_people_type_it": Case(
        (Sheet([HEAD, (" 张三 ", "'0001", "东街\n2 号"), ("李\u200b四", "００２", "NA"), ("王五", "1E5", "3-1")]),),
        ((" 张三 ", "'0001", "东街\n2 号"), ("李\u200b四", "００２", "NA"), ("王五", "1E5", "3-1")),
    ),
    "two_sheets_that_both_have_the_header": Case(
        (Sheet([HEAD, THREE[0]], name="一"), Sheet([HEAD, THREE[1]], name="二")),
        refused="delivery.structure",
    ),
    "no_header_at_all": Case((Sheet(THREE),), refused="delivery.missing_column"),
}


def describe() -> str:
    """``expected.json``: of each file what must come of it."""
    expected: dict[str, Any] = {}
    for name, case in CASES.items():
        for form in case.forms:
            said: dict[str, Any] = {"columns": list(case.columns), "layout": case.layout}
            if case.refused:
                said["refused"] = case.refused
            else:
                said |= {"sound": case.sound, "aside": case.aside, "skipped": case.skipped}
            expected[f"{name}.{form}"] = said
    return json.dumps(expected, ensure_ascii=False, indent=1) + "\n"


def write(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, case in CASES.items():
            for form in case.forms:
                # its export to XML of 2003 breaks down over the many columns of an xlsx
                kind = "fods" if form == "xml" else "xlsx"
                source = Path(scratch) / f"{name}.{kind}"
                source.write_bytes(make_book(kind, *case.sheets))
                _save_as(source, form, folder, Path(scratch))
    (folder / "expected.json").write_text(describe(), encoding="utf-8")


def _save_as(source: Path, form: str, folder: Path, scratch: Path) -> None:
    profile = f"-env:UserInstallation=file://{scratch}/profile"
    command = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        FORMS[form],
        "--outdir",
        str(scratch / "out"),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    made = scratch / "out" / f"{source.stem}.{form}"
    (folder / made.name).write_bytes(made.read_bytes())


if __name__ == "__main__":
    write(HERE)
