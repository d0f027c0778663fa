"""Requirements 14, 15 and 18: the same rows by any way of supply give the same source table and the same library."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from bad_input import (
    HEADER,
    POPULATION,
    TO_POPULATION,
    FrontEnd,
    connection_json,
    serving,
    sound_rows,
    write_catalog,
    write_csv,
    write_library,
)

from guiji.catalog import load_catalog
from guiji.library.resolve import resolve
from guiji.pipeline import run_resource

ROWS = sound_rows(50)
NAME = "people_20261019"
DATED = {"directory": ".", "pattern": r"people_(?P<date>\d{8})\.\w+(\.\w+)?"}


def as_records() -> list[dict[str, str]]:
    return [dict(zip(HEADER, row, strict=True)) for row in ROWS]


def by_database(server: str) -> Callable[[pytest.FixtureRequest, Path], dict[str, Any]]:
    def deliver(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
        found = request.getfixturevalue(server)
        request.getfixturevalue("monkeypatch").setenv("AIRFLOW_CONN_FEP_AB", connection_json(found, "fep_ab"))
        front_end = FrontEnd(found)
        front_end.insert(list(ROWS))
        front_end.close()
        return front_end.source

    return deliver


def by_interface(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    server = request.getfixturevalue("http_server")
    server.data["/people"] = as_records()
    request.getfixturevalue("monkeypatch").setenv("AIRFLOW_CONN_API", connection_json(server, "api"))
    return {
        "kind": "http",
        "connection": "api",
        "path": "/people",
        "records": "data.records",
        "total": "data.total",
        "code": "code",
        "ok": ["0"],
        "message": "message",
        "token_header": "X-Token",
        "paging": {"style": "page", "parameter": "page", "size": 7},
    }


def by_file(
    suffix: str, write: Callable[[Path], object], **format_keys: Any
) -> Callable[[pytest.FixtureRequest, Path], dict[str, Any]]:
    def deliver(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
        write(folder / f"{NAME}.{suffix}")
        return {"kind": "files", **DATED, "directory": str(folder), "format": format_keys}

    return deliver


def by_server(kind: str) -> Callable[[pytest.FixtureRequest, Path], dict[str, Any]]:
    def deliver(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
        server = request.getfixturevalue(f"{kind}_server")
        write_csv(server.root / f"{NAME}.csv", ROWS, encoding="gb18030")
        (server.root / f"{NAME}.csv.ok").touch()
        request.getfixturevalue("monkeypatch").setenv("AIRFLOW_CONN_DROP", connection_json(server, "drop"))
        return {
            "kind": kind,
            "connection": "drop",
            **DATED,
            "pattern": r"people_(?P<date>\d{8})\.csv",
            "complete": {"suffix": ".ok"},
            "format": {"type": "csv", "encoding": "gb18030"},
        }

    return deliver


def write_xlsx(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["人口信息表"])
    for row in (HEADER, *ROWS):
        book.active.append(list(row))
    book.save(path)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.write(write_csv(path.with_name("inner.csv"), ROWS), "人口.csv")


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(write_csv(path.with_name("inner.csv"), ROWS).read_bytes()))


def write_json(path: Path) -> None:
    path.write_text(json.dumps({"data": as_records()}, ensure_ascii=False), encoding="utf-8")


def write_json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in as_records()), encoding="utf-8")


def write_xml(path: Path) -> None:
    rows = ("".join(f"<{n}>{v}</{n}>" for n, v in r.items()) for r in as_records())
    path.write_text(f"<表>{''.join(f'<行>{row}</行>' for row in rows)}</表>", encoding="utf-8")


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(as_records()), path)


def write_dump(path: Path) -> None:
    sink = io.StringIO()
    names = ", ".join(f"`{n}` varchar(40)" for n in HEADER)
    sink.write(f"CREATE TABLE `people` ({names});\nINSERT INTO `people` VALUES ")
    sink.write(",".join("(" + ",".join(f"'{v}'" for v in row) + ")" for row in ROWS) + ";\n")
    path.write_text(sink.getvalue(), encoding="utf-8")


WAYS = {
    "front-end PostgreSQL": by_database("fep_postgres"),
    "front-end MariaDB": by_database("mariadb_server"),
    "interface": by_interface,
    "SFTP": by_server("sftp"),
    "FTP": by_server("ftp"),
    "CSV": by_file("csv", lambda path: write_csv(path, ROWS), type="csv"),
    "zipped CSV": by_file("zip", write_zip, type="csv", archive="zip"),
    "gzipped CSV": by_file("csv.gz", write_gzip, type="csv", archive="gzip"),
    "xlsx": by_file("xlsx", write_xlsx, type="xlsx"),
    "JSON": by_file("json", write_json, type="json", records="data"),
    "JSON lines": by_file("jsonl", write_json_lines, type="jsonl"),
    "XML": by_file("xml", write_xml, type="xml", records="/表/行"),
    "Parquet": by_file("parquet", write_parquet, type="parquet"),
    "table backup": by_file("sql", write_dump, type="sql", table="people"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_by_any_way_give_the_same_library(
    way: str, settings: Any, conn: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    city = write_catalog(settings, {"source": WAYS[way](request, folder), **TO_POPULATION})
    write_library(city, POPULATION)
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_read, record.rows_new, record.rows_rejected) == ("published", 50, 50, 0)
    assert serving(conn) == set(ROWS)
    resolve(conn, city, "population", load_catalog(city.catalog))
    conn.commit()
    library = conn.execute("SELECT id_no, name, birth_date::text AS born FROM library.person").fetchall()
    assert sorted((r["id_no"], r["name"], r["born"]) for r in library) == sorted(r[:3] for r in ROWS)
