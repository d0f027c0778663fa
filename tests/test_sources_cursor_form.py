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
    "2026-10-01T08:00:00Z": "varchar(30)",
    "2026-10-01T08:00:00.123+08:00": "varchar(30)",
    "2026-10-01 08:00:00,123": "varchar(30)",
    "1790812800001": "varchar(30)",
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
    "values",
    [
        ("2026/9/30 8:00", "2026/10/1 9:00"),
        ("2026-12-1", "2026-12-31"),
        ("2026年10月8日",),
        ("2026-10-01 9:59:59", "2026-09-30 10:00:00"),
        ("2026-10-01 09:5:59",),
        ("2026-10-01T09:05:9",),
    ],
)
def test_moments_that_do_not_sort_are_refused(fill: Fill, place: Settings, values: tuple[str, ...]) -> None:
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=[(str(i), v) for i, v in enumerate(values)])
    with pytest.raises(CatalogError, match="leading zeros"):
        read(place)


@pytest.mark.parametrize(
    "values",
    [
        ("999", "1000"),
        ("V9", "V10"),
        ("01-10-2026", "30-09-2026"),
        ("10/01/2026 08:00", "09/30/2026 08:00"),
        ("01-Oct-2026", "01-Sep-2026"),
        ("2026-10-01 08:00:00 PM", "2026-10-01 09:00:00 AM"),
        ("未知", ""),
        ("10月01日", "09月30日"),
    ],
)
def test_texts_that_do_not_sort_as_they_follow_one_another_are_refused(
    fill: Fill, place: Settings, values: tuple[str, ...]
) -> None:
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=[(str(i), v) for i, v in enumerate(values)])
    with pytest.raises(CatalogError, match="declare load: snapshot"):
        read(place)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("V0999", "V1000"),
        ("0000999", "0001000"),
        ("HT-2026-00009", "HT-2026-00010"),
        ("2026-12-009", "2026-12-010"),
        ("京2026年0009号", "京2026年0010号"),
        ("MARK0009", "MARK0010"),
        ("0x00FF", "0x0100"),
    ],
)
def test_running_texts_of_equal_length_are_read_from_the_last_one_on(
    fill: Fill, place: Settings, before: str, after: str
) -> None:
    rows = [("a", before), ("b", after), ("empty", ""), ("none", None)]
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=rows)
    assert read(place) == (["a", "b", "empty", "none"], after, [])
    assert read(place, 0, after) == (["b", "empty", "none"], after, [])
    assert read(place, 0, "") == (["a", "b", "empty", "none"], after, [])  # of a time before there was one


@pytest.mark.parametrize("odd", ["待定", "20260101", "20990101", "-", "2026/09/30 08:00:00", "0", "2026-09-30"])
def test_a_cursor_written_otherwise_is_read_every_time_and_is_no_watermark(
    fill: Fill, place: Settings, odd: str
) -> None:
    rows = [("old", "2026-10-01 08:00:00"), ("new", "2026-10-02 08:00:00"), ("odd", odd), ("empty", "")]
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=rows)
    newest = "2026-10-02 08:00:00"
    everything, watermark, notes = read(place)
    assert (everything, watermark) == (["empty", "new", "odd", "old"], newest)
    note = "表 t：1 行的增量字段与其余各行写法不同（应形如 2026-10-20 09:00:00），每次采集都会读取"
    assert notes == [note]
    assert read(place, 0, newest) == (["empty", "new", "odd"], newest, [note])
    assert read(place, 0, odd) == (["empty", "new", "odd", "old"], newest, [note])


def test_an_hour_without_its_zero_between_others_is_read_every_time(fill: Fill, place: Settings) -> None:
    rows = [
        ("a", "2026-10-01 9:59:59"),
        ("b", "2026-10-01 10:00:00"),
        ("c", "2026-10-02 10:00:00"),
        ("z", "2026-09-01 10:00:00"),
    ]
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=rows)
    assert read(place)[:2] == (["a", "b", "c", "z"], "2026-10-02 10:00:00")
    assert read(place, 0, "2026-10-02 10:00:00")[0] == ["a", "c"]


def test_fractions_of_any_length_are_one_form(fill: Fill, place: Settings) -> None:
    rows = [("a", "2026-10-01 08:00:00"), ("b", "2026-10-01 08:00:00.5"), ("c", "2026-10-01 08:00:00.25")]
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=rows)
    assert read(place) == (["a", "b", "c"], "2026-10-01 08:00:00.5", [])
    assert read(place, 0, "2026-10-01 08:00:00.25") == (["b", "c"], "2026-10-01 08:00:00.5", [])


def test_f04_a_fraction_before_its_offset_is_not_lost(fill: Fill, place: Settings) -> None:
    """``.5Z`` sorts before ``Z``: the whole second is read again."""
    rows = [("a", "2026-10-01T08:00:00Z"), ("late", "2026-10-01T08:00:00.5Z"), ("old", "2026-10-01T07:59:59.9Z")]
    fill("CREATE TABLE t (id varchar(20), ts varchar(30))", rows=rows)
    assert read(place, 0, "2026-10-01T08:00:00Z")[::2] == (["a", "late"], [])


@pytest.mark.parametrize("kind", ["bigint", "varchar(20)"])
def test_a_day_with_a_serial_number_is_no_count_of_milliseconds(fill: Fill, place: Settings, kind: str) -> None:
    rows = [("a", "2026100100001"), ("b", "2026100100002"), ("c", "2026093000001")]
    fill(f"CREATE TABLE t (id varchar(20), ts {kind})", rows=rows)
    assert read(place) == (["a", "b", "c"], "2026100100002", [])
    assert read(place, 0, "2026100100002") == (["b"], "2026100100002", [])
    ids, _, notes = read(place, 0, "2026100100002", explicit=True)
    assert (ids, notes) == (["a", "b", "c"], ["表 t：增量字段不是时间，无法只读一段时间，已读取全部"])


@pytest.mark.parametrize("numbers", [(1, 20270101), (20_111_231, 20_111_232), (19_999_999, 20_261_231), (999, 10**13)])
def test_a_running_number_that_looks_like_a_day_has_no_future(
    fill: Fill, place: Settings, numbers: tuple[int, int]
) -> None:
    rows = [("a", numbers[0]), ("b", numbers[1])]
    fill("CREATE TABLE t (id varchar(20), ts bigint)", rows=rows)
    assert read(place) == (["a", "b"], str(numbers[1]), [])
    assert read(place, 3600, str(numbers[1])) == (["b"], str(numbers[1]), [])


@pytest.mark.parametrize("far", [99991231235959, 20990101000000, 4070908800000])
def test_f07_a_number_far_away_does_not_hide_the_moments(fill: Fill, place: Settings, far: int) -> None:
    at = 20261019080000 if far > 10**13 else 1792368000000
    rows = [("far", far), ("a", at), ("zero", 0), ("none", None)]
    fill("CREATE TABLE t (id varchar(20), ts bigint)", rows=rows)
    everything, watermark, notes = read(place)
    assert (everything, watermark) == (["a", "far", "none", "zero"], str(at))
    assert notes[0] == "表 t：1 行的增量字段晚于采集时间，未推进增量位置"
    assert [note[:22] for note in notes[1:]] == ["表 t：1 行的增量字段与其余各行写法不同（"]
    assert read(place, 0, str(at))[0] == ["a", "far", "none", "zero"]


@pytest.mark.parametrize("kind", ["text", "char(30)", "varchar(30)"])
def test_f06_blanks_in_any_text_are_no_cursor(fill: Fill, place: Settings, kind: str) -> None:
    rows = [("old", "2026-10-01 00:00:00"), ("new", "2026-10-02 00:00:00"), ("empty", ""), ("blank", "   ")]
    fill(f"CREATE TABLE t (id varchar(20), ts {kind})", rows=rows)
    assert read(place, 0, "2026-10-02 00:00:00") == (["blank", "empty", "new"], read(place)[1], [])


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
    assert form.move_back(sample, timedelta(0)) == (sample[:19] if form.suffix else sample)
    moment = datetime(2026, 10, 1, 8, 0, 0, 123_000, tzinfo=TIME_ZONE)
    assert len(form.write(moment)) == len(sample)
    assert form.read(form.write(moment)) == moment.replace(microsecond=123_000 if form.digits or not form.parts else 0)
