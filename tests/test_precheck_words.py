"""What a clerk reads of a check before delivery: Chinese, without a regular expression, with what is missing and how to go on."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bad_input import HEADER, files_source, sound_rows, write_catalog, write_csv

from guiji.errors import UsageError
from guiji.precheck import check_file, judge_file
from guiji.precheck.page import render_page
from guiji.quality.pattern_words import describe_pattern
from guiji.settings import TIME_ZONE, Settings

GOOD = sound_rows(20)


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    """A catalog of one resource; a check needs no warehouse."""
    settings = Settings.from_env({"GUIJI_HOME": str(tmp_path / "home")})
    return write_catalog(settings.at(datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)), files_source(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}", "11 位手机号码，或带区号的固定电话（如 0477-8500000）"),
        ("国有|集体|个人", "“国有”、“集体”、“个人”之一"),
        (r"\d{4}年([1-9]|1[0-2])月", "4 位数字＋“年”＋（1 位 1–9 的数字，或 “1”＋1 位 0–2 的数字）＋“月”"),
        (r"\d{4}年\d{1,2}月", "4 位数字＋“年”＋1–2 位数字＋“月”"),
        (r"\d{6}BN\d{4}", "6 位数字＋“BN”＋4 位数字"),
        (r"[GSX]\d{3,4}[0-9A-Z]{6,12}", "G、S、X 之一＋3–4 位数字＋6–12 位数字或大写字母"),
        (r"[A-Z]{2}-?\d+", "2 位大写字母＋可省略的“-”＋若干位数字"),
        ("(?i)abc", None),
        (r"[^0-9]+", None),
        (r"a.*", None),
        (r"(ab", None),
        (r"[\dX]{18}", None),
    ],
)
def test_a_pattern_is_said_in_words(pattern: str, words: str | None) -> None:
    assert describe_pattern(pattern) == words


def test_every_pattern_of_the_example_has_words() -> None:
    from guiji.catalog import load_catalog
    from guiji.settings import ROOT

    catalog = load_catalog(ROOT / "include" / "catalog")
    patterns = {f.pattern for r in catalog.resources.values() for f in r.model.fields if f.pattern}
    assert len(patterns) > 20
    assert {p for p in patterns if describe_pattern(p) is None or "\\" in str(describe_pattern(p))} == set()


def test_a_header_that_is_wrong_is_shown_beside_the_right_one(place: Settings, tmp_path: Path) -> None:
    names = ("身份证号", *HEADER[1:3], "登记日")
    verdict = judge_file(place, "ab.people", write_csv(tmp_path / "people_20261001.csv", GOOD, names))
    assert verdict.outcome == "refused"
    assert "另有未登记的列" in verdict.reasons[0]
    assert "现有数据继续有效" not in verdict.reasons[0]
    assert verdict.header == tuple((name, True) for name in HEADER)
    page = render_page(verdict)
    assert [page.index(f"<td>{name}</td>") > 0 for name in HEADER] == [True] * 4


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("people_20261019.csv", None),
        ("people_20261018.csv", None),
        ("people_20260901.csv", "文件名中的日期（2026-09-01）比上一期还早，请确认没有选错文件"),
        ("people_20261021.csv", "文件名中的日期（2026-10-21）还没有到，报送后要到该日才会收取"),
        ("people_20261399.csv", "文件名中的“20261399”不是有效的日期，以此名称报送，本次报送会整体被退回，请改名"),
    ],
)
def test_the_date_in_a_name_is_looked_at(name: str, note: str | None, place: Settings, tmp_path: Path) -> None:
    verdict = judge_file(place, "ab.people", write_csv(tmp_path / name, GOOD))
    assert (verdict.outcome, verdict.notes) == ("passed", (note,) if note else ())


@pytest.mark.parametrize(
    ("name", "conclusion", "code"),
    [
        ("people_20261019.csv", "可以报送。", 0),
        ("people_20261301.csv", "改名后可以报送。", 1),
        ("people_20260230.csv", "改名后可以报送。", 1),
        ("people.csv", "改名后可以报送。", 1),
    ],
)
def test_a_file_that_is_not_taken_under_its_name_is_not_called_ready(
    name: str, conclusion: str, code: int, place: Settings, tmp_path: Path
) -> None:
    verdict = judge_file(place, "ab.people", write_csv(tmp_path / name, GOOD))
    assert (verdict.outcome, verdict.conclusion, verdict.exit_code) == ("passed", conclusion, code)


def test_a_marker_that_belongs_to_the_delivery_is_told(place: Settings, tmp_path: Path) -> None:
    body: Any = files_source(tmp_path)
    body["source"]["complete"] = {"mode": "ok_file", "suffix": ".ok"}
    place = write_catalog(place, body)
    verdict = judge_file(place, "ab.people", write_csv(tmp_path / "people_20261019.csv", GOOD))
    assert verdict.notes == ("报送时，上传完成后还要在同一目录放置标记文件“people_20261019.csv.ok”，否则不会被收取",)


def test_what_a_check_cannot_know_is_said(place: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_file(place, "ab.people", write_csv(tmp_path / "人员.csv", GOOD))
    said = capsys.readouterr().out
    assert "结论：改名后可以报送。" in said
    assert "说明：与现有数据的比对未进行（本机没有归集库）" in said
    assert not (place.home / "postgres").exists()


def test_wrong_use_is_told_in_chinese(place: Settings, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "people_20261019.csv", GOOD)
    for path, out, said in (
        (tmp_path / "没有.csv", None, "没有找到文件"),
        (tmp_path, None, "不是文件"),
        (file, tmp_path / "a.pdf", "须以 .xlsx 或 .html 结尾"),
        (file, tmp_path / "没有" / "a.html", "检查结果不能写入"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            check_file(place, "ab.people", path, out)
        plain = re.sub(
            re.escape(str(tmp_path)) + r"\S*|--out|\.\w+|\[Errno.*|No such file or directory", "", str(caught.value)
        )
        assert re.findall(r"[A-Za-z]{3,}", plain) == []


def test_a_terminal_of_any_width_shows_where_and_how_to_mend(
    place: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [GOOD[0], (*GOOD[1][:2], "2024-02-30", GOOD[1][3]), *GOOD[2:]]
    code = check_file(place, "ab.people", write_csv(tmp_path / "people_20261019.csv", rows))
    lines = capsys.readouterr().out.splitlines()
    assert (code, [line for line in lines if line.startswith(("1. ", "   怎样", "  第"))]) == (
        0,
        [
            "1. “出生日期”必须是日期（如 2024-01-31）：不合格 1 行（第 3 行）",
            "   怎样更正：请将“出生日期”改为日期（如 2024-01-31）。",
            "  第3行 不合格：“出生日期”必须是日期（如 2024-01-31） → 2024-02-30",
        ],
    )
