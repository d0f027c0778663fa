"""Shapefiles, GeoPackages and GeoJSON: shapes arrive as they were drawn, where they were drawn, or are set aside (F-46).

The files in ``corpus/geometry`` were written by GDAL 3.12 (pyogrio); what is wrong with a file is done to them here.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import struct
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import shapely
from delivering import aside, expect, read_bytes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from staged_package import make_resource, make_settings, read_accepted, read_rejected, stage_rows

from guiji.city import City, read_city
from guiji.errors import DeliveryRefused, UsageError
from guiji.quality import check_batch
from guiji.sources.columns import Expected
from guiji.sources.formats.crs import compare_systems, known_system, parse_wkt
from guiji.sources.formats.shapefile import find_sets
from guiji.sources.formats.zip_file import Member

CORPUS = Path(__file__).parent / "corpus" / "geometry"
NAMES = ["东胜区绿地", "康巴什𠮷园", ""]
CODES = ["150602001", "150603002", "150627003"]
POINTS = [shapely.Point(109.99, 39.82), shapely.Point(109.79, 39.61), None]
LINES = [
    shapely.LineString([(109.9, 39.8), (109.95, 39.85), (110.0, 39.8)]),
    shapely.MultiLineString([[(109.7, 39.6), (109.8, 39.6)], [(109.7, 39.7), (109.8, 39.75)]]),
    None,
]


def square(x: float, y: float, half: float) -> shapely.Geometry:
    return shapely.box(x - half, y - half, x + half, y + half)


POLYGONS = [
    square(109.9, 39.8, 0.1).difference(square(109.9, 39.8, 0.05)),
    shapely.MultiPolygon(
        [
            square(109.5, 39.5, 0.1).difference(square(109.5, 39.5, 0.08)),
            square(109.5, 39.5, 0.05),  # an island in the hole
            square(110.0, 39.5, 0.02),
        ]
    ),
    shapely.Polygon([(109, 39), (109.1, 39), (109.1, 39.1), (109, 39)]),
]


def layer(crs: str = "EPSG:4490", **more: Any) -> Expected:
    return expect("code", "name", "area_ha", {"title": "geom", "type": "geometry", "crs": crs}, **more)


def read(tmp_path: Path, content: bytes, expected: Expected | None = None, **form: Any) -> tuple[list[Any], Any]:
    return read_bytes(tmp_path, content, expected or layer(), "layer", **{"type": "shapefile", **form})


def read_corpus(tmp_path: Path, name: str, expected: Expected | None = None, **form: Any) -> tuple[list[Any], Any]:
    return read(tmp_path, (CORPUS / name).read_bytes(), expected, **form)


def shapes_of(rows: list[Any]) -> list[shapely.Geometry | None]:
    return [shapely.from_wkb(r["geom"]) for r in rows]


def same(found: list[Any], wanted: list[Any]) -> bool:
    """Equal as drawn: where a ring begins and how it turns makes no difference."""
    pairs = list(zip(found, wanted, strict=True))
    return all(a is b if a is None or b is None else a.normalize() == b.normalize() for a, b in pairs)


def repack(name: str, **changes: bytes | None) -> bytes:
    """An archive of the corpus with parts (``shp``, ``dbf`` …) replaced, or left out for None."""
    out = io.BytesIO()
    with zipfile.ZipFile(CORPUS / name) as old, zipfile.ZipFile(out, "w") as new:
        parts = {n.rpartition(".")[2]: old.read(n) for n in old.namelist()}
        for suffix, content in {**parts, **changes}.items():
            if content is not None:
                new.writestr(f"layer.{suffix}", content)
    return out.getvalue()


def part(name: str, suffix: str) -> bytes:
    with zipfile.ZipFile(CORPUS / name) as z:
        return z.read(f"layer.{suffix}")


def refusal(tmp_path: Path, content: bytes, expected: Expected | None = None, **form: Any) -> tuple[str, str]:
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, content, expected, **form)
    assert os.listdir(tmp_path) == ["layer"]
    return refused.value.rule_id.removeprefix("delivery."), str(refused.value)


# --- shapefiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wanted"), [("points", POINTS), ("lines", LINES), ("polygons", POLYGONS)])
def test_shapefiles_give_attributes_and_shapes(tmp_path: Path, name: str, wanted: list[Any]) -> None:
    rows, report = read_corpus(tmp_path, f"{name}.zip")
    assert [(r["code"], r["name"], float(r["area_ha"])) for r in rows] == list(
        zip(CODES, NAMES, [12.5, 0.1, 3.0], strict=True)
    )
    assert same(shapes_of(rows), wanted)
    assert [(r["_origin"], r["_line"], r["_broken"]) for r in rows] == [("layer!layer.shp", n, None) for n in (1, 2, 3)]
    assert report.notes == []
    assert os.listdir(tmp_path) == ["layer"]


def test_elevations_are_kept(tmp_path: Path) -> None:
    rows, _ = read_corpus(tmp_path, "polygons_z.zip")
    assert same(shapes_of(rows), list(shapely.force_3d(POLYGONS, 1300.5)))
    assert {float(z) for s in shapes_of(rows) for z in shapely.get_coordinates(s, include_z=True)[:, 2]} == {1300.5}


def test_what_a_mac_packs_beside_a_set_is_no_set(tmp_path: Path) -> None:
    out = io.BytesIO(repack("points.zip"))
    with zipfile.ZipFile(out, "a") as z:
        for suffix in ("shp", "shx", "dbf"):
            z.writestr(f"__MACOSX/._layer.{suffix}", b"\0\5\x16\7")
    assert [r["_origin"] for r in read(tmp_path, out.getvalue())[0]] == ["layer!layer.shp"] * 3


def test_several_sets_are_read_one_after_another(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for stem in ("B区/绿地", "A区/绿地"):
            for suffix in ("SHP", "shx", "dbf", "prj", "cpg"):
                z.writestr(f"{stem}.{suffix}", part("points.zip", suffix.lower()))
    rows, _ = read(tmp_path, out.getvalue())
    assert [r["_origin"] for r in rows] == ["layer!A区/绿地.SHP"] * 3 + ["layer!B区/绿地.SHP"] * 3
    rows, _ = read(tmp_path, out.getvalue(), member="B区/.*")
    assert [r["_origin"] for r in rows] == ["layer!B区/绿地.SHP"] * 3


@pytest.mark.parametrize("missing", ["shp", "shx", "dbf"])
def test_f46_an_incomplete_set_is_refused_and_the_part_is_named(tmp_path: Path, missing: str) -> None:
    rule, message = refusal(tmp_path, repack("points.zip", **{missing: None}))
    assert rule == "half_a_file"
    assert f"缺少 .{missing}，" in message


def test_f46_every_missing_part_is_named() -> None:
    lone = Member("d/layer.prj", 0, 0, 0, 0, 0, None)
    with pytest.raises(DeliveryRefused, match=r"缺少 \.shp、\.shx、\.dbf"):
        find_sets([lone], None, "x")
    with pytest.raises(DeliveryRefused, match="没有约定的 Shapefile"):
        find_sets([lone], "other.*", "x")


def test_f46_the_encoding_is_that_of_the_cpg_else_the_declared_else_found(tmp_path: Path) -> None:
    gbk = [NAMES[0], "康巴什吉园", ""]
    for name in ("gbk_with_cpg.zip", "gbk_without_cpg.zip"):
        rows, _ = read_corpus(tmp_path, name)
        assert [r["name"] for r in rows] == gbk
    rows, _ = read_corpus(tmp_path, "gbk_without_cpg.zip", encoding="gb18030")
    assert [r["name"] for r in rows] == gbk
    rows, _ = read(tmp_path, repack("points.zip", cpg=None))
    assert [r["name"] for r in rows] == NAMES
    wrong = repack("gbk_with_cpg.zip", cpg=b"UTF-8")
    assert refusal(tmp_path, wrong)[0] == "encoding"
    assert refusal(tmp_path, repack("points.zip", cpg=b"Big5"))[0] == "encoding"
    assert refusal(tmp_path, repack("gbk_without_cpg.zip"), encoding="utf-8")[0] == "encoding"


def test_f46_another_reference_system_is_refused_and_named(tmp_path: Path) -> None:
    rule, message = refusal(tmp_path, (CORPUS / "wgs84.zip").read_bytes())
    assert (rule, "WGS 84" in message, "EPSG:4490" in message) == ("crs", True, True)
    zone = (CORPUS / "gauss_kruger_zone_37.zip").read_bytes()
    rule, message = refusal(tmp_path, zone)
    assert (rule, "中央经线 111°" in message) == ("crs", True)
    assert len(read(tmp_path, zone, layer("EPSG:4525"))[0]) == 3
    # the same zone without its number in the easting, the next zone, six degrees wide
    for other in ("EPSG:4546", "EPSG:4526", "EPSG:4497", "EPSG:2361"):
        assert refusal(tmp_path, zone, layer(other))[0] == "crs"
    assert len(read_corpus(tmp_path, "wgs84.zip", layer("EPSG:4326"))[0]) == 3


def test_f46_a_set_without_prj_is_noted_and_an_unknown_system_too(tmp_path: Path) -> None:
    rows, report = read_corpus(tmp_path, "without_prj.zip")
    assert same(shapes_of(rows), POINTS)
    assert report.notes == [
        "文件 layer!layer.shp：没有 .prj（或其中没有内容），按约定的坐标系 EPSG:4490 归集，未能核对"
    ]
    _, report = read(tmp_path, repack("points.zip", prj=b'LOCAL_CS["city"]'), layer("LOCAL:1"))
    assert report.notes == ["文件 layer!layer.shp：文件注明的坐标系“city”未能与约定的 LOCAL:1 核对"]
    assert refusal(tmp_path, repack("points.zip", prj=b'LOCAL_CS["city"]'))[0] == "crs"


def test_f46_parts_of_different_exports_are_refused(tmp_path: Path) -> None:
    shp, shx, dbf = (part("points.zip", s) for s in ("shp", "shx", "dbf"))
    records = struct.unpack_from("<I", dbf, 4)[0]
    record = struct.unpack_from("<H", dbf, 10)[0]
    short = bytearray(dbf[: len(dbf) - record - 1] + b"\x1a")
    struct.pack_into("<I", short, 4, records - 1)
    assert "3 个图形，.dbf 有 2 条属性" in refusal(tmp_path, repack("points.zip", dbf=bytes(short)))[1]
    assert refusal(tmp_path, repack("points.zip", shx=part("lines.zip", "shx")))[0] == "half_a_file"
    moved = bytearray(shx)
    struct.pack_into(">i", moved, 100 + 8, struct.unpack_from(">i", shx, 100 + 8)[0] - 2)
    assert refusal(tmp_path, repack("points.zip", shx=bytes(moved)))[0] == "half_a_file"
    for cut in range(1, len(shp)):
        assert refusal(tmp_path, repack("points.zip", shp=shp[:cut]))[0] == "half_a_file"


def test_deleted_records_take_their_shape_with_them(tmp_path: Path) -> None:
    dbf = bytearray(part("points.zip", "dbf"))
    (header,) = struct.unpack_from("<H", dbf, 8)
    dbf[header] = ord("*")
    rows, report = read(tmp_path, repack("points.zip", dbf=bytes(dbf)))
    assert [(r["code"], r["_line"]) for r in rows] == [(CODES[1], 2), (CODES[2], 3)]
    assert same(shapes_of(rows), POINTS[1:])
    assert report.skipped == {"deleted": 1}


def make_shapes(kind: int, *contents: bytes) -> tuple[bytes, bytes]:
    """(.shp, .shx) written by hand."""
    body, index, at = b"", b"", 50
    for number, content in enumerate(contents, start=1):
        content = struct.pack("<i", kind) + content
        body += struct.pack(">2i", number, len(content) // 2) + content
        index += struct.pack(">2i", at, len(content) // 2)
        at += 4 + len(content) // 2

    def head(length: int) -> bytes:
        return struct.pack(">i20xi", 9994, length // 2) + struct.pack("<2i", 1000, kind) + b"\0" * 64

    return head(100 + len(body)) + body, head(100 + len(index)) + index


def polygon(*rings: list[tuple[float, float]], starts: list[int] | None = None) -> bytes:
    points = [p for ring in rings for p in ring]
    starts = starts or [sum(map(len, rings[:i])) for i in range(len(rings))]
    flat = [v for p in points for v in p]
    return struct.pack(f"<4d2i{len(rings)}i{len(flat)}d", 0, 0, 0, 0, len(rings), len(points), *starts, *flat)


def three(kind: int, *contents: bytes) -> bytes:
    shp, shx = make_shapes(kind, *contents)
    return repack("points.zip", shp=shp, shx=shx)


OUTER = [(109.0, 39.0), (109.0, 40.0), (110.0, 40.0), (110.0, 39.0), (109.0, 39.0)]  # clockwise
HOLE = [(109.4, 39.4), (109.6, 39.4), (109.6, 39.6), (109.4, 39.6), (109.4, 39.4)]  # the other way round
APART = [(110.4, 39.4), (110.4, 39.6), (110.6, 39.6), (110.6, 39.4), (110.4, 39.4)]  # clockwise
WITH_HOLE = shapely.Polygon(OUTER, [HOLE])


def test_f46_rings_are_joined_as_they_lie_and_doubts_are_set_aside(tmp_path: Path) -> None:
    sound = three(5, polygon(OUTER, HOLE), polygon(HOLE, OUTER), polygon(OUTER[::-1], HOLE[::-1]))
    assert same(shapes_of(read(tmp_path, sound)[0]), [WITH_HOLE] * 3)  # a writer may turn all rings round, or sort them
    doubtful = three(5, polygon(OUTER, HOLE[::-1]), polygon(OUTER, APART[::-1]), polygon(OUTER[::-1]))
    rows, _ = read(tmp_path, doubtful)
    assert aside(rows) == [(1, "ring_order"), (2, "ring_order")]
    assert same(shapes_of(rows), [None, None, shapely.Polygon(OUTER)])
    assert [r["code"] for r in rows] == CODES  # the row keeps what is beyond doubt


squares = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 12))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.booleans(), squares), min_size=1, max_size=14),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.booleans(),
)
def test_any_polygon_comes_back_whatever_the_order_of_its_rings(
    tmp_path: Path, drawn: list[tuple[bool, tuple[int, int, int]]], random: Any, turned: bool, by_tree: bool
) -> None:
    from guiji.sources.formats import shapes

    shape = shapely.Polygon()
    for cut, (x, y, half) in drawn:
        shape = shape.difference(square(x, y, half)) if cut else shape.union(square(x, y, half))
    assume(not shape.is_empty)
    rings = []
    for polygon_ in shapely.get_parts(shape):
        shell, holes = polygon_.exterior, polygon_.interiors
        rings += [list(shell.coords)[:: 1 if not shell.is_ccw else -1]]
        rings += [list(h.coords)[:: 1 if h.is_ccw else -1] for h in holes]
    random.shuffle(rings)
    content = three(5, *[polygon(*[r[:: -1 if turned else 1] for r in rings])] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "PAIRS_AT_ONCE", 1 if by_tree else 1 << 20)
        rows, _ = read(tmp_path, content)
    assert aside(rows) == []
    assert same(shapes_of(rows), [shape] * 3)


def test_f46_damaged_shapes_are_set_aside_one_by_one(tmp_path: Path) -> None:
    damaged = [
        polygon(OUTER[:-1]),  # open
        polygon(OUTER[:3]),  # too few points
        polygon(OUTER, HOLE, starts=[0, 99]),
        polygon(OUTER, HOLE, starts=[5, 0]),
        polygon(OUTER, HOLE, starts=[1, 5]),
        polygon(OUTER)[:-16],  # points that are not there
        struct.pack("<4d2i", 0, 0, 0, 0, 2**31 - 1, 2**31 - 1),
        struct.pack("<4d2i", 0, 0, 0, 0, -1, -1),
        b"",
    ]
    for i in range(0, len(damaged), 3):
        rows, _ = read(tmp_path, three(5, *damaged[i : i + 3]))
        assert aside(rows) == [(n, "not_a_shape") for n in (1, 2, 3)]
    points = [b"", struct.pack("<d", 1), struct.pack("<2d", 109.0, 39.0)]
    rows, _ = read(tmp_path, three(1, *points))
    assert aside(rows) == [(1, "not_a_shape"), (2, "not_a_shape")]
    mixed, index = make_shapes(1, *[struct.pack("<2d", 109.0, 39.0)] * 3)
    mixed = mixed[:108] + struct.pack("<i", 5) + mixed[112:]
    assert aside(read(tmp_path, repack("points.zip", shp=mixed, shx=index))[0]) == [(1, "not_a_shape")]


def test_measures_and_several_points_are_read_and_solids_refused(tmp_path: Path) -> None:
    rows, report = read(tmp_path, three(21, *[struct.pack("<3d", 109.5, 39.5, 7.0)] * 3))
    assert same(shapes_of(rows), [shapely.Point(109.5, 39.5)] * 3)
    assert report.notes == ["文件 layer!layer.shp：图形的测量值（M）未归集"]
    several = struct.pack("<4di4d", 0, 0, 0, 0, 2, 109.1, 39.1, 109.2, 39.2)
    wanted = shapely.MultiPoint([(109.1, 39.1), (109.2, 39.2)])
    assert same(shapes_of(read(tmp_path, three(8, *[several] * 3))[0]), [wanted] * 3)
    assert refusal(tmp_path, three(31, b"", b"", b""))[0] == "structure"


def test_large_shapes_are_read_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guiji.sources.formats import shapes

    whole, _ = read_corpus(tmp_path, "polygons.zip")
    for limit in (1, 200, 10_000):
        monkeypatch.setattr(shapes, "BATCH_BYTES", limit)
        assert read_corpus(tmp_path, "polygons.zip")[0] == whole


# --- reference systems --------------------------------------------------------------------------------


def test_the_codes_of_gauss_krueger_zones() -> None:
    """Spot checks of EPSG's register."""
    described = {
        "EPSG:4490": "CGCS2000 经纬度",
        "EPSG:4497": "CGCS2000 投影（中央经线 111°，东偏 19500000 米）",
        "EPSG:4508": "CGCS2000 投影（中央经线 111°）",
        "EPSG:4525": "CGCS2000 投影（中央经线 111°，东偏 37500000 米）",
        "EPSG:4546": "CGCS2000 投影（中央经线 111°）",
        "EPSG:4545": "CGCS2000 投影（中央经线 108°）",
        "EPSG:2361": "西安80 投影（中央经线 111°，东偏 37500000 米）",
        "EPSG:2434": "北京54 投影（中央经线 111°）",
        "EPSG:32649": "WGS 84 投影（中央经线 111°）",
    }
    assert {code: str(known_system(code)) for code in described} == described
    assert known_system("EPSG:3857") is None
    assert parse_wkt('PROJCS["x",GEOGCS["y",DATUM["D_WGS_1984"]],PROJECTION["Mercator_Auxiliary_Sphere"]]') is None


def test_f46_an_empty_prj_says_no_system(tmp_path: Path) -> None:
    for content in (b"", b" \r\n", b"\xef\xbb\xbf"):
        rows, report = read(tmp_path, repack("points.zip", prj=content))
        assert (len(rows), report.notes) == (
            3,
            ["文件 layer!layer.shp：没有 .prj（或其中没有内容），按约定的坐标系 EPSG:4490 归集，未能核对"],
        )


CGCS = 'GEOGCS["GCS_China_Geodetic_Coordinate_System_2000",DATUM["D_China_2000",SPHEROID["CGCS2000",6378137.0,298.257222101]],'
GAUSS = (
    'PROJCS["x",{},PROJECTION["Gauss_Kruger"],PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",{}],'
    'PARAMETER["Central_Meridian",111.0],PARAMETER["Scale_Factor",1.0],PARAMETER["Latitude_Of_Origin",{}],UNIT["Meter",1.0]]'
)
DEGREES = CGCS + 'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'


@pytest.mark.parametrize(
    ("declared", "stated", "is_same"),
    [
        ("EPSG:4490", DEGREES, True),
        ("EPSG:4490", CGCS + 'PRIMEM["Greenwich",0.0],UNIT["Grad",0.015707963267949]]', False),
        ("EPSG:4490", CGCS + 'PRIMEM["Ferro",-17.66],UNIT["Degree",0.0174532925199433]]', False),
        ("EPSG:4546", GAUSS.format(DEGREES, "0.0", "0.0"), True),
        ("EPSG:4546", GAUSS.format(DEGREES, "-3000000.0", "0.0"), False),
        ("EPSG:4546", GAUSS.format(DEGREES, "0.0", "39.0"), False),
        ("EPSG:4326", DEGREES[:-1] + ',AUTHORITY["EPSG","4326"]]', False),  # its code is not what it describes
        (
            "EPSG:4214",
            'GEOGCS["GCS_Krasovsky_1940",DATUM["D_Krasovsky_1940",SPHEROID["Krasovsky_1940",6378245.0,298.3]]]',
            True,
        ),
    ],
)
def test_f46_all_that_makes_a_system_is_compared(declared: str, stated: str, is_same: bool) -> None:
    if is_same:
        assert compare_systems(declared, stated, "x") is None
    else:
        with pytest.raises(DeliveryRefused) as refused:
            compare_systems(declared, stated, "x")
        assert refused.value.rule_id == "delivery.crs"


# --- GeoPackage ---------------------------------------------------------------------------------------


def alter(tmp_path: Path, *statements: str) -> bytes:
    """The GeoPackage of the corpus after some SQL."""
    path = tmp_path / "altered.gpkg"
    shutil.copy(CORPUS / "layers.gpkg", path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = ON")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    content = path.read_bytes()
    path.unlink()
    return content


GREENS = {"type": "geopackage", "table": "greens"}


def test_geopackage_layers_give_attributes_and_shapes(tmp_path: Path) -> None:
    content = (CORPUS / "layers.gpkg").read_bytes()
    rows, report = read(tmp_path, content, **GREENS)
    assert [(r["code"], r["name"], r["area_ha"], r["_line"]) for r in rows] == [
        (CODES[0], NAMES[0], "12.5", 1),
        (CODES[1], NAMES[1], "0.1", 2),
        (CODES[2], None, "3.0", 3),
    ]
    assert same(shapes_of(rows), POINTS)
    assert report.notes == []
    assert same(shapes_of(read(tmp_path, content, type="geopackage", table="parcels")[0]), POLYGONS)


def test_geopackage_layers_are_chosen_or_refused(tmp_path: Path) -> None:
    content = (CORPUS / "layers.gpkg").read_bytes()
    for table in (None, "nothing", 'greens"; DROP TABLE greens; --', "gpkg_contents"):
        assert refusal(tmp_path, content, type="geopackage", table=table)[0] == "missing_table"
    one = alter(tmp_path, "DELETE FROM gpkg_contents WHERE table_name = 'parcels'")
    assert len(read(tmp_path, one, type="geopackage")[0]) == 3


def test_f46_geopackages_of_another_system_are_refused_and_without_one_noted(tmp_path: Path) -> None:
    content = (CORPUS / "layers.gpkg").read_bytes()
    assert refusal(tmp_path, content, layer("EPSG:4326"), **GREENS)[0] == "crs"
    for srs_id in (0, -1):
        unknown = alter(
            tmp_path, f"UPDATE gpkg_geometry_columns SET srs_id = {srs_id}", "UPDATE greens SET geom = NULL"
        )
        assert read(tmp_path, unknown, **GREENS)[1].notes == [
            "文件 layer：图层没有注明坐标系，按约定的坐标系 EPSG:4490 归集，未能核对"
        ]
    local = alter(
        tmp_path,
        "UPDATE gpkg_spatial_ref_sys SET organization = 'none' WHERE srs_id = 4490",
        """UPDATE gpkg_spatial_ref_sys SET definition = 'GEOGCS["x",DATUM["D_Xian_1980"]]' WHERE srs_id = 4490""",
    )
    assert "西安80" in refusal(tmp_path, local, **GREENS)[1]


def test_f46_features_that_are_damaged_are_set_aside(tmp_path: Path) -> None:
    wkb = POINTS[1].wkb.hex() if POINTS[1] else ""
    rows, _ = read(
        tmp_path,
        alter(
            tmp_path,
            f"UPDATE greens SET geom = X'47500001E6100000{wkb}' WHERE fid = 1",  # 4326
            "UPDATE greens SET geom = X'0102' WHERE fid = 2",
            "UPDATE greens SET name = CAST(X'B6AB' AS TEXT) WHERE fid = 3",
        ),
        **GREENS,
    )
    assert aside(rows) == [(1, "other_crs"), (2, "not_a_shape"), (3, "encoding")]
    assert [r["code"] for r in rows] == CODES
    rows, _ = read(tmp_path, alter(tmp_path, f"UPDATE greens SET geom = X'475000118A110000{wkb}'"), **GREENS)
    assert [(r["geom"], r["_broken"]) for r in rows] == [(None, None)] * 3  # empty by its flag


@pytest.mark.parametrize("kind", [8, 9, 10, 11, 12, 1010, 3012, 15, 16, 17, 0])
def test_curves_and_solids_are_set_aside_one_by_one(tmp_path: Path, kind: int) -> None:
    """GDAL and ArcGIS write arcs into a GeoPackage as they are; no library here draws them."""
    head = (4490).to_bytes(4, "little").hex()
    for order, name in (("little", "01"), ("big", "00")):
        wkb = name + kind.to_bytes(4, order).hex() + "00000000"  # type: ignore[arg-type]
        rows, _ = read(
            tmp_path, alter(tmp_path, f"UPDATE greens SET geom = X'47500001{head}{wkb}' WHERE fid = 1"), **GREENS
        )
        assert aside(rows) == [(1, "not_a_shape")]
        assert same(shapes_of(rows)[1:], POINTS[1:])


def test_f33_half_a_geopackage_is_refused(tmp_path: Path) -> None:
    content = (CORPUS / "layers.gpkg").read_bytes()
    for size in (0, 50, 4096, len(content) // 2, len(content) - 1):
        assert refusal(tmp_path, content[:size], **GREENS)[0] in ("half_a_file", "structure")
    open_elsewhere = bytearray(content)
    open_elsewhere[18:20] = b"\x02\x02"
    rule, message = refusal(tmp_path, bytes(open_elsewhere), **GREENS)
    assert (rule, "仍打开" in message) == ("half_a_file", True)
    broken = content[:8192] + b"\xff" * 8192 + content[16384:]
    assert refusal(tmp_path, broken, **GREENS)[0] in ("structure", "missing_table")


def test_views_are_never_read(tmp_path: Path) -> None:
    """A view could count without end, or call what the file brings along."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS fid, NULL AS geom FROM n"
    content = alter(
        tmp_path,
        f"CREATE VIEW endless AS {endless}",
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('endless', 'features', 'e', 4490)",
        "INSERT INTO gpkg_geometry_columns VALUES ('endless', 'geom', 'POINT', 4490, 0, 0)",
    )
    assert refusal(tmp_path, content, type="geopackage", table="endless")[0] == "missing_table"


# --- where a geometry lies ----------------------------------------------------------------------------

BOX = [106.68, 37.56, 111.48, 40.88]
PLACES = [
    "POINT (109.78 39.6)",
    "POINT (39.6 109.78)",  # latitude first
    "POINT (120.2 30.3)",  # another city
    "POINT (37500000 4400000)",  # metres
    None,
    "LINESTRING (109 39, 112 39)",  # leaves the city
    "no place",
    "POLYGON ((109 39, 110 40, 110 39, 109 40, 109 39))",  # crosses itself
]


def judge(tmp_path: Path, field: dict[str, Any], city: Any = None) -> tuple[dict[int, list[str]], list[Any]]:
    resource = make_resource([{"name": "id"}, {"name": "value", "type": "geometry", "crs": "EPSG:4490", **field}])
    resource = resource.model_copy(update={"city_bounds": city})
    home = make_settings(tmp_path)
    rows = [{"id": str(n), "value": place} for n, place in enumerate(PLACES, 1)]
    checked = check_batch(resource, home, stage_rows(home, resource, rows))
    return read_rejected(checked), [i for (i,) in read_accepted(checked, "id")]


def test_f46_geometry_outside_its_box_is_rejected_and_exchanged_axes_are_named(tmp_path: Path) -> None:
    wanted = {
        2: ["value.axis_order"],
        3: ["value.bounds"],
        4: ["value.bounds"],
        6: ["value.bounds"],
        7: ["value.geometry"],
        8: ["value.geometry"],
    }
    assert judge(tmp_path / "field", {"bounds": BOX}) == (wanted, ["1", "5"])
    assert judge(tmp_path / "city", {}, tuple(BOX)) == (wanted, ["1", "5"])


#: a place of the city in degrees, in the zone with its number, without it, in the next zone, northing first
METRES = [
    "POINT (109.78 39.6)",
    "POINT (37395234 4385212)",
    "POINT (395234 4385212)",
    "POINT (36652741 4385212)",
    "POINT (4385212 37395234)",
]


@pytest.mark.parametrize("crs", ["EPSG:4525", "EPSG:2361", "EPSG:2413"])
def test_f46_the_citys_box_is_brought_into_a_zone_of_projection(tmp_path: Path, crs: str) -> None:
    """A zone number left out or another zone is hundreds of kilometres; CGCS2000, Xi'an 1980 and Beijing 1954 lie near."""
    resource = make_resource([{"name": "id"}, {"name": "value", "type": "geometry", "crs": crs}])
    home = make_settings(tmp_path)
    rows = [{"id": str(n), "value": place} for n, place in enumerate(METRES, 1)]
    wanted = {1: ["value.bounds"], 3: ["value.bounds"], 4: ["value.bounds"], 5: ["value.axis_order"]}
    boxed = resource.model_copy(update={"city_bounds": tuple(BOX)})
    assert read_rejected(check_batch(boxed, home, stage_rows(home, boxed, rows))) == wanted


def test_f46_the_fields_own_box_goes_first_and_an_unknown_system_has_none(tmp_path: Path) -> None:
    only_form = {7: ["value.geometry"], 8: ["value.geometry"]}
    assert judge(tmp_path / "none", {})[0] == only_form
    assert judge(tmp_path / "unknown", {"crs": "EPSG:999999"}, tuple(BOX))[0] == only_form
    own = judge(tmp_path / "own", {"bounds": [119.0, 30.0, 121.0, 31.0]}, tuple(BOX))
    assert own[1] == ["3", "5"]
    warned = judge(tmp_path / "warn", {"bounds": BOX, "severity": "warn"})
    assert warned == ({}, [str(n) for n in range(1, 9)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=1, max_size=8))
def test_every_point_is_inside_exchanged_or_outside(places: list[tuple[float, float]]) -> None:
    from guiji.quality.functions import _place

    def is_inside(x: float, y: float) -> bool:
        return BOX[0] <= x <= BOX[2] and BOX[1] <= y <= BOX[3]

    found = _place(pa.array([shapely.Point(p).wkb for p in places]), *(pa.array([b] * len(places)) for b in BOX))
    assert found.to_pylist() == [0 if is_inside(x, y) else 2 if is_inside(y, x) else 1 for x, y in places]


def test_the_citys_box_is_declared_in_its_settings(tmp_path: Path) -> None:
    assert read_city(tmp_path).bounds == City().bounds
    (tmp_path / "city.yml").write_text("bounds: [109, 39, 111, 41]\n")
    assert read_city(tmp_path).bounds == (109, 39, 111, 41)
    (tmp_path / "city.yml").write_text("bounds: null\n")
    assert read_city(tmp_path).bounds is None
    for wrong in ("[39, 109, 41]", "[111, 39, 109, 41]", "[a, b, c, d]", "5"):
        (tmp_path / "city.yml").write_text(f"bounds: {wrong}\n")
        with pytest.raises(UsageError, match="west, south, east, north"):
            read_city(tmp_path)


def test_a_loaded_resource_knows_the_citys_box_and_is_judged_again_when_it_changes(tmp_path: Path) -> None:
    from small_catalog import write_department, write_resource

    from guiji.catalog import load_resource

    write_department(tmp_path, "gaj", "公安局")
    more = "rules: []\n"
    path = write_resource(tmp_path, "gaj.places", more=more)
    field = '  - {name: place, title: 位置, type: geometry, crs: "EPSG:4490"}\nkey: '
    path.write_text(path.read_text(encoding="utf-8").replace("key: ", field, 1), encoding="utf-8")
    before = load_resource(tmp_path, "gaj.places")
    (tmp_path / "city.yml").write_text("bounds: [109, 39, 111, 41]\n")
    after = load_resource(tmp_path, "gaj.places")
    assert (before.city_bounds, after.city_bounds) == (City().bounds, (109, 39, 111, 41))
    assert before.fingerprint != after.fingerprint


# --- GeoJSON ------------------------------------------------------------------------------------------


def test_f46_geojson_that_states_another_system_is_refused(tmp_path: Path) -> None:
    feature = {"type": "Feature", "properties": {"code": "1", "name": "x", "area_ha": 1}, "geometry": None}

    def collection(name: str | None) -> bytes:
        crs = {} if name is None else {"crs": {"type": "name", "properties": {"name": name}}}
        return json.dumps({"type": "FeatureCollection", **crs, "features": [feature]}).encode()

    for name in (None, "EPSG:4490", "urn:ogc:def:crs:EPSG::4490"):
        assert len(read(tmp_path, collection(name), type="geojson")[0]) == 1
    for name in ("urn:ogc:def:crs:EPSG::4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:3857", "nonsense"):
        assert refusal(tmp_path, collection(name), type="geojson")[0] == "crs"
    linked = {"type": "FeatureCollection", "crs": {"type": "link", "properties": {"href": "x"}}, "features": [feature]}
    rows, report = read(tmp_path, json.dumps(linked).encode(), type="geojson")
    assert len(rows) == 1
    assert report.notes == ["文件 layer：文件没有以名称注明坐标系，按约定的坐标系 EPSG:4490 归集，未能核对"]


def test_f49_a_shape_that_names_its_coordinates_twice_is_set_aside(tmp_path: Path) -> None:
    point = '{"type": "Point", "coordinates": [109.8, 39.6]%s}'
    features = ",".join(
        '{"type": "Feature", "properties": {"code": "1", "name": "x", "area_ha": 1}, "geometry": %s}' % (point % more)
        for more in (', "coordinates": [1, 2]', "")
    )
    rows, _ = read(tmp_path, f'{{"type": "FeatureCollection", "features": [{features}]}}'.encode(), type="geojson")
    assert (aside(rows), rows[1]["_broken"]) == ([(1, "duplicate_key")], None)


@pytest.mark.parametrize("name", ["geom", "GEOM", "geom "])
@pytest.mark.parametrize("value", ["X", None])
def test_a_property_called_like_the_shape_is_refused_not_lost_behind_it(
    tmp_path: Path, name: str, value: str | None
) -> None:
    shape = {"type": "Point", "coordinates": [109.8, 39.6]}
    known = {"code": "1", "name": "x", "area_ha": 1}
    features = [{"type": "Feature", "properties": {**known, **more}, "geometry": shape} for more in ({}, {name: value})]
    content = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    rule, said = refusal(tmp_path, content, layer(contract="evolve"), type="geojson")
    assert (rule, "geom" in said, "无法判断以哪" in said) == ("duplicate_column", True, True)


# --- what the catalog demands -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "field", "problem"),
    [
        ("{type: shapefile, archive: gzip}", "", "gzip holds one file; a shapefile comes as it is or zipped"),
        ("{type: csv, member: 'a'}", "", "member chooses among the files of a zip archive"),
        ("{type: csv, archive: zip, member: '('}", "", "source.format.member is no regular expression"),
        ("{type: geopackage}", "type: string", "a geopackage has one geometry, but 0 fields are of type geometry"),
        ("{type: geojson}", "severity: warn", "field place: a geojson file writes its shapes as geojson, not wkt"),
        ("{type: geojson}", "encoding: geojson", None),
        ("{type: csv}", "bounds: [111, 39, 109, 41]", "field place: bounds [111.0, 39.0, 109.0, 41.0] is no box"),
        ("{type: csv}", "type: string, bounds: [1, 2, 3, 4]", "field place: bounds is for type geometry, not string"),
        ("{type: csv}", "bounds: [1, 2, 3]", "bounds"),
        ("{type: shapefile, archive: zip, member: '.*'}", "bounds: [109, 39, 111, 41]", None),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_line(
    tmp_path: Path, form: str, field: str, problem: str | None
) -> None:
    from small_catalog import write_department, write_resource

    from guiji.catalog import check_catalog

    write_department(tmp_path, "gaj", "公安局")
    source = f"{{kind: files, directory: /d, pattern: 'a', format: {form}}}"
    path = write_resource(tmp_path, "gaj.places", source=source)
    said = field if "type:" in field else ", ".join(filter(None, ['type: geometry, crs: "EPSG:4490"', field]))
    text = path.read_text(encoding="utf-8").replace("key: ", f"  - {{name: place, title: 位置, {said}}}\nkey: ", 1)
    path.write_text(text, encoding="utf-8")
    problems = [str(p) for p in check_catalog(tmp_path)]
    assert len(problems) == (problem is not None)
    assert problem is None or problem in problems[0]
