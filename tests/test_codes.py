"""Code tables: strictly read, whole, and the same as the real files where those are at hand."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from guiji.codes import CodeTableError, list_code_tables, load_code_table, load_divisions, read_code_table

GOOD = "# standard: GB/T 0\n# date: 2026-01-01\n# source: here\n# note: a note\ncode,name\n01,甲\n02,乙\n"


def write(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_every_table_says_where_it_comes_from() -> None:
    tables = {name: load_code_table(name) for name in list_code_tables()}
    assert set(tables) >= {"division", "education", "ethnic", "industry", "marital", "person_status"} | {
        "province",
        "registration_status",
        "relation",
        "sex",
        "unit_type",
    }
    for name, table in tables.items():
        assert table.name == name
        assert table.standard
        assert table.date
        assert table.source
        assert table.codes == frozenset(table.names) == frozenset(table.rows)


def test_small_standards_are_whole() -> None:
    assert dict(load_code_table("sex").names) == {"0": "未知的性别", "1": "男", "2": "女", "9": "未说明的性别"}
    assert load_code_table("marital").codes == {"10", "20", "21", "22", "23", "30", "40", "90"}
    assert load_code_table("ethnic").codes == {f"{n:02d}" for n in range(1, 57)} | {"97", "98"}
    levels = [row["level"] for row in load_code_table("industry").rows.values()]
    assert {level: levels.count(level) for level in set(levels)} == {"门类": 20, "大类": 97, "中类": 473, "小类": 1380}


def test_ordos_has_its_history() -> None:
    divisions = load_divisions()
    was = {c: d for c, d in divisions.items() if c.startswith("1527")}
    now = {c: d for c, d in divisions.items() if c.startswith("1506")}
    assert {c: (d.name, d.valid_to, d.status) for c, d in was.items()} == {
        "152700": ("伊克昭盟", "2001-12-31", "abolished"),
        "152701": ("东胜市", "2001-12-31", "abolished"),
        "152721": ("东胜县", "1983-12-31", "abolished"),
        "152722": ("达拉特旗", "2001-12-31", "abolished"),
        "152723": ("准格尔旗", "2001-12-31", "abolished"),
        "152724": ("鄂托克前旗", "2001-12-31", "abolished"),
        "152725": ("鄂托克旗", "2001-12-31", "abolished"),
        "152726": ("杭锦旗", "2001-12-31", "abolished"),
        "152727": ("乌审旗", "2001-12-31", "abolished"),
        "152728": ("伊金霍洛旗", "2001-12-31", "abolished"),
    }
    assert {c: (d.name, d.valid_from, d.status) for c, d in now.items()} == {
        "150600": ("鄂尔多斯市", "2001-01-01", "current"),
        "150601": ("市辖区", "2001-01-01", "current"),
        "150602": ("东胜区", "2001-01-01", "current"),
        "150603": ("康巴什区", "2016-01-01", "current"),
        "150621": ("达拉特旗", "2001-01-01", "current"),
        "150622": ("准格尔旗", "2001-01-01", "current"),
        "150623": ("鄂托克前旗", "2001-01-01", "current"),
        "150624": ("鄂托克旗", "2001-01-01", "current"),
        "150625": ("杭锦旗", "2001-01-01", "current"),
        "150626": ("乌审旗", "2001-01-01", "current"),
        "150627": ("伊金霍洛旗", "2001-01-01", "current"),
    }


def test_division_dates_are_in_order() -> None:
    divisions = load_divisions()
    assert len(divisions) > 7000
    assert {d.status for d in divisions.values()} == {"current", "abolished", "statistical", "special"}
    for d in divisions.values():
        assert len(d.code) == 6
        assert d.code.isdigit()
        assert not (d.valid_from and d.valid_to) or d.valid_from < d.valid_to, d
        if d.status == "current":
            assert d.valid_from, d
            assert not d.valid_to, d


def test_provinces_are_divisions() -> None:
    assert load_code_table("province").codes <= load_code_table("division").codes


def test_an_unknown_table_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        CodeTableError, match=r"no code table 'martial'.*Did you mean 'marital'.*Allowed: caliber, division"
    ):
        load_code_table("martial")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (GOOD.replace("02,乙", "01,乙"), 7, "code '01' is already in the table"),
        (GOOD.replace("02,乙", "02"), 7, "has 1 cells, the header 2"),
        (GOOD.replace("02,乙", "02,乙,丙"), 7, "has 3 cells"),
        (GOOD.replace("02,乙", " 02,乙"), 7, "without spaces"),
        (GOOD.replace("02,乙", "02,"), 7, "must be filled"),
        (GOOD.replace("02,乙", '02,"乙'), 7, "unexpected end of data"),
        (GOOD.replace("code,name", "id,name"), 5, "must begin with code,name"),
        (GOOD.replace("# source: here\n", ""), 1, "lacks the line '# source"),
        (GOOD.replace("# note: a note", "# remark: x"), 4, "must be '# word: text'"),
        (GOOD.replace("01,甲\n02,乙\n", ""), 5, "the table is empty"),
        ("", 1, "lacks the line"),
    ],
)
def test_a_broken_table_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CodeTableError) as caught:
        read_code_table(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert what in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodeTableError, match="is not UTF-8"):
        read_code_table(write(tmp_path, GOOD, "gb18030"))


# --- against the real files --------------------------------------------------------------------------


@pytest.fixture
def real_codes() -> Path:
    folder = os.environ.get("GUIJI_REAL_DATA")
    if not folder or not (Path(folder) / "codes").is_dir():
        pytest.skip("NOT COMPARED with the real code files: GUIJI_REAL_DATA names no folder that holds codes/")
    return Path(folder) / "codes"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


#: not in the real list: 两江新区 (2025), 和康县 and 和安县 (2024); 西沙区 and 南沙区 (2020)
NEWER = {"500157", "653228", "653229", "460302", "460303"}
ENDED_SINCE = {"500105", "500112"}
#: in the statistics list as counties, but prefectures without counties by the standard
PREFECTURES_WITHOUT_COUNTIES = {"441900", "442000", "460400"}


def test_divisions_are_those_of_the_real_lists(real_codes: Path) -> None:
    divisions = load_divisions()
    assert {row["code"] for row in read(real_codes / "GB-2260.csv")} <= set(divisions)
    areas = {row["code"]: row["name"] for row in read(real_codes / "areas.csv")}
    assert set(areas) <= set(divisions)
    counties = {
        c
        for c, d in divisions.items()
        if d.status == "current" and not c.endswith("00") and d.name not in ("市辖区", "县")
    }
    zones = {c for c, d in divisions.items() if d.status == "statistical"}
    in_use = counties - NEWER | ENDED_SINCE | PREFECTURES_WITHOUT_COUNTIES
    assert in_use == set(areas) - zones
    assert {c: divisions[c].name for c in counties & set(areas)} == {c: areas[c] for c in counties & set(areas)}


def test_ethnic_groups_are_those_of_the_real_list(real_codes: Path) -> None:
    rows = load_code_table("ethnic").rows
    ours = {(c, r["name"], r["letters"]) for c, r in rows.items() if r["origin"] == "standard"}
    assert ours == {(r["code_number"], r["name"], r["code_letter"]) for r in read(real_codes / "GB-3304-1991.csv")}


def test_industries_are_those_of_the_real_list(real_codes: Path) -> None:
    by_id = {row["id"]: row for row in read(real_codes / "GB-4754-2017.csv")}

    def depth(row: dict[str, str]) -> int:
        return 1 + (depth(by_id[row["parent_id"]]) if row["parent_id"] else 0)

    theirs = {(r["code"] if depth(r) == 1 else r["code"].zfill(depth(r)), r["name"]) for r in by_id.values()}
    assert set(load_code_table("industry").names.items()) == theirs
