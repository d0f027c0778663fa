"""Shapes that nobody could be done with in time are set aside whatever way they come; large honest ones are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from delivering import NOW, plain_settings
from staged_package import read_accepted, read_rejected
from test_formats_geometry import layer, polygon, read, shapes_of, square, three
from test_limits import stage_table, things
from test_shapes import make_comb

from guiji.crossings import find_tangled
from guiji.quality import check_batch
from guiji.settings import Settings
from guiji.structure import TANGLED, TOO_LARGE

MANY = 40_000


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home").at(NOW)


def close_up(x: Any, y: Any, *corners: tuple[float, float]) -> Any:
    points = np.concatenate([np.stack([x, y], 1), np.reshape(corners, (-1, 2))])
    return shapely.polygons((points * 0.01) + (108, 39))


def zigzag(n: int = MANY) -> Any:
    """Strokes side by side, none of which crosses another: the box of each meets that of every other."""
    step = np.arange(n)
    return close_up(step // 2 / n + step % 2, step % 2, (2, -1), (-1, -1))


def draw_honest(n: int = MANY) -> dict[str, Any]:
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    wander = 1 + np.abs(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, n)))
    rough = 1 + 0.01 * np.sin(turn * n / 50)
    stairs = np.repeat(np.arange(n // 2), 2) / n
    return {
        "circle": close_up(np.cos(turn), np.sin(turn)),
        "coast": close_up(wander * np.cos(turn), wander * np.sin(turn)),
        "spikes": close_up(rough * np.cos(turn), rough * np.sin(turn)),
        "stairs": close_up(stairs[1:], stairs[:-1], (1, -1), (0, -1)),
        "comb": make_comb(n // 4),
        "holes": square(0, 0, 100).difference(
            shapely.MultiPolygon([square(x, y, 0.4) for x in range(90) for y in range(90)])
        ),
    }


def test_large_shapes_of_every_honest_form_are_no_tangles() -> None:
    named = draw_honest()
    assert all(shapely.get_num_coordinates(shape) >= MANY for shape in named.values())
    assert find_tangled(np.array(list(named.values()))).tolist() == [False] * len(named)


@pytest.mark.timeout(60)
def test_half_a_million_strokes_side_by_side_are_a_tangle() -> None:
    """GEOS would take an hour to find it valid."""
    nested = shapely.GeometryCollection([shapely.GeometryCollection([shapely.MultiPolygon([zigzag(500_000)])])])
    shapes = np.array(
        [zigzag(500_000), nested, shapely.Point(1, 1), None, shapely.from_wkt("POLYGON EMPTY"), zigzag(1_000)]
    )
    assert find_tangled(shapes).tolist() == [True, True, False, False, False, False]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("encoding", "write"),
    [
        ("wkt", lambda shape: shapely.to_wkt(shape, rounding_precision=12)),
        ("geojson", shapely.to_geojson),
        ("wkb", lambda shape: shapely.to_wkb(shape, hex=True)),
    ],
    ids=["wkt", "geojson", "wkb"],
)
def test_a_tangle_is_set_aside_and_its_neighbours_are_not(place: Settings, encoding: str, write: Any) -> None:
    spec = {"title": "图形", "type": "geometry", "encoding": encoding, "crs": "EPSG:4490"}
    thing = things("编号", spec)
    coast = draw_honest()["coast"]
    rows: list[tuple[str | None, ...]] = [
        ("1", write(coast)),
        ("2", write(zigzag())),
        ("3", "no shape, " + "1 1," * 5_000),
        ("4", None),
    ]
    checked = check_batch(thing, place, stage_table(thing, place, rows))
    accepted = read_accepted(checked, "f0", "f1")
    assert [key for key, _ in accepted] == ["1", "4"]
    assert shapely.equals_exact(shapely.from_wkb(accepted[0][1]), coast, 1e-9)
    assert read_rejected(checked) == {2: [TANGLED], 3: ["f1.geometry"]}


@pytest.mark.timeout(120)
def test_a_shape_of_more_points_than_its_wkb_may_have_is_set_aside(place: Settings) -> None:
    thing = things("编号", {"title": "图形", "type": "geometry", "crs": "EPSG:4490"})
    line = "LINESTRING (" + "109 39, 109 40, " * (1 << 19)
    rows: list[tuple[str | None, ...]] = [("1", line + "109 39)"), ("2", line[: -len("109 40, ")] + "110 39)")]
    assert max(len(line), *(len(text or "") for _, text in rows)) < 16 << 20
    checked = check_batch(thing, place, stage_table(thing, place, rows))
    assert [key for key, *_ in read_accepted(checked, "f0")] == ["2"]
    assert read_rejected(checked) == {1: [TOO_LARGE]}


@pytest.mark.timeout(120)
def test_a_tangle_among_the_rings_of_a_shapefile_ends_in_time(tmp_path: Path) -> None:
    """Which ring lies in which is not asked of it; staging sets the row aside."""
    around = [(100.0, 30.0), (100.0, 50.0), (120.0, 50.0), (120.0, 30.0), (100.0, 30.0)]
    strokes = [tuple(p) for p in shapely.get_coordinates(zigzag(200_000)).tolist()]
    rows, _ = read(tmp_path, three(5, polygon(around), polygon(around, strokes), polygon(around)), layer())
    found = shapes_of(rows)
    assert find_tangled(np.array(found)).tolist() == [False, True, False]
