"""The pages on the ways of supply: each example is delivered by the real server, and what is published is what it says."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import xlsxwriter
from delivering import OCTOBER
from small_catalog import write_department
from staged_package import read_accepted
from test_formats_dbf import make_dbf
from workbooks import KINDS, Sheet, make_book, zip_members

from guiji.catalog import check_catalog, load_resource
from guiji.catalog.strict_yaml import parse_yaml
from guiji.connections import Connection
from guiji.pipeline import run_resource
from guiji.quality import check_batch
from guiji.settings import ROOT, TIME_ZONE, Settings
from guiji.sources import open_delivery
from guiji.sources.formats import READERS
from guiji.staging import stage_batch

PAGES = ROOT / "docs" / "supply"
NOW = "2026-10-20T09:00:00+08:00"
Row = tuple[str | None, ...]
Serve = Callable[[Settings, Path, Any, pytest.MonkeyPatch, pytest.FixtureRequest], None]


def read_page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, in the order of the page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def table_after(page: str, heading: str) -> tuple[tuple[str, ...], list[Row]]:
    """(column names, rows) of the first table below a heading; an empty cell is no value, ⏎ a line break."""
    below = page.split(heading, 1)[1].splitlines()
    below = below[next(i for i, line in enumerate(below) if line.startswith("|")) :]
    lines = list(itertools.takewhile(lambda line: line.startswith("|"), below))
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    rows = [tuple(c.replace("⏎", "\n") or None for c in row) for row in cells[2:]]
    return tuple(cells[0]), rows


def write_example(settings: Settings, page: str, tmp_path: Path) -> tuple[Settings, str]:
    """A catalog that holds the page's resource, without a problem; settings of that day, and the resource's id."""
    example = blocks(page, "yaml")[0]
    resource_id = re.findall(r"^id: (\w+)\.(\w+)$", example, re.MULTILINE)[0]
    catalog = tmp_path / "catalog"
    write_department(catalog, resource_id[0], "测试局")
    (catalog / resource_id[0] / f"{resource_id[1]}.yml").write_text(example, encoding="utf-8")
    assert [str(p) for p in check_catalog(catalog)] == []
    from datetime import datetime

    now = datetime.fromisoformat(NOW).astimezone(TIME_ZONE)
    return dataclasses.replace(settings, catalog=catalog).at(now), ".".join(resource_id)


def published(conn: Any, resource_id: str, columns: tuple[str, ...]) -> list[Row]:
    """What the source layer serves, as texts, by key; local timestamps without their zone."""
    conn.rollback()
    conn.execute("SET TIME ZONE 'Asia/Shanghai'")
    names = ", ".join(f'"{c}"::text' for c in columns)
    table = resource_id.replace(".", "__")
    found = conn.execute(f"SELECT {names} FROM source.{table} WHERE _deleted_at IS NULL").fetchall()
    rows = [tuple(re.sub(r"(:\d\d)\+08$", r"\1", v) if v else v for v in r.values()) for r in found]
    return sorted(rows, key=lambda r: tuple(c or "" for c in r))


def connect(server: Any, conn_id: str, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    """The running server under the connection id that the page names."""
    values = {f.name: getattr(server, f.name) for f in dataclasses.fields(Connection)} | {"conn_id": conn_id}
    values["extra"] = {**values["extra"], **extra}
    monkeypatch.setenv(Connection(**values).variable, Connection(**values).to_json())


# --- the servers --------------------------------------------------------------------------------------


def fill_database(server: Any, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.admin_url.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS t_outlet")
        for statement in blocks(page, "sql")[0].strip().split(";\n"):
            text = statement.rstrip(";\n")
            connection.exec_driver_sql(text.replace("timestamp,", "datetime,") if "mysql" in url else text)
    engine.dispose()
    connect(server, "fep_ab", monkeypatch)


def serve_postgres(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_database(request.getfixturevalue("fep_postgres"), page, monkeypatch)


def serve_mariadb(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_database(request.getfixturevalue("mariadb_server"), page, monkeypatch)


def serve_sftp(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = request.getfixturevalue("sftp_server")
    folder = server.root / "out"
    folder.mkdir()
    (folder / "取水许可_20261019.csv").write_bytes(blocks(page, "csv")[0].encode("gb18030"))
    (folder / "取水许可_20261019.csv.ok").touch()
    connect(server, "sftp_ab", monkeypatch)


def serve_ftp(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = request.getfixturevalue("ftp_server")
    for name, text in zip(("jc_20261018.txt", "jc_20261019.txt"), blocks(page, "csv"), strict=True):
        (server.root / name).write_text(text, encoding="utf-8")
        os.utime(server.root / name, (1_790_000_000, 1_790_000_000))
    connect(server, "ftp_ab", monkeypatch)


def serve_folder(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drop" / "revenue"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GUIJI_DROP", str(tmp_path / "drop"))
    with xlsxwriter.Workbook(str(folder / "税收收入_202610.xlsx")) as book:
        sheet = book.add_worksheet("月报")
        for r, line in enumerate(blocks(page, "csv")[0].splitlines()):
            for c, cell in enumerate(line.split(",")):
                if re.fullmatch(r"[\d.]+", cell):
                    sheet.write_number(r, c, float(cell))
                elif cell:
                    sheet.write_string(r, c, cell)
        sheet.merge_range(0, 0, 0, 3, "2026年税收收入")
        drafts = book.add_worksheet("底稿")
        drafts.write_row(0, 0, ["地区", "8月", "9月"])
        drafts.hide()


def serve_http(request: pytest.FixtureRequest, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = request.getfixturevalue("http_server")
    server.data["/api/stations"] = json.loads(blocks(page, "json")[0])
    connect(server, "http_ab", monkeypatch)


WAYS = [
    ("database", serve_postgres),
    ("database", serve_mariadb),
    ("sftp", serve_sftp),
    ("ftp", serve_ftp),
    ("files", serve_folder),
    ("http", serve_http),
]


@pytest.mark.parametrize(("name", "serve"), WAYS, ids=[serve.__name__ for _, serve in WAYS])
def test_the_example_is_delivered_and_published(
    name: str,
    serve: Any,
    settings: Settings,
    tmp_path: Path,
    conn: Any,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    page = read_page(name)
    serve(request, page, tmp_path, monkeypatch)
    place, resource_id = write_example(settings, page, tmp_path)
    record = run_resource(resource_id, place)
    columns, rows = table_after(page, "## What is published")
    want = sorted(rows, key=lambda r: tuple(c or "" for c in r))
    assert published(conn, resource_id, columns) == want
    rejected = conn.execute("SELECT sum(rows_rejected) AS n, count(*) AS batches FROM ops.batch").fetchone()
    assert int(rejected["n"]) == int(re.findall(r"^rejected: (\d+)$", page, re.MULTILINE)[0])
    assert (record.status, rejected["batches"]) == ("published", 2 if name == "ftp" else 1)


def test_every_way_has_its_page() -> None:
    """One page per kind of source that the catalog knows, each linked from the overview."""
    from typing import get_args

    from guiji.catalog.models import Source

    kinds = {k for model in get_args(get_args(Source)[0]) for k in get_args(model.model_fields["kind"].annotation)}
    assert {p.stem for p in PAGES.glob("*.md")} == kinds | {"formats", "geometry", "documents"}
    overview = (ROOT / "docs" / "supply.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(supply/(\w+)\.md\)", overview)) == kinds | {"formats", "geometry", "documents"}


# --- forms of files -------------------------------------------------------------------------------------

HEADER = ("编码", "名称", "数量", "盘点日期")
STOCK: list[Row] = [
    ("0001", "帐篷", "120.00", "2026-10-19"),
    ("0002", "棉被，加厚", "1500.50", "2026-10-18"),
    ("0003", "䶮牌净水器", None, None),
]


def list_forms() -> list[str]:
    """The ``format:`` of every line of the page's table."""
    return re.findall(r"^\| [^|]+ \| `(\{type: .*\})` \|$", read_page("formats"), re.MULTILINE)


def write_stock(form: dict[str, Any]) -> bytes:
    """The three rows in a form."""
    kind = form["type"]
    texts = [[c or "" for c in row] for row in STOCK]
    if form.get("archive") == "gzip":
        return gzip.compress(write_stock({"type": kind}))
    if form.get("archive") == "zip":
        return zip_members({"库存.csv": write_stock({"type": kind}), "说明.txt": "x"})
    if kind == "csv" and "escape" in form:
        lines = [list(HEADER), *[["\\N" if c is None else c for c in row] for row in STOCK]]
        return "".join("\t".join(line) + "\n" for line in lines).encode()
    if kind == "csv":
        sink = io.StringIO(newline="")
        rows = texts if form.get("header") is False else [list(HEADER), *texts]
        csv.writer(sink, delimiter=form.get("delimiter", ",")).writerows(rows)
        return sink.getvalue().encode(form.get("encoding", "utf-8"))
    if kind == "html":
        cells = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in (HEADER, *texts))
        return f"<html><meta charset=gb2312><table>{cells}</table></html>".encode("gb18030")
    if kind in KINDS:
        name = form.get("layout", {}).get("sheet", "表")
        others = [Sheet([list(HEADER)], "去年")] if name != "表" else []
        return make_book(kind, Sheet([["应急物资"], list(HEADER), *texts], name), *others)
    records = [dict(zip(HEADER, row, strict=True)) for row in STOCK]
    if kind == "json":
        return json.dumps({"data": records}, ensure_ascii=False).encode()
    if kind == "jsonl":
        return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()
    if kind == "xml":
        rows_of_xml = "".join(
            "<row>" + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in r.items() if v) + "</row>" for r in records
        )
        return f'<?xml version="1.0" encoding="utf-8"?><data>{rows_of_xml}</data>'.encode()
    if kind == "parquet":
        sink_of_bytes = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records), sink_of_bytes)
        return sink_of_bytes.getvalue()
    if kind == "dbf":
        columns = [("编码", "C", 6, 0), ("名称", "C", 30, 0), ("数量", "N", 12, 2), ("盘点日期", "C", 10, 0)]
        return make_dbf(columns, [[c.encode("gb18030") for c in row] for row in texts])
    assert kind == "sql", kind
    values = ", ".join("(" + ", ".join("NULL" if c is None else f"'{c}'" for c in row) + ")" for row in STOCK)
    names = ", ".join(f"`{h}`" for h in HEADER)
    columns_of_sql = ", ".join(f"`{h}` varchar(40)" for h in HEADER)
    return (
        f"-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `stock`;\n"
        f"CREATE TABLE `stock` ({columns_of_sql}) ENGINE=InnoDB;\n"
        f"INSERT INTO `stock` ({names}) VALUES {values};\n-- Dump completed on 2026-10-19\n"
    ).encode()


@pytest.mark.parametrize("form", list_forms())
def test_every_form_gives_the_same_rows(
    form: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through source and checks; publishing does not depend on the form, and one form is published below."""
    page = read_page("formats")
    said: Any = parse_yaml(f"format: {form}".encode(), "page").plain()
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "stock.x").write_bytes(write_stock(said["format"]))
    monkeypatch.setenv("GUIJI_DROP", str(tmp_path / "drop"))
    place, resource_id = write_example(settings, page.replace("format: {type: csv}  #", f"format: {form}  #"), tmp_path)
    resource = load_resource(place.catalog, resource_id)
    delivery = open_delivery(resource, place, OCTOBER, watermark=None, known_files=(), scratch=tmp_path / "scratch")
    checked = check_batch(resource, place, stage_batch(resource, place, OCTOBER, delivery, "0" * 16))
    rows = read_accepted(checked, "code", "name", "amount", "counted")
    columns, want = table_after(page, "## What is published")
    assert columns == ("code", "name", "amount", "counted")
    # numbers and days are compared as what they are, whatever digits a form wrote
    assert (
        sorted(
            (c, n, None if a is None else f"{float(a):.2f}", None if d is None else str(d)[:10]) for c, n, a, d in rows
        )
        == want
        == STOCK
    )


def test_every_form_of_the_catalog_is_on_a_page() -> None:
    known = set(READERS)
    elsewhere = {"geojson", "shapefile", "geopackage", "document"}
    assert {re.findall(r"type: (\w+)", form)[0] for form in list_forms()} == known - elsewhere
    assert all(word in read_page("formats") for word in elsewhere)
