"""Natural resources of the synthetic city: points, lines and parcels inside Ordos, CGCS2000 (EPSG:4490)."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from guiji.demo.population import DIVISIONS, City, draw, pick
from guiji.projection import measure_area, measure_length

#: longitude and latitude of each division's seat, about
SEATS = {
    "150602": (109.99, 39.82),
    "150603": (109.79, 39.61),
    "150621": (110.03, 40.40),
    "150622": (111.24, 39.86),
    "150623": (107.48, 38.18),
    "150624": (107.98, 39.10),
    "150625": (108.73, 39.83),
    "150626": (108.82, 38.60),
    "150627": (109.75, 39.56),
}


def _places(city: City, stream: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    i = np.arange(n, dtype=np.int64)
    division = np.array([d[0] for d in DIVISIONS])[i % len(DIVISIONS)]
    seat = np.array([SEATS[d] for d in division])
    east = (draw(city, stream + "x", i) % np.uint64(2000)).astype(np.int64) / 10_000 - 0.1
    north = (draw(city, stream + "y", i) % np.uint64(2000)).astype(np.int64) / 10_000 - 0.1
    return i, division, seat[:, 0] + east, seat[:, 1] + north


def facilities(city: City, month: int) -> pa.Table:
    """城管 部件: points."""
    i, division, x, y = _places(city, "fac", 300 + 5 * month)
    return pa.table(
        {
            "code": np.char.add(division, np.char.zfill(i.astype("U10"), 10)),
            "name": pick(city, "facname", i, ["路灯", "公交站亭", "消防栓", "井盖", "公共座椅"]),
            "division": division,
            "dept": np.full(len(i), "市城市管理综合执法局"),
            "address": np.char.add("民族东街", np.char.add((i + 1).astype("U5"), "号旁")),
            "state": np.where(draw(city, f"facst{month}", i) % np.uint64(20) == 0, "破损", "完好"),
            "geom": np.array([f"POINT ({a:.6f} {b:.6f})" for a, b in zip(x, y, strict=True)]),
        }
    )


def roads(city: City, month: int) -> pa.Table:
    """交通 路段: lines as long as is stated, towards the middle of the city."""
    import shapely

    i, division, x, y = _places(city, "road", 120)
    length_km = 2.25 + i % 30 + month
    east, north = np.where(x > 109, -0.02, 0.02), np.where(y > 39.3, -0.015, 0.015)
    steps = shapely.linestrings(np.stack([np.stack([x, x + east], 1), np.stack([y, y + north], 1)], 2))
    times = length_km * 1000 / measure_length(steps, "EPSG:4490", "ellipsoid")
    x2, y2 = x + east * times, y + north * times
    return pa.table(
        {
            "路段编码": np.char.add("X101", np.char.zfill(i.astype("U8"), 8)),
            "路线名称": np.char.add(pick(city, "roadname", i, ["东阿线", "包茂线", "荣乌线", "府深线"]), np.char.add((i + 1).astype("U4"), "段")),
            "区划代码": division,
            "技术等级": pick(city, "grade", i, ["一级", "二级", "三级", "四级"]),
            "里程（公里）": np.array([f"{km:.3f}" for km in length_km]),
            "管养单位": np.full(len(i), "鄂尔多斯市公路养护中心"),
            "通车状态": np.full(len(i), "通车"),
            "中心线": np.array([f"LINESTRING ({a:.6f} {b:.6f}, {c:.6f} {d:.6f})" for a, b, c, d in zip(x, y, x2, y2, strict=True)]),
        }
    )  # fmt: skip


def shelters(city: City, month: int) -> pa.Table:
    """应急 避难场所: points."""
    i, division, x, y = _places(city, "shel", 60)
    return pa.table(
        {
            "场所编码": np.char.add(division, np.char.add("BN", np.char.zfill(i.astype("U4"), 4))),
            "场所名称": np.char.add(pick(city, "shelname", i, ["中心广场", "体育场", "第一中学操场", "滨河公园"]), np.char.add((i + 1).astype("U3"), "号避难场所")),
            "区划代码": division,
            "地址": np.char.add("滨河路", np.char.add((i + 1).astype("U4"), "号")),
            "有效面积（平方米）": (8000 + i * 10).astype("U8"),
            "可容纳人数": (2000 + i).astype("U6"),
            "管理单位": np.full(len(i), "市应急管理局"),
            "值守电话": np.full(len(i), "0477-8577777"),
            "状态": np.full(len(i), "启用"),
            "坐标（WKT）": np.array([f"POINT ({a:.6f} {b:.6f})" for a, b in zip(x, y, strict=True)]),
        }
    )  # fmt: skip


def stations(city: City, month: int) -> pa.Table:
    """气象 台站: points."""
    i, division, x, y = _places(city, "sta", 60)
    return pa.table(
        {
            "station_id": np.char.add("C", np.char.zfill((1000 + i).astype("U4"), 4)),
            "station_name": np.char.add(np.array([d[2] for d in DIVISIONS])[i % len(DIVISIONS)], np.char.add((i + 1).astype("U3"), "号站")),
            "adcode": division,
            "kind": np.where(i % 10 == 0, "国家站", "区域站"),
            "altitude": (1100 + (i * 13) % 600).astype("U5"),
            "status": np.where(draw(city, f"sta{month}", i) % np.uint64(25) == 0, "维护", "运行"),
            "wkt": np.array([f"POINT ({a:.6f} {b:.6f})" for a, b in zip(x, y, strict=True)]),
        }
    )  # fmt: skip


def forest_parcels(city: City, month: int) -> pa.Table:
    """林草 小班: polygons as GeoJSON text in column ``geometry``, side by side in each division."""
    import shapely

    i, division, _, _ = _places(city, "for", 200)
    seat, nth = np.array([SEATS[d] for d in division]), i // len(DIVISIONS)
    # neighbours share a boundary to the last digit, as a good survey has it
    column, row = nth % 5, nth // 5
    west, south = (np.round(seat[:, 0] + column * 0.01, 6), np.round(seat[:, 1] + row * 0.008, 6))
    east, north = (np.round(seat[:, 0] + (column + 1) * 0.01, 6), np.round(seat[:, 1] + (row + 1) * 0.008, 6))
    parcels = shapely.box(west, south, east, north)
    hectares = measure_area(parcels, "EPSG:4490", "ellipsoid") / 10_000
    shapes = [shapely.to_geojson(p) for p in parcels]
    return pa.table(
        {
            "xbbh": np.char.add(division, np.char.zfill(i.astype("U11"), 11)),
            "lc": pick(city, "forname", i, ["造林总场", "什拉召治沙站", "毛乌素林场", "恩格贝生态区"]),
            "xzqh": division,
            "dl": pick(city, "forkind", i, ["乔木林地", "灌木林地", "宜林地"]),
            "yssz": pick(city, "species", i, ["沙棘", "樟子松", "柠条", "小叶杨"]),
            "mj": np.array([f"{a:.2f}" for a in hectares]),
            "qs": pick(city, "owner", i, ["国有", "集体"]),
            "geometry": np.array(shapes),
        }
    )


def bow_tie(geometry: str) -> str:
    """The same polygon with two corners swapped, so that it crosses itself."""
    shape = json.loads(geometry)
    ring = shape["coordinates"][0]
    ring[1], ring[2] = ring[2], ring[1]
    return json.dumps(shape)
