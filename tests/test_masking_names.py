"""F-67: a column or sheet that nobody declared may be called by a person's name; no message tells it in clear."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from bad_input import GUIJI_NOW, HEADER, write_catalog
from bad_input import sound_rows as rows_of_people

from guiji.catalog import load_catalog
from guiji.demo.population import GIVEN, SURNAMES
from guiji.errors import DeliveryRefused
from guiji.masking import looks_like_name, scrub, show_name
from guiji.pipeline import run_resource
from guiji.settings import ROOT, Settings

#: Han, Mongolian and Uygur names as they are written in Chinese
PEOPLE = (
    "张三", "李月", "王小明", "欧阳修", "司马相如", "巴特尔", "乌云其其格", "萨仁高娃", "苏日娜", "其木格", "额尔敦", "阿拉坦图雅",
    "敖特根巴特尔", "买买提·艾力", "阿卜杜拉•买买提", "张 三", "李　四", "高原", "方向前", "马上", "田野", "江山", "金秀", "石成金",
)  # fmt: skip
CALLED = (
    "备注", "联系电话", "手机", "2026年1月", "一月", "十二月", "合计", "小计", "新增列", "单位", "高度", "经办人", "说明", "col_7", "NAME", "金额",
    "方向", "时间", "户数", "东部", "Sheet1", "汇总", "一季度", "是否有效", "第3列", "建筑面积（平方米）", "曾用名", "籍贯", "哈巴格希街道", "旧街道", "准格尔旗", "乌审旗", "东胜区",
)  # fmt: skip


def test_people_are_told_from_what_columns_are_called() -> None:
    assert [p for p in PEOPLE if not looks_like_name(p)] == []
    assert [c for c in CALLED if looks_like_name(c)] == []
    assert [show_name(c) for c in CALLED] == list(CALLED)


def test_every_name_of_the_synthetic_city_is_masked() -> None:
    names = [s + a + b for s in SURNAMES for a in ("", *GIVEN) for b in GIVEN]
    assert [n for n in names if not looks_like_name(n) or n in show_name(n)] == []


def test_what_the_catalog_calls_its_fields_is_hardly_ever_masked() -> None:
    titles = {f.title for r in load_catalog(ROOT / "include" / "catalog").resources.values() for f in r.model.fields}
    masked = sorted(t for t in titles if looks_like_name(t))
    assert len(masked) <= len(titles) // 20, masked


@pytest.mark.parametrize(
    ("text", "shown"), [("张三", "张*"), ("张 三", "张*"), ("巴特尔", "巴**"), ("乌云其其格", "乌云**格")]
)
def test_the_first_character_stays(text: str, shown: str) -> None:
    assert show_name(text) == shown


def test_numbers_in_a_column_name_are_masked_as_everywhere() -> None:
    assert show_name("联系电话13812345678") == scrub("联系电话13812345678") != "联系电话13812345678"


@pytest.fixture
def city(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(make settings with a contract, the folder of an xlsx resource)."""
    from datetime import datetime

    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_NOW", GUIJI_NOW)

    def make(contract: str) -> Settings:
        source = {"kind": "files", "directory": str(folder), "pattern": r".*\.xlsx", "format": {"type": "xlsx"}}
        source |= {"complete": {"seconds": 0}}
        return write_catalog(settings, {"source": source, "contract": contract}).at(datetime.fromisoformat(GUIJI_NOW))

    return make, folder


def write_matrix(path: Path, *people: str) -> None:
    """The declared table with a column per person, beside a sheet and a hidden sheet called by people."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append([*HEADER, *people])
    for row in rows_of_people(3):
        sheet.append([*row, *("1" for _ in people)])
    book.create_sheet("巴特尔").append(["x"])
    book.create_sheet("苏日娜").sheet_state = "hidden"
    sink = io.BytesIO()
    book.save(sink)
    path.write_bytes(sink.getvalue())


def stands_in_ledger(conn: Any, *names: str) -> set[str]:
    conn.rollback()
    told = ("batch", "outbox", "finding", "ticket", "audit")
    text = "".join(str(r["x"]) for t in told for r in conn.execute(f"SELECT x::text AS x FROM ops.{t} x"))
    return {n for n in names if n in text}


NAMES = ("张三丰", "李四光", "巴特尔", "苏日娜")


def test_f67_a_refused_matrix_of_people_names_none_of_them(city: Any, conn: Any) -> None:
    make, folder = city
    write_matrix(folder / "a.xlsx", *NAMES[:2], "备注")
    with pytest.raises(DeliveryRefused, match=r"“张\*\*”、“李\*\*”、“备注”") as refused:
        run_resource("ab.people", make("freeze"))
    assert [n for n in NAMES if n in str(refused.value)] == []
    assert stands_in_ledger(conn, *NAMES) == set()


def test_f67_a_noted_matrix_of_people_names_none_of_them(city: Any, conn: Any) -> None:
    make, folder = city
    settings = make("discard")
    write_matrix(folder / "a.xlsx")
    run_resource("ab.people", settings)
    write_matrix(folder / "a.xlsx", *NAMES[:2], "备注")
    run_resource("ab.people", settings)
    assert stands_in_ledger(conn, *NAMES) == set()
    (row,) = conn.execute("SELECT notes FROM ops.batch ORDER BY batch_no DESC LIMIT 1").fetchall()
    notes = "".join(row["notes"])
    assert "新增列 张**、李**、备注，已忽略" in notes
    assert "没有约定表头的工作表未采集：巴**" in notes
    assert "隐藏的工作表未采集：苏**" in notes
    (event,) = conn.execute("SELECT payload FROM ops.outbox WHERE kind = 'drift'").fetchall()
    assert "多了列“张**”、“李**”、“备注”" in event["payload"]["difference"]
