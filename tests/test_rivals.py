"""Files of one day against a plain oracle: whatever order they come in, what is open is what nobody has put right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from packages import START, at_day, deliver, make_resource

from guiji.catalog.models import Resource
from guiji.records import DeliveredFile
from guiji.settings import Settings

LIBRARY = """\
name: economy
table: indicator
title: 经济库
vintages: true
key:
  - {name: code, title: 指标}
fields:
  - {name: value, title: 数值, type: "decimal128(18,4)", authority: [tjj], tolerance_share: 0.001}
"""
KEYS = ("甲", "乙")
#: the second differs from the first by less than a thousandth
VALUES = (Decimal("100"), Decimal("100.05"), Decimal("110"))
Rows = tuple[tuple[str, Decimal], ...]
Event = tuple[str, int, Rows]
_numbers = itertools.count(1)


def differ(a: Decimal, b: Decimal) -> bool:
    return abs(a - b) > Decimal("0.001") * b


@dataclass
class Oracle:
    """The series in plain Python: what serves, what each file of the newest day said last, what is open."""

    serving: dict[str, tuple[Decimal, int, str]] = field(default_factory=dict)
    said: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    newest: int = 0
    open: dict[str, tuple[int, set[str]]] = field(default_factory=dict)

    def take(self, path: str, day: int, rows: dict[str, Decimal]) -> None:
        changed = set()
        for key, value in rows.items():
            former = self.serving.get(key)
            if former is None or (former[0] != value and former[1] <= day):
                self.serving[key] = (value, day, path)
                changed.add(key)
        if day < self.newest:
            return
        if day > self.newest:
            self.newest, self.said = day, {}
        self.said[path] = rows
        looked_at = set(rows) if self.open else changed
        rivals: dict[str, set[str]] = {}
        for key in looked_at:
            value, since, holder = self.serving[key]
            others = {p for p, said in self.said.items() if p != holder and key in said and differ(said[key], value)}
            if since == day and others:
                rivals[key] = {holder, *others}
        for key in looked_at & set(self.open):
            opened, files = self.open[key]
            if key not in rivals and (opened < day or path in files):
                del self.open[key]
        self.open |= {key: (day, files) for key, files in rivals.items()}


def make_series(number: int) -> Resource:
    return make_resource(
        f"tjj.series{number}",
        fields={"code": "string", "value": "decimal128(18,4)"},
        source={"kind": "files", "directory": "/", "pattern": r"(?P<date>\d{8})_.+\.csv"},
        load="incremental",
        mappings=[{"library": "economy", "key": ["code"], "fields": {"value": "value"}}],
    )


@pytest.fixture
def city(settings: Settings, tmp_path: Path) -> Settings:
    libraries = tmp_path / "catalog" / "libraries"
    libraries.mkdir(parents=True)
    (libraries / "economy.yml").write_text(LIBRARY, encoding="utf-8")
    return replace(settings, catalog=tmp_path / "catalog")


def send(conn: Any, city: Settings, resource: Resource, event: Event, number: int) -> None:
    path, day, rows = event
    file = DeliveredFile(
        f"{path}.csv", 10, START + timedelta(hours=number), f"{number:064x}", f"{date(2026, 10, day):%Y-%m-%d}"
    )
    deliver(
        conn,
        at_day(city, 20, hour=number % 20),
        resource,
        [{"code": k, "value": v} for k, v in rows],
        day=day,
        batch=f"{resource.id}.{number}",
        files=(file,),
    )


def open_conflicts(conn: Any, resource: Resource) -> dict[str, tuple[int, set[str]]]:
    found = conn.execute(
        "SELECT key_masked, business_date, files FROM ops.conflict WHERE loser = %s AND scope = 'files'"
        " AND settled_at IS NULL",
        (resource.id,),
    ).fetchall()
    conn.commit()
    return {r["key_masked"]: (r["business_date"].day, {f.removesuffix(".csv") for f in r["files"]}) for r in found}


def check_series(conn: Any, city: Settings, events: Sequence[Event]) -> None:
    resource, oracle = make_series(next(_numbers)), Oracle()
    for number, (path, day, rows) in enumerate(events, 1):
        send(conn, city, resource, (path, day, rows), number)
        oracle.take(path, day, dict(rows))
        assert open_conflicts(conn, resource) == oracle.open, (number, events)
        found = conn.execute(f'SELECT code, value FROM source."{resource.model.table}"').fetchall()
        assert {r["code"]: r["value"] for r in found} == {k: v for k, (v, _, _) in oracle.serving.items()}
        conn.commit()


rows = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=1).map(
    lambda d: tuple(sorted(d.items()))
)
event = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 3), rows)
A100, A110, A10005 = ((("甲", v),) for v in (VALUES[0], VALUES[2], VALUES[1]))


@example([("a", 1, A100), ("b", 1, A110), ("a", 1, A110)])  # mended by the one that had lost
@example([("a", 1, A100), ("b", 1, A110), ("b", 1, A100)])  # mended by the one that served
@example([("a", 1, A100), ("b", 1, A110), ("c", 1, A110)])  # a third opinion decides nothing
@example([("a", 1, A100), ("b", 1, A110), ("c", 2, A110)])  # a later day does
@example([("a", 1, A100), ("b", 1, A10005)])  # within the tolerance
@example([("c", 1, A100), ("a", 2, A100), ("b", 2, A110)])  # a file that changed nothing has spoken too
@example([("a", 2, A100), ("b", 1, A110), ("b", 2, A110)])  # a late file of the day before is no party
@given(st.lists(event, min_size=2, max_size=7))
@hypothesis_settings(
    max_examples=12,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_is_open_between_files_of_a_day_is_what_nobody_has_put_right(
    conn: Any, city: Settings, events: list[Event]
) -> None:
    check_series(conn, city, events)


def test_a_row_of_file_said_is_kept_for_the_newest_day_only(conn: Any, city: Settings) -> None:
    resource = make_series(next(_numbers))
    for number, event in enumerate([("a", 1, A100), ("b", 1, A100), ("a", 3, A110), ("b", 2, A100)], 1):
        send(conn, city, resource, event, number)
    found = conn.execute("SELECT business_date::text AS day, batch_id FROM ops.file_said").fetchall()
    assert [tuple(r.values()) for r in found] == [("2026-10-03", f"{resource.id}.3")]
