"""The check before delivery: the pipeline's own verdict, in the terminal, as a page and as a workbook."""

from __future__ import annotations

import html
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from bad_input import HEADER, files_source, sound_rows, write_catalog, write_csv

from guiji.errors import UsageError
from guiji.pipeline import run_resource
from guiji.precheck import check_file, judge_file, write_verdict
from guiji.precheck.page import render_page
from guiji.precheck.sheet import write_workbook
from guiji.precheck.verdict import Verdict, join_lines
from guiji.settings import Settings

GOOD = sound_rows(60)
BIRTH = GOOD[0][2]
#: line in the file -> a row that is wrong there
WRONG = {
    3: ("", *GOOD[1][1:]),  # no key
    5: (GOOD[3][0][:-1] + ("1" if GOOD[3][0][-1] != "1" else "2"), *GOOD[3][1:]),  # check digit
    8: (*GOOD[6][:2], "2024-02-30", GOOD[6][3]),  # no such day
    9: GOOD[7],
}


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "exports"
    folder.mkdir()
    return write_catalog(settings, files_source(folder))


def rows_with_errors() -> list[tuple[str, ...]]:
    return [WRONG.get(line, row) for line, row in enumerate(GOOD, 2)] + [GOOD[0]]


@pytest.fixture
def bad(place: Settings, tmp_path: Path) -> Path:
    return write_csv(tmp_path / "exports" / "people_20261001.csv", rows_with_errors())


def places(verdict: Verdict) -> set[tuple[int, str, str]]:
    return {(f.line, f.rule_id, f.verdict) for f in verdict.findings}


def test_the_verdict_is_the_pipelines(place: Settings, bad: Path, conn: Any) -> None:
    """The same rows, rules, lines and counts as a run of the same file; and nothing is left behind."""
    verdict = judge_file(place, "ab.people", bad)
    assert conn.execute("SELECT count(*) AS n FROM ops.batch").fetchone()["n"] == 0
    assert not (place.home / "staging").exists()
    record = run_resource("ab.people", place)
    conn.rollback()
    found = conn.execute("SELECT locator, rule_id, verdict FROM ops.finding WHERE batch_id = %s", [record.batch_id])
    ledger = {(int(re.findall(r":(\d+)$", r["locator"])[0]), r["rule_id"], r["verdict"]) for r in found}
    assert places(verdict) == ledger
    assert {line for line, _, v in ledger if v == "rejected"} == {3, 5, 8}
    assert (verdict.rows_read, verdict.rows_rejected, verdict.rows_duplicate, verdict.outcome) == (
        record.rows_read, record.rows_rejected, record.rows_duplicate, record.outcome,
    )  # fmt: skip


def test_a_held_and_a_refused_file_are_told_as_the_pipeline_would(place: Settings, tmp_path: Path) -> None:
    held = judge_file(
        place, "ab.people", write_csv(tmp_path / "people_20261002.csv", [(*r[:2], "腊月初八", r[3]) for r in GOOD])
    )
    assert (held.outcome, held.exit_code, held.rows_rejected) == ("held", 1, 60)
    assert held.reasons
    refused = judge_file(
        place, "ab.people", write_csv(tmp_path / "people_20261003.csv", [r[:3] for r in GOOD], HEADER[:3])
    )
    assert (refused.outcome, refused.exit_code, refused.rules) == ("refused", 1, ())
    assert "更新时间" in refused.reasons[0]


def test_a_name_that_would_never_be_taken_is_told(place: Settings, tmp_path: Path) -> None:
    verdict = judge_file(place, "ab.people", write_csv(tmp_path / "人员.csv", GOOD))
    assert (verdict.outcome, verdict.notes) == (
        "passed",
        ("文件名“人员.csv”不符合约定的命名（people_〈日期〉.(csv|xlsx)），以此名称报送将不会被收取，请改名",),
    )


def test_personal_values_in_names_are_masked_in_every_word_of_a_verdict(place: Settings, tmp_path: Path) -> None:
    personal = ("110105199001010015", "13812345678")
    path = tmp_path / f"张三 {personal[1]}.csv"
    refused = judge_file(
        place, "ab.people", write_csv(path, [(*r, "1") for r in GOOD], (*HEADER, f"张三{personal[0]}"))
    )
    assert (refused.outcome, refused.file) == ("refused", "张三 1381*****78.csv")
    assert "张三1101************15" in refused.reasons[0]
    sheets = tmp_path / "people_20261003.xlsx"
    with xlsxwriter.Workbook(str(sheets)) as book:
        for name in (f"张三{personal[1]}", personal[0]):
            book.add_worksheet(name).write_row(0, 0, ("x", "y"))
    place = write_catalog(place, files_source(tmp_path, type="xlsx", layout={"sheet": "名册"}))
    other = judge_file(place, "ab.people", sheets)
    assert "（有：张三1381*****78、1101************15）" in other.reasons[0]
    shown = " ".join(
        (*refused.reasons, *refused.notes, *other.reasons, *other.notes, render_page(refused), render_page(other))
    )
    assert [p for p in personal if p in shown] == []


def test_skipped_totals_are_named_by_their_lines(place: Settings, tmp_path: Path) -> None:
    place = write_catalog(place, files_source(tmp_path, layout={"total": "合计"}))
    path = write_csv(tmp_path / "people_20261001.csv", [*GOOD, ("", "合计", "", "60")])
    verdict = judge_file(place, "ab.people", path)
    assert (verdict.rows_rejected, dict(verdict.skipped)) == (0, {"合计行": 1})
    assert verdict.notes[-1] == "文件 people_20261001.csv：1 行按约定作为合计行，未采集（第 62 行）"


def test_a_resource_of_a_database_checks_an_export_of_any_form(settings: Settings, tmp_path: Path) -> None:
    place = write_catalog(settings, {"source": {"kind": "database", "connection": "fep", "table": "people"}})
    path = tmp_path / "export.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        page = book.add_worksheet("名册")
        for r, row in enumerate([("测试局名册",), HEADER, *rows_with_errors()]):
            for c, cell in enumerate(row):
                page.write_string(r, c, cell)
    verdict = judge_file(place, "ab.people", path)
    assert {(f.place, f.line) for f in verdict.findings if f.verdict == "rejected"} == {
        ("名册", 4),
        ("名册", 6),
        ("名册", 9),
    }
    assert dict(verdict.skipped) == {"标题行": 1}


def test_the_page_says_all_of_it_masked(place: Settings, bad: Path) -> None:
    verdict = judge_file(place, "ab.people", bad)
    page = render_page(verdict)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for rule in verdict.failed:
        assert rule.title in text
        assert rule.mend in text
    assert all(f.value in text for f in verdict.findings)
    assert [r[0] for r in (*GOOD, *WRONG.values()) if r[0] and r[0] in page] == []
    assert "<script" not in page
    assert re.findall(r"(?:src|href)=", page) == []


def test_the_workbook_has_every_line_masked_and_never_live(place: Settings, bad: Path, tmp_path: Path) -> None:
    verdict = judge_file(place, "ab.people", bad)
    out = tmp_path / "out.xlsx"
    write_verdict(verdict, out)
    book = openpyxl.load_workbook(out)
    assert book.sheetnames == ["检查结果", "逐行清单"]
    rows = [tuple(c.value for c in row) for row in book["逐行清单"].iter_rows(min_row=4, max_col=6)]
    assert rows == [(f.place or None, f.line, f.word, f.rule, f.value or None, f.mend) for f in verdict.findings]
    cells = [c for page in book for row in page.iter_rows() for c in row]
    assert {c.data_type for c in cells} <= {"s", "n"}
    assert [r[0] for r in GOOD if any(r[0] in str(c.value) for c in cells)] == []
    assert (write_workbook(verdict), out.stat().st_mode & 0o777) == (write_workbook(verdict), 0o600)


def test_a_formula_in_the_file_stays_a_text(place: Settings, tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://x","y")<script>alert(1)</script>'
    path = write_csv(tmp_path / "people_20261001.csv", [*GOOD, ("150602199001019999", formula, BIRTH, GOOD[0][3])])
    verdict = replace(judge_file(place, "ab.people", path), department=formula, file=formula)
    assert "<script>alert" not in render_page(verdict)
    out = tmp_path / "o.xlsx"
    write_verdict(verdict, out)
    assert {c.data_type for page in openpyxl.load_workbook(out) for row in page.iter_rows() for c in row} <= {"s", "n"}


def test_both_forms_are_written_and_another_is_refused_before_the_check(
    place: Settings, bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("结果.html", "结果.XLSX"):
        assert check_file(place, "ab.people", bad, tmp_path / name) == 0
        assert (tmp_path / name).stat().st_size > 2000
        assert f"检查结果已写入 {tmp_path / name}" in capsys.readouterr().out
    before = set(os.listdir(tmp_path))
    for name in ("结果.pdf", "nowhere/结果.html"):
        with pytest.raises(UsageError):
            check_file(place, "ab.people", bad, tmp_path / name)
    assert set(os.listdir(tmp_path)) == before


def test_line_numbers_are_drawn_together() -> None:
    assert join_lines([3, 4, 5, 9, 11, 12], 9) == "3–5、9、11–12"
    assert join_lines([1, 3, 5], 2) == "1、3 …"
    assert join_lines([], 2) == ""
