"""The shapes of a shapefile (.shp with its .shx) as WKB, after ESRI's technical description of July 1998.

Read here and not by GDAL: that one repairs an index that is missing and reads on behind one that is wrong, where a
department is to send its file again; and it weighs more than all other formats together. Every record is found through
the index and must say the same as it. Elevations are kept, measures (M) are not: no library field holds them.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guiji.crossings import find_tangled
from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding import half_a_file
from guiji.structure import NOT_A_SHAPE, RING_ORDER

if TYPE_CHECKING:
    import numpy as np

HEADER = 100
#: a shape beyond this is no shape of a city
LARGEST_SHAPE = 64 << 20
#: parts of one shape
MAX_PARTS = 50_000
PAIRS_AT_ONCE = 1 << 20
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

    found = np.full(count, None, dtype=object)
    flaws: dict[int, str] = {}
    read: list[tuple[int, list[int], np.ndarray[Any, Any]]] = []
    with shapes.path.open("rb") as f:
        for i in range(count):
            content = _read_record(f, shapes, first + i)
            try:
                parsed = _parse_shape(content, shapes)
            except (struct.error, ValueError):
                # lengths that lead out of the record
                flaws[i] = NOT_A_SHAPE
                continue
            if parsed is not None:
                read.append((i, *parsed))
    if read:
        records = np.repeat([i for i, _, _ in read], [len(sizes) for _, sizes, _ in read])
        sizes, points = np.array([n for _, s, _ in read for n in s]), np.concatenate([p for _, _, p in read])
        flaws |= dict.fromkeys(_build(found, shapes.kind, records, sizes, points, flaws), NOT_A_SHAPE)
    wkb = shapely.to_wkb(found, byte_order=1, output_dimension=3 if shapes.has_z else 2)
    return [None if i in flaws else w for i, w in enumerate(wkb)], flaws


def _build(
    found: np.ndarray[Any, Any],
    kind: int,
    records: np.ndarray[Any, Any],
    sizes: np.ndarray[Any, Any],
    points: np.ndarray[Any, Any],
    flaws: dict[int, str],
) -> list[int]:
    """Puts the shapes made of ``points`` into ``found``; returns the records whose rings are open.

    A part is ``sizes[k]`` points and belongs to record ``records[k]``; parts and points stand in the same order.
    """
    import numpy as np
    import shapely

    which = np.repeat(np.arange(len(sizes)), sizes)
    if kind == POINT:
        found[records] = shapely.points(points)
    elif kind == MULTIPOINT:
        shapely.multipoints(shapely.points(points), indices=records[which], out=found)
    elif kind == LINE:
        _collect(found, shapely.linestrings(points, indices=which), records, shapely.multilinestrings)
    else:
        ends = np.cumsum(sizes)
        is_open = (points[ends - sizes, :2] != points[ends - 1, :2]).any(axis=1)
        unusable = np.unique(records[is_open])
        kept = ~np.isin(records, unusable)
        # an open ring would be closed here without a word: its record is left out
        rings = shapely.linearrings(points, indices=which)[kept]
        polygons, owners, doubtful = join_rings(rings, records[kept])
        flaws |= dict.fromkeys(doubtful, RING_ORDER)
        _collect(found, polygons, owners, shapely.multipolygons)
        return [int(i) for i in unusable]
    return []


def _collect(
    found: np.ndarray[Any, Any], parts: np.ndarray[Any, Any], records: np.ndarray[Any, Any], join: Callable[..., Any]
) -> None:
    """One part of a record as it is, several joined."""
    import numpy as np

    several = np.bincount(records, minlength=len(found)) > 1
    alone = ~several[records]
    found[records[alone]] = parts[alone]
    if not alone.all():
        order = np.argsort(records[~alone], kind="stable")
        join(parts[~alone][order], indices=records[~alone][order], out=found)


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


def _parse_shape(content: bytes, shapes: ShapeFile) -> tuple[list[int], np.ndarray[Any, Any]] | None:
    """(points per part, points), None for a null shape. Raises ValueError and struct.error for a damaged one."""
    import numpy as np

    (kind,) = struct.unpack_from("<i", content)
    if kind == NULL:
        return None
    if kind % 10 != shapes.kind or kind // 10 != (1 if shapes.has_z else 2 if shapes.has_m else 0):
        raise ValueError("another kind of shape")
    if shapes.kind == POINT:
        return [1], np.frombuffer(content, "<f8", 3 if shapes.has_z else 2, 4).reshape(1, -1)
    if shapes.kind == MULTIPOINT:
        (count,) = struct.unpack_from("<i", content, 36)
        return [count], _coordinates(content, 40, count, shapes.has_z)
    parts, count = struct.unpack_from("<2i", content, 36)
    if not 1 <= parts <= MAX_PARTS or count < 1:
        raise ValueError("no parts, or too many")
    starts = [*struct.unpack_from(f"<{parts}i", content, 44), count]
    sizes = [end - start for start, end in itertools.pairwise(starts)]
    if starts[0] != 0 or min(sizes) < (4 if shapes.kind == POLYGON else 2):
        raise ValueError("a part of too few points")
    return sizes, _coordinates(content, 44 + 4 * parts, count, shapes.has_z)


def _coordinates(content: bytes, at: int, count: int, has_z: bool) -> np.ndarray[Any, Any]:
    """The points; of shapes with elevation these stand behind all points, after their range. Raises ValueError."""
    import numpy as np

    if count < 1:
        raise ValueError("no points")
    flat = np.frombuffer(content, "<f8", 2 * count, at).reshape(-1, 2)
    if not has_z:
        return flat
    return np.column_stack([flat, np.frombuffer(content, "<f8", count, at + 16 * count + 16)])


def join_rings(
    rings: np.ndarray[Any, Any], records: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[int]]:
    """(polygons, the record of each, records left out in doubt). A ring within an odd number of others is a hole.

    The format says the same by direction (outer rings clockwise). Where the two disagree, and not merely because a
    writer turned every ring of the shape round, what is meant can't be known.
    """
    import numpy as np
    import shapely

    if not len(rings):
        return rings, records, []
    filled = shapely.polygons(rings)
    inner, outer = _find_enclosing(filled, records)
    depth = np.bincount(inner, minlength=len(rings))
    hole = depth % 2 == 1
    several = np.bincount(records)[records] > 1
    # a ring that crosses itself has no inside: the check of validity names it, not this one, and a tangle is set aside
    unsound = several.copy()
    unsound[several] = find_tangled(filled[several])
    unsound[several & ~unsound] = ~shapely.is_valid(filled[several & ~unsound])
    crossed = np.unique(records[unsound])
    hole &= ~np.isin(records, crossed)
    against = hole == ~shapely.is_ccw(rings)
    doubtful = set(records[several & against].tolist()) & set(records[several & ~against].tolist())
    doubtful -= set(crossed.tolist())
    owner = np.arange(len(rings))
    direct = hole[inner] & (depth[outer] == depth[inner] - 1)
    owner[inner[direct]] = outer[direct]
    kept = ~np.isin(records, list(doubtful))
    order = np.lexsort((hole, owner))
    order = order[kept[order]]
    shells, index = np.unique(owner[order], return_inverse=True)
    return shapely.polygons(rings[order], indices=index), records[shells], sorted(doubtful)


def _find_enclosing(
    filled: np.ndarray[Any, Any], records: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(ring, a larger ring of the same record around it), for every such pair."""
    import numpy as np

    counts = np.bincount(records)
    candidates = [(np.array([], np.int64), np.array([], np.int64))]
    # rings of a record stand together; records of the same number of rings are paired at once
    begins = np.flatnonzero(np.diff(records, prepend=-1))
    for count in np.unique(counts[counts > 1]):
        starts = begins[counts[records[begins]] == count]
        # a shape of many rings makes many pairs: few of them at a time
        step = max(1, PAIRS_AT_ONCE // int(count) ** 2)
        i, j = np.divmod(np.arange(count**2), count) if count**2 <= PAIRS_AT_ONCE else (None, None)
        for at in range(0, len(starts), step):
            if i is None or j is None:
                candidates += _pair_by_tree(filled, int(starts[at]), int(count))
                continue
            here = starts[at : at + step, None]
            candidates.append(_keep_enclosing(filled, (here + i).ravel(), (here + j).ravel()))
    return np.concatenate([a for a, _ in candidates]), np.concatenate([b for _, b in candidates])


def _pair_by_tree(
    filled: np.ndarray[Any, Any], start: int, count: int
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The pairs of one record of very many rings."""
    import shapely

    rings = filled[start : start + count]
    tree = shapely.STRtree(rings)
    found = []
    for at in range(0, count, 256):
        inner, outer = tree.query(shapely.envelope(rings[at : at + 256]), predicate="intersects")
        found.append(_keep_enclosing(filled, start + at + inner, start + outer))
    return found


def _keep_enclosing(
    filled: np.ndarray[Any, Any], inner: np.ndarray[Any, Any], outer: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np
    import shapely

    one, other = shapely.bounds(filled[inner]), shapely.bounds(filled[outer])
    # a ring may touch the one around it: their boxes may share an edge
    near = (inner != outer) & (one[:, :2] >= other[:, :2]).all(axis=1) & (one[:, 2:] <= other[:, 2:]).all(axis=1)
    inner, outer = inner[near], outer[near]
    larger = shapely.area(filled[outer]) > shapely.area(filled[inner])
    inner, outer = inner[larger], outer[larger]
    if not len(inner):
        return inner, outer
    unique, index = np.unique(inner, return_inverse=True)
    inside = shapely.within(shapely.point_on_surface(filled[unique])[index], filled[outer])
    return inner[inside], outer[inside]
