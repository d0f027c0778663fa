"""Cursors that are no timestamps: moments as text or number, and none at all, lose no row either. PostgreSQL and MariaDB
for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from delivering import NOW, make_resource, open_at, plain_settings, rows_of

from guiji.connections import Connection
from guiji.errors import CatalogError
from guiji.records import Window
from guiji.settings import TIME_ZONE, Settings
from guiji.sources.cursor_form import find_form

Fill = Callable[..., None]
FORMS = {
    "2026-10-01 08:00:00": "varchar(30)",
    "2026-10-01T08:00:00.123": "varchar(30)",
    "2026/10/01 08:00": "varchar(30)",
    "2026年10月01日08时00分00秒": "varchar(30)",
    "20261001080000": "char(20)",
    "20261001080000123": "varchar(30)",
    "20261001080001": "bigint",
    "1790812800000": "bigint",
    "20261001080002": "numeric(20)",
}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(params=["pg", "maria"])
def fill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    s = request.getfixturevalue("fep_postgres" if request.param == "pg" else "mariadb_server")
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    engine = sa.create_engine(s.admin_url.replace("postgresql://", "postgresql+psycopg://"))

    def run(*statements: str, rows: list[tuple[Any, ...]] | None = None) -> None:
        with engine.begin() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)
            if rows:
                conn.exec_driver_sql("INSERT INTO t VALUES (%s, %s)", rows)

    yield run
    engine.dispose()


def read(
    place: Settings, lag: int = 0, watermark: str | None = None, **more: Any
) -> tuple[list[str], str | None, list[str]]:
    """(ids, new watermark, notes)."""
    source = {"kind": "database", "connection": "fep", "table": "t", "cursor": "ts", "lag_seconds": lag}
    resource = make_resource(source, ("id", "ts"), load="incremental")
    delivery = open_at(resource, place, place.home / "scratch", watermark=watermark, **more)
    ids = sorted(str(r[0]) for r in rows_of(delivery))
    return ids, delivery.report.cursor_max, delivery.report.notes


@pytest.mark.parametrize(("sample", "kind"), FORMS.items())
def test_f07_f05_moments_as_text_or_number_are_moments(fill: Fill, place: Settings, sample: str, kind: str) -> None:
    form = find_form([sample], TIME_ZONE)
    assert form is not None

    def at(**ago: int) -> str:
        return form.write(NOW - timedelta(**ago))

    rows = [("5 days", at(days=5)), ("2 days", at(days=2)), ("2 days 10", at(days=2, minutes=10))]
    rows += [("future", form.write(NOW.replace(year=2031))), ("none", None)]
    fill(f"CREATE TABLE t (id varchar(20), ts {kind})", rows=rows)
    everything, watermark, notes = read(place)
    assert everything == sorted(r[0] for r in rows)
    assert (watermark or "").strip() == at(days=2)
    future = ["表 t：1 行的增量字段晚于采集时间，未推进增量位置"]
    assert notes == future
    assert read(place, 0, watermark) == (["2 days", "future", "none"], watermark, future)
    assert read(place, 3600, watermark) == (["2 days", "2 days 10", "future", "none"], watermark, future)
    window = Window(NOW - timedelta(days=6), NOW - timedelta(days=4))
    assert read(place, 0, watermark, explicit=True, window=window)[0] == ["5 days"]


def test_f06_an_empty_text_is_no_cursor(fill: Fill, place: Settings) -> None:
    fill(
        "CREATE TABLE t (id varchar(20), ts varchar(30))",
        rows=[("old", "2026-10-01 00:00:00"), ("new", "2026-10-02 00:00:00"), ("empty", ""), ("blank", "  ")],
    )
    assert read(place, 0, "2026-10-02 00:00:00")[0] == ["blank", "empty", "new"]


def test_a_text_that_is_no_moment_does_not_hide_the_form(fill: Fill, place: Settings) -> None:
    fill(
        "CREATE TABLE t (id varchar(20), ts varchar(30))",
        rows=[("old", "2026-10-01 00:00:00"), ("new", "2026-10-02 00:00:00"), ("odd", "待定")],
    )
    assert read(place, 0, "2026-10-02 00:00:00")[:2] == (["new", "odd"], "2026-10-02 00:00:00")


@pytest.mark.parametrize(
    "values", [("2026/9/30 8:00", "2026/10/1 9:00"), ("2026-12-1", "2026-12-31"), ("2026年10月8日",)]
)
def test_moments_that_do_not_sort_are_refused(fill: Fill, place: Settings, values: tuple[str, ...]) -> None:
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=[(str(i), v) for i, v in enumerate(values)])
    with pytest.raises(CatalogError, match="leading zeros"):
        read(place)


def test_a_running_number_has_no_future_and_no_window(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id varchar(20), ts bigint)", rows=[("a", 9), ("b", 10), ("c", 1), ("d", None)])
    assert read(place, 0, "9") == (["a", "b", "d"], "10", [])
    ids, _, notes = read(place, 0, "9", explicit=True)
    assert (ids, notes) == (["a", "b", "c", "d"], ["表 t：增量字段不是时间，无法只读一段时间，已读取全部"])


def test_f25_a_zero_date_is_no_cursor(mariadb_server: Any, monkeypatch: pytest.MonkeyPatch, place: Settings) -> None:
    s = mariadb_server
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    engine = sa.create_engine(s.admin_url)
    with engine.begin() as conn:
        conn.exec_driver_sql("SET sql_mode = ''")
        conn.exec_driver_sql("CREATE TABLE t (id varchar(20), ts datetime)")
        rows = [("zero", "0000-00-00"), ("old", "2026-10-01"), ("new", "2026-10-02"), ("none", None)]
        conn.exec_driver_sql("INSERT INTO t VALUES (%s, %s)", rows)
    engine.dispose()
    assert read(place, 0, "2026-10-02 00:00:00")[0] == ["new", "none", "zero"]


@pytest.mark.parametrize("text", ["V001", "99999999", "2026-13-01", "12345", "", "2026-02-30", "一", "2026-10-01 8时"])
def test_what_is_no_moment_has_no_form(text: str) -> None:
    assert find_form([text], TIME_ZONE) is None


@pytest.mark.parametrize("sample", FORMS)
def test_a_form_writes_what_it_was_found_in(sample: str) -> None:
    form = find_form([None, sample], TIME_ZONE)
    assert form is not None
    assert form.move_back(sample, timedelta(0)) == sample
    moment = datetime(2026, 10, 1, 8, 0, 0, 123_000, tzinfo=TIME_ZONE)
    assert len(form.write(moment)) == len(sample)
    assert form.write(moment)[:10] == sample[:10] or sample.isdigit()
