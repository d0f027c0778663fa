"""Parcels are counted and their areas added up on every side: what was delivered, the source layer, the library."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from bad_input import run_command, write_catalog, write_library
from pyproj import Geod

from guiji.library.reconcile import Reconciliation
from guiji.pipeline import run_resource
from guiji.reconciliation import reconcile_resource
from guiji.settings import TIME_ZONE, Settings

NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)
GEOD = Geod(ellps="GRS80")
FIELDS: list[dict[str, Any]] = [
    {"name": "code", "title": "小班编号", "column": "code", "nullable": False},
    {
        "name": "area_ha",
        "title": "面积（公顷）",
        "column": "area",
        "type": "decimal128(14,4)",
        "by_shape": {"of": "parcel", "unit": "公顷", "projection": "ellipsoid", "tolerance": 0.02},
    },
    {
        "name": "parcel",
        "title": "小班面",
        "column": "geometry",
        "type": "geometry",
        "encoding": "geojson",
        "crs": "EPSG:4490",
        "overlap": {"projection": "EPSG:4525"},
    },
]
LIBRARY: dict[str, Any] = {
    "name": "land",
    "table": "land",
    "title": "林地库",
    "key": [{"name": "parcel_code", "title": "编号"}],
    "fields": [
        {"name": "area_ha", "title": "面积", "type": "decimal128(14,4)", "strategy": "authority", "authority": ["ab"]},
        {"name": "shape", "title": "图形", "type": "geometry", "crs": "EPSG:4490", "strategy": "newest_non_null"},
    ],
}


def box_of(i: int) -> Any:
    """Neighbours in a row, each 0.01 degrees wide."""
    return shapely.box(round(109 + i * 0.01, 6), 39, round(109 + (i + 1) * 0.01, 6), 39.008)


def area_of(i: int) -> float:
    return round(abs(GEOD.geometry_area_perimeter(box_of(i))[0]) / 10_000, 4)


def deliver(folder: Path, month: int, shapes: dict[str, Any], areas: dict[str, float]) -> None:
    features = [
        {"type": "Feature", "properties": {"code": code, "area": areas[code]}, "geometry": json.loads(shapely.to_geojson(s))}
        for code, s in shapes.items()
    ]  # fmt: skip
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / f"parcels_2026{month:02d}01.geojson").write_text(text, encoding="utf-8")


@pytest.fixture
def land(settings: Settings, tmp_path: Path) -> tuple[Settings, Path]:
    """A city that gathered ten parcels from a file and resolved them."""
    folder = tmp_path / "exports"
    folder.mkdir()
    source = {
        "kind": "files",
        "directory": str(folder),
        "pattern": r"parcels_(?P<date>\d{8})\.geojson",
        "format": {"type": "geojson"},
    }
    mapping = {"library": "land", "key": ["code"], "fields": {"area_ha": "area_ha", "shape": "parcel"}}
    resource = {"source": source, "fields": FIELDS, "key": ["code"], "order": [], "mappings": [mapping]}
    city = write_catalog(settings.at(NOW), resource, "parcels")
    write_library(city, LIBRARY)
    deliver(folder, 9, {f"p{i}": box_of(i) for i in range(10)}, {f"p{i}": area_of(i) for i in range(10)})
    assert run_resource("ab.parcels", city).rows_new == 10
    assert run_command(city, "resolve", "land").returncode == 0
    return city, folder


def sums(found: Reconciliation) -> dict[str, tuple[str | None, str | None]]:
    return {s.field: (s.front_end, s.layer) for s in found.sums}


def library_sums(found: Reconciliation) -> dict[str, tuple[str | None, str | None, bool]]:
    return {s.field: (s.layer, s.library, s.differs) for c in found.libraries for s in c.sums}


def test_parcels_and_their_areas_reconcile_from_the_file_to_the_library(land: tuple[Settings, Path]) -> None:
    city, _ = land
    found = reconcile_resource("ab.parcels", city)
    hectares = f"{sum(area_of(i) for i in range(10)):.4f}"
    metres = sum(abs(GEOD.geometry_area_perimeter(box_of(i))[0]) for i in range(10))
    assert found.agrees
    assert (found.rows_front_end, found.rows_layer, found.delivered_batch) == (10, 10, found.latest_batch)
    counted = sums(found)
    assert float(counted["parcel.area_m2"][0] or 0) == pytest.approx(metres, rel=1e-6)
    square_metres = counted["parcel.area_m2"][0]
    assert counted == {
        "area_ha": (hectares, hectares),
        "parcel.shapes": ("10", "10"),
        "parcel.area_m2": (square_metres, square_metres),
        "parcel.length_m": ("0.0", "0.0"),
    }
    assert library_sums(found) == {
        "area_ha": (hectares, hectares, False),
        "shape.shapes": ("10", "10", False),
        "shape.area_m2": (square_metres, square_metres, False),
        "shape.length_m": ("0.0", "0.0", False),
    }


def test_a_parcel_that_shrank_in_the_library_is_found_by_its_area(land: tuple[Settings, Path], conn: Any) -> None:
    """The keys are all there: only the sums tell."""
    city, _ = land
    half = shapely.box(109, 39, 109.005, 39.008).wkb
    conn.execute("UPDATE library.land SET shape = %s, area_ha = area_ha / 2 WHERE parcel_code = 'p0'", (half,))
    conn.commit()
    found = reconcile_resource("ab.parcels", city)
    assert (found.agrees, [c.missing for c in found.libraries]) == (False, [0])
    assert {name for name, (*_, differs) in library_sums(found).items() if differs} == {"area_ha", "shape.area_m2"}
    shown = run_command(city, "reconcile", "ab.parcels")
    assert shown.returncode == 1
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.endswith("differs")] == [
        "area_ha",
        "shape.area_m2",
    ]
    assert run_command(city, "reconcile", "ab.parcels", "--repair").returncode == 1
    assert reconcile_resource("ab.parcels", city).agrees  # the library was resolved anew


def test_a_parcel_lost_from_the_source_layer_is_named_by_its_bucket_and_nobody_is_blamed(
    land: tuple[Settings, Path], conn: Any
) -> None:
    city, _ = land
    conn.execute("DELETE FROM source.ab__parcels WHERE code = 'p3'")
    conn.commit()
    found = reconcile_resource("ab.parcels", city)
    assert (found.agrees, found.count("missing"), len(found.buckets)) == (False, 1, 1)
    assert sums(found)["parcel.shapes"] == ("10", "9")
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox WHERE kind = 'differs'").fetchone()["n"] == 0


def test_what_the_check_said_of_the_shapes_is_told_to_the_department(land: tuple[Settings, Path], conn: Any) -> None:
    """From a file through the pipeline: an area in 亩, and a parcel drawn onto its neighbour."""
    city, folder = land
    shapes = {f"p{i}": box_of(i) for i in range(10)}
    areas = {f"p{i}": area_of(i) for i in range(10)}
    areas["p2"] = round(areas["p2"] * 15, 4)
    shapes["p7"] = shapely.box(109.075, 39, 109.085, 39.008)  # half of it over p8
    deliver(folder, 10, shapes, areas)
    batch = run_resource("ab.parcels", city)
    assert (batch.rows_rejected, batch.rows_changed, batch.rows_unchanged, batch.outcome) == (0, 2, 8, "warning")
    conn.rollback()
    told = {
        (r["locator"].rpartition(":")[2], r["rule_id"], r["verdict"]): r["value_masked"]
        for r in conn.execute("SELECT * FROM ops.finding WHERE batch_id = %s", (batch.batch_id,))
    }
    assert set(told) == {
        ("3", "area_ha.by_shape", "suspicious"),
        ("8", "parcel.overlap", "suspicious"),
        ("9", "parcel.overlap", "suspicious"),
    }
    assert "parcels_20261001.geojson:9 重叠" in told["8", "parcel.overlap", "suspicious"]
    assert "相差1400.0%" in told["3", "area_ha.by_shape", "suspicious"]
    found = reconcile_resource("ab.parcels", city)
    assert found.agrees
    assert sums(found)["parcel.shapes"] == ("10", "10")


def test_a_package_that_was_swept_leaves_the_layer_and_the_library(land: tuple[Settings, Path]) -> None:
    import shutil

    city, _ = land
    shutil.rmtree(Path(city.staging) / "ab.parcels")
    found = reconcile_resource("ab.parcels", city)
    assert (found.agrees, found.rows_front_end, found.rows_layer, found.sums) == (True, None, 10, ())
    assert library_sums(found)["shape.shapes"] == ("10", "10", False)
