"""Reconciling on schedule: what is due, in which hours, one front-end at a time, and what a round leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from bad_input import connection_json, write_catalog, write_library
from hypothesis import given
from hypothesis import strategies as st

from guiji.catalog import load_catalog
from guiji.catalog.models import DepartmentModel, Resource
from guiji.errors import CatalogError, SourceUnavailable
from guiji.orchestration import tasks
from guiji.pipeline import run_resource
from guiji.reconciliation_due import (
    begin_period,
    find_due,
    first_night,
    hours_of,
    is_within_hours,
    list_scheduled,
    reconciled_every,
)
from guiji.reconciliation_schedule import LibraryLacksKeys, Round, reconcile_due
from guiji.settings import TIME_ZONE, Settings

NAMES = ("people", "places")
FIELDS: list[dict[str, Any]] = [
    {"name": "no", "title": "编号", "column": "id", "nullable": False, "length": 9},
    {"name": "title", "title": "名称", "column": "title", "nullable": False},
    {"name": "updated_at", "title": "更新时间", "column": "ts", "type": "timestamp"},
]
NIGHT = datetime(2026, 10, 22, 22, 0, tzinfo=TIME_ZONE)  # later than every resource's first night in the month


def incremental(table: str, connection: str = "fep_ab", **more: Any) -> dict[str, Any]:
    return {
        "load": "incremental",
        "source": {"kind": "database", "connection": connection, "table": table, "cursor": "ts"},
        "fields": FIELDS,
        "key": ["no"],
        "order": ["updated_at"],
        **more,
    }


@pytest.fixture
def fill(fep_postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Runs a statement in the department's database; the tables people and places hold 20 rows each."""
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        for name in NAMES:
            conn.execute(f"CREATE TABLE {name} (id text, title text, ts timestamp)".encode())
            conn.execute(
                f"INSERT INTO {name} SELECT 'k' || n, '单位' || n, timestamp '2026-10-01 08:00' + n * interval '1 minute'"
                " FROM generate_series(1, 20) n".encode()
            )

        def run(statement: str) -> None:
            conn.execute(statement.encode())

        yield run


@pytest.fixture
def city(settings: Settings, fill: Callable[[str], None]) -> Settings:
    """Two incremental resources of one front-end, each gathered once."""
    here = settings.at(NIGHT)
    for name in NAMES:
        here = write_catalog(here, incremental(name), name)
        run_resource(f"ab.{name}", here)
    return here


def work(city: Settings, **options: Any) -> Round:
    return reconcile_due("ab", city, load_catalog(city.catalog), lambda _: None, **options)


def kept(conn: Any) -> list[tuple[Any, ...]]:
    conn.rollback()
    return [
        tuple(r.values())
        for r in conn.execute("SELECT resource_id, agrees FROM ops.reconciliation ORDER BY reconciliation_id")
    ]


def told(conn: Any) -> list[tuple[Any, ...]]:
    conn.rollback()
    query = "SELECT resource_id, payload->>'difference' AS d FROM ops.outbox WHERE kind = 'differs' ORDER BY event_id"
    return [tuple(r.values()) for r in conn.execute(query)]


# --- a round -----------------------------------------------------------------------------------------


def test_f05_a_round_finds_what_no_increment_brings_tells_the_department_and_is_done_for_the_month(
    city: Settings, fill: Callable[[str], None], conn: Any
) -> None:
    fill("INSERT INTO places VALUES ('late', '迟到', '2026-10-01 07:00')")
    found = work(city)
    assert found == Round(("ab.people",), ("ab.places",))
    assert sorted(kept(conn)) == [("ab.people", True), ("ab.places", False)]
    assert told(conn) == [("ab.places", "前置机有而平台没有 1 条")]
    assert work(city) == Round()
    assert len(kept(conn)) == 2
    assert work(city.at(NIGHT + timedelta(days=31))) == Round(("ab.people",), ("ab.places",))


def test_what_is_declared_to_be_repaired_is_brought_at_once(city: Settings, fill: Callable[[str], None]) -> None:
    write_catalog(city, incremental("places", reconcile={"every": "week", "repair": True}), "places")
    fill("INSERT INTO places VALUES ('late', '迟到', '2026-10-01 07:00')")
    assert work(city).differ == ("ab.places",)
    assert work(city.at(NIGHT + timedelta(days=7))).agree == ("ab.places",)  # of a week; the others are of a month


def test_after_the_hours_nothing_is_begun_and_a_person_may_ask_at_any_hour(city: Settings, conn: Any) -> None:
    noon = city.at(NIGHT.replace(hour=12))
    left = work(noon)
    assert (left.agree, set(left.later), kept(conn)) == ((), {f"ab.{n}" for n in NAMES}, [])
    assert len(work(noon, any_hour=True).agree) == 2


def test_f72_a_front_end_that_is_down_is_asked_once_and_the_next_night_goes_on(
    city: Settings, fep_postgres: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab", port=1))
    said: list[str] = []
    with pytest.raises(SourceUnavailable):
        reconcile_due("ab", city, load_catalog(city.catalog), said.append)
    assert (len([s for s in said if "was not compared" in s]), kept(conn)) == (1, [])
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    assert len(work(city.at(NIGHT + timedelta(days=1))).agree) == 2


def test_a_resource_that_fails_keeps_no_other_from_being_compared(
    city: Settings, fill: Callable[[str], None], conn: Any
) -> None:
    fill("DROP TABLE people")
    with pytest.raises(Exception, match="people") as caught:
        work(city)
    assert "guiji.errors" in type(caught.value).__module__
    assert sorted(kept(conn)) == [("ab.places", True)]


def test_a_library_that_lacks_keys_is_a_red_run_and_no_mail_to_the_department(
    settings: Settings, fill: Callable[[str], None], conn: Any
) -> None:
    from guiji.library.resolve import resolve

    mapped = {"mappings": [{"library": "units", "key": ["no"], "fields": {"title": "title"}}]}
    here = write_catalog(settings.at(NIGHT), incremental("people", **mapped))
    write_library(
        here,
        {
            "name": "units",
            "table": "unit",
            "title": "单位库",
            "key": [{"name": "unit_no", "title": "编号"}],
            "fields": [{"name": "title", "title": "名称", "strategy": "authority", "authority": ["ab"]}],
        },
    )
    run_resource("ab.people", here)
    catalog = load_catalog(here.catalog)
    resolve(conn, here, catalog.library("units"), catalog)
    conn.execute("DELETE FROM library.unit WHERE unit_no = 'k3'")
    conn.commit()
    with pytest.raises(LibraryLacksKeys, match=r"units \(ab.people: 1 keys\)"):
        work(here)
    assert (kept(conn), told(conn)) == ([("ab.people", False)], [])


def test_a_resource_that_was_never_published_is_not_due(settings: Settings, fill: Callable[[str], None]) -> None:
    assert work(write_catalog(settings.at(NIGHT), incremental("people"))) == Round()


def test_a_department_that_is_not_there_is_a_fault_of_the_catalog(city: Settings) -> None:
    with pytest.raises(CatalogError, match="Nothing was compared"):
        reconcile_due("zz", city, load_catalog(city.catalog), lambda _: None)


def test_a_scheduled_task_keeps_to_the_hours_and_a_manual_one_does_not(city: Settings, conn: Any) -> None:
    noon = replace(city, fixed_now=NIGHT.replace(hour=12))

    def context(run_type: str) -> dict[str, Any]:
        return {"dag_run": SimpleNamespace(run_type=run_type)}

    with pytest.raises(tasks.NothingToDo, match="21:00-01:00"):
        tasks.reconcile_department(noon, "ab", context("scheduled"))
    assert kept(conn) == []
    tasks.reconcile_department(noon, "ab", context("manual"))
    assert len(kept(conn)) == 2


# --- what is due -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (incremental("t"), "month"),
        (incremental("t", reconcile={"every": "day"}), "day"),
        (incremental("t", reconcile={"every": "never"}), "never"),
        ({**incremental("t"), "load": "snapshot"}, "never"),
        ({**incremental("t", reconcile={"every": "week"}), "load": "snapshot"}, "never"),
        (incremental("t", source={"kind": "http", "connection": "x", "path": "/a", "cursor": "ts"}), "never"),
        (
            incremental(
                "t", source={"kind": "http", "connection": "x", "path": "/a", "cursor": "ts"}, reconcile={"every": "week"}
            ),
            "week",
        ),
        (
            incremental("t", source={"kind": "files", "directory": "/x", "pattern": r"(?P<date>\d{8})"}, reconcile={"every": "week"}),
            "never",
        ),
    ],
)  # fmt: skip
def test_how_often_follows_from_the_way_of_supply_and_what_is_declared(
    settings: Settings, resource: dict[str, Any], expected: str
) -> None:
    catalog = load_catalog(write_catalog(settings, resource).catalog)
    assert reconciled_every(catalog.resource("ab.people")) == expected
    assert [r.id for r in list_scheduled(catalog.resources.values(), "ab")] == ["ab.people"] * (expected != "never")


def test_the_department_s_defaults_say_it_for_all_of_its_resources(settings: Settings) -> None:
    here = write_catalog(settings, incremental("t"))
    file = here.catalog / "ab" / "department.yml"
    file.write_text(file.read_text() + "defaults: {reconcile: {every: quarter}}\n")
    assert reconciled_every(load_catalog(here.catalog).resource("ab.people")) == "quarter"


moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31)).map(lambda d: d.replace(tzinfo=TIME_ZONE))


@given(moments, st.sampled_from(["day", "week", "month", "quarter"]), st.integers(0, 10**6))
def test_every_period_has_a_night_on_which_a_resource_is_due_and_days_after_it(
    now: datetime, every: str, number: int
) -> None:
    begin = begin_period(every, now)
    following = begin_period(every, begin + timedelta(days={"day": 1, "week": 7, "month": 31, "quarter": 92}[every]))
    assert begin <= now < following or every in ("month", "quarter")
    assert begin_period(every, begin) == begin
    assert (begin.hour, begin.minute) == (0, 0)
    night = begin + timedelta(days=first_night(f"ab.r{number}", every))
    assert begin <= night
    assert night + timedelta(days=1 if every == "day" else 2) <= following


def test_the_nights_of_a_month_are_spread() -> None:
    nights = [first_night(f"gaj.resource_{n}", "month") for n in range(400)]
    assert max(nights.count(n) for n in range(20)) <= 40
    assert set(nights) == set(range(20))


@given(moments, st.integers(0, 1439), st.integers(1, 1439))
def test_hours_hold_past_midnight(now: datetime, begin: int, length: int) -> None:
    end = (begin + length) % 1440
    hours = f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    department = DepartmentModel(
        id="ab", name="a", short_name="a", credit_code="1", leader="x", section="y", reconcile_hours=hours
    )
    minute = now.hour * 60 + now.minute
    inside = {(begin + n) % 1440 for n in range(length)}
    assert is_within_hours(department, now) == (minute in inside)
    assert hours_of(department)[1] == timedelta(minutes=length)


def test_the_longest_not_compared_comes_first(city: Settings, conn: Any) -> None:
    from guiji.reconciliation import reconcile_resource

    resources: list[Resource] = list(load_catalog(city.catalog).resources.values())
    assert [r.id for r in find_due(conn, resources, NIGHT)] == ["ab.people", "ab.places"]
    reconcile_resource("ab.people", city.at(NIGHT.replace(month=9, day=2)))
    assert [r.id for r in find_due(conn, resources, NIGHT)] == ["ab.places", "ab.people"]
    reconcile_resource("ab.places", city.at(NIGHT.replace(month=9, day=3)))
    assert [r.id for r in find_due(conn, resources, NIGHT)] == ["ab.people", "ab.places"]
