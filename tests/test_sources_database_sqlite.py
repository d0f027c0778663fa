"""SQLite files of departments: text that is none, numbers with all digits, increments and ranges as of any database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import make_resource, open_at, plain_settings

from guiji.connections import Connection
from guiji.settings import Settings

Row = tuple[Any, ...]


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, list[Row]], None]]:
    path = tmp_path / "fep.db"
    monkeypatch.setenv("AIRFLOW_CONN_FEP", Connection("fep", "sqlite", schema=str(path)).to_json())
    connection = sqlite3.connect(path)

    def run(columns: str, rows: list[Row]) -> None:
        connection.execute(f"CREATE TABLE t ({columns})")
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.commit()

    yield run
    connection.close()


def read(place: Settings, *columns: str, watermark: str | None = None, **source: Any) -> list[Row]:
    """The rows with what is said of their structure."""
    load = "incremental" if "cursor" in source else "snapshot"
    resource = make_resource({"kind": "database", "connection": "fep", "table": "t", **source}, columns, load=load)
    delivery = open_at(resource, place, place.home / "scratch", watermark=watermark)
    return [tuple(r[c] for c in (*columns, "_broken")) for b in delivery.batches for r in b.to_pylist()]


def test_f28_a_text_that_is_no_utf8_costs_its_row_only(fill: Callable[..., None], place: Settings) -> None:
    fill("id text, a text", [("1", "好"), ("2", None), ("3", ""), ("5", "甲")])
    with sqlite3.connect(place.home.parent / "fep.db") as connection:
        connection.execute("INSERT INTO t VALUES ('4', CAST(x'b0a1' AS text))")
    assert sorted(read(place, "id", "a")) == [
        ("1", "好", None), ("2", None, None), ("3", "", None), ("4", None, "structure.encoding"), ("5", "甲", None),
    ]  # fmt: skip


def test_values_keep_their_digits(fill: Callable[..., None], place: Settings) -> None:
    fill("id text, n numeric, b blob", [("000123", 10**15, b"\x00\xff"), ("1e5", 0.1 + 0.2, "text"), ("", -1.5, None)])
    assert sorted(read(place, "id", "n", "b")) == [
        ("", "-1.5", None, None),
        ("000123", "1000000000000000", "00ff", None),
        ("1e5", "0.30000000000000004", "text", None),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_increments_and_ranges_lose_nothing(fill: Callable[..., None], place: Settings, size: int) -> None:
    rows = [("a", "2026-10-01 08:00:00"), ("b", "2026-10-02 08:00:00"), ("c", ""), ("d", "2031-01-01 00:00:00")]
    fill("id text, ts text", [*rows, ("e", None)])
    everything = read(place, "id", "ts", chunk_key="id", chunk_key_rows=size)
    assert sorted(r[0] for r in everything) == ["a", "b", "c", "d", "e"]
    later = read(place, "id", "ts", cursor="ts", chunk_key="id", chunk_key_rows=size, watermark="2026-10-02 08:00:00")
    assert sorted(r[0] for r in later) == ["b", "c", "d", "e"]


@pytest.mark.parametrize("kind", ["DATETIME", "TIMESTAMP", "TEXT", "VARCHAR(20)", "NUMERIC", ""])
def test_f06_f07_a_cursor_is_what_its_values_are(fill: Callable[..., None], place: Settings, kind: str) -> None:
    """SQLite holds any value in any column: an empty text in a DATETIME is no cursor."""
    rows = [
        ("old", "2026-10-01 08:00:00"),
        ("new", "2026-10-02 08:00:00"),
        ("empty", ""),
        ("blank", "  "),
        ("none", None),
    ]
    fill(f"id text, ts {kind}", [*rows, ("future", "2031-01-01 00:00:00"), ("number", 5)])
    read_again = read(place, "id", "ts", cursor="ts", watermark="2026-10-02 08:00:00")
    assert sorted(r[0] for r in read_again) == ["blank", "empty", "future", "new", "none", "number"]


@pytest.mark.parametrize("kind", ["DATETIME", "INTEGER", ""])
def test_running_numbers_of_any_width_are_right(fill: Callable[..., None], place: Settings, kind: str) -> None:
    fill(f"id text, ts {kind}", [("a", 9), ("b", 10), ("empty", ""), ("c", 100)])
    assert sorted(r[0] for r in read(place, "id", "ts", cursor="ts", watermark="10")) == ["b", "c", "empty"]
