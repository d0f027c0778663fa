"""Publish: one transaction whose counts are PostgreSQL's, whose equation holds, and which can be run twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from packages import Bad, deliver, make_resource, serving

from guiji.settings import Settings

Rows = list[dict[str, object]]


def people(*numbers: int, name: str = "张三") -> Rows:
    return [{"id_no": f"{n:04}", "name": f"{name}{n}", "amount": Decimal(n) / 4} for n in numbers]


def as_set(rows: Rows) -> set[tuple[object, ...]]:
    return {tuple(r.values()) for r in rows}


def test_a_first_load_serves_every_row(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    rows = people(1, 2, 3)
    record = deliver(conn, settings, resource, rows)
    assert (record.status, record.outcome, record.rows_read, record.rows_new) == ("published", "passed", 3, 3)
    assert serving(conn, resource) == as_set(rows)


def test_a_second_snapshot_brings_only_its_difference(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2, 3))
    rows = [*people(1), *people(2, name="李四"), *people(4)]
    record = deliver(conn, settings, resource, rows, day=2)
    assert (record.rows_new, record.rows_changed, record.rows_unchanged, record.rows_deleted) == (1, 1, 1, 1)
    assert serving(conn, resource) == as_set(rows)
    history = conn.execute('SELECT id_no, name FROM source."gaj__person__history" ORDER BY 1').fetchall()
    assert history == [{"id_no": "0002", "name": "张三2"}, {"id_no": "0003", "name": "张三3"}]


def test_a_deleted_key_that_returns_is_new(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2))
    deliver(conn, settings, resource, people(1), day=2)
    record = deliver(conn, settings, resource, people(1, 2, name="王五"), day=3)
    assert (record.rows_new, record.rows_changed, record.rows_deleted) == (1, 1, 0)
    assert serving(conn, resource) == as_set(people(1, 2, name="王五"))


def test_a_published_batch_is_returned_as_it_is(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    first = deliver(conn, settings, resource, people(1, 2), bad=[Bad(("name.blank",), "0009")])
    again = deliver(conn, settings, resource, people(1, 2), bad=[Bad(("name.blank",), "0009")])
    assert again == first
    kept = conn.execute("SELECT count(*) AS n FROM ops.rejected_row").fetchone()
    assert kept["n"] == 1


if __name__ == "__main__":
    pytest.main([__file__])
