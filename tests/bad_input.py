"""A small city for the bad-input tests: one department, one resource, deliveries written by hand."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from guiji.bench.people import make_people
from guiji.settings import ROOT, Settings

GUIJI_NOW = "2026-10-20T09:00:00+08:00"
HEADER = ("公民身份号码", "姓名", "出生日期", "更新时间")
Row = tuple[str, ...]

_METADATA: dict[str, Any] = {
    "name": "测试人口",
    "summary": "一行一人",
    "category": {"class": "基础信息资源", "item": "人口"},
    "format": "CSV",
    "system": "测试系统",
    "sharing": {"type": "无条件共享"},
    "update_cycle": "每日",
    "published": "2026-01-01",
    "key": ["person_id"],
    "order": ["updated_at"],
    "fields": [
        {
            "name": "person_id",
            "title": "公民身份号码",
            "nullable": False,
            "length": 18,
            "sensitivity": 3,
            "identifier": "citizen_id",
        },
        {"name": "person_name", "title": "姓名", "nullable": False, "length": 50, "sensitivity": 3},
        {"name": "birth_date", "title": "出生日期", "type": "date32"},
        {"name": "updated_at", "title": "更新时间", "type": "timestamp"},
    ],
}

_DEPARTMENT: dict[str, Any] = {
    "id": "ab",
    "name": "测试局",
    "short_name": "测试局",
    "credit_code": "11150600MB0000000A",
    "leader": "负责人",
    "section": "数据股",
    "contacts": [{"name": "专员", "email": "ab@ab.example"}],
}


def sound_rows(n: int, start: int = 0) -> list[Row]:
    """``n`` rows that no rule objects to; the ids carry right check digits."""
    rows: list[Row] = []
    for batch in make_people(start + n):
        for i, person in enumerate(batch.slice(start, n).to_pylist()):
            rows.append(
                (person["gmsfhm"], f"测试{i % 9}甲", person["csrq"].isoformat(), f"2026-10-01 08:{i % 60:02d}:00")
            )
    return rows


def write_catalog(settings: Settings, resource: dict[str, Any], name: str = "people") -> Settings:
    """A catalog of one department and one resource below ``GUIJI_HOME``; returns settings that point at it."""
    folder = settings.home / "test-catalog"
    (folder / "ab").mkdir(parents=True, exist_ok=True)
    (folder / "libraries").mkdir(exist_ok=True)
    body = {**_METADATA, "id": f"ab.{name}", "code": f"150600/{name}", **resource}
    (folder / "ab" / "department.yml").write_text(yaml.safe_dump(_DEPARTMENT, allow_unicode=True))
    (folder / "ab" / f"{name}.yml").write_text(yaml.safe_dump(body, allow_unicode=True))
    return replace(settings, catalog=folder)


#: a library of people, fed by the resource
POPULATION: dict[str, Any] = {
    "name": "population",
    "table": "person",
    "title": "人口库",
    "key": [{"name": "id_no", "title": "公民身份号码", "sensitivity": 4}],
    "fields": [
        {"name": "name", "title": "姓名", "sensitivity": 3, "strategy": "authority", "authority": ["ab"]},
        {"name": "birth_date", "title": "出生日期", "type": "date32", "strategy": "newest_non_null"},
    ],
}
TO_POPULATION: dict[str, Any] = {
    "mappings": [
        {"library": "population", "key": ["person_id"], "fields": {"name": "person_name", "birth_date": "birth_date"}}
    ]
}


def write_library(settings: Settings, library: dict[str, Any]) -> None:
    """A library beside the resource of ``write_catalog``."""
    path = settings.catalog / "libraries" / f"{library['name']}.yml"
    path.write_text(yaml.safe_dump(library, allow_unicode=True))


def files_source(directory: Path, **format_keys: Any) -> dict[str, Any]:
    return {
        "source": {
            "kind": "files",
            "directory": str(directory),
            "pattern": r"people_(?P<date>\d{8})\.(csv|xlsx)",
            "format": {"type": "csv", **format_keys},
        }
    }


def write_csv(path: Path, rows: list[Row], header: Row = HEADER, encoding: str = "utf-8") -> Path:
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows([header, *rows])
    path.write_bytes(sink.getvalue().encode(encoding))
    return path


def serving(conn: Any, table: str = "ab__people") -> set[Row]:
    """What the source layer serves: the whole rows."""
    conn.rollback()
    return {
        (r["person_id"], r["person_name"], r["birth_date"], r["updated_at"])
        for r in conn.execute(
            "SELECT person_id, person_name, birth_date::text, to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS') AS updated_at"
            f" FROM source.{table} WHERE _deleted_at IS NULL"
        )
    }


def ledger_text(conn: Any) -> str:
    """Everything readable that the ledger holds, as one text: no personal value may be in it."""
    conn.rollback()
    out = []
    for table in ("batch", "finding", "outbox", "ticket", "audit", "lease"):
        out += [str(r) for r in conn.execute(f"SELECT t::text FROM ops.{table} t")]
    return "\n".join(out)


def run_command(settings: Settings, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``guiji …`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "guiji", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env=command_env(settings, **env),
    )


def command_env(settings: Settings, **env: str) -> dict[str, str]:
    """The environment that gives a process these settings."""
    values = {
        **os.environ,
        "GUIJI_HOME": str(settings.home),
        "GUIJI_CATALOG": str(settings.catalog),
        "GUIJI_STAGING": settings.staging,
        **env,
    }
    if settings.warehouse:
        values["GUIJI_WAREHOUSE"] = settings.warehouse
    if settings.key:
        values["GUIJI_KEY"] = settings.key
    values.pop("PYTHONDONTWRITEBYTECODE", None)
    return values


class FrontEnd:
    """A department's database that holds the table ``people``; either product, the same statements."""

    def __init__(self, server: Any) -> None:
        import sqlalchemy as sa

        self.is_maria = server.conn_type == "mysql"
        self.engine = sa.create_engine(
            server.admin_url if self.is_maria else server.admin_url.replace("postgresql://", "postgresql+psycopg://")
        )
        self.names = [self.engine.dialect.identifier_preparer.quote(n) for n in HEADER]
        keys, names, birth, updated = self.names
        moment = "datetime" if self.is_maria else "timestamp"
        self.run(
            f"CREATE TABLE people ({keys} varchar(40), {names} varchar(200), {birth} date, {updated} {moment}(6) NULL)"
        )

    @property
    def source(self) -> dict[str, Any]:
        return {"kind": "database", "connection": "fep_ab", "table": "people"}

    def run(self, *statements: str) -> None:
        with self.engine.begin() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    def insert(self, rows: list[Any]) -> None:
        marks = ", ".join(["%s"] * len(self.names))
        with self.engine.begin() as conn:
            conn.exec_driver_sql(f"INSERT INTO people ({', '.join(self.names)}) VALUES ({marks})", rows)

    def replace_all(self, rows: list[Any]) -> None:
        self.run("DELETE FROM people")
        if rows:
            self.insert(rows)

    def close(self) -> None:
        self.engine.dispose()


def connection_json(server: Any, conn_id: str, **changes: Any) -> str:
    """The server as ``AIRFLOW_CONN_<ID>`` takes it."""
    import dataclasses

    from guiji.connections import Connection

    values = {f.name: getattr(server, f.name) for f in dataclasses.fields(Connection)} | {"conn_id": conn_id} | changes
    return Connection(**values).to_json()
