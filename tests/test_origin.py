"""Backflow (上级回流) and purchased social data serve like any other, are marked as such, and are counted apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bad_input import files_source, run_command, sound_rows, write_catalog, write_csv

from guiji.catalog import load_catalog
from guiji.city import load_city
from guiji.origins import ORIGINS, OWN, mark_name
from guiji.pipeline import run_resource
from guiji.report.facts import load_month, make_period
from guiji.report.figures import compute_figures
from guiji.settings import Settings
from guiji.ui.queries import sum_day, sum_day_apart

NAMES = {"people": OWN, "returned": "backflow", "bought": "purchased"}
ROWS = {"people": 7, "returned": 20, "bought": 30}


@pytest.fixture
def city(settings: Settings, tmp_path: Path) -> Settings:
    """One resource of each origin, each delivered once; the bought one brings nothing but bad rows beside one."""
    catalog = settings
    for name, origin in NAMES.items():
        folder = tmp_path / name
        folder.mkdir()
        body = {**files_source(folder), "name": f"人口{name}", "origin": origin, "tolerance": {"rejected": 1.0}}
        catalog = write_catalog(settings, body, name)
        rows = sound_rows(ROWS[name])
        if name == "bought":
            rows = [rows[0], *((row[0][:-1] + "?", *row[1:]) for row in rows[1:])]
        write_csv(folder / "people_20261018.csv", rows)
    return catalog


def test_every_origin_is_marked_and_counted_apart(city: Settings, conn: Any) -> None:
    for name in NAMES:
        run_resource(f"ab.{name}", city)
    conn.rollback()
    found = conn.execute("SELECT resource_id, origin, rows_read, rows_rejected FROM ops.batch").fetchall()
    assert {(r["resource_id"], r["origin"], r["rows_read"], r["rows_rejected"]) for r in found} == {
        ("ab.people", "department", 7, 0), ("ab.returned", "backflow", 20, 0), ("ab.bought", "purchased", 30, 29),
    }  # fmt: skip
    day = sum_day(conn, city.now())
    assert (day["batches"], day["rows_read"], day["rows_rejected"]) == (1, 7, 0)
    assert sum_day_apart(conn, city.now()) == [
        {"origin": "backflow", "batches": 1, "rows_read": 20},
        {"origin": "purchased", "batches": 1, "rows_read": 30},
    ]

    now = city.now()
    catalog = load_catalog(city.catalog)
    period = make_period(f"{now:%Y-%m}", now.date(), now)
    figures = compute_figures(load_month(conn, catalog, period), catalog, load_city(city))
    assert {o["id"]: (o["name"], o["rows_read"], o["serving"]) for o in figures["origins"]} == {
        "department": ("部门归集", 7, 7), "backflow": ("上级回流", 20, 20), "purchased": ("社会数据", 30, 1),
    }  # fmt: skip
    qualified = {o["id"]: (o["figures"]["qualified"]["a"], o["figures"]["qualified"]["b"]) for o in figures["origins"]}
    assert qualified == {"department": (7, 7), "backflow": (20, 20), "purchased": (1, 30)}
    # what a department is assessed by knows nothing of the others
    apart = {"headline": figures["headline"], "department": figures["departments"][0]["figures"]}
    for scope, measured in apart.items():
        assert (scope, measured["qualified"]["a"], measured["qualified"]["b"]) == (scope, 7, 7)
        assert (scope, measured["bound"]["a"], measured["bound"]["b"]) == (scope, 1, 1)
    assert (figures["totals"]["rows_read"], figures["totals"]["catalog"]) == (7, 1)
    assert [(w["name"], w["rows_read"]) for w in figures["ways"]] == [("文件交换", 7)]
    assert sum(d["rows_read"] for d in figures["days"]) == 7
    judged = [line for line in figures["national"]["lines"] if line.get("figure") and line["code"] == "0301"]
    assert all(line["figure"]["b"] <= 7 * line["rules"] for line in judged)
    assert {(r["id"], r["name"], r["origin"]) for r in figures["resources"]} == {
        (f"ab.{n}", mark_name(f"人口{n}", origin), ORIGINS[origin]) for n, origin in NAMES.items()
    }


def test_the_list_and_the_page_of_the_catalog_say_the_origin(city: Settings) -> None:
    listed = run_command(city, "catalog", "list").stdout
    assert ["人口people" in listed, "人口returned（上级回流）" in listed, "人口bought（社会数据）" in listed] == [
        True
    ] * 3
    assert "人口people（" not in listed
    shown = {name: run_command(city, "catalog", "show", f"ab.{name}").stdout for name in NAMES}
    assert {n: f"数据由来    {ORIGINS[o]}" in shown[n] for n, o in NAMES.items()} == dict.fromkeys(NAMES, True)


def test_report_pages_show_the_origins(city: Settings, conn: Any, tmp_path: Path) -> None:
    for name in NAMES:
        run_resource(f"ab.{name}", city)
    now = city.now()
    done = run_command(city, "report", f"{now:%Y-%m}", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    page = next((tmp_path / "out").glob("*.html")).read_text(encoding="utf-8")
    assert "按数据由来" in page
    assert "上级回流与社会数据（统采共用）单独统计" in page
    assert json.dumps(now.year) in page
