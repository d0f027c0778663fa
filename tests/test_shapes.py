"""Shapes beyond their form: areas and lengths that are stated, surfaces upon each other, the city's boundary."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from staged_package import make_resource, make_settings, read_accepted, read_findings, read_rejected, stage_rows

from guiji.catalog.models import Overlap, Resource
from guiji.city import read_city
from guiji.crossings import count_crossings, list_edges
from guiji.errors import CatalogError, UsageError
from guiji.library.difference import Current, compare
from guiji.projection import check_projection, measure_area, measure_length
from guiji.quality import check_batch
from guiji.quality.overlap import Limits, find_overlaps
from guiji.records import CheckedBatch

CGCS2000 = "EPSG:4490"
GEOD = Geod(ellps="GRS80")


def square(west: float, south: float, east: float, north: float) -> str:
    return shapely.box(west, south, east, north).wkt


def column(*shapes: str | None) -> Any:
    return shapely.from_wkt(np.array(shapes, dtype=object))


def check(home: Path, resource: Resource, rows: Sequence[dict[str, Any]], **more: Any) -> CheckedBatch:
    own = make_settings(home)
    return check_batch(resource, own, stage_rows(own, resource, rows, **more))


def read_notes(checked: CheckedBatch) -> dict[tuple[int, str, str], str | None]:
    from staged_package import read_rows

    return {(r["_row_no"], r["rule_id"], r["verdict"]): r["value_masked"] for r in read_rows(checked.findings)}


# --- measuring ----------------------------------------------------------------------------------------


def test_a_zone_measures_its_own_plane_exactly() -> None:
    """In EPSG:4524 itself a square of 1,000 m is a million square metres, wherever it lies."""
    plane = column(
        "POLYGON ((36500000 4300000, 36501000 4300000, 36501000 4301000, 36500000 4301000, 36500000 4300000))"
    )
    assert measure_area(plane, "EPSG:4524", "EPSG:4524").tolist() == [1_000_000]
    assert measure_length(plane, "EPSG:4524", "EPSG:4524").tolist() == [4_000]


def test_areas_on_the_ellipsoid_agree_with_the_geodesic_and_zones_nearly() -> None:
    parcels = [
        "POLYGON ((111.24 39.86, 111.25 39.86, 111.25 39.868, 111.24 39.868, 111.24 39.86))",
        "POLYGON ((107.5 38.2, 107.52 38.2, 107.51 38.23, 107.5 38.2))",
    ]
    hole = "POLYGON ((109 39, 109.1 39, 109.1 39.1, 109 39.1, 109 39), (109.02 39.02, 109.02 39.04, 109.04 39.04, 109.04 39.02, 109.02 39.02))"
    both = "MULTIPOLYGON (((109 39, 109.01 39, 109.01 39.01, 109 39)), ((110 39, 110.01 39, 110.01 39.01, 110 39)))"
    shapes = column(*parcels, hole, both)
    true = [abs(GEOD.geometry_area_perimeter(shapely.from_wkt(p))[0]) for p in parcels]
    outer, inner = (
        abs(GEOD.polygon_area_perimeter(*np.array(r.coords).T)[0]) for r in (shapes[2].exterior, shapes[2].interiors[0])
    )
    true += [outer - inner, sum(abs(GEOD.geometry_area_perimeter(p)[0]) for p in shapes[3].geoms)]
    assert measure_area(shapes, CGCS2000, "ellipsoid").tolist() == pytest.approx(true, rel=1e-5)
    # at the far edge of the city a zone's plane is two in a thousand too large
    for zone in ("EPSG:4524", "EPSG:4525"):
        assert measure_area(shapes, CGCS2000, zone).tolist() == pytest.approx(true, rel=2.5e-3)


def test_lengths_along_the_ellipsoid_are_geodesics_of_every_part() -> None:
    lines = [
        "LINESTRING (109 39, 109.1 39.05, 109.1 39.2)",
        "MULTILINESTRING ((109 39, 109.1 39), (110 39, 110 39.3, 110.2 39.3))",
        "LINESTRING Z (109 39 1200, 109.1 39.05 9000, 109.1 39.2 100)",
    ]
    true = [GEOD.geometry_length(shapely.from_wkt(line)) for line in lines]
    assert measure_length(column(*lines), CGCS2000, "ellipsoid").tolist() == pytest.approx(true, rel=1e-12)
    assert true[2] == true[0]  # heights don't count
    assert measure_length(column(*lines), CGCS2000, "EPSG:4525").tolist() == pytest.approx(true, rel=1.2e-3)


def test_what_has_no_measure_says_so() -> None:
    shapes = column(None, "POINT (109 39)", "LINESTRING (109 39, 109 40)", "POLYGON EMPTY")
    assert [str(x) for x in measure_area(shapes, CGCS2000, "EPSG:4524")] == ["nan", "0.0", "0.0", "0.0"]
    far = column("POLYGON ((1e9 0, 2e9 0, 2e9 1e9, 1e9 0))")
    for projection in ("EPSG:4524", "ellipsoid"):
        assert math.isnan(measure_area(far, CGCS2000, projection)[0])
    assert measure_area(column(), CGCS2000, "ellipsoid").tolist() == []
    assert measure_length(column(), CGCS2000, "ellipsoid").tolist() == []


def test_a_projection_is_a_known_plane_in_metres() -> None:
    assert [check_projection(p) for p in ("EPSG:4524", "EPSG:4525", "epsg:4549", "ellipsoid")] == [None] * 4
    wrong = ("EPSG:4490", "EPSG:2263", "EPSG:999999", "+proj=longlat", "高斯")
    assert [p for p in wrong if check_projection(p) is None] == []


# --- a number that the shape must confirm -------------------------------------------------------------

PARCEL = square(111.24, 39.86, 111.25, 39.868)  # 76.00 ha on the ellipsoid


def stated(kind: str = "decimal128(14,4)", **by_shape: Any) -> Resource:
    declared = {"of": "shape", "unit": "公顷", "projection": "ellipsoid", **by_shape}
    shape = {"name": "shape", "type": "geometry", "crs": CGCS2000}
    return make_resource(
        [{"name": "id"}, {"name": "size", "title": "面积", "column": "size", "type": kind, "by_shape": declared}, shape]
    )


def test_f46_a_stated_area_is_held_against_the_shape(tmp_path: Path) -> None:
    sizes = ["76.00", "72.3", "72.1", "79.7", "79.9", None, "1140.03"]
    rows = [{"id": str(n), "size": size, "shape": PARCEL} for n, size in enumerate(sizes, 1)]
    rows += [{"id": "8", "size": "76", "shape": None}, {"id": "9", "size": "76", "shape": "POINT (111 39)"}]
    checked = check(tmp_path, stated(), rows)
    assert read_findings(checked) == {
        *((n, "size.by_shape", "suspicious") for n in (3, 5, 7)),
        (9, "size.by_shape", "unjudged"),
    }
    assert read_notes(checked)[7, "size.by_shape", "suspicious"] == (
        "1140.03（按图形量算为76.0019公顷（合760,019平方米、1,140.03亩），相差1400.0%）"
    )
    assert read_notes(checked)[9, "size.by_shape", "unjudged"] == "76（图形不是面，无法量算）"
    rule = next(r for r in checked.rules if r.rule_id == "size.by_shape")
    assert (rule.rows, rule.failed, rule.unjudged, rule.indicator) == (8, 3, 1, "0402")
    # both are in doubt: which of them is wrong is not known
    assert read_accepted(checked, "id", "_suspect")[2] == ("3", "{size,shape}")
    assert len(read_accepted(checked, "id")) == 9


@pytest.mark.parametrize(
    ("unit", "right", "wrong"),
    [("平方米", "760019", "76"), ("公顷", "76", "1140"), ("亩", "1140", "76"), ("平方公里", "0.76", "76")],
)
def test_every_unit_is_its_own(tmp_path: Path, unit: str, right: str, wrong: str) -> None:
    rows = [{"id": str(n), "size": size, "shape": PARCEL} for n, size in enumerate((right, wrong), 1)]
    checked = check(tmp_path, stated(unit=unit, severity="reject"), rows)
    assert read_rejected(checked) == {2: ["size.by_shape"]}


def test_a_stated_length_is_held_against_the_line_in_the_declared_projection(tmp_path: Path) -> None:
    line = "LINESTRING (109.8 39.6, 109.82 39.615)"
    km = GEOD.geometry_length(shapely.from_wkt(line)) / 1000
    rows = [
        {"id": str(n), "size": f"{km * share:.6f}", "shape": line} for n, share in enumerate((1, 1.049, 1.051, 0.9), 1)
    ]
    rows.append({"id": "5", "size": "2.4", "shape": PARCEL})
    for projection in ("EPSG:4525", "ellipsoid"):
        resource = stated("float64", unit="公里", projection=projection, severity="reject")
        checked = check(tmp_path / projection.replace(":", ""), resource, rows)
        assert read_rejected(checked) == {3: ["size.by_shape"], 4: ["size.by_shape"]}
        assert (5, "size.by_shape", "unjudged") in read_findings(checked)


def test_a_small_difference_never_counts_and_zero_is_a_number(tmp_path: Path) -> None:
    tiny = square(109, 39, 109.00001, 39.00001)  # about a square metre
    rows = [{"id": "1", "size": "2", "shape": tiny}, {"id": "2", "size": "0", "shape": PARCEL}]
    loose = check(tmp_path / "a", stated(unit="平方米", slack=5), rows)
    assert {n for n, *_ in read_findings(loose)} == {2}
    strict = check(tmp_path / "b", stated(unit="平方米", slack=0), rows)
    assert {n for n, *_ in read_findings(strict)} == {1, 2}


# --- surfaces upon each other -------------------------------------------------------------------------

SHAPE = {"name": "shape", "title": "图形", "column": "shape", "type": "geometry", "crs": CGCS2000}


def parcels(**overlap: Any) -> Resource:
    declared = {"projection": "EPSG:4525", **overlap}
    return make_resource([{"name": "id"}, {"name": "note"}, {**SHAPE, "overlap": declared}])


def as_rows(*shapes: str | None) -> list[dict[str, Any]]:
    return [{"id": str(n), "shape": shape} for n, shape in enumerate(shapes, 1)]


def test_f46_both_rows_of_an_overlap_are_told_and_where_the_other_stands(tmp_path: Path) -> None:
    shapes = (square(109, 39, 109.01, 39.01), square(109.008, 39, 109.02, 39.01), square(109.5, 39, 109.51, 39.01))
    checked = check(tmp_path, parcels(), as_rows(*shapes))
    shared = measure_area(column(square(109.008, 39, 109.01, 39.01)), CGCS2000, "EPSG:4525")[0]
    assert read_notes(checked) == {
        (1, "shape.overlap", "suspicious"): f"与 things.csv:3 重叠 {shared:.1f} 平方米，占较小图形的 20.00%",
        (2, "shape.overlap", "suspicious"): f"与 things.csv:2 重叠 {shared:.1f} 平方米，占较小图形的 20.00%",
    }
    assert read_accepted(checked, "_suspect") == [("{shape}",), ("{shape}",), (None,)]
    rejecting = check(tmp_path / "reject", parcels(severity="reject"), as_rows(*shapes))
    assert read_rejected(rejecting) == {1: ["shape.overlap"], 2: ["shape.overlap"]}


def test_nobody_is_accused_for_a_shared_boundary(tmp_path: Path) -> None:
    """Sides, corners, a side with points of its own, an island in its lake, and slivers within the tolerance."""
    shapes = (
        square(109, 39, 109.01, 39.01),
        square(109.01, 39, 109.02, 39.01),  # a side
        square(109.02, 39.01, 109.03, 39.02),  # a corner
        "POLYGON ((109 39.01, 109.005 39.01, 109.01 39.01, 109.01 39.02, 109 39.02, 109 39.01))",  # a T
        "POLYGON ((109.1 39, 109.2 39, 109.2 39.1, 109.1 39.1, 109.1 39), (109.12 39.02, 109.12 39.04, 109.14 39.04, 109.14 39.02, 109.12 39.02))",
        square(109.12, 39.02, 109.14, 39.04),  # the island
        square(109.0199, 39, 109.03, 39.01),  # 1 % of the smaller
        "LINESTRING (109 39, 109.2 39.1)",
        "POINT (109.005 39.005)",
    )
    checked = check(tmp_path, parcels(share=0.011), as_rows(*shapes))
    assert read_findings(checked) == set()
    strict = check(tmp_path / "strict", parcels(share=0.009), as_rows(*shapes))
    assert {n for n, *_ in read_findings(strict)} == {2, 7}


def test_versions_and_copies_of_one_key_do_not_lie_upon_each_other(tmp_path: Path) -> None:
    same = square(109, 39, 109.01, 39.01)
    rows = [
        {"id": "a", "note": "1", "shape": same},
        {"id": "a", "note": "1", "shape": same},  # a copy
        {"id": "a", "note": "2", "shape": same},  # a version
    ]
    checked = check(tmp_path, parcels(), rows)
    assert {rule for _, rule, _ in read_findings(checked)} == {"key.duplicate"}
    twice = check(tmp_path / "twice", parcels(), [*rows[:1], {"id": "b", "note": "1", "shape": same}])
    assert {n for n, *_ in read_findings(twice)} == {1, 2}


def test_shapes_that_are_broken_or_dead_are_not_compared(tmp_path: Path) -> None:
    bow_tie = "POLYGON ((109 39, 109.01 39.01, 109.01 39, 109 39.01, 109 39))"
    rows = as_rows(square(109, 39, 109.01, 39.01), bow_tie, None, square(109.005, 39, 109.01, 39.01))
    rows[3]["note"] = "注销"
    resource = parcels()
    resource = resource.model_copy(update={"model": resource.model.model_copy(update={"tombstone": "note = '注销'"})})
    assert read_findings(check(tmp_path, resource, rows)) == {(2, "shape.geometry", "rejected")}


def test_dead_rows_are_left_out_where_the_key_is_an_identifier_too(tmp_path: Path) -> None:
    shape = {**SHAPE, "overlap": {"projection": "EPSG:4525"}}
    fields = [{"name": "id", "identifier": "division"}, {"name": "note"}, shape]
    resource = make_resource(fields, tombstone="note = '注销'")
    rows = [
        {"id": "150602", "shape": square(109, 39, 109.01, 39.01)},
        {"id": "150603", "note": "注销", "shape": square(109.005, 39, 109.01, 39.01)},
        {"id": "150621", "shape": square(109.02, 39, 109.03, 39.01)},
    ]
    assert read_findings(check(tmp_path, resource, rows)) == set()
    rows[1]["note"] = None
    assert {n for n, *_ in read_findings(check(tmp_path / "alive", resource, rows))} == {1, 2}


def test_an_unchanged_row_is_told_when_a_neighbour_moves_onto_it(tmp_path: Path) -> None:
    """What serves may be carried over without being judged again; not where rows are compared with each other."""
    resource, own = parcels(), make_settings(tmp_path)
    before = as_rows(square(109, 39, 109.01, 39.01), square(109.02, 39, 109.03, 39.01))
    staged = stage_rows(own, resource, before)
    first = check_batch(resource, own, staged)
    assert read_findings(first) == set()
    cache = compare(resource, own, staged, first, Current(None, 0, complete=True)).cache
    assert cache is not None
    after = [before[0], {"id": "2", "shape": square(109.005, 39, 109.015, 39.01)}]
    staged = stage_rows(own, resource, after, batch_id="b2")
    second = check_batch(resource, own, staged, carry_cache=cache)
    assert {n for n, *_ in read_findings(second)} == {1, 2}
    assert second.rows_carried == 0


def as_batches(shapes: Sequence[Any], rows_at_once: int, keys: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """The shapes as the survey hands them over: by their western edge, numbered from 1 in the order given."""
    order = sorted(range(len(shapes)), key=lambda i: shapely.bounds(shapes[i])[0])
    for start in range(0, len(order), rows_at_once):
        some = order[start : start + rows_at_once]
        yield pa.record_batch(
            {
                "_row_no": pa.array([i + 1 for i in some], pa.int64()),
                "key": pa.array([i if keys is None else keys[i] for i in some], pa.uint64()),
                "shape": pa.array([shapely.to_wkb(shapes[i]) for i in some], pa.binary()),
            }
        )


METRES = "EPSG:4525"
_corner = st.integers(0, 30)


@st.composite
def _surface(draw: st.DrawFn) -> Any:
    x, y = draw(_corner), draw(_corner)
    form = draw(st.sampled_from(["box", "triangle", "frame"]))
    w, h = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    if form == "triangle":
        return shapely.Polygon([(x, y), (x + w, y), (x, y + h)])
    if form == "frame" and w > 2 and h > 2:
        return shapely.box(x, y, x + w, y + h).difference(shapely.box(x + 1, y + 1, x + w - 1, y + h - 1))
    return shapely.box(x, y, x + w, y + h)


@settings(max_examples=120, deadline=None)
@given(st.lists(_surface(), max_size=14), st.integers(1, 6), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 4.0]))
def test_overlaps_are_those_that_every_pair_looked_at_shows(
    surfaces: list[Any], rows_at_once: int, share: float, area_m2: float
) -> None:
    best: dict[int, tuple[float, int]] = {}
    for i, a in enumerate(surfaces, 1):
        for j, b in enumerate(surfaces, 1):
            common = a.intersection(b).area
            if i != j and common > area_m2 and common / min(a.area, b.area) > share:
                best[i] = max(best.get(i, (0, 0)), (common, -j))
    spec = Overlap(projection=METRES, share=share, area_m2=area_m2)
    found = find_overlaps(as_batches(surfaces, rows_at_once), METRES, spec, Limits(pairs_at_once=3))
    assert found.unjudged.tolist() == []
    told = dict(zip(found.row.tolist(), zip(found.area.tolist(), found.partner.tolist(), strict=True), strict=True))
    assert set(told) == set(best)
    for row, (area, partner) in told.items():
        assert area == pytest.approx(best[row][0], abs=1e-6)
        assert surfaces[row - 1].intersection(surfaces[partner - 1]).area == pytest.approx(best[row][0], abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(st.lists(_surface(), min_size=2, max_size=14), st.integers(1, 6), st.integers(0, 400), st.integers(10, 60))
def test_within_any_limit_a_row_is_told_unjudged_or_in_order_but_never_in_order_wrongly(
    surfaces: list[Any], rows_at_once: int, points_to_visit: int, points_at_once: int
) -> None:
    spec = Overlap(projection=METRES, share=0, area_m2=0)
    whole = find_overlaps(as_batches(surfaces, rows_at_once), METRES, spec)
    limits = Limits(points_at_once, points_to_visit, 3)
    found = find_overlaps(as_batches(surfaces, rows_at_once), METRES, spec, limits)
    assert set(found.row.tolist()) <= set(whole.row.tolist())
    assert set(whole.row.tolist()) <= {*found.row.tolist(), *found.unjudged.tolist()}
    assert set(found.row.tolist()).isdisjoint(found.unjudged.tolist())


def test_what_meets_a_shape_that_is_left_out_is_unjudged() -> None:
    """A shape of too many points comes last, first or between; it is unjudged too."""
    many = shapely.Point(36500000, 4300000).buffer(100, quad_segs=30)
    near, far = shapely.box(36499900, 4299900, 36499950, 4300100), shapely.box(36600000, 4300000, 36600100, 4300100)
    late = shapely.box(36500050, 4300000, 36500200, 4300100)
    for rows_at_once in (1, 2, 4):
        shapes = [near, many, far, late]
        found = find_overlaps(as_batches(shapes, rows_at_once), METRES, Overlap(projection=METRES), Limits(200))
        assert (found.row.tolist(), found.unjudged.tolist()) == ([], [1, 2, 4])
        last = find_overlaps(as_batches(shapes[:2], rows_at_once), METRES, Overlap(projection=METRES), Limits(200))
        assert last.unjudged.tolist() == [1, 2]


def test_a_pair_of_too_many_points_is_unjudged_and_its_other_neighbours_are_not() -> None:
    """Prepared shapes are let go of, and prepared again."""
    large = [shapely.Point(36500000 + n, 4300000).buffer(100, quad_segs=30) for n in (0, 150)]
    small = [shapely.box(w, 4299990, w + 20, 4300010) for w in (36499890, 36500240, 36500400)]
    for rows_at_once in (1, 2, 5):
        limits = Limits(points_prepared=100, points_of_pair=200)
        batches = as_batches([*large, *small], rows_at_once)
        found = find_overlaps(batches, METRES, Overlap(projection=METRES), limits)
        assert (found.row.tolist(), found.partner.tolist(), found.unjudged.tolist()) == ([1, 2, 3, 4], [3, 4, 1, 2], [])
        limits = Limits(points_of_pair=100)
        found = find_overlaps(as_batches([*large, *small], rows_at_once), METRES, Overlap(projection=METRES), limits)
        assert (found.row.tolist(), found.unjudged.tolist()) == ([], [1, 2, 3, 4])


def make_comb(teeth: int, size: float = 100.0) -> Any:
    """A comb with its teeth upwards, standing on the ground."""
    x = [n * size / (2 * teeth) for n in range(2 * teeth + 1)]
    top = [(x[n + end], size if n % 2 == 0 else 0.0) for n in range(2 * teeth) for end in (0, 1)]
    return shapely.Polygon([(0, -1), *top, (size, -1)])


def lay_across(comb: Any) -> Any:
    return shapely.transform(comb, lambda points: points[:, ::-1])


def test_two_combs_across_each_other_are_unjudged_and_their_neighbours_are_not() -> None:
    """Five hundred teeth each, a million crossings: GEOS took half a minute and 1.3 GB for them."""
    comb = make_comb(500)
    shapes = [comb, lay_across(comb), shapely.box(10, -0.5, 20, -0.1), shapely.box(200, 200, 201, 201)]
    shapes = [shapely.transform(s, lambda points: points + np.array([36500000, 4300000])) for s in shapes]
    found = find_overlaps(as_batches(shapes, 4), METRES, Overlap(projection=METRES, share=0, area_m2=0))
    assert (found.row.tolist(), found.partner.tolist(), found.unjudged.tolist()) == ([1, 3], [3, 1], [2])


@pytest.mark.parametrize("teeth", [1, 3, 40])
def test_crossings_are_counted_each_once(teeth: int) -> None:
    """Each of the 2n + 1 upright edges of a comb but the outer two stands across as many edges of the other."""
    one, other = (list_edges(s) for s in (make_comb(teeth), lay_across(make_comb(teeth))))
    expected = sum(
        shapely.LineString(a.reshape(2, 2)).crosses(shapely.LineString(b.reshape(2, 2))) for a in one for b in other
    )
    assert expected >= 4 * (teeth - 1) ** 2
    assert count_crossings(one, other, 1_000_000) == expected
    assert count_crossings(one, other, expected - 1) == expected


@settings(max_examples=100, deadline=None)
@given(_surface(), _surface())
def test_crossings_are_those_that_every_pair_of_edges_shows(one: Any, other: Any) -> None:
    edges = [list_edges(s) for s in (one, other)]
    lines = [[shapely.LineString(e.reshape(2, 2)) for e in some] for some in edges]
    assert count_crossings(*edges, 1_000) == sum(a.crosses(b) for a in lines[0] for b in lines[1])


def test_a_common_boundary_is_no_crossing() -> None:
    rng = random.Random(1)
    border = [(float(n), rng.random()) for n in range(50_001)]
    north = shapely.Polygon([*border, (50_000.0, 9.0), (0.0, 9.0)])
    south = shapely.Polygon([*border, (50_000.0, -9.0), (0.0, -9.0)])
    assert count_crossings(list_edges(north), list_edges(south), 10) == 0


def test_ten_thousand_shapes_upon_each_other_end_in_time() -> None:
    shapes = [shapely.box(36500000 + n / 100, 4300000, 36500400, 4300100) for n in range(10_000)]
    limits = Limits(points_to_visit=2_000_000)
    found = find_overlaps(as_batches(shapes, 2_048), METRES, Overlap(projection=METRES), limits)
    told, unjudged = found.row.tolist(), found.unjudged.tolist()
    assert sorted(told + unjudged) == list(range(1, 10_001))
    assert told


# --- the city's boundary ------------------------------------------------------------------------------

CITY = {"type": "Polygon", "coordinates": [[[109, 39], [110, 39], [110, 40], [109, 40], [109, 39]]]}
PLACES = {
    "1": square(109.5, 39.5, 109.51, 39.51),  # inside
    "2": square(109.99, 39.5, 110.01, 39.51),  # half outside
    "3": square(110.5, 39.5, 110.51, 39.51),  # outside, in the box
    "4": "POINT (110.001 39.5)",  # 86 m outside
    "5": "POINT (110.003 39.5)",  # 258 m outside
    "6": "LINESTRING (109.5 39.5, 110.5 39.5)",  # leaves the city
    "7": "POINT (120 30)",  # outside the box, too
    "8": None,
}


def bounded(folder: Path, geojson: Any = CITY, margin: float = 200, **field: Any) -> Resource:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "boundary.geojson").write_text(json.dumps(geojson), encoding="utf-8")
    resource = make_resource([{"name": "id"}, {**SHAPE, **field}])
    boundary = (str(folder / "boundary.geojson"), margin)
    return resource.model_copy(update={"city_bounds": (106, 37, 113, 42), "city_boundary": boundary})


def outside(home: Path, resource: Resource, places: dict[str, str | None] = PLACES) -> set[tuple[str, str, str]]:
    checked = check(home, resource, [{"id": i, "shape": p} for i, p in places.items()])
    ids = dict(enumerate(places, 1))
    return {(ids[n], rule.partition(".")[2], verdict) for n, rule, verdict in read_findings(checked)}


def test_f46_what_lies_outside_the_city_is_rejected_and_what_crosses_its_boundary_doubted(tmp_path: Path) -> None:
    wanted = {
        ("2", "boundary", "suspicious"),
        ("3", "boundary", "rejected"),
        ("5", "boundary", "rejected"),
        ("6", "boundary", "suspicious"),
        ("7", "bounds", "rejected"),  # one fault, one finding
    }
    assert outside(tmp_path, bounded(tmp_path)) == wanted
    near = outside(tmp_path / "near", bounded(tmp_path, margin=0)) - wanted
    assert near == {("4", "boundary", "rejected")}
    far = outside(tmp_path / "far", bounded(tmp_path, margin=300))
    assert far == wanted - {("5", "boundary", "rejected")}


def test_the_share_outside_is_said(tmp_path: Path) -> None:
    rows = [{"id": i, "shape": PLACES[i]} for i in ("2", "3", "6")]
    assert read_notes(check(tmp_path, bounded(tmp_path), rows)) == {
        (1, "shape.boundary", "suspicious"): "部分在本市界外，占图形的50.0%",
        (2, "shape.boundary", "rejected"): "全部在本市界外",
        (3, "shape.boundary", "suspicious"): "部分在本市界外",
    }


def test_a_boundary_of_several_parts_with_an_enclave(tmp_path: Path) -> None:
    ring = [[109.4, 39.4], [109.4, 39.6], [109.6, 39.6], [109.6, 39.4], [109.4, 39.4]]
    other = [[[111, 39], [112, 39], [112, 40], [111, 40], [111, 39]]]
    city = {"type": "MultiPolygon", "coordinates": [[CITY["coordinates"][0], ring], other]}
    feature = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": city}]}
    places: dict[str, str | None] = {
        "enclave": "POINT (109.5 39.5)",
        "one": "POINT (109.2 39.2)",
        "two": "POINT (111.5 39.5)",
        "between": "POINT (110.5 39.5)",
    }
    wanted = {(i, "boundary", "rejected") for i in ("enclave", "between")}
    assert outside(tmp_path / "a", bounded(tmp_path / "a", city), places) == wanted
    assert outside(tmp_path / "b", bounded(tmp_path / "b", feature), places) == wanted


def test_the_boundary_is_for_fields_without_a_box_of_their_own_in_any_system(tmp_path: Path) -> None:
    own = bounded(tmp_path, bounds=[106, 37, 113, 42])
    assert outside(tmp_path / "own", own) == {("7", "bounds", "rejected")}
    metres: dict[str, str | None] = {"in": "POINT (37328000 4375000)", "out": "POINT (37628000 4375000)"}
    projected = bounded(tmp_path, crs="EPSG:4525")
    assert outside(tmp_path / "metres", projected, metres) == {("out", "boundary", "rejected")}


def test_a_boundary_that_is_none_stops_the_check_and_says_what_to_do(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[109, 39], [110, 40]]}
    bow_tie = {"type": "Polygon", "coordinates": [[[109, 39], [110, 40], [110, 39], [109, 40], [109, 39]]]}
    metres = {"type": "Polygon", "coordinates": [[[5e5, 4e6], [6e5, 4e6], [6e5, 5e6], [5e5, 4e6]]]}
    exchanged = {"type": "Polygon", "coordinates": [[[39, 109], [40, 109], [40, 110], [39, 109]]]}
    for n, wrong in enumerate(
        (line, bow_tie, metres, exchanged, "nothing", {"type": "FeatureCollection", "features": []})
    ):
        with pytest.raises(CatalogError, match=r"take `boundary` out of city\.yml"):
            outside(tmp_path / str(n), bounded(tmp_path, wrong))


def test_the_boundary_is_declared_in_the_citys_settings(tmp_path: Path) -> None:
    assert (read_city(tmp_path).boundary, read_city(tmp_path).boundary_margin_m) == ("", 200)
    (tmp_path / "city.yml").write_text("boundary: b.geojson\n")
    with pytest.raises(UsageError, match=r"b\.geojson"):
        read_city(tmp_path)
    (tmp_path / "b.geojson").write_text(json.dumps(CITY))
    assert read_city(tmp_path).boundary == "b.geojson"
    (tmp_path / "city.yml").write_text("boundary: b.geojson\nboundary_margin_m: -1\n")
    with pytest.raises(UsageError, match="boundary_margin_m"):
        read_city(tmp_path)


# --- the catalog --------------------------------------------------------------------------------------


def write_places(root: Path, fields: str) -> Path:
    from small_catalog import write_department, write_resource

    write_department(root, "gaj", "公安局")
    path = write_resource(root, "gaj.places", more="rules: []\n")
    path.write_text(path.read_text(encoding="utf-8").replace("key: ", fields + "key: ", 1), encoding="utf-8")
    return path


GEOMETRY = '  - {name: place, title: 位置, type: geometry, crs: "EPSG:4490"}\n'


def test_a_loaded_resource_knows_the_boundary_and_is_judged_again_when_the_file_changes(tmp_path: Path) -> None:
    from guiji.catalog import load_resource

    write_places(tmp_path, GEOMETRY)
    found = [load_resource(tmp_path, "gaj.places")]
    (tmp_path / "b.geojson").write_text(json.dumps(CITY))
    for text in ("boundary: b.geojson\n", "boundary: b.geojson\nboundary_margin_m: 50\n"):
        (tmp_path / "city.yml").write_text(text)
        found.append(load_resource(tmp_path, "gaj.places"))
    (tmp_path / "b.geojson").write_text(json.dumps({**CITY, "name": "other"}))
    found.append(load_resource(tmp_path, "gaj.places"))
    path = str(tmp_path / "b.geojson")
    assert [r.city_boundary for r in found] == [None, (path, 200.0), (path, 50.0), (path, 50.0)]
    assert len({r.fingerprint for r in found}) == 4


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("{name: size, title: 面积, by_shape: {of: place, unit: 亩, projection: ellipsoid}}", "by_shape is for numbers"),
        ("{name: size, title: 面积, type: int64, by_shape: {of: plaec, unit: 亩, projection: ellipsoid}}", "Did you mean 'place'"),
        ("{name: size, title: 面积, type: int64, by_shape: {of: place, unit: 亩, projection: EPSG:4490}}", "which is not projected"),
        ("{name: size, title: 面积, type: int64, by_shape: {of: place, unit: 英亩, projection: ellipsoid}}", "英亩"),
        ("{name: size, title: 面积, type: int64, overlap: {projection: ellipsoid}}", "overlap is for type geometry"),
        ("{name: p2, title: 面, type: geometry, crs: 'LOCAL:1', overlap: {projection: ellipsoid}}", "that system is not known"),
        ("{name: p2, title: 面, type: geometry, crs: EPSG:4490, overlap: {projection: EPSG:9999999}}", "no known system"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_when_the_catalog_is_checked(tmp_path: Path, field: str, message: str) -> None:
    from guiji.catalog import load_catalog

    write_places(tmp_path, GEOMETRY + f"  - {field}\n")
    problems = [str(p) for p in load_catalog(tmp_path).problems]
    assert [p for p in problems if message in p], problems


def test_the_shipped_parcels_and_roads_confirm_what_they_state(tmp_path: Path) -> None:
    """The demo's own shapes: neighbours share their boundaries, and nobody is accused."""
    from guiji.catalog import load_resource
    from guiji.demo import nature
    from guiji.demo.population import City
    from guiji.settings import ROOT

    city = City(seed=7, people=2_000)
    told = {}
    for id, table in (("lcj.forest_parcel", nature.forest_parcels(city, 0)), ("jtj.road", nature.roads(city, 3))):
        resource = load_resource(ROOT / "include" / "catalog", id)
        rows = table.to_pylist()
        column = "mj" if "mj" in table.column_names else "里程（公里）"
        rows[5][column] = str(float(rows[5][column]) * 15)
        if id == "lcj.forest_parcel":
            rows[7]["geometry"] = rows[6]["geometry"]
        checked = check(tmp_path / id, resource, rows, columns=table.column_names)
        told[id] = {f for f in read_findings(checked) if f[1].rpartition(".")[2] in ("by_shape", "overlap")}
    assert told == {
        "lcj.forest_parcel": {
            (6, "area_ha.by_shape", "suspicious"),
            *((n, "parcel.overlap", "suspicious") for n in (7, 8)),
        },
        "jtj.road": {(6, "length_km.by_shape", "suspicious")},
    }
