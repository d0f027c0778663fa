"""A check and a run of the same file say the same: verdict, counts, findings, and why a batch would be held."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from bad_input import files_source, sound_rows, write_catalog, write_csv
from test_watermark import NOW

from guiji.pipeline import run_resource
from guiji.precheck import check_file, judge_file, write_verdict
from guiji.precheck.verdict import Verdict
from guiji.records import BatchRecord
from guiji.settings import Settings

HEADER = ("公民身份号码", "姓名", "性别", "手机")
FIELDS = [
    {"name": "person_id", "title": "公民身份号码", "nullable": False, "sensitivity": 3, "identifier": "citizen_id"},
    {"name": "person_name", "title": "姓名", "sensitivity": 3},
    {"name": "sex", "title": "性别", "codes": "sex", "code_map": {"fixable": {"男": "1", "女": "2"}}},
    {"name": "mobile", "title": "手机", "sensitivity": 3},
]
Row = tuple[str, ...]
PEOPLE: list[Row] = [(r[0], r[1], "21"[int(r[0][16]) % 2], "13912345678") for r in sound_rows(300)]
BAND = {"deleted": 0.1, "shrink": 0.1, "grow": 0.2, "nulls": {"mobile": 0.1}, "distribution": {"sex": 0.1}}


class City:
    """One resource whose deliveries are files, each checked and then run."""

    def __init__(self, settings: Settings, folder: Path, conn: Any, **more: Any) -> None:
        folder.mkdir()
        body = {**files_source(folder), "fields": FIELDS, "order": [], "tolerance": BAND, **more}
        self.folder, self.conn, self.settings = folder, conn, write_catalog(settings, body).at(NOW)

    def write(self, day: str, rows: list[Row]) -> Path:
        return write_csv(self.folder / f"people_{day}.csv", rows, header=HEADER)

    def both(self, day: str, rows: list[Row]) -> tuple[Verdict, BatchRecord]:
        verdict = judge_file(self.settings, "ab.people", self.write(day, rows))
        return verdict, run_resource("ab.people", self.settings)

    def agree(self, day: str, rows: list[Row]) -> tuple[Verdict, BatchRecord]:
        """Both, after everything that a department reads was compared."""
        verdict, record = self.both(day, rows)
        self.conn.rollback()
        found = self.conn.execute(
            "SELECT locator, rule_id, verdict FROM ops.finding WHERE batch_id = %s", [record.batch_id]
        )
        told = {(int(re.findall(r":(\d+)$", r["locator"])[0]), r["rule_id"], r["verdict"]) for r in found}
        assert {(f.line, f.rule_id, f.verdict) for f in verdict.findings} == told
        assert (verdict.outcome, verdict.rows_read, verdict.rows_rejected, verdict.rows_duplicate) == (
            record.outcome, record.rows_read, record.rows_rejected, record.rows_duplicate,
        )  # fmt: skip
        assert verdict.rows_good == record.rows_read - record.rows_rejected - record.rows_duplicate
        for reason in verdict.reasons:
            assert reason.rstrip("。") in str(record.reason)
        assert bool(verdict.reasons) == (record.status == "held")
        return verdict, record


@pytest.fixture
def city(settings: Settings, tmp_path: Path, conn: Any) -> City:
    return City(settings, tmp_path / "exports", conn)


def count(text: str) -> list[int]:
    return [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", text)]


def test_a_first_and_a_changed_delivery(city: City) -> None:
    verdict, record = city.agree("20261001", PEOPLE[:200])
    assert (verdict.outcome, verdict.compared) == ("passed", "尚无已入库的数据，不需要比对。")
    # changed, gone, come, wrong, twice; all the others are carried
    rows = [(*PEOPLE[0][:3], "13800000000"), *PEOPLE[3:202], (PEOPLE[202][0][:-1] + "A", *PEOPLE[202][1:]), PEOPLE[9]]
    verdict, record = city.agree("20261002", rows)
    assert (verdict.outcome, verdict.rows_read, verdict.rows_rejected, verdict.rows_duplicate) == ("warning", 202, 1, 1)
    assert count(verdict.compared) == [
        200, record.rows_new, record.rows_changed, record.rows_unchanged, record.rows_deleted,
    ]  # fmt: skip
    assert (record.rows_new, record.rows_changed) == (2, 1)


def test_what_was_mended_is_a_warning_in_both(city: City) -> None:
    verdict, record = city.agree("20261001", [(r[0], r[1], "男", r[3]) for r in PEOPLE[:50]])
    assert (verdict.outcome, verdict.rows_rejected, record.status) == ("warning", 0, "published")
    assert {f.verdict for f in verdict.findings} == {"mended"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (PEOPLE[:120], ["主键消失", "减少40.0%"]),
        (PEOPLE[:260], ["增加30.0%"]),
        ([(*r[:3], "") for r in PEOPLE[:200]], ["“手机”为空的行占比"]),
        ([(*r[:2], "2", r[3]) for r in PEOPLE[:200]], ["“性别”的取值分布突变"]),
    ],
    ids=["shrunken", "grown", "nulls", "distribution"],
)
def test_what_would_be_held_is_held_in_both(city: City, rows: list[Row], said: list[str], tmp_path: Path) -> None:
    city.agree("20261001", PEOPLE[:200])
    verdict, record = city.agree("20261002", rows)
    assert (verdict.outcome, verdict.exit_code, record.status) == ("held", 1, "held")
    assert [s for s in said if not any(s in r for r in verdict.reasons)] == []
    write_verdict(verdict, tmp_path / "a.xlsx")
    cells = [str(c) for row in openpyxl.load_workbook(tmp_path / "a.xlsx").worksheets[0].values for c in row if c]
    write_verdict(verdict, tmp_path / "a.html")
    for text in ("\n".join(cells), (tmp_path / "a.html").read_text(encoding="utf-8")):
        assert [s for s in (*said, verdict.compared) if s not in text] == []


def test_an_identical_redelivery_is_told_to_be_one(city: City, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*PEOPLE[:199], ("", *PEOPLE[199][1:])]
    city.agree("20261001", rows)
    city.agree("20261002", PEOPLE[:200])
    path = city.write("20261003", rows)
    assert check_file(city.settings, "ab.people", path) == 0
    said = capsys.readouterr().out
    assert "结论：该文件已经入库，不需要再次报送。" in said
    assert "与已入库的“people_20261001.csv”内容完全相同：再次报送时不再检查，200 行全部计为重复，现有数据不变。" in said
    assert "第 201 行" in said  # what stands in the file is shown all the same
    record = run_resource("ab.people", city.settings)
    assert (record.status, record.outcome, record.rows_read, record.rows_duplicate) == ("published", "passed", 200, 200)


def test_an_old_file_is_told_to_change_nothing(city: City) -> None:
    city.agree("20261010", PEOPLE[:200])
    (city.folder / "people_20261010.csv").unlink()
    verdict, record = city.agree("20260801", [*PEOPLE[:195], (*PEOPLE[196][:3], "13800000000")])
    assert (record.status, record.rows_superseded) == ("published", 196)
    assert verdict.compared.startswith("文件早于现有数据（200 行）所在的一期：报送后只作存档，不会取代现有数据")
    assert any("比上一期还早" in note for note in verdict.notes)


def test_changes_are_compared_with_the_rows_of_their_keys(settings: Settings, tmp_path: Path, conn: Any) -> None:
    city = City(settings, tmp_path / "exports", conn, load="incremental")
    city.agree("20261001", PEOPLE[:150])
    verdict, record = city.agree("20261002", [(*PEOPLE[0][:3], "13800000000"), *PEOPLE[148:152]])
    assert count(verdict.compared) == [150, 2, 1, 2, 0]
    assert (record.rows_new, record.rows_changed, record.rows_unchanged) == (2, 1, 2)


def test_where_nothing_can_be_reached_the_file_alone_is_judged(city: City) -> None:
    city.agree("20261001", PEOPLE[:200])
    path = city.write("20261002", PEOPLE[:120])
    for warehouse, why in (
        (None, "本机没有归集库"),
        ("postgresql://nobody@127.0.0.1:1/none", "归集库连接不上或不能使用"),
    ):
        verdict = judge_file(replace(city.settings, warehouse=warehouse), "ab.people", path)
        assert (verdict.outcome, verdict.rows_good) == ("passed", 120)
        assert verdict.compared.startswith(f"与现有数据的比对未进行（{why}）")


def test_a_check_leaves_nothing_in_the_warehouse_or_the_home(city: City) -> None:
    city.agree("20261001", PEOPLE[:200])
    path = city.write("20261002", [*PEOPLE[:198], (*PEOPLE[199][:3], "")])

    def state() -> tuple[list[Any], list[Any], list[str]]:
        city.conn.rollback()
        batches = city.conn.execute("SELECT * FROM ops.batch ORDER BY batch_no").fetchall()
        rows = city.conn.execute("SELECT * FROM source.ab__people ORDER BY person_id").fetchall()
        return batches, rows, sorted(str(p) for p in city.settings.home.rglob("*"))

    before = state()
    assert judge_file(city.settings, "ab.people", path).outcome == "passed"
    assert state() == before
