"""``catalog new``: what it finds out, what it asks, and that an answered draft brings the same rows the whole way."""

from __future__ import annotations

import csv
import dataclasses
import gzip
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
import sqlalchemy as sa
import xlsxwriter
from bad_input import sound_rows
from hypothesis import given
from hypothesis import strategies as st
from test_formats_dbf import make_dbf
from workbooks import Sheet, make_book, zip_members

from guiji.authoring.headers import find_delimiter, find_header_row
from guiji.authoring.new import Draft, default_place, draft_resource, save_text
from guiji.catalog import check_catalog, load_resource
from guiji.catalog.questions import OPEN, list_open
from guiji.catalog.strict_yaml import parse_yaml
from guiji.catalog.write_yaml import write_comment, write_flow
from guiji.connections import Connection
from guiji.errors import DeliveryRefused, GuijiError, UsageError
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
    "收入（元）": {"name": "f06", "type": "decimal128(12,2)", "unit": "元", "sensitivity": 2},
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


def as_ods(folder: Path) -> Path:
    path = folder / "人口_20261001.ods"
    path.write_bytes(make_book("ods", Sheet([["测试局人口名册"], list(HEADER), *people()])))
    return path


def as_zip(folder: Path) -> Path:
    text = write_text(folder / "x.csv", people(), encoding="gb18030").read_bytes()
    path = folder / "人口_20261001.zip"
    path.write_bytes(zip_members({"导出/人口.csv": text, "说明.txt": "x"}))
    return path


def as_gzip(folder: Path) -> Path:
    path = folder / "人口_20261001.csv.gz"
    path.write_bytes(gzip.compress(write_text(folder / "x.csv", people()).read_bytes()))
    return path


def as_json_lines(folder: Path) -> Path:
    path = folder / "人口_20261001.jsonl"
    records = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) for row in people()]
    path.write_text("\n".join(records) + "\n", encoding="utf-8")
    return path


def as_xml(folder: Path) -> Path:
    path = folder / "人口_20261001.xml"
    names = [h.replace("（元）", "") for h in HEADER]
    rows = ["".join(f"<{n}>{c}</{n}>" for n, c in zip(names, row, strict=True)) for row in people()]
    body = "".join(f"<人员>{r}</人员>" for r in rows)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?><交换><名册>{body}</名册></交换>', encoding="utf-8")
    return path


def as_dbf(folder: Path) -> Path:
    names = ["公民身份号码"[:5], "姓名", "性别", "出生日期", "联系电话", "收入", "更新时间"]
    columns = [(n, "C", 20, 0) for n in names]
    path = folder / "人口_20261001.dbf"
    path.write_bytes(make_dbf(columns, [[c.encode("gb18030") for c in row] for row in people()]))
    return path


def as_backup(folder: Path) -> Path:
    path = folder / "人口_20261001.sql"
    names = ", ".join(f"`{h}`" for h in HEADER)
    values = ",\n".join("(" + ", ".join(f"'{c}'" for c in row) + ")" for row in people())
    columns = ", ".join(f"`{h}` varchar(60)" for h in HEADER)
    path.write_text(
        f"-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `t_rk` ({columns});\n"
        f"INSERT INTO `t_rk` ({names}) VALUES\n{values};\n-- Dump completed on 2026-10-19\n",
        encoding="utf-8",
    )
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


FORMS: list[Callable[[Path], Path]] = [
    as_gb18030, as_messy_text, as_workbook, as_ods, as_json, as_json_lines, as_parquet, as_xml, as_dbf, as_backup, as_zip, as_gzip,
]  # fmt: skip
#: forms that can't carry the columns' own names
OTHER_NAMES = {as_xml: {"收入（元）": "收入"}, as_dbf: {"收入（元）": "收入", "公民身份号码": "公民身份号"}}


def test_names_that_begin_like_a_total_are_rows_of_the_draft(place: Settings, tmp_path: Path) -> None:
    names = ["小计算机维修部", "总计量测试所", "共计划生育站", *(f"甲{n}所" for n in range(30))]
    path = tmp_path / "单位.csv"
    lines = [f"{name},{n},东街" for n, name in enumerate(names)]
    path.write_text(
        "\n".join(["单位名称,编号,地址", *lines, "小　计：,,", "合计,33", ",总计,33"]) + "\n", encoding="utf-8"
    )
    draft = draft_resource(place, str(path), "ab.new")
    plain: Any = parse_yaml(draft.text.encode(), "draft.yml").plain()
    layout = plain["source"]["format"]["layout"]
    assert draft.rows == len(names)
    assert [t for t in (*names, "小　计：", "合 计", "总计") if re.fullmatch(layout["total"], t)] == [
        "小　计：",
        "合 计",
        "总计",
    ]
    assert "有 3 行合计" in draft.text
    path = tmp_path / "无合计.csv"
    path.write_text("\n".join(["单位名称,编号,地址", *lines]) + "\n", encoding="utf-8")
    assert "total:" not in draft_resource(place, str(path), "ab.new").text


@pytest.mark.parametrize("make", FORMS, ids=lambda f: f.__name__)
def test_every_form_is_found_out(make: Callable[[Path], Path], place: Settings, tmp_path: Path) -> None:
    draft = draft_resource(place, str(make(tmp_path)), "ab.new")
    other = OTHER_NAMES.get(make, {})
    found = {other.get(c, c): {k: v for k, v in f.items() if k != "unit" or c not in other} for c, f in FOUND.items()}
    assert (draft.rows, fields_of(draft)) == (60, found)
    assert sorted(p.name for p in tmp_path.iterdir() if "member" in p.name or "delivery" in p.name) == []


@pytest.mark.parametrize("make", [as_gb18030, as_messy_text, as_workbook, as_zip], ids=lambda f: f.__name__)
def test_an_answered_draft_brings_the_same_rows(
    make: Callable[[Path], Path], place: Settings, tmp_path: Path, conn: Any
) -> None:
    draft = draft_resource(place, str(make(tmp_path)), "ab.new")
    assert comparable(bring(place, draft, conn)) == sorted(people())


# --- tables -------------------------------------------------------------------------------------------

COLUMNS = ("gmsfhm", "xm", "xb", "csrq", "lxdh", "sr", "gxsj")
KINDS = (
    "varchar(18) NOT NULL PRIMARY KEY",
    "varchar(40)",
    "char(1)",
    "date",
    "varchar(20)",
    "numeric(12,2)",
    "{moment}",
)
#: as FOUND, by the columns' initials; the titles are guessed
FOUND_IN_TABLE = {
    "gmsfhm": {"name": "gmsfhm", "nullable": False, "identifier": "citizen_id", "sensitivity": 4},
    "xm": {"name": "xm", "sensitivity": 3},
    "xb": {"name": "xb", "codes": "sex", "sensitivity": 2},
    "csrq": {"name": "csrq", "type": "date32", "sensitivity": 3},
    "lxdh": {"name": "lxdh", "pattern": r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}", "severity": "warn", "sensitivity": 3},
    # nobody knows what sr is: in a table of people it is taken for personal
    "sr": {"name": "sr", "type": "decimal128(12,2)", "sensitivity": 3},
    "gxsj": {"name": "gxsj", "type": "timestamp", "sensitivity": 2},
}


def fill_table(url: str, moment: str) -> None:
    engine = sa.create_engine(url)
    columns = ", ".join(f"{c} {k.format(moment=moment)}" for c, k in zip(COLUMNS, KINDS, strict=True))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS t_rk")
        connection.exec_driver_sql(f"CREATE TABLE t_rk ({columns})")
        for row in people():
            values = ", ".join(f"'{c}'" for c in row)
            connection.exec_driver_sql(f"INSERT INTO t_rk VALUES ({values})")
    engine.dispose()


@pytest.fixture(params=["postgres", "mariadb", "sqlite"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``t_rk`` in each database, under the connection ``fep``; the table as ``--from`` takes it."""
    if request.param == "sqlite":
        fill_table(f"sqlite:///{tmp_path}/x.db", "text")
        connection = Connection("fep", "sqlite", schema=f"{tmp_path}/x.db")
    else:
        server = request.getfixturevalue("fep_postgres" if request.param == "postgres" else "mariadb_server")
        url = server.admin_url.replace("postgresql://", "postgresql+psycopg://")
        fill_table(url, "timestamp" if request.param == "postgres" else "datetime")
        values = {f.name: getattr(server, f.name) for f in dataclasses.fields(Connection)} | {"conn_id": "fep"}
        connection = Connection(**values)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", connection.to_json())
    return "fep:public.t_rk" if request.param == "postgres" else "fep:t_rk"


def test_a_table_is_drafted_answered_and_brings_the_same_rows(table: str, place: Settings, conn: Any) -> None:
    draft = draft_resource(place, table, "ab.new")
    assert (draft.rows, fields_of(draft)) == (60, FOUND_IN_TABLE)
    assert comparable(bring(place, draft, conn, title="收入")) == sorted(people())


def test_a_table_that_is_not_there_is_told(table: str, place: Settings) -> None:
    with pytest.raises(GuijiError, match="t_nowhere"):
        draft_resource(place, table.replace("t_rk", "t_nowhere"), "ab.new")


# --- doubt is asked, never decided --------------------------------------------------------------------


def test_no_value_of_a_row_is_written(place: Settings, tmp_path: Path) -> None:
    """Not one cell of any column stands in a draft, but for the words of code tables."""
    rows = [(*row[:2], "男" if row[2] == "1" else "女", *row[3:]) for row in people()]
    for make in (write_text(tmp_path / "rk.csv", rows), as_workbook(tmp_path), as_xml(tmp_path)):
        text = draft_resource(place, str(make)).text
        assert [c for row in rows for i, c in enumerate(row) if i != 2 and c in text] == []


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_file_without_header_never_gives_its_first_row_away(place: Settings, tmp_path: Path, delimiter: str) -> None:
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter=delimiter).writerows(people())
    (tmp_path / "rk.csv").write_text(sink.getvalue(), encoding="utf-8")
    draft = draft_resource(place, str(tmp_path / "rk.csv"))
    assert draft.rows == 60
    assert [c for c in people()[0] if len(c) > 1 and c in draft.text] == []
    assert (draft.text.count(f"title: {OPEN}"), "header: false" in draft.text) == (7, True)


def test_texts_without_any_number_are_no_header(place: Settings, tmp_path: Path) -> None:
    """A first row that looks like names of columns gives itself away where its values come again."""
    (tmp_path / "a.csv").write_text("张三,男,汉族\n李四,女,蒙古族\n王五,男,汉族\n", encoding="utf-8")
    assert "张三" not in draft_resource(place, str(tmp_path / "a.csv")).text


def test_doubts_become_questions(place: Settings, tmp_path: Path) -> None:
    rows = [
        (f"{i % 7}", f"{1 + i % 12:02d}/{1 + i % 9:02d}/2024", f"POINT (109.{i} 39.6)", "5" if i else "x")
        for i in range(9)
    ]
    path = tmp_path / "a.csv"
    path.write_text(
        "\n".join(";".join(r) for r in [("批号", "日期", "位置点", "性别"), *rows]) + "\n", encoding="utf-8"
    )
    text = draft_resource(place, str(path)).text
    for said in (
        "日和月分不清", f"formats: [{OPEN}]", f"crs: {OPEN}", f"key: [{OPEN}]", "哪些字段标识一行？", "未按此登记",
    ):  # fmt: skip
        assert said in text
    assert "codes" not in text.replace("加 codes", "")


def test_damaged_rows_are_told_and_not_hidden(place: Settings, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "编号,名称,数量\n" + "".join(f"A{i},物{i},{i}\n" for i in range(30)) + 'A31,"坏"行,1\n', encoding="utf-8"
    )
    draft = draft_resource(place, str(path))
    assert (draft.rows, "1 行无法可靠读出" in draft.text) == (30, True)


def test_a_name_that_stands_twice_is_no_first_row(place: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("编号,姓名,姓名\n1,张三,李四\n2,王五,赵六\n", encoding="utf-8")
    with pytest.raises(DeliveryRefused, match="第 1 行像表头") as caught:
        draft_resource(place, str(tmp_path / "a.csv"))
    assert caught.value.rule_id == "delivery.duplicate_column"


def test_half_a_file_and_an_unknown_form_are_refused(place: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('编号,名称\n1,甲\n2,"乙', encoding="utf-8")
    with pytest.raises(DeliveryRefused, match="不完整"):
        draft_resource(place, str(tmp_path / "a.csv"))
    (tmp_path / "a.pptx").write_bytes(b"PK")
    for origin in (tmp_path / "a.pptx", tmp_path / "nowhere.csv"):
        with pytest.raises(UsageError):
            draft_resource(place, str(origin))


def test_a_layer_says_its_system_or_it_is_asked(place: Settings, tmp_path: Path) -> None:
    corpus = Path(__file__).parent / "corpus" / "geometry"
    said = {
        name: draft_resource(place, str(corpus / f"{name}.zip")).text for name in ("polygons", "wgs84", "without_prj")
    }
    found = {name: re.findall(r"crs: \"?([^,}\"]+)", text) for name, text in said.items()}
    assert found == {"polygons": ["EPSG:4490"], "wgs84": ["EPSG:4326"], "without_prj": [OPEN]}


def test_a_draft_never_writes_over_a_file(place: Settings, tmp_path: Path) -> None:
    save_text(default_place(place, "ab.new"), "x")
    with pytest.raises(UsageError, match="already there"):
        save_text(default_place(place, "ab.new"), "y")
    assert default_place(place, "ab.new").read_text() == "x"


# --- the parts ----------------------------------------------------------------------------------------

Plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(Plain, st.text(st.characters(codec="utf-8"), max_size=30))
def test_what_is_written_is_read_back(value: Any, remark: str) -> None:
    """Any value on one line, and any comment above it, through the strict reader."""
    text = f"{write_comment(remark)}\nx: {write_flow(value)}\n"
    assert parse_yaml(text.encode(), "f").plain() == {"x": value}


Name = st.sampled_from(["编号", "名称", "姓名", "区划", "备注", "金额", "Code", "数量（个）"])


@given(
    st.lists(Name, min_size=2, max_size=6, unique=True),
    st.sampled_from([",", "\t", ";", "|"]),
    st.integers(0, 3),
    st.integers(1, 6),
)
def test_header_and_delimiter_are_found_wherever_they_are(
    names: list[str], delimiter: str, above: int, rows: int
) -> None:
    body = [[f"{r}{c}.5" for c in range(len(names))] for r in range(rows)]
    lines = ["某局台账"] * above + [delimiter.join(line) for line in [names, *body]]
    found, quote, records = find_delimiter(lines)
    assert (found, quote, find_header_row(records)) == (delimiter, '"', above)
