"""``catalog new``: what it finds out, what it asks, and that an answered draft brings the same rows the whole way."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from bad_input import sound_rows

from guiji.authoring.new import Draft, draft_resource
from guiji.catalog import check_catalog, load_resource
from guiji.catalog.questions import OPEN, list_open
from guiji.catalog.strict_yaml import parse_yaml
from guiji.pipeline import run_resource
from guiji.settings import Settings

HEADER = ("公民身份号码", "姓名", "性别", "出生日期", "联系电话", "收入（元）", "更新时间")
DEPARTMENT = """\
id: ab
name: 测试局
short_name: 测试局
credit_code: "11150600MB0000000A"
leader: 负责人
section: 数据股
contacts: [{name: 专员, email: ab@ab.example}]
"""
#: what a person answers, by the end of the place
ANSWERS = {
    "code": "150600/00001",
    "name": "测试人口",
    "title": "某项",
    "summary": "一行一人",
    "category.class": "基础信息资源",
    "category.item": "人口",
    "system": "测试系统",
    "sharing.type": "无条件共享",
    "update_cycle": "每日",
    "crs": "EPSG:4490",
}

Row = tuple[str, ...]


def people(n: int = 60) -> list[Row]:
    return [
        (id_no, name, "12"[i % 2], birth, f"1390477{i:04d}", f"{i * 13}.50", updated)
        for i, (id_no, name, birth, updated) in enumerate(sound_rows(n))
    ]


def write_text(path: Path, rows: list[Row], *, encoding: str = "utf-8", delimiter: str = ",", **ends: str) -> Path:
    sink = io.StringIO(newline="")
    sink.write(ends.get("above", ""))
    csv.writer(sink, delimiter=delimiter).writerows([HEADER, *rows])
    sink.write(ends.get("below", ""))
    path.write_bytes(sink.getvalue().encode(encoding))
    return path


def answer(text: str, **answers: str) -> str:
    """The draft with every open place filled in, as a person would."""
    lines = text.splitlines()
    # from the end, so that places in the same line stay where they are
    for path, node in reversed(list(list_open(parse_yaml(text.encode(), "draft.yml")))):
        said = {**ANSWERS, **answers}
        word = next(said[k] for k in sorted(said, key=len, reverse=True) if re.sub(r"\[\d+\]", "", path).endswith(k))
        line = lines[node.line - 1]
        at = node.column - 1
        assert line[at:].startswith(OPEN)
        lines[node.line - 1] = f'{line[:at]}"{word}"{line[at + len(OPEN) :]}'
    return "\n".join(lines) + "\n"


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a catalog of one department and no resource."""
    catalog = tmp_path / "catalog"
    (catalog / "ab").mkdir(parents=True)
    (catalog / "ab" / "department.yml").write_text(DEPARTMENT, encoding="utf-8")
    return replace(settings, catalog=catalog)


def bring(place: Settings, draft: Draft, conn: Any, **answers: str) -> list[tuple[Any, ...]]:
    """Answers the draft, checks the catalog, runs the resource; the served rows, columns in the order of the draft."""
    file = place.catalog / "ab" / "new.yml"
    file.write_text(draft.text, encoding="utf-8")
    unanswered = [p for p in check_catalog(place.catalog) if not p.warning]
    assert {p.message.rpartition(" is not answered yet")[2] for p in unanswered} == {f" ({OPEN})"}
    file.write_text(answer(draft.text, **answers), encoding="utf-8")
    assert [str(p) for p in check_catalog(place.catalog)] == []
    record = run_resource("ab.new", place)
    assert (record.status, record.rows_rejected) == ("published", 0)
    names = [f.name for f in load_resource(place.catalog, "ab.new").model.fields]
    conn.rollback()
    columns = ", ".join(f'"{n}"::text' for n in names)
    query = f"SELECT {columns} FROM source.ab__new WHERE _deleted_at IS NULL ORDER BY 1"
    return [tuple(r.values()) if isinstance(r, dict) else tuple(r) for r in conn.execute(query)]


def comparable(rows: list[tuple[Any, ...]]) -> list[Row]:
    """Rows as texts, timestamps without their zone."""
    return sorted(tuple(re.sub(r"(\d\d:\d\d:\d\d)\+\d\d$", r"\1", str(c)) for c in row) for row in rows)


def fields_of(draft: Draft) -> dict[str, dict[str, Any]]:
    plain: Any = parse_yaml(draft.text.encode(), "draft.yml").plain()
    return {
        f.get("column", f["title"]): {k: v for k, v in f.items() if k not in ("title", "column")}
        for f in plain["fields"]
    }


#: what is found out about the columns of ``people``, whatever they came in
FOUND = {
    "公民身份号码": {"name": "id_number", "nullable": False, "identifier": "citizen_id", "sensitivity": 4},
    "姓名": {"name": "name", "sensitivity": 3},
    "性别": {"name": "sex", "codes": "sex", "sensitivity": 2},
    "出生日期": {"name": "birth_date", "type": "date32", "sensitivity": 3},
    "联系电话": {"name": "phone", "pattern": r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}", "severity": "warn", "sensitivity": 3},
    "收入（元）": {"name": "f06", "type": "decimal128(12,2)", "sensitivity": 2},
    "更新时间": {"name": "updated_at", "type": "timestamp", "sensitivity": 2},
}


# --- every form ---------------------------------------------------------------------------------------


def as_gb18030(folder: Path) -> Path:
    return write_text(folder / "人口_20261001.csv", people(), encoding="gb18030", delimiter=";")


def as_messy_text(folder: Path) -> Path:
    return write_text(
        folder / "人口_20261001.txt",
        people(),
        delimiter="\t",
        above="测试局人口名册\n制表日期：2026年10月1日\n\n",
        below="合计\t\t\t\t\t100.00\t\n注：数据来自测试系统\n",
    )


def as_workbook(folder: Path) -> Path:
    path = folder / "人口_20261001.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("说明").write_string(0, 0, "填表说明")
        page = book.add_worksheet("名册")
        page.merge_range(0, 0, 0, 6, "测试局人口名册")
        for i, row in enumerate([HEADER, *people()], 1):
            for j, cell in enumerate(row):
                page.write_string(i, j, cell)
    return path


def as_json(folder: Path) -> Path:
    path = folder / "人口_20261001.json"
    records = [dict(zip(HEADER, row, strict=True)) for row in people()]
    path.write_text(json.dumps({"code": 0, "data": records}, ensure_ascii=False), encoding="utf-8")
    return path


def as_parquet(folder: Path) -> Path:
    path = folder / "人口_20261001.parquet"
    columns = [pa.array(c) for c in zip(*people(), strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, names=list(HEADER)), path)
    return path


FORMS: list[Callable[[Path], Path]] = [as_gb18030, as_messy_text, as_workbook, as_json, as_parquet]


@pytest.mark.parametrize("make", FORMS, ids=lambda f: f.__name__)
def test_an_answered_draft_brings_the_same_rows(
    make: Callable[[Path], Path], place: Settings, tmp_path: Path, conn: Any
) -> None:
    draft = draft_resource(place, str(make(tmp_path)), "ab.new")
    assert (draft.rows, fields_of(draft)) == (60, FOUND)
    assert comparable(bring(place, draft, conn)) == sorted(people())
