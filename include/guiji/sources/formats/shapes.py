"""The shapes of a shapefile (.shp with its .shx) as WKB, after ESRI's technical description of July 1998.

Read here and not by GDAL: that one repairs an index that is missing and reads on behind one that is wrong, where a
department is to send its file again; and it weighs more than all other formats together. Every record is found through
the index and must say the same as it. Elevations are kept, measures (M) are not: no library field holds them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding import half_a_file
from guiji.structure import NOT_A_SHAPE, RING_ORDER

if TYPE_CHECKING:
    import numpy as np
    import shapely

HEADER = 100
#: a shape beyond this is no shape of a city
LARGEST_SHAPE = 64 << 20
#: bytes of shapes held at a time
BATCH_BYTES = 16 << 20
NULL, POINT, LINE, POLYGON, MULTIPOINT, PATCH = 0, 1, 3, 5, 8, 31
_KINDS = {0: "空", 1: "点", 3: "线", 5: "面", 8: "多点", 31: "多面体"}


@dataclass(frozen=True)
class ShapeFile:
    """A .shp whose header and index agree with its size."""

    path: Path
    what: str
    kind: int  # POINT, LINE, POLYGON or MULTIPOINT; NULL where the file holds nothing else
    has_z: bool
    has_m: bool
    offsets: np.ndarray[Any, Any]  # of each record's header
    lengths: np.ndarray[Any, Any]  # of its content

    @property
    def records(self) -> int:
        return len(self.offsets)


def open_shapes(shp: Path, shx: Path, what: str) -> ShapeFile:
    """Raises DeliveryRefused for half a file, an index of another file, and shapes that are no simple features."""
    import numpy as np

    kind, size = _read_header(shp, f"{what}（.shp）")
    index_kind, index_size = _read_header(shx, f"{what}（.shx）")
    with shx.open("rb") as f:
        f.seek(HEADER)
        index = np.frombuffer(f.read(), ">i4")
    if (index_size - HEADER) % 8 or kind != index_kind:
        raise _broken(what)
    offsets, lengths = index[0::2].astype(np.int64) * 2, index[1::2].astype(np.int64) * 2
    ends = offsets + 8 + lengths
    if len(offsets) and (offsets.min() < HEADER or lengths.min() < 4 or ends.max() > size):
        raise _broken(what)
    order = np.argsort(offsets, kind="stable")
    if len(offsets) > 1 and (offsets[order][1:] < ends[order][:-1]).any():
        raise _broken(what)
    base, has_z, has_m = kind % 10 if kind != PATCH else PATCH, kind // 10 == 1, kind // 10 == 2
    if base not in (NULL, POINT, LINE, POLYGON, MULTIPOINT) or kind // 10 > 2:
        raise DeliveryRefused(
            f"{what}：图形类型 {kind}（{_KINDS.get(kind, '未知')}）不受支持，只接受点、线、面。现有数据继续有效；"
            "请转换后重新提供。",
            rule_id="delivery.structure",
        )
    return ShapeFile(shp, what, base, has_z, has_m, offsets, lengths)


def read_shapes(shapes: ShapeFile, first: int, count: int) -> tuple[list[bytes | None], dict[int, str]]:
    """(WKB of ``count`` shapes from record ``first`` (from 0), null for a null shape; index -> rule of a broken one)."""
    import numpy as np
    import shapely

    found: list[Any] = [None] * count
    flaws: dict[int, str] = {}
    with shapes.path.open("rb") as f:
        for i in range(count):
            content = _read_record(f, shapes, first + i)
            read = _read_shape(content, shapes)
            if isinstance(read, str):
                flaws[i] = read
            else:
                found[i] = read
    wkb = shapely.to_wkb(np.array(found, dtype=object), byte_order=1, output_dimension=3 if shapes.has_z else 2)
    return list(wkb), flaws


def cut_by_size(shapes: ShapeFile, first: int, count: int) -> Iterator[int]:
    """How many records to read at a time, from record ``first`` (from 0) on, so that memory stays bounded."""
    at, end = first, first + count
    while at < end:
        taken = size = 0
        while at + taken < end and (taken == 0 or size + int(shapes.lengths[at + taken]) <= BATCH_BYTES):
            size += int(shapes.lengths[at + taken])
            taken += 1
        yield taken
        at += taken


def _read_header(path: Path, what: str) -> tuple[int, int]:
    """(shape type, length) of a .shp or .shx; both state their length in the same header."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(HEADER)
    if len(head) < HEADER:
        raise half_a_file(what)
    code, words = struct.unpack_from(">i20xi", head)
    version, kind = struct.unpack_from("<2i", head, 28)
    if code != 9994 or version != 1000:
        raise DeliveryRefused(
            f"{what}：不是有效的 Shapefile。现有数据继续有效；请重新导出后提供。", rule_id="delivery.structure"
        )
    if words * 2 != size:
        raise half_a_file(what)
    return kind, size


def _broken(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：.shp 与 .shx 不一致，可能不是同一次导出的文件。现有数据继续有效；请重新导出并完整提供。",
        rule_id="delivery.half_a_file",
    )


def _read_record(f: BinaryIO, shapes: ShapeFile, i: int) -> bytes:
    offset, length = int(shapes.offsets[i]), int(shapes.lengths[i])
    f.seek(offset)
    number, words = struct.unpack(">2i", f.read(8))
    if number != i + 1 or words * 2 != length:
        raise _broken(shapes.what)
    return f.read(length) if length <= LARGEST_SHAPE else b""


def _read_shape(content: bytes, shapes: ShapeFile) -> shapely.Geometry | str | None:
    """The geometry, None for a null shape, or the rule that the record breaks."""
    if len(content) < 4:
        return NOT_A_SHAPE
    (kind,) = struct.unpack_from("<i", content)
    if kind == NULL:
        return None
    if kind % 10 != shapes.kind or kind // 10 != (1 if shapes.has_z else 2 if shapes.has_m else 0):
        return NOT_A_SHAPE
    try:
        if shapes.kind == POINT:
            return _read_point(content, shapes.has_z)
        if shapes.kind == MULTIPOINT:
            return _read_multipoint(content, shapes.has_z)
        return _read_parts(content, shapes)
    except (struct.error, ValueError):
        # lengths that lead out of the record, or a ring of less than four points
        return NOT_A_SHAPE


def _read_point(content: bytes, has_z: bool) -> shapely.Geometry:
    import shapely

    return shapely.Point(struct.unpack_from("<3d" if has_z else "<2d", content, 4))


def _read_multipoint(content: bytes, has_z: bool) -> shapely.Geometry:
    import shapely

    (count,) = struct.unpack_from("<i", content, 36)
    return shapely.multipoints(shapely.points(_coordinates(content, 40, count, has_z)))


def _read_parts(content: bytes, shapes: ShapeFile) -> shapely.Geometry | str:
    import numpy as np
    import shapely

    parts, count = struct.unpack_from("<2i", content, 36)
    if parts < 1 or count < 1 or 44 + 4 * parts + 16 * count > len(content):
        return NOT_A_SHAPE
    starts = np.frombuffer(content, "<i4", parts, 44)
    points = _coordinates(content, 44 + 4 * parts, count, shapes.has_z)
    bounds = np.append(starts, count)
    sizes = np.diff(bounds)
    if starts[0] != 0 or (sizes < (4 if shapes.kind == POLYGON else 2)).any():
        return NOT_A_SHAPE
    which = np.repeat(np.arange(parts), sizes)
    if shapes.kind == LINE:
        lines = shapely.linestrings(points, indices=which)
        return lines[0] if parts == 1 else shapely.multilinestrings(lines)
    if (points[starts] != points[bounds[1:] - 1]).any():
        return NOT_A_SHAPE  # an open ring
    rings = shapely.linearrings(points, indices=which)
    return shapely.polygons(rings[0]) if parts == 1 else _join_rings(rings)


def _coordinates(content: bytes, at: int, count: int, has_z: bool) -> np.ndarray[Any, Any]:
    """The points; of shapes with elevation these stand behind all points, after their range. Raises ValueError."""
    import numpy as np

    if count < 1:
        raise ValueError("no points")
    flat = np.frombuffer(content, "<f8", 2 * count, at).reshape(-1, 2)
    if not has_z:
        return flat
    return np.column_stack([flat, np.frombuffer(content, "<f8", count, at + 16 * count + 16)])


def _join_rings(rings: np.ndarray[Any, Any]) -> shapely.Geometry | str:
    """Polygons from rings: a ring within an odd number of others is a hole.

    The format says the same by direction (outer rings clockwise). Where the two disagree, and not merely because a
    writer turned every ring round, what is meant can't be known: RING_ORDER.
    """
    import numpy as np
    import shapely

    filled = shapely.polygons(rings)
    if not shapely.is_valid(filled).all():
        # a ring that crosses itself has no inside; the check of validity names it
        return shapely.multipolygons(filled)
    areas = shapely.area(filled)
    inner, outer = shapely.STRtree(filled).query(shapely.point_on_surface(filled), predicate="within")
    around = (inner != outer) & (areas[outer] > areas[inner])
    inner, outer = inner[around], outer[around]
    depth = np.bincount(inner, minlength=len(rings))
    holes, clockwise = depth % 2 == 1, ~shapely.is_ccw(rings)
    if (holes == clockwise).any() and not (holes == clockwise).all():
        return RING_ORDER
    owner = np.arange(len(rings))
    for hole in np.flatnonzero(holes):
        candidates = outer[(inner == hole) & (depth[outer] == depth[hole] - 1)]
        owner[hole] = candidates[np.argmin(areas[candidates])]
    made = [
        shapely.polygons(rings[i], holes=rings[holes & (owner == i)]) if (holes & (owner == i)).any() else filled[i]
        for i in np.flatnonzero(~holes)
    ]
    return made[0] if len(made) == 1 else shapely.multipolygons(made)
